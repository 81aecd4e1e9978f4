local lub = require "lubdub"

local function run(n)
  local jobs, fibers = lub.chan(1024), {}
  local start = lub.now()
  for i = 1, 8 do
    fibers[i] = lub.go(function()
      local sum = 0
      for job in jobs do sum = sum + job end
      return sum
    end)
  end
  for i = 1, n do jobs:send(i) end
  jobs:close()
  local total = 0
  for i = 1, 8 do total = total + fibers[i]:join() end
  assert(total == n * (n + 1) // 2, "jobs were lost")
  return lub.now() - start, n
end

return {
  name = "1e6 jobs over 8 fibers, a job", unit = "ns", n = 1000000, carriers = { 1 }, floor = "buffer",
  target = { { go = 3 } },
  run = run,
}
