local lub = require "lubdub"

local function run(n)
  local function body() return true end
  local start = lub.now()
  for _ = 1, n do assert(lub.spawn(body):join()) end
  return lub.now() - start, n
end

return {
  name = "spawn and join a worker", unit = "us", n = 5000, carriers = { 1, 2 }, serial = true,
  target = { { value = 30 } },
  run = run,
}
