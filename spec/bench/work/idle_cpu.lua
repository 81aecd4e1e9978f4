local lub = require "lubdub"
local park = require "parked"

local function run(n)
  local gate = park(n)
  lub.sleep(0.2)
  local start, cpu = lub.now(), os.clock()
  lub.sleep(1)
  local share = (os.clock() - cpu) / (lub.now() - start)
  gate:close()
  return share, 1
end

return {
  name = "CPU with 10,000 parked fibers", unit = "%", n = 10000, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 0.05 } },
  run = run,
}
