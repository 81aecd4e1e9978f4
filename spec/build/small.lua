-- A little of everything, short enough for valgrind.
local lub = require "lubdub"
local passed, failed = 0, 0
local function check(sentence, ok)
  if ok then
    passed = passed + 1
  else
    failed = failed + 1
    print("FAILED: " .. sentence)
  end
end

local jobs, results = lub.chan(2, "jobs"), lub.chan(0, "results")
local workers = {}
for i = 1, 3 do
  workers[i] = lub.spawn(function(from, to)
    for job in from do to:send({ id = job.id, text = job.text:rep(20), nested = { job.id } }) end
    return "done"
  end, jobs, results)
end
lub.go(function()
  for id = 1, 30 do jobs:send { id = id, text = "job" } end
  jobs:close()
end)
local sum, same = 0, true
for _ = 1, 30 do
  local r = results:recv()
  sum, same = sum + r.id, same and r.id == r.nested[1] and #r.text == 60
end
check("every job comes back once", sum == 465)
check("tables cross whole", same)
for i = 1, 3 do check("a worker returns its result", workers[i]:join() == "done") end

local never = lub.chan(0, "never")
local _, why = lub.select(never, 0.001)
check("a select ends at its time", why == "timeout")
local f = lub.go(function() return never:recv() end)
lub.yield()
f:cancel()
local v, reason = f:join()
check("a cancelled receive says so", v == nil and reason == "cancelled")
local w = lub.spawn(function() while true do pcall(function() while true do end end) end end)
w:kill()
w:join()
check("a kill ends a loop", w:state() == "dead")
check("an error reaches who joins", not lub.spawn(function() error "boom" end):join())

print(("%d passed, %d failed"):format(passed, failed))
if failed > 0 then error "failed" end
