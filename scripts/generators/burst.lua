-- Units in bursts: every so often n of them at once. Gives the unit's number (1, 2, 3, …) and its burst's. The first
-- burst comes after `every`. Bursts that the consumer missed while it was busy come without waiting.
--   n       units in a burst, 1 or more
--   every   seconds from burst to burst, more than 0
--   count   ends after so many units (default: never)
local lub = require "lubdub"
local options = require "lubdub.options"

return function(opts)
  local o = options("burst", opts, {
    n = options.required(options.count()), every = options.required(options.positive()),
    count = options.count(math.huge),
  })
  local start, unit = lub.now(), 0
  return function()
    if unit >= o.count then return nil end
    local burst = unit // o.n + 1
    if unit % o.n == 0 and not lub.sleep(start + burst * o.every - lub.now()) then return nil end -- cancelled
    unit = unit + 1
    return unit, burst
  end
end
