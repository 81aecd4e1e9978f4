local lub = require "lubdub"

local function run(n)
  local ping, pong = lub.chan(), lub.chan()
  local echo = lub.spawn(function(from, to)
    for v in from do to:send(v) end
  end, ping, pong)
  ping:send(0)
  pong:recv()
  local start = lub.now()
  for i = 1, n do
    ping:send(i)
    assert(pong:recv() == i)
  end
  local seconds = lub.now() - start
  ping:close()
  echo:join()
  return seconds, n
end

return {
  name = "rendezvous round trip, workers", unit = "ns", n = 200000, carriers = { 1, 2 }, floor = "switch",
  target = { { value = 400, floor = 6, go = 1.6 }, { go = 1.6 } },
  run = run,
}
