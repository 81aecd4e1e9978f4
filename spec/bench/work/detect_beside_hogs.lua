local detection = require "detection"
local percentile = require "percentile"

return {
  name = "silence told beside 4 hogs, p99", unit = "ms", n = 500, fixed = true, cold = true, carriers = { 2 },
  target = {},
  run = function(n) return percentile(detection(n, 4), 0.99), 1 end,
}
