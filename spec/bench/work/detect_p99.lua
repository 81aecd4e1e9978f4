local detection = require "detection"

return {
  name = "silence told, after its deadline, p99", unit = "ms", n = 500, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 2 } },
  run = function(n)
    return detection(n, 0)[math.ceil(n * 0.99)], 1
  end,
}
