local lub = require "lubdub"

local function run(n)
  local ping, pong = lub.chan(), lub.chan()
  lub.go(function()
    for v in ping do pong:send(v) end
  end)
  local start = lub.now()
  for i = 1, n do
    ping:send(i)
    assert(pong:recv() == i)
  end
  local seconds = lub.now() - start
  ping:close()
  return seconds, n
end

return {
  name = "rendezvous round trip, fibers", unit = "ns", n = 500000, carriers = { 1 }, floor = "switch",
  target = { { floor = 4, go = 1.2 } },
  run = run,
}
