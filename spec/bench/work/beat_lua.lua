local lub = require "lubdub"

local function run(n)
  local heart = lub.heart { interval = 1 }
  local start = lub.now()
  for _ = 1, n do heart:beat() end
  local seconds = lub.now() - start
  heart:close()
  return seconds, n
end

return {
  name = "a beat from Lua", unit = "ns", n = 5000000, carriers = { 1 }, floor = "call",
  target = { { value = 60 } },
  run = run,
}
