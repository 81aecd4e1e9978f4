-- Storms of workers: trees that spawn trees, thousands at once, many spawners, handles sent about.
local lub = require "lubdub"
local tally = require "spec.support".tally()

local function tree(depth, width)
  if depth == 0 then return 1 end
  local children, sum = {}, 1
  for i = 1, width do children[i] = lub.spawn(tree, depth - 1, width) end
  for i = 1, width do
    local n, why = children[i]:join()
    if not n then error(why) end
    sum = sum + n
  end
  return sum
end

for _, shape in ipairs { { 4, 4, 341 }, { 8, 2, 511 }, { 1, 500, 501 }, { 40, 1, 41 } } do
  local n, why = lub.spawn(tree, shape[1], shape[2]):join()
  tally.check(("a tree %d deep and %d wide counts itself"):format(shape[1], shape[2]), n == shape[3], n or why)
end

local out, sum, n = lub.chan(16), 0, 2000
for i = 1, n do lub.spawn(function(o, v) o:send(v) end, out, i) end
for _ = 1, n do sum = sum + out:recv() end
tally.check("two thousand at once report once each", sum == n * (n + 1) // 2, sum)

local fibers, total = {}, 0
for i = 1, 50 do
  fibers[i] = lub.go(function()
    local mine = 0
    for k = 1, 20 do
      local v, why = lub.spawn(function(x) return x, ("x"):rep(x) end, k):join()
      if not v then error(why) end
      mine = mine + v
    end
    return mine
  end)
end
for i = 1, 50 do total = total + fibers[i]:join() end
tally.check("fifty fibers spawn and join side by side", total == 50 * 210, total)

-- A token goes round a ring of workers and fibers; who holds it adds one.
local size, rounds = 100, 100
local first = lub.chan()
local from = first
for i = 1, size do
  local to = i == size and lub.chan(0, "last") or lub.chan()
  local function pass(a, b)
    for v in a do b:send(v + 1) end
    b:close()
  end
  if i % 2 == 0 then lub.spawn(pass, from, to) else lub.go(pass, from, to) end
  from = to
end
local token = 0
for _ = 1, rounds do
  first:send(token)
  token = from:recv()
end
first:close()
tally.check("a token goes round", token == size * rounds, token)
tally.check("and its end too", select(2, from:recv()) == "closed")

-- Workers that end while others hold their handles and wait for them in select.
local waited = 0
for _ = 1, 100 do
  local w = lub.spawn(function(s) lub.sleep(s) end, math.random() / 500)
  local watchers = {}
  for k = 1, 3 do
    watchers[k] = lub.spawn(function(x)
      local done = x:done()
      return lub.select(done, 30) == done and x:state()
    end, w)
  end
  for k = 1, 3 do if watchers[k]:join() then waited = waited + 1 end end
end
tally.check("the end of a worker is seen by all who watch", waited == 300, waited)

-- The end of each fiber once took as long as the queue of those that had been woken, and 100,000 took minutes.
local crowd = lub.spawn(function(n_fibers)
  local gate, parked, start = lub.chan(), 0, lub.now()
  for _ = 1, n_fibers do
    lub.go(function()
      parked = parked + 1
      gate:recv()
    end)
  end
  while parked < n_fibers do lub.yield() end
  gate:close()
  return start, lub.now()
end, 100000)
local start, woken = crowd:join()
local ended = lub.now()
tally.check("a crowd that was woken ends in less than ten times what its start took",
  ended - woken < 10 * (woken - start), ended - woken)

tally.finish()
