-- A unit every so often: 1, 2, 3, … The times are start + every, start + 2 * every, …, so it does not drift.
--   every   seconds, more than 0
--   count   ends after so many units (default: never)
--   missed  what becomes of ticks that passed while the consumer was busy:
--           "skip" (default)  they come as one, at once, and the next is on time again
--           "catch_up"        each comes, one after the other, without waiting
local lub = require "lubdub"
local options = require "lubdub.options"

return function(opts)
  local o = options("ticker", opts, {
    every = options.required(options.positive()), count = options.count(math.huge),
    missed = options.one_of({ "skip", "catch_up" }, "skip"),
  })

  local start, tick, unit = lub.now(), 0, 0
  return function()
    if unit >= o.count then return nil end
    tick = tick + 1
    if o.missed == "skip" then tick = math.max(tick, (lub.now() - start) // o.every) end
    if not lub.sleep(start + tick * o.every - lub.now()) then return nil end -- cancelled
    unit = unit + 1
    return unit
  end
end
