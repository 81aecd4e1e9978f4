-- ladder: late, then missed, then dead; how fast depends on what the heart is doing.
--   late, missed, dead   seconds without a beat while it could beat: default 1, 2 and 10 intervals
--                        (without `missed` or `dead`: 2 and 10 times `late`). A beat that comes at all later than its
--                        interval is late: for a heart that is meant to vary give `late` what it may take, or use phi
--   blocked_send   seconds parked in a send until dead; default 5     in_c   seconds in one C call; default 5
--   idle           seconds parked in a receive or sleep; default math.huge, never
--                  these three are late after a tenth of it and missed after a fifth, as above
--   runnable       seconds ready and not run; default 0.25: "starved", which blames the pool and not the heart
-- "late" speaks against nobody: it heals nothing, counts as no miss, and a quorum lets it live.
-- Source: miss and megamiss of Envoy's guarddog; half and whole timeout of Android's Watchdog.
local options = require "lubdub.options"

local function climb(age, late, missed, dead)
  if age > dead then return "dead" end
  if age > missed then return "missed", dead - age end
  if age > late then return "late", missed - age end
  return "alive", late - age
end

local rank = { alive = 0, late = 1, missed = 2, dead = 3 }

local function alive() return "alive" end -- on hold: what was paused or is being stopped is not judged
local function dead() return "dead" end

return function(opts)
  local o = options("policy 'ladder'", opts, { late = options.limit(), missed = options.limit(),
    dead = options.limit(), blocked_send = options.limit(5), in_c = options.limit(5),
    idle = options.limit(math.huge), runnable = options.limit(0.25) })

  local function without_beat(h, age)
    local late = o.late or h.interval
    return climb(age, late, o.missed or 2 * late, o.dead or 10 * late)
  end
  local function in_state(limit)
    return function(h) return climb(h.state_age, limit / 10, limit / 5, limit) end
  end

  local judge = { idle = in_state(o.idle), blocked_send = in_state(o.blocked_send),
    paused = alive, stopping = alive, zombie = dead, dead = dead }
  local c_call = in_state(o.in_c)

  -- These two are stops on the way of one silence: what was said of it before is not taken back.
  function judge.in_c(h)
    local before = without_beat(h, h.age - h.state_age)
    local verdict, wait = c_call(h)
    return rank[before] > rank[verdict] and before or verdict, wait
  end
  function judge.runnable(h)
    if h.state_age > o.runnable then return "starved" end
    return (without_beat(h, h.age)), o.runnable - h.state_age -- the age stands still meanwhile
  end

  return function(h)
    local f = judge[h.state]
    if f then return f(h) end
    return without_beat(h, h.age)
  end
end
