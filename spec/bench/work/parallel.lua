local lub = require "lubdub"

local function compute(jobs)
  local function fib(k) return k < 2 and k or fib(k - 1) + fib(k - 2) end
  for _ = 1, jobs do assert(fib(27) == 196418) end
end

local function timed(jobs, workers)
  local all, start = {}, lub.now()
  for i = 1, workers do all[i] = lub.spawn(compute, jobs // workers) end
  for i = 1, workers do assert(all[i]:join() == nil) end
  return lub.now() - start
end

local function run(n)
  local alone = timed(n, 1)
  return timed(n, 2) / alone, 1
end

return {
  name = "computing in 2 workers, time of that in 1", unit = "%", n = 40, cold = true, carriers = { 2 },
  target = {},
  run = run,
}
