local lub = require "lubdub"

-- A beat of each of many hearts in turn. All have beaten before: the second beat of a heart makes its statistics.
local function run(n, size)
  n = math.max(n, size)
  local gate, hearts = lub.chan(), {}
  for i = 1, size do
    lub.go(function()
      hearts[i] = lub.heart { interval = 60 }
      gate:recv()
    end)
  end
  while #hearts < size do lub.yield() end
  for i = 1, 2 * size do hearts[i % size + 1]:beat() end
  collectgarbage()
  local start = lub.now()
  for i = 1, n do hearts[i % size + 1]:beat() end
  local seconds = lub.now() - start
  gate:close()
  return seconds, n
end

return { name = "a beat, in turn of as many hearts", unit = "ns", n = 5000000, cold = true, run = run }
