local lub = require "lubdub"

-- Send and receive, in turn over channels with room.
local function run(n, size)
  n = math.max(n, size)
  local chans = {}
  for i = 1, size do
    chans[i] = lub.chan(1)
    chans[i]:send(0)
    chans[i]:recv()
  end
  collectgarbage()
  local start = lub.now()
  for i = 1, n do
    local ch = chans[i % size + 1]
    ch:send(i)
    ch:recv()
  end
  return lub.now() - start, n
end

return { name = "send and receive over as many channels", unit = "ns", n = 1000000, cold = true, run = run }
