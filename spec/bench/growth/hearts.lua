local lub = require "lubdub"
local park = require "parked"

-- Open and close a heart among those of parked fibers. What it leaves is the collector's, whose floor lets as much lie.
local function run(n, size)
  local gate = park(size, { interval = 60 })
  collectgarbage()
  local start = lub.now()
  for _ = 1, n do lub.heart({ interval = 60 }):close() end
  local seconds = lub.now() - start
  gate:close()
  return seconds, n
end

return { name = "heart, open and close among others", unit = "ns", n = 200000, cold = true, floor = "objects",
  run = run }
