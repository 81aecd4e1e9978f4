-- Starts n fibers that all park in a receive; returns the channel that holds them once the last has parked.
local lub = require "lubdub"

return function(n)
  local gate, parked = lub.chan(), 0
  local function body()
    parked = parked + 1
    gate:recv()
  end
  for _ = 1, n do lub.go(body) end
  while parked < n do lub.yield() end
  return gate
end
