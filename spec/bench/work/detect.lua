local detection = require "detection"
local percentile = require "percentile"

return {
  n = 500, fixed = true, cold = true, carriers = { 2 },
  figures = {
    { key = "p50", name = "silence told, after its deadline, p50", unit = "ms", target = { [2] = { value = 0.5 } } },
    { key = "p99", name = "silence told, after its deadline, p99", unit = "ms", target = { [2] = { value = 2 } } },
  },
  run = function(n)
    local late = detection(n, 0)
    return percentile(late, 0.50), 1, percentile(late, 0.99), 1
  end,
}
