local detection = require "detection"
local percentile = require "percentile"

return {
  name = "silence told, all carriers in loops, p99", unit = "ms", n = 500, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 30 } },
  run = function(n) return percentile(detection(n, 2), 0.99), 1 end,
}
