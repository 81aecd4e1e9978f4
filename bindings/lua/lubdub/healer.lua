--- What runs in the worker of a steward or a supervisor: it starts its children in order, and heals.
---
--- A child is waiting, up, stopping, down, or over (it will never be started again). Each life of a child is a fiber
--- (incarnation.lua) that tells its news to the one loop here, which never waits for anything but news, so that it
--- can always be asked and always be stopped. What is to be stopped is stopped from the last child to `down_from`,
--- one after the other; when all of that is down, it is started again, or the healer ends.
local lub = require "lubdub"
local backoff = require "lubdub.backoff"
local incarnation = require "lubdub.incarnation"
local limit = require "lubdub.limit"
local stream = require "lubdub.stream"

local healer = {}

-- ---- events -------------------------------------------------------------------------------------------------------

--- The newest events win: a slow reader never holds up healing, and is told how many it lost.
local function emit(self, event)
  event.time, event.lost = lub.now(), self.lost > 0 and self.lost or nil
  while not lub.select(self.events << event, 0) do
    if self.events:recv(0) then self.lost = self.lost + 1 end
    event.lost = self.lost
  end
end

-- ---- the clock of the limits: it stands still while something is being stopped -------------------------------------

local function clock(self)
  local since = self.stopping_since
  return lub.now() - self.stood_still - (since and lub.now() - since or 0)
end

local function mark_stopping(self)
  local any = false
  for _, c in ipairs(self.children) do any = any or c.status == "stopping" end
  if any and not self.stopping_since then
    self.stopping_since = lub.now()
  elseif not any and self.stopping_since then
    self.stood_still = self.stood_still + lub.now() - self.stopping_since
    self.stopping_since = nil
  end
end

local function stop_from(self, index)
  self.down_from = math.min(self.down_from or index, index)
end

--- The end of this healer: its children are stopped first.
local function finish(self, how, why)
  self.ending = self.ending or { how = how, why = why }
  stop_from(self, 1)
end

local function fail(self, reason)
  if self.ending then return end
  self.heart:fail(reason)
  finish(self, "failed", reason)
end

-- ---- children -----------------------------------------------------------------------------------------------------

local function emit_of(self, child, event)
  event.name, event.steward = child.spec.name, child.spec.children and true or nil
  emit(self, event)
end

local function start(self, child)
  child.status, child.ready, child.attempt = "up", false, child.attempt + 1
  child.halt = lub.chan(4, child.spec.name .. ".halt")
  local env = {
    events = self.events,
    emit = function(event) emit_of(self, child, event) end,
    tell = function(what, reason) self.news:send { child = child.index, what = what, reason = reason } end,
  }
  lub.go(function()
    local ok, outcome = pcall(incarnation.live, child, env)
    if not ok then outcome = { how = "broken", reason = tostring(outcome), lived = 0, attempt = child.attempt } end
    self.news:send { child = child.index, what = "down", outcome = outcome }
  end)
end

--- Ready, or never to be: who waits for it may start.
local function settled(child) return child.status == "over" or child.status == "up" and child.ready end

--- Starts what waits, has waited long enough, and depends on nothing that is not ready.
local function start_due(self)
  if self.down_from then return end
  for _, c in ipairs(self.children) do
    local ahead = c.after and self.children[c.after]
    if c.status == "waiting" and lub.now() >= c.due and (not ahead or settled(ahead)) then start(self, c) end
  end
end

local function next_due(self)
  local due = math.huge
  for _, c in ipairs(self.children) do
    local ahead = c.after and self.children[c.after]
    if c.status == "waiting" and (not ahead or settled(ahead)) then due = math.min(due, c.due) end
  end
  return due
end

local function wait_for(child, delay, after)
  child.status, child.due, child.after = "waiting", lub.now() + delay, after
end

local function is_over(self, child, outcome)
  child.status = "over"
  if child.ends and child.spec.generator ~= nil then stream.ask(child.ends, { op = "over" }) end
  if self.spec.lone and outcome.how ~= "finished" then return fail(self, outcome.reason) end
  if not child.significant then return end
  local all = true
  for _, c in ipairs(self.children) do all = all and (not c.significant or c.status == "over") end
  if self.spec.auto_shutdown == "any_significant" or self.spec.auto_shutdown == "all_significant" and all then
    finish(self, "finished")
  end
end

-- ---- stopping what is to be stopped ---------------------------------------------------------------------------------

--- Halts the last child that is still up; one at a time, so that nobody loses what it stands on.
local function halt_next(self)
  for i = #self.children, self.down_from, -1 do
    local c = self.children[i]
    if c.status == "waiting" then c.status = "down" end
    if c.status == "up" or c.status == "stopping" then
      if not c.halting then
        c.halting = true
        local why = self.ending and (self.ending.why or "its siblings have ended") or "restarted with its siblings"
        c.halt:send({ reason = why, grace = self.grace or c.spec.grace }, 0)
      end
      return true
    end
  end
  return false
end

--- Everything from down_from on is down.
local function all_down(self)
  local from = self.down_from
  self.down_from = nil
  if self.ending then return end
  local previous
  for i = from, #self.children do
    local c = self.children[i]
    if c.spec.restart.type == "temporary" and c.status ~= "over" then is_over(self, c, { how = "halted" }) end
    if c.status ~= "over" then
      wait_for(c, c.delay or 0, previous)
      c.delay = nil
      previous = i
    end
  end
end

-- ---- healing ------------------------------------------------------------------------------------------------------

local function exhaust(self, child, attempt, reason)
  local r = self.spec.limit
  local why = ("shutdown: %d restart%s within %g s; last: %s"):format(r.max, r.max == 1 and "" or "s", r.within,
    reason)
  emit_of(self, child, { event = "exhausted", attempt = attempt, reason = why })
  fail(self, why)
end

local function is_wanted(child, outcome)
  local kind = child.spec.restart.type
  if outcome.how == "finished" and child.spec.generator ~= nil then return false end -- there is no work left
  return kind == "permanent" or kind == "transient" and outcome.how ~= "finished"
end

local function restart(self, child, outcome)
  if not self.limit:restart(clock(self)) then return exhaust(self, child, outcome.attempt, outcome.reason) end
  self.restarts, child.restarts = self.restarts + 1, child.restarts + 1
  if outcome.lived >= child.spec.restart.reset then child.backoff:reset() end
  local delay = child.backoff:next()
  emit_of(self, child, { event = "restarting", attempt = outcome.attempt, how = outcome.how, reason = outcome.reason,
    traceback = outcome.traceback, delay = delay })
  child.delay = delay
  if self.spec.strategy == "one_for_one" then return wait_for(child, delay) end
  child.status = "down"
  stop_from(self, self.spec.strategy == "one_for_all" and 1 or child.index)
end

local function count_zombies(self, child, outcome)
  if not outcome.zombie then return end
  local living = { outcome.zombie }
  for _, w in ipairs(self.zombies) do
    if w:state() ~= "dead" then living[#living + 1] = w end
  end
  self.zombies = living
  emit_of(self, child, { event = "zombie", attempt = outcome.attempt, zombies = #living,
    reason = "it is still inside a C call; it is fenced" })
  if #living > self.spec.zombies then
    fail(self, ("%d zombies: %s"):format(#living, outcome.reason))
  end
end

local function on_down(self, child, outcome)
  child.reason, child.unstopped = outcome.reason, outcome.unstopped
  if outcome.poison then
    self.poisoned = self.poisoned + 1
    emit_of(self, child, { event = "poison", attempt = outcome.attempt, unit = outcome.poison.unit,
      tries = outcome.poison.tries, reason = outcome.reason })
  end
  local halted = child.halting
  child.halting, child.ready, child.status = nil, false, "down"
  count_zombies(self, child, outcome)
  emit_of(self, child, { event = "stopped", attempt = outcome.attempt, how = outcome.how, reason = outcome.reason })
  if self.ending then return end
  if outcome.how == "broken" then return fail(self, outcome.reason) end
  if outcome.how == "finished" then child.values = outcome.values end
  if halted and outcome.how ~= "finished" then return end -- it goes with its siblings
  if not is_wanted(child, outcome) then return is_over(self, child, outcome) end
  if self.down_from and child.index >= self.down_from then return end
  restart(self, child, outcome)
end

local function on_news(self, n)
  local child = self.children[n.child]
  if n.what == "ready" then
    child.ready = true
  elseif n.what == "stopping" then
    child.status, child.ready = "stopping", false
  elseif n.what == "down" then
    on_down(self, child, n.outcome)
  else
    fail(self, n.reason)
  end
end

-- ---- questions ----------------------------------------------------------------------------------------------------

local function stats_of(child)
  local t = { name = child.spec.name, status = child.status, ready = child.ready, attempt = child.attempt,
    restarts = child.restarts, reason = child.reason }
  local ends = child.ends
  for k, v in pairs(ends and (ends.final or stream.ask(ends, { op = "stats" })) or {}) do t[k] = v end
  return t
end

local function stats(self)
  local t = { name = self.spec.name, restarts = self.restarts, poisoned = self.poisoned, zombies = 0, lost = self.lost,
    children = {} }
  for _, w in ipairs(self.zombies) do t.zombies = t.zombies + (w:state() ~= "dead" and 1 or 0) end
  for i, c in ipairs(self.children) do t.children[i] = stats_of(c) end
  return t
end

local function on_control(self, m)
  if m == nil then m = { op = "stop", reason = "its owner has ended" } end -- closed
  if m.op == "stats" then
    m.reply:send(stats(self), 0)
  elseif m.op == "stop" then
    self.grace = m.grace
    self.control_closed = self.control:closed()
    finish(self, "stopped", m.reason or "it was stopped")
    for _, c in ipairs(self.children) do -- again, with the new grace: it may be on its way down already
      if c.halting or c.status == "stopping" then
        c.halt:send({ reason = "it was stopped", grace = m.grace or c.spec.grace }, 0)
      end
    end
  end
end

-- ---- the loop -----------------------------------------------------------------------------------------------------

local function all_over(self)
  for _, c in ipairs(self.children) do
    if c.status ~= "over" then return false end
  end
  return true
end

local function tell_ready(self)
  if not self.born then return end
  for _, c in ipairs(self.children) do
    if not settled(c) then return end
  end
  self.born:send("ready", 0)
  self.born = nil
end

--- One turn. False: there is nothing left to do.
local function turn(self)
  if self.down_from and not halt_next(self) then all_down(self) end
  if self.ending and not self.down_from then return false end
  start_due(self)
  mark_stopping(self)
  tell_ready(self)
  if not self.ending and all_over(self) then return false end
  local due = next_due(self)
  local from, v = lub.prefer(self.news, not self.control_closed and self.control or nil,
    due < math.huge and math.max(0, due - lub.now()) or nil)
  if from == self.news then on_news(self, v)
  elseif from == self.control then on_control(self, v)
  elseif v == "cancelled" then
    self.ending = self.ending or { how = "stopped", why = "it was cancelled" }
    return false
  end
  return true
end

local function add_child(self, index, spec)
  local child = { index = index, spec = spec, attempt = 0, restarts = 0, status = "waiting", due = lub.now(),
    after = index > 1 and index - 1 or nil, significant = spec.significant, ends = spec.ends }
  child.backoff = backoff.from(spec.restart.backoff, self.random)
  self.children[index] = child
end

--- Runs the streams of all the wards below that have none yet: they outlive every level of healers.
local function open_streams(self, spec)
  for _, c in ipairs(spec.children) do
    if c.children then
      open_streams(self, c)
    elseif not c.ends then
      c.ends = stream.ends(c)
      self.streams[#self.streams + 1] = c.ends
      lub.go(function()
        local ok, why = pcall(stream.run, c, c.ends, c.results, c.own_results)
        if ok then c.ends.final = why
        else self.news:send { child = 1, what = "broken", reason = tostring(why) }
        end
        self.drained:send(true)
      end)
    end
  end
end

--- Lets what the streams took over come out, and still answers. The consumer of a healer that was stopped may be gone.
local function drain(self)
  for _, ends in ipairs(self.streams) do stream.ask(ends, { op = "over" }) end
  local function grace() return self.ending.how == "stopped" and lub.now() + (self.grace or self.spec.grace) or nil end
  local deadline, left = grace(), #self.streams
  while left > 0 do
    local wait = deadline and math.max(0, deadline - lub.now()) or nil
    local from, v = lub.prefer(self.drained, not self.control_closed and self.control or nil, wait)
    if from == self.drained then
      left = left - 1
    elseif from == self.control then
      if v == nil or v.op == "stop" then self.ending.how = "stopped" end
      on_control(self, v)
      deadline = deadline or grace()
    else
      return
    end
  end
end

local function close_all(channels)
  for _, ch in ipairs(channels) do
    if not ch:closed() then pcall(ch.close, ch) end -- its maker closes it too when this worker is killed
  end
end

local function unstopped(self)
  local names = {}
  for _, w in ipairs(self.zombies) do
    if w:state() ~= "dead" then names[#names + 1] = w:name() end
  end
  for _, c in ipairs(self.children) do
    for _, name in ipairs(c.unstopped or {}) do names[#names + 1] = name end
  end
  return names
end

---- The main function of a healer's worker. Gives "finished", "failed" or "stopped", and a table: why, the values of a
--- lone child, the last statistics, the names of what did not stop.
function healer.run(setup)
  local spec = setup.spec
  local heart = lub.heart { name = spec.name, interval = spec.heart.interval }
  setup.born:send { heart = heart, verdicts = setup.watched and heart:verdicts() or nil, pulses = heart:pulses() }
  local self = { spec = spec, heart = heart, born = setup.born, control = setup.control, events = setup.events,
    news = lub.chan(0, spec.name .. ".news"), drained = lub.chan(64), children = {}, streams = {}, zombies = {},
    lost = 0, restarts = 0, poisoned = 0, stood_still = 0, limit = limit.from(spec.limit),
    random = require "lubdub.random"(spec.seed) }
  open_streams(self, spec)
  for i, c in ipairs(spec.children) do add_child(self, i, c) end
  while turn(self) do end
  self.ending = self.ending or { how = "finished" }
  drain(self)
  local ending, final = self.ending, stats(self)
  close_all(setup.own or {})
  local lone = #self.children == 1 and self.children[1].values or nil
  return ending.how, { why = ending.why, values = lone, stats = final, unstopped = unstopped(self) }
end

return healer
