local lub = require "lubdub"
local park = require "parked"

local function run(n)
  local start = lub.now()
  local gate = park(n, { interval = 1 })
  local seconds = lub.now() - start
  gate:close()
  return seconds, n
end

return {
  name = "fiber with a heart, time to start and park", unit = "ns", n = 100000, big = 1000000, cold = true,
  carriers = { 1 },
  target = {},
  run = run,
}
