-- n jobs over 8 that take them from one channel. `start` is lub.go or lub.spawn.
local lub = require "lubdub"

local function work(jobs)
  local sum = 0
  for job in jobs do sum = sum + job end
  return sum
end

return function(start)
  return function(n)
    local jobs, all, total = lub.chan(1024), {}, 0
    local begin = lub.now()
    for i = 1, 8 do all[i] = start(work, jobs) end
    for i = 1, n do jobs:send(i) end
    jobs:close()
    for i = 1, 8 do total = total + all[i]:join() end
    assert(total == n * (n + 1) // 2, "jobs were lost")
    return lub.now() - begin, n
  end
end
