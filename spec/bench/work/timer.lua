local lub = require "lubdub"

local function run(n)
  local start = lub.now()
  for _ = 1, n do assert(lub.after(60):stop()) end
  return lub.now() - start, n
end

return {
  name = "timer, create and stop", unit = "ns", n = 300000, carriers = { 1 },
  target = {},
  run = run,
}
