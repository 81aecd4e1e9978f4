-- Workers that only talk, then compute, then only talk: they are kept on one carrier and let go again. Nobody is left
-- behind where they wait meanwhile, while other workers come and end.
local lub = require "lubdub"
local tally = require "spec.support".tally()

local function send(out, n, works)
  local v = 0
  for i = 1, n do
    if works and i % 100 == 0 then for _ = 1, 20000 do v = v + 1 end end
    out:send(i)
  end
end

local function receive(jobs)
  local sum = 0
  for v in jobs do sum = sum + v end
  return sum
end

for _, capacity in ipairs { 0, 1, 64 } do
  for round = 1, 6 do
    local jobs, n, works = lub.chan(capacity, "jobs"), 3000, round % 3 == 0
    local senders, receivers = {}, {}
    for i = 1, 4 do senders[i] = lub.spawn(send, jobs, n, works) end
    for i = 1, 4 do receivers[i] = lub.spawn(receive, jobs) end
    for i = 1, 20 do
      local w = lub.spawn(function() return i end)
      tally.check("whoever comes meanwhile runs", w:join(30) == i)
    end
    for i = 1, 4 do senders[i]:join() end
    jobs:close()
    local sum = 0
    for i = 1, 4 do sum = sum + receivers[i]:join() end
    tally.check("every value arrives once, capacity " .. capacity, sum == 4 * n * (n + 1) // 2)
  end
end

tally.finish()
