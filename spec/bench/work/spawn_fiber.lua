local lub = require "lubdub"

local function run(n)
  local function body() return true end
  local start = lub.now()
  for _ = 1, n do assert(lub.go(body):join()) end
  return lub.now() - start, n
end

return {
  name = "spawn and join a fiber", unit = "ns", n = 300000, carriers = { 1 }, floor = "create",
  target = { { go = 1.8 } },
  run = run,
}
