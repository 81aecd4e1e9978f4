--- lub.explore([opts,] fn): many schedules of one test.
---
---   runs         200; with "exhaustive" 20,000 at most
---   strategy     "portfolio": run 1 in the order of the queues, then of eight runs four random, two pct, two sticky;
---                or one of them; or "exhaustive", all schedules with at most `preemptions` (2)
---   depth        of pct: how many orderings a bug needs (2, 3 and 4 in turn)
---   sticky       how probably a fiber goes on (7/8, 31/32 and 127/128 in turn)
---   shrink       false: a failing schedule stays as it was found
--- and those of lub.sim.
local branches = require "lubdub.branches"
local schedule = require "lubdub.schedule"
local token = require "lubdub.token"
local trials = require "lubdub.trials"
local wishes = require "lubdub.wishes"

local explore = {}

--- Makes run `number`; its outcome, with the count of its choices.
local function make(t, run)
  if run.run == 1 or wishes.twice() then return trials.run_twice(t, run) end
  return trials.run(t, run)
end

local function sampled(t, runs)
  local most = 0
  for number = 1, runs do
    local run = { plan = schedule.plan(t.wish.strategy, number, most, t.wish), seed = t.seed, run = number }
    local outcome = make(t, run)
    if outcome.why then
      trials.fail_small(t, run, outcome, ("run %d of %d (%s, seed %d) failed"):format(number, runs,
        token.label(run.plan), t.seed))
    end
    most = math.max(most, outcome.nchoices)
  end
  return { runs = runs, complete = false, text = ("%d runs (%s, seed %d)"):format(runs, t.wish.strategy, t.seed) }
end

local function exhaustive(t, runs)
  local number, most = 0, t.wish.preemptions
  local function run(prefix)
    if number == runs then return nil end
    number = number + 1
    local r = { plan = { strategy = "first", prefix = prefix }, seed = t.seed, run = 1, forced = true }
    if number == 1 or wishes.twice() then trials.run_twice(t, r) end
    local outcome = trials.run(t, r, { choices = "packed" })
    if outcome.why then
      trials.fail_small(t, r, outcome, ("schedule %d of up to %d preemptions failed"):format(number, most))
    end
    return outcome.choices
  end
  local complete = branches.all(most, run)
  local text = complete and ("complete up to %d preemptions: %d schedules"):format(most, number)
    or ("stopped at %d schedules of up to %d preemptions"):format(number, most)
  return { runs = number, complete = complete, text = text }
end

--- Runs them now: { runs=, complete=, text= }, or raises.
local function perform(fn, wish)
  local t = trials.new(fn, wish)
  local from = wishes.replay(wish, t.test)
  if from then
    trials.replay(t, from)
    return { runs = 1, complete = false, text = "replayed" }
  end
  local found = (wish.strategy == "exhaustive" and exhaustive or sampled)(t, wishes.runs(wish))
  if wishes.loud() then io.stderr:write(("%s: %s\n"):format(t.test.name, found.text)) end
  return found
end

--- lub.explore.run([opts,] fn) -> { runs=, complete=, text= "complete up to 2 preemptions: 12 schedules" }, or raises.
function explore.run(opts, fn)
  local wish, body = wishes.of("explore", "explore.run", opts, fn)
  return perform(body, wish)
end

return setmetatable(explore, {
  __call = function(_, opts, fn)
    local wish, body = wishes.of("explore", "explore", opts, fn)
    return function() perform(body, wish) end
  end,
})
