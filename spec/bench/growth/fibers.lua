local lub = require "lubdub"
local park = require "parked"

-- A round trip between two fibers beside others that are parked.
local function run(n, size)
  local gate, ping, pong = park(size), lub.chan(), lub.chan()
  lub.go(function()
    for v in ping do pong:send(v) end
  end)
  local start = lub.now()
  for i = 1, n do
    ping:send(i)
    pong:recv()
  end
  local seconds = lub.now() - start
  ping:close()
  gate:close()
  return seconds, n
end

return { name = "round trip beside parked fibers", unit = "ns", n = 500000, cold = true, run = run }
