-- Random cancels and kills of fibers and workers that send, receive, sleep, hog and nest: what comes of each
-- sender is 1, 2, 3 … without a gap; the cancelled know to the number what came; all end, none by itself.
local lub = require "lubdub"
local tally = require "spec.support".tally()

local function sender(out, id)
  local n = 0
  while true do
    local ok = out:send { id, n + 1 }
    if not ok then return n end
    n = n + 1
  end
end

for round = 1, 6 do
  local out, x, fate = lub.chan(({ 0, 1, 8 })[math.random(3)]), {}, {}
  local count = 40
  for i = 1, count do
    fate[i] = math.random(2) == 1 and "kill" or "cancel"
    x[i] = math.random(2) == 1 and lub.spawn(sender, out, i) or lub.go(sender, out, i)
  end
  local last, gapless, alive = {}, true, count
  local function take(v)
    local id, n = v[1], v[2]
    if n ~= (last[id] or 0) + 1 then gapless = false end
    last[id] = n
  end
  local order = {}
  for i = 1, count do table.insert(order, math.random(#order + 1), i) end
  while alive > 0 do
    for _ = 1, math.random(40) do
      local v = out:recv(0.001)
      if v then take(v) end
    end
    local i = order[alive]
    x[i][fate[i]](x[i], "its time has come")
    alive = alive - 1
  end
  local ends = lub.chan()
  lub.go(function()
    local wrong = "none"
    for i = 1, count do
      local n, why = x[i]:join()
      if fate[i] == "kill" then
        if n ~= nil or why ~= "killed" then wrong = ("%s: %s, %s"):format(x[i], n, why) end
      else
        x[i] = { told = n }
      end
    end
    ends:send(wrong)
  end)
  local wrong
  repeat
    local from, v = lub.select(ends, out)
    if from == out then take(v) else wrong = v end
  until wrong
  while true do
    local v = out:recv(0)
    if not v then break end
    take(v)
  end
  local exact = true
  for i = 1, count do
    if fate[i] == "cancel" and x[i].told ~= (last[i] or 0) then exact = false end
  end
  tally.check("no gap and no double, round " .. round, gapless)
  tally.check("the killed are killed, round " .. round, wrong == "none", wrong)
  tally.check("the cancelled know what came, round " .. round, exact)
end

local bodies = {
  function() while true do end end,
  function() while true do pcall(error) end end,
  function() lub.sleep(600) end,
  function() while true do pcall(lub.sleep, 600) end end,
  function(ch) coroutine.wrap(function() coroutine.wrap(ch.recv)(ch) end)() end,
  function(ch) table.sort({ 3, 2, 1 }, function() return ch:recv() end) end,
  function(ch) lub.select(ch, lub.chan() << 1, lub.chan()) end,
  function() lub.go(function() while true do lub.yield() end end):join() end,
  function() while true do lub.spawn(function() lub.sleep(600) end) lub.sleep(0.001) end end,
}

for round = 1, 3 do
  local ch, workers, closed = lub.chan(), {}, lub.chan(1000)
  for i = 1, 60 do
    workers[i] = lub.spawn(function(body, c, out)
      local guard <close> = setmetatable({}, { __close = function() out:send(1) end })
      body(c)
      return guard and nil
    end, bodies[math.random(#bodies)], ch, closed)
    if math.random(3) == 1 then lub.sleep(0.001) end
  end
  lub.sleep(0.02)
  local ended = 0
  for i = 1, 60 do workers[i]:kill() end
  for i = 1, 60 do
    local _, why = workers[i]:join(30)
    if why == "killed" then ended = ended + 1 end
  end
  tally.check("every killed worker ends, round " .. round, ended == 60, ended)
  for _, w in ipairs(lub.workers()) do
    if w:name() ~= "main" then w:kill() end
  end
end

for round = 1, 10 do
  local fibers, ch, log = {}, lub.chan(), 0
  for i = 1, 100 do
    fibers[i] = lub.go(function()
      local guard <close> = setmetatable({}, { __close = function() log = log + 1 end })
      local w = coroutine.wrap(function()
        local inner <close> = setmetatable({}, { __close = function() log = log + 1 end })
        while inner do
          if i % 3 == 0 then ch:recv(0.002) elseif i % 3 == 1 then lub.sleep(0.001) else lub.yield() end
        end
      end)
      return guard and w()
    end)
  end
  for _ = 1, 3 do lub.yield() end
  for i = 1, 100 do
    fibers[i]:kill()
    if math.random(4) == 1 then lub.yield() end
  end
  for i = 1, 100 do fibers[i]:join() end
  tally.check("every variable of killed fibers closes once, round " .. round, log == 200, log)
end

tally.finish()
