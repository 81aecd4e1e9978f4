local lub = require "lubdub"

local function run(n)
  local ch = lub.chan()
  local start = lub.now()
  for _ = 1, n do assert(not lub.select(ch, 0)) end
  return lub.now() - start, n
end

return {
  name = "select with default, empty", unit = "ns", n = 2000000, carriers = { 1 }, floor = "call",
  target = {},
  run = run,
}
