--- require "lubdub.sim": a test in a sim. Adds lub.sim, explore, pass, settle and defer; returns lub.sim, which has
--- them too.
---
---   it("misses two beats", lub.sim(function() … lub.pass(2) … end))
---
---   seed         of all choices; from the test's name unless LUBDUB_SEED or this says otherwise
---   strategy     who runs next: "random", "first" (the order of the queues), "sticky", "pct"
---   steps, time  a run ends after a million steps, or thirty days
---   stall        ... or when the body waits without a deadline and nobody wakes it for an hour
---   compute      instructions of Lua in a second: who computes spends time, and after 10 ms others have their turn.
---                Without it time stands while a fiber runs, and a loop without an operation is a hog
---   name         of the test, where busted does not say it
---   replay       the token of a run, as LUBDUB_REPLAY
local check = require "lubdub.check"
local core = require "lubdub.simcore"
local explore = require "lubdub.explore"
local lub = require "lubdub"
local once = require "lubdub.once"
local trials = require "lubdub.trials"
local wishes = require "lubdub.wishes"

local sim = {}

local function perform(fn, wish)
  local t = trials.new(fn, wish)
  local from = wishes.replay(wish, t.test)
  local outcome = from and trials.replay(t, from)
  if not outcome then
    local plan = { strategy = wish.strategy, depth = wish.depth, sticky = wish.sticky }
    local run = { plan = plan, seed = t.seed, run = 1 }
    outcome = wishes.twice() and trials.run_twice(t, run) or trials.run(t, run, { choices = "failed" })
    if outcome.why then trials.fail(t, run, outcome) end
  end
  return table.unpack(outcome.values, 1, outcome.values.n)
end

--- lub.sim.run([opts,] fn) -> the results of fn, or raises.
function sim.run(opts, fn)
  local wish, body = wishes.of("sim", "sim.run", opts, fn)
  return perform(body, wish)
end

--- lub.settle(): until all others wait, at this instant. Due timers fire; time does not pass.
function sim.settle() return core.settle() end

--- lub.pass(s): sleeps, then settles: what was due in these seconds has happened.
function sim.pass(s)
  if type(s) ~= "number" or not (s >= 0 and s <= 9e9) then -- for longer is for ever
    check.argument("pass", 1, "seconds (from 0 to 9e9)", s)
  end
  if not core.inside() then error("pass: not inside a sim", 2) end
  local ok, why = lub.sleep(s)
  if not ok then return nil, why end
  return core.settle()
end

--- lub.defer(fn): to be called at the end of the body, the newest first, also when it fails.
function sim.defer(fn)
  if type(fn) ~= "function" then check.argument("defer", 1, "a function", fn) end
  once.defer(fn)
end

sim.explore = explore
for _, name in ipairs { "pass", "settle", "defer", "explore" } do lub[name] = sim[name] end
lub.sim = setmetatable(sim, {
  __call = function(_, opts, fn)
    local wish, body = wishes.of("sim", "sim", opts, fn)
    return function() perform(body, wish) end
  end,
})

for _, to in ipairs { lub, sim } do require("lubdub.fault").install(to) end

return sim
