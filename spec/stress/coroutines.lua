-- Coroutines nested at random, parking and yielding at random depths, in many fibers and workers: every
-- value comes to the right place, in order.
local lub = require "lubdub"
local tally = require "spec.support".tally()

-- A generator `depth` coroutines deep that yields the values of ch in order, then ends; some levels wait.
local function nest(depth, ch)
  return coroutine.wrap(function()
    if depth == 0 then
      for v in ch do coroutine.yield(v) end
      return
    end
    for v in nest(depth - 1, ch) do
      local way = math.random(8)
      if way == 1 then
        lub.yield()
      elseif way == 2 then
        lub.sleep(0)
      elseif way == 3 then
        pcall(function() pcall(lub.yield) error "x" end)
      elseif way == 4 then
        local ok, same = coroutine.resume(coroutine.create(function() lub.yield() return v end))
        assert(ok and same == v)
      end
      coroutine.yield(v)
    end
  end)
end

local function run(seed, fibers, values)
  math.randomseed(seed)
  local all, right = {}, 0
  for i = 1, fibers do
    local ch, depth = lub.chan(math.random(0, 3)), math.random(0, 25)
    lub.go(function()
      for v = 1, values do
        ch:send(v * i)
        if math.random(5) == 1 then lub.yield() end
      end
      ch:close()
    end)
    all[i] = lub.go(function()
      local want = 0
      for v in nest(depth, ch) do
        want = want + 1
        if v ~= want * i then return false end
      end
      return want == values
    end)
  end
  for i = 1, fibers do
    local ok, why = all[i]:join()
    if why then error(why) end
    if ok then right = right + 1 end
  end
  return right
end

local workers = {}
for i = 1, 4 do workers[i] = lub.spawn(run, math.random(1 << 30), 20, 400) end
local right = run(math.random(1 << 30), 20, 400)
tally.check("nested generators of the main worker are in order", right == 20, right)
for i = 1, 4 do
  local n, why = workers[i]:join()
  tally.check("nested generators of worker " .. i .. " are in order", n == 20, n or why)
end

-- The same coroutines, stepped by many fibers in turn.
local ch, steps = lub.chan(), 0
local cos = {}
for i = 1, 50 do
  cos[i] = coroutine.create(function()
    for k = 1, 20 do
      if (i + k) % 3 == 0 then lub.yield() end
      coroutine.yield(k)
    end
    return "end"
  end)
end
local steppers = {}
for f = 1, 10 do
  steppers[f] = lub.go(function()
    for i in ch do
      local ok, v = coroutine.resume(cos[i])
      if ok then
        if v ~= "end" then steps = steps + 1 end
      elseif v ~= "cannot resume non-suspended coroutine" and v ~= "cannot resume dead coroutine" then
        error(v)
      end
    end
  end)
end
local rounds = 0
repeat
  local live = false
  for i = 1, 50 do
    if coroutine.status(cos[i]) ~= "dead" then
      live = true
      ch:send(i)
    end
  end
  rounds = rounds + 1
until not live or rounds > 10000
ch:close()
for f = 1, 10 do steppers[f]:join() end
tally.check("coroutines stepped by many fibers take every step once", steps == 1000, steps)

-- Waits where Lua cannot yield, in workers, nested in coroutines.
local function sorted(seed)
  math.randomseed(seed)
  local answers = lub.chan()
  lub.go(function() while answers:send(true) do end end)
  local t = {}
  for i = 1, 60 do t[i] = math.random(1000) end
  local text = coroutine.wrap(function()
    table.sort(t, function(a, b)
      if math.random(4) == 1 then coroutine.wrap(function() answers:recv() end)() end
      return a < b
    end)
    return ((("abc"):gsub(".", function(c)
      answers:recv()
      return c .. c
    end)))
  end)()
  for i = 2, 60 do if t[i - 1] > t[i] then return "not sorted" end end
  return text
end
local sorters = {}
for i = 1, 50 do sorters[i] = lub.spawn(sorted, math.random(1 << 30)) end
local fine = 0
for i = 1, 50 do if sorters[i]:join() == "aabbcc" then fine = fine + 1 end end
tally.check("sorts and substitutions wait inside coroutines", fine == 50, fine)

tally.finish()
