local lub = require "lubdub"
local memory = require "memory"

local function run(n)
  local gate, ready = lub.chan(), lub.chan(n)
  local before = memory.resident()
  for _ = 1, n do
    lub.spawn(function(to, from)
      to:send(true)
      from:recv()
    end, ready, gate)
  end
  for _ = 1, n do ready:recv() end
  lub.sleep(0.05)
  local bytes = memory.resident() - before
  gate:close()
  return bytes, n
end

return {
  name = "parked worker, memory", unit = "bytes", n = 1000, big = 10000, fixed = true, cold = true,
  carriers = { 1 },
  target = { { value = 16384 } },
  run = run,
}
