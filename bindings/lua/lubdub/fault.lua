--- Faults of a sim's run, and what must hold nevertheless. `require "lubdub.sim"` gives point, heal, eventually and
--- always as lub.fault, lub.heal, lub.eventually and lub.always; the rest are faults of the engine itself:
---   fault.drop_beats(heart, p)       each sign of life (beat, unit, rest) is lost with probability p
---   fault.delay_beats(heart, s)      they come s seconds late
---   fault.duplicate_beats(heart, n)  each comes n times more       heart: a heart, or the name of hearts
---   fault.freeze(worker, s)          its fibers get no CPU for s seconds; nil: the calling one's
---   fault.freeze_judge(s)            no policy is asked for s seconds
---   fault.jump_clock(s)              the machine was suspended: what fell due comes late, hearts are excused
---   fault.slow_call(fn, s)           calls fn as a C call that takes s seconds; gives what fn returns
---   fault.alloc(n)                   the n-th allocation of this worker from now on fails
--- The last five return whether they were done: after heal, and in a run without faults, none is.
local core = require "lubdub.faultcore"
local simcore = require "lubdub.simcore"
local lub = require "lubdub"
local options = require "lubdub.options"

local fault = {
  point = core.point,
  heal = core.heal,
  drop_beats = core.drop_beats,
  delay_beats = core.delay_beats,
  duplicate_beats = core.duplicate_beats,
  freeze = core.freeze,
  freeze_judge = core.freeze_judge,
  jump_clock = core.jump_clock,
  slow_call = core.slow_call,
  alloc = core.alloc,
}

local FIRST, LONGEST = 0.001, 1 -- seconds between two looks of eventually

local function check_function(who, fn)
  if not simcore.inside() then error(who .. ": not inside a sim", 3) end
  if type(fn) ~= "function" then
    error(("%s: argument 1: expected a function, got %s"):format(who, fn == nil and "nothing" or type(fn)), 3)
  end
end

--- Where the function is, for errors.
local function place(fn)
  local at = debug.getinfo(fn, "S")
  return at.what == "C" and "a C function" or ("%s:%d"):format(at.short_src, at.linedefined)
end

--- Whether it holds: a function that returns nothing says no by raising. Then the error, or what it gave.
local function judged(ok, ...)
  if not ok then return false, "raised", (...) end
  return select("#", ...) == 0 or (... and true or false), "gave", (...)
end

--- The error to raise: a failure of an assertion stays one.
local function failure(what, how, value)
  if how == "raised" and type(value) == "table" and type(value.message) == "string" then
    value.message = what .. ": " .. value.message
    return value
  end
  return ("%s: it %s %s"):format(what, how, tostring(value))
end

--- fn() must come to hold within so many seconds of virtual time; what it returns then. It is called again and again,
--- and may wait.
function fault.eventually(fn, opts)
  check_function("eventually", fn)
  local within = options("eventually", opts, { within = options.seconds(30) }).within
  local since = lub.now()
  local limit, pause = since + within, FIRST
  while true do
    local over = lub.now() >= limit
    local holds, how, value = judged(pcall(fn))
    if holds then return value end
    if over then
      local what = ("eventually: %s did not hold within %g s (virtual)"):format(place(fn), lub.now() - since)
      error(failure(what, how, value), how == "raised" and type(value) == "table" and 0 or 2)
    end
    local slept, why = lub.sleep(math.min(pause, limit - lub.now()))
    if not slept then error(("eventually: %s: %s"):format(place(fn), why), 2) end
    pause = math.min(pause * 2, LONGEST)
  end
end

--- fn() must hold whenever nobody can run, before the clock moves, until the sim's body returns. It may look, not wait.
function fault.always(fn)
  check_function("always", fn)
  core.always(function()
    local holds, how, value = judged(pcall(fn))
    if holds then return end
    local what = ("always: %s does not hold at t=+%.9fs (virtual)"):format(place(fn), lub.now())
    error(failure(what, how, value), 0)
  end)
end

--- Adds lub.fault, lub.heal, lub.eventually and lub.always to the table.
function fault.install(to)
  to.fault, to.heal, to.eventually, to.always = core.point, core.heal, fault.eventually, fault.always
end

return fault
