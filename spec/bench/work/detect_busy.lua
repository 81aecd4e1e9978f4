local detection = require "detection"

return {
  name = "silence told, all carriers in loops, p99", unit = "ms", n = 500, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 30 } },
  run = function(n)
    return detection(n, 2)[math.ceil(n * 0.99)], 1
  end,
}
