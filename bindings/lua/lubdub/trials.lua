--- Runs of one test: each alone, twice, from a token; what is said when one fails.
local lanes = require "lubdub.lanes"
local once = require "lubdub.once"
local shrink = require "lubdub.shrink"
local spot = require "lubdub.spot"
local token = require "lubdub.token"
local told = require "lubdub.told"
local wishes = require "lubdub.wishes"

local trials = {}

local HINT = "hint: it depends on something that is not the sim's: what an earlier run left in an upvalue or a " ..
  "file, pairs over tables or functions as keys, the real time"

--- t: { test=, fn=, wish=, seed= }; run: { plan=, run=, seed= }.
function trials.new(fn, wish)
  local test = spot.of(fn, wish.name)
  return { test = test, fn = fn, wish = wish, seed = wishes.seed(wish, test) }
end

function trials.run(t, run, more) return once.run(t.fn, t.wish, run.seed, run.run, run.plan, more) end

local function alike(a, b) return a.hash == b.hash and a.why == b.why and a.steps == b.steps and a.now == b.now end

local function difference(a, b)
  local choice = token.difference(a.choices, b.choices)
  if choice then return choice end
  return ("no choice, but the first ended with %s after %d steps at +%.9f s, the second with %s after %d at +%.9f s")
    :format(a.why or "success", a.steps, a.now, b.why or "success", b.steps, b.now)
end

local function with_hint(text, uncontrolled)
  return text .. (uncontrolled and "\n" .. uncontrolled or "") .. "\n" .. HINT
end

--- The same run again must be the same; the outcome of the first. Nothing is run again where a test is pending.
function trials.run_twice(t, run)
  local a = trials.run(t, run, { choices = true })
  if told.is_pending(a) then return a end
  local b = trials.run(t, run, { choices = true })
  if alike(a, b) then return a end
  local text = ("nondeterminism: two runs with seed %d differ in %s"):format(run.seed, difference(a, b))
  for i, o in ipairs { a, b } do
    if o.why then text = ("%s\nrun %d: %s"):format(text, i, told.text(o, t.wish)) end
  end
  told.fail(t.test.at, with_hint(text, told.uncontrolled(a) or told.uncontrolled(b)))
end

-- ---- failures ----

local busy = { livelock = true, budget = true, stalled = true }
local BUSY_STEPS = 20000 -- by then it shows

local function find_busiest(t, run, outcome)
  if not busy[outcome.why] then return end
  local steps = t.wish.steps
  t.wish.steps = math.min(steps or BUSY_STEPS, BUSY_STEPS)
  outcome.busiest = told.busiest(trials.run(t, run, { trace = true, points = BUSY_STEPS }).trace or "")
  t.wish.steps = steps
end

local function replay_line(t, text) return ("replay: LUBDUB_REPLAY=%s %s"):format(text, t.test.again) end

--- Raises what a run that was made with its choices has failed with; `lines` above the token.
function trials.fail(t, run, outcome, lines)
  if not told.is_pending(outcome) then find_busiest(t, run, outcome) end
  local more = lines or {}
  more[#more + 1] = told.uncontrolled(outcome)
  more[#more + 1] = replay_line(t, token.write(t.test.id, run, outcome.choices or {}))
  told.raise(outcome, t.wish, t.test.at, table.concat(more, "\n"))
end

local function forced(run, taken)
  return { plan = { strategy = "first", prefix = taken }, seed = run.seed, run = run.run, forced = true }
end

local function taken_of(choices)
  local taken = {}
  for i, c in ipairs(choices) do taken[i] = c.taken end
  return taken
end

local function not_first(choices)
  local n = 0
  for _, c in ipairs(choices) do if c.taken > 1 then n = n + 1 end end
  return n
end

local function smallest(t, run, outcome)
  local kind = told.kind(outcome)
  return shrink(outcome.choices, function(taken)
    local o = trials.run(t, forced(run, taken), { choices = true })
    return o.why and told.kind(o) == kind and o.choices or nil
  end)
end

--- Of a run that failed: makes it again, then smaller, and raises it with its lanes. `found`: a line that says which.
function trials.fail_small(t, run, outcome, found)
  if told.is_pending(outcome) then told.raise(outcome, t.wish, t.test.at, "") end
  if outcome.why == "hog" then trials.fail(t, run, outcome, { found }) end -- each run of it takes as long as the guard
  local again = trials.run(t, run, { choices = true })
  if again.hash ~= outcome.hash or told.kind(again) ~= told.kind(outcome) then
    local text = ("nondeterminism: a run that failed does not fail so again, with seed %d, run %d (%s)"):format(
      run.seed, run.run, token.label(run.plan))
    text = text .. "\n" .. told.text(outcome, t.wish)
    told.fail(t.test.at, with_hint(text, told.uncontrolled(outcome) or told.uncontrolled(again)))
  end
  if busy[outcome.why] then trials.fail(t, run, again, { found }) end
  local lines, choices = { found }, again.choices
  if t.wish.shrink then
    local runs
    choices, runs = smallest(t, run, again)
    local before, after = not_first(again.choices), not_first(choices)
    local text = before == 0 and "%s, in the order of the queues" or
      "%s; of its %d choices that were not the first %d are left after %d runs"
    lines[1] = text:format(found, before, after, runs)
  end
  local least = forced(run, taken_of(choices))
  local last = trials.run(t, least, { choices = true, trace = "all" })
  if not last.why or told.kind(last) ~= told.kind(outcome) then least, last = run, again end
  lines[#lines + 1] = last.trace and lanes(last.trace)
  trials.fail(t, least, last, lines)
end

-- ---- from a token ----

--- Makes the run of the token; gives its outcome, or raises what it fails with.
function trials.replay(t, from)
  local run = { plan = from.plan, seed = from.seed, run = from.run, forced = from.choices ~= nil }
  if from.choices then run.plan.prefix = taken_of(from.choices) end
  local outcome = trials.run(t, run, { choices = true, trace = "all" })
  local diverged = token.diverged(from, outcome.choices)
  if diverged then
    local text = diverged .. "; the program, or Lua, is not the one of the token"
    if outcome.why then text = text .. "\nthis run then fails: " .. told.text(outcome, t.wish) end
    told.fail(t.test.at, text)
  end
  if outcome.why then trials.fail(t, run, outcome, { "replayed:", lanes(outcome.trace) }) end
  return outcome
end

return trials
