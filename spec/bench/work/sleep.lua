local lateness = require "lateness"
local percentile = require "percentile"

return {
  n = 500, cold = true, kernel = true, carriers = { 2 },
  figures = {
    { key = "p50", name = "lateness of sleep(0.001), p50", unit = "us" },
    { key = "p99", name = "lateness of sleep(0.001), p99", unit = "us" },
  },
  run = function(n)
    local late = lateness(n, 0.001)
    return percentile(late, 0.50), 1, percentile(late, 0.99), 1
  end,
}
