-- Timers with random stop and reset: one that was stopped stays silent, one that was set fires once.
local lub = require "lubdub"
local tally = require "spec.support".tally()
local random = math.random

local function one(id)
  local t = lub.after(random() / 100)
  local faults = 0
  for _ = 1, 10 do
    local act = random(4)
    if act == 1 then
      t:stop()
      if t:recv(0) ~= nil then faults = faults + 1 end
      if t:stop() then faults = faults + 1 end
    elseif act == 2 then
      t:reset(random() / 100)
      if type(t:recv()) ~= "number" then faults = faults + 1 end
      if t:recv(0) ~= nil then faults = faults + 1 end
    elseif act == 3 then
      t:reset(3600)
      if t:recv(0) ~= nil then faults = faults + 1 end
      if not t:stop() then faults = faults + 1 end
    else
      t:reset(random() / 1000)
      lub.sleep(random() / 500)
    end
  end
  t:stop()
  return faults, id
end

local function many(seed)
  math.randomseed(seed)
  local fibers, faults = {}, 0
  for i = 1, 100 do fibers[i] = lub.go(one, i) end
  for i = 1, 100 do
    local n, why = fibers[i]:join()
    if not n then error(why) end
    faults = faults + n
  end
  return faults
end

local workers = {}
for i = 1, 4 do workers[i] = lub.spawn(many, random(1 << 30)) end
local faults = many(random(1 << 30))
tally.check("timers of the main worker keep their word", faults == 0, faults)
for i = 1, 4 do
  local n, why = workers[i]:join()
  tally.check("timers of worker " .. i .. " keep their word", n == 0, n or why)
end

local ran, stopped, all = 0, 0, {}
for i = 1, 500 do all[i] = lub.after(random() / 50, function() ran = ran + 1 end) end
for i = 1, 500 do
  if random(2) == 1 and all[i]:stop() then stopped = stopped + 1 end
  if random(20) == 1 then lub.sleep(0.001) end
end
lub.sleep(0.1)
while ran + stopped < 500 do lub.sleep(0.01) end
for _ = 1, 10 do lub.yield() end
tally.check("a function runs once unless it was stopped", ran + stopped == 500, ran + stopped)

local beats, last, sorted = 0, 0, true
local tick = lub.tick(0.002)
for i = 1, 200 do
  if i % 20 == 0 then
    tick:stop()
    if tick:recv(0) ~= nil then sorted = false end
    tick:reset(0.001 * random(3))
  end
  local t = tick:recv()
  sorted = sorted and t >= last
  beats, last = beats + 1, t
end
tick:stop()
tally.check("a ticker that is stopped and reset goes on in order", sorted and beats == 200)

local order, due, sleepers = {}, {}, {}
for i = 1, 300 do
  due[i] = random(50)
  sleepers[i] = lub.go(function()
    local start = lub.now()
    lub.sleep(due[i] / 1000)
    order[#order + 1] = lub.now() - start >= due[i] / 1000
  end)
end
for i = 1, 300 do sleepers[i]:join() end
local early = 0
for i = 1, 300 do if not order[i] then early = early + 1 end end
tally.check("nobody wakes early", #order == 300 and early == 0, early)

for _ = 1, 20000 do lub.after(3600) end
collectgarbage()
tally.check("unreferenced timers are collected", collectgarbage "count" < 64 * 1024)

tally.finish()
