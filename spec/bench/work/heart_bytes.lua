local lub = require "lubdub"

-- Each crowd has a worker of its own, so that the tables of both have grown alike.
local function measure(n, heart)
  local told, gate = lub.chan(1), lub.chan()
  lub.spawn(function(...)
    local memory, park = require "memory", require "parked"
    local count, options, out, hold = ...
    local before = memory.resident()
    park(count, options)
    out:send(memory.resident() - before)
    hold:recv()
  end, n, heart, told, gate)
  return told:recv()
end

-- What a fiber that parks with a heart takes beyond one that parks without.
local function run(n)
  local bare = measure(n)
  return measure(n, { interval = 1 }) - bare, n
end

return {
  name = "heart, memory beyond its parked fiber", unit = "bytes", n = 100000, big = 1000000, cold = true,
  carriers = { 1 },
  target = { { value = 400, go = 0.3 } },
  run = run,
}
