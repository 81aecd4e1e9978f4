-- Starts n fibers that all park in a receive; returns the channel that holds them once the last has parked.
-- With `heart`, the options of one, each has a heart.
local lub = require "lubdub"

return function(n, heart)
  local gate, parked = lub.chan(), 0
  local function body()
    local held = heart and lub.heart(heart)
    parked = parked + 1
    gate:recv()
    return held
  end
  for _ = 1, n do lub.go(body) end
  while parked < n do lub.yield() end
  return gate
end
