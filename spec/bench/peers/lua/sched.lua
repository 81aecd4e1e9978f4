-- The least that plain Lua needs for fibers and channels: a queue of ready coroutines, no select, no timers, no errors.
local sched = {}
local running, yield, resume = coroutine.running, coroutine.yield, coroutine.resume
local ready, head, tail = {}, 1, 0

local function wake(co)
  tail = tail + 1
  ready[tail] = co
end

function sched.go(fn) wake(coroutine.create(fn)) end

--- Lets every other ready fiber run first.
function sched.yield()
  wake(running())
  yield()
end

--- Runs fn as a fiber, and the others until it has ended. -> the results of fn
function sched.run(fn)
  local results
  sched.go(function() results = { fn() } end)
  while not results do
    local co = ready[head]
    ready[head] = nil
    head = head + 1
    assert(resume(co))
  end
  return table.unpack(results)
end

local chan = {}
chan.__index = chan

function sched.chan(capacity)
  return setmetatable({ room = capacity or 0, first = 1, last = 0, receivers = {}, r1 = 1, r2 = 0,
    senders = {}, s1 = 1, s2 = 0, closed = false }, chan)
end

local function take(ch)
  local v = ch[ch.first]
  ch[ch.first] = nil
  ch.first = ch.first + 1
  return v
end

function chan:send(v)
  self.last = self.last + 1
  self[self.last] = v
  if self.r1 <= self.r2 then
    local co = self.receivers[self.r1]
    self.receivers[self.r1] = nil
    self.r1 = self.r1 + 1
    return wake(co)
  end
  if self.last - self.first < self.room then return end
  self.s2 = self.s2 + 1
  self.senders[self.s2] = running()
  yield()
end

function chan:recv()
  while self.first > self.last do
    if self.closed then return nil end
    self.r2 = self.r2 + 1
    self.receivers[self.r2] = running()
    yield()
  end
  local v = take(self)
  if self.s1 <= self.s2 then
    wake(self.senders[self.s1])
    self.senders[self.s1] = nil
    self.s1 = self.s1 + 1
  end
  return v
end

chan.__call = chan.recv

function chan:close()
  self.closed = true
  for i = self.r1, self.r2 do wake(self.receivers[i]) end
  self.r1 = self.r2 + 1
end

return sched
