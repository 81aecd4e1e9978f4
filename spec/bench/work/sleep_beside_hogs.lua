local lub = require "lubdub"
local lateness = require "lateness"

local function run(n)
  local hogs = {}
  for i = 1, 4 do hogs[i] = lub.spawn(function() while true do end end) end
  lub.sleep(0.05)
  local late = lateness(n, 0.1)
  for _, hog in ipairs(hogs) do hog:kill() end
  return late[n], 1
end

return {
  name = "lateness of sleep(0.1) beside 4 hogs, worst", unit = "ms", n = 5, cold = true, carriers = { 1 },
  target = { { value = 20 } },
  run = run,
}
