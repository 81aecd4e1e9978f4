local lateness = require "lateness"

return {
  name = "lateness of sleep(0.001), p99", unit = "us", n = 500, cold = true, carriers = { 2 },
  target = {},
  run = function(n)
    return lateness(n, 0.001)[math.ceil(n * 0.99)], 1
  end,
}
