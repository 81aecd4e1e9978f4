local lub = require "lubdub"

-- Create and stop a timer among others, due within the same minute.
local function run(n, size)
  local others = {}
  for i = 1, size do others[i] = lub.after(60 + i / size * 60) end
  collectgarbage()
  local start = lub.now()
  for i = 1, n do assert(lub.after(60 + i % 60):stop()) end
  local seconds = lub.now() - start
  assert(others[size]:stop())
  return seconds, n
end

return { name = "timer, create and stop among others", unit = "ns", n = 300000, cold = true, run = run }
