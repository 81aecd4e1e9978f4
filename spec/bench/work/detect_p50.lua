local detection = require "detection"

return {
  name = "silence told, after its deadline, p50", unit = "ms", n = 500, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 0.5 } },
  run = function(n)
    return detection(n, 0)[math.ceil(n * 0.50)], 1
  end,
}
