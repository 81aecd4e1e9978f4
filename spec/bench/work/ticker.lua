local lub = require "lubdub"
local percentile = require "percentile"

local period = 0.001

-- Ticks that are due at start + k * period: how late they come, and how many never do.
local function run(n)
  local late, start = {}, lub.now()
  local ticker = lub.tick(period)
  while lub.now() < start + n * period do
    ticker:recv()
    late[#late + 1] = (lub.now() - start) % period
  end
  ticker:stop()
  table.sort(late)
  return percentile(late, 0.50), 1, math.max(0, n - #late), n
end

return {
  n = 1000, fixed = true, cold = true, kernel = true, carriers = { 2 },
  figures = {
    { key = "p50", name = "lateness of a 1 ms ticker, p50", unit = "us", target = { [2] = { go = 0.3 } } },
    { key = "dropped", name = "ticks it drops", unit = "%", target = { [2] = { value = 0 } } },
  },
  run = run,
}
