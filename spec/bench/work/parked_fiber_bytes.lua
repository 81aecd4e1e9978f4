local memory = require "memory"
local park = require "parked"

local function run(n)
  local before = memory.resident()
  local gate = park(n)
  local bytes = memory.resident() - before
  gate:close()
  return bytes, n
end

return {
  name = "parked fiber, memory", unit = "bytes", n = 100000, big = 1000000, cold = true, carriers = { 1 },
  floor = "bytes",
  target = { { value = 1536, go = 0.5 } },
  run = run,
}
