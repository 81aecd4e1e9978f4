local hearts = require "hearts"
local memory = require "memory"
local park = require "parked"

-- What a fiber that parks with a heart takes beyond one that parks without.
local function run(n)
  local before = memory.resident()
  local bare = park(n)
  local between = memory.resident()
  local beating = park(n, hearts.opener())
  local bytes = memory.resident() - between - (between - before)
  bare:close()
  beating:close()
  return bytes, n
end

return {
  name = "heart, memory beyond its parked fiber", unit = "bytes", n = 100000, big = 1000000, cold = true,
  carriers = { 1 },
  target = { { value = 400, go = 0.3 } },
  run = run,
}
