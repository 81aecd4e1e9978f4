local lub = require "lubdub"

local function count()
  local out = lub.chan()
  lub.go(function()
    local i = 2
    while true do
      out:send(i)
      i = i + 1
    end
  end)
  return out
end

local function sieve(from, prime)
  local out = lub.chan()
  lub.go(function()
    for v in from do
      if v % prime ~= 0 then out:send(v) end
    end
  end)
  return out
end

local function run(n)
  local start = lub.now()
  local ch, prime = count(), nil
  for _ = 1, n do
    prime = ch:recv()
    ch = sieve(ch, prime)
  end
  assert(n ~= 2000 or prime == 17389, "not the 2,000th prime")
  return lub.now() - start, 1
end

return {
  name = "prime sieve to the 2,000th", unit = "ms", n = 2000, fixed = true, cold = true, carriers = { 1 },
  target = { { go = 1 } },
  run = run,
}
