-- Starts n fibers that all park in a receive; returns the channel that holds them once the last has parked. Each calls
-- `begin` first, if it is given, and holds on to what that returns.
local lub = require "lubdub"

return function(n, begin)
  local gate, parked = lub.chan(), 0
  local function body()
    local held = begin and begin()
    parked = parked + 1
    gate:recv()
    return held
  end
  for _ = 1, n do lub.go(body) end
  while parked < n do lub.yield() end
  return gate
end
