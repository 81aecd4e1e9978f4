local lub = require "lubdub"
local park = require "parked"

local function run(n)
  local start = lub.now()
  local gate = park(n)
  local seconds = lub.now() - start
  gate:close()
  return seconds, n
end

return {
  name = "parked fiber, time to start and park", unit = "ns", n = 100000, big = 1000000, cold = true,
  carriers = { 1 }, floor = "create",
  target = { { go = 0.8 } },
  run = run,
}
