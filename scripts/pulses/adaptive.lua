-- Pulses that come faster when there is something to find out. A pure function of the heart's snapshot h:
--   parked (idle, blocked_send, paused)                 `slower` times the last interval: nothing is at stake
--   silent (no beat yet, misses, or age >= mean + 2 sd)  min
--   otherwise                                           mean / (1 + caution * sd / mean): as fast as beats come, the
--                                                       faster the more they vary
-- and never less than min or more than max.
--   min      seconds, more than 0
--   max      seconds, min or more
--   slower   factor of the interval while parked, 1 or more (default 2)
--   caution  what the variation of beats weighs, 0 or more (default 1)
local options = require "lubdub.options"

local PARKED = { idle = true, blocked_send = true, paused = true }

return function(opts)
  local o = options("adaptive", opts, {
    min = options.required(options.positive()), max = options.required(options.positive()),
    slower = options.positive(2), caution = options.seconds(1),
  })
  if o.max < o.min then options.refuse("adaptive", "max", "a number >= min", o.max) end
  if o.slower < 1 then options.refuse("adaptive", "slower", "a number >= 1", o.slower) end

  local function wanted(h)
    if PARKED[h.state] then return o.slower * math.max(h.interval or o.min, o.min) end
    if h.samples == 0 or h.misses > 0 or h.age >= h.mean + 2 * h.sd then return o.min end
    return h.mean / (1 + o.caution * h.sd / h.mean)
  end
  return function(h) return math.max(o.min, math.min(o.max, wanted(h))) end
end
