--- One run of a sim: the body with what it deferred, its seed, its strategy.
local core = require "lubdub.simcore"
local schedule = require "lubdub.schedule"

local once = {}
local deferred -- of the run that goes on

--- At the end of the body, newest first.
function once.defer(fn)
  if not deferred then error("defer: not inside the body of a sim", 3) end
  deferred[#deferred + 1] = fn
end

--- The first error, in a table, or nil. There may come more meanwhile; afterwards none.
local function run_deferred(list)
  local failed
  while #list > 0 do
    local ok, why = pcall(table.remove(list))
    if not ok and not failed then failed = { why = why } end
  end
  deferred = nil
  return failed
end

--- The innermost line that is in the file of fn, as "file:line"; or nil.
local function place_in(fn)
  local source = debug.getinfo(fn, "S").source
  for level = 4, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.source == source and info.currentline > 0 then return info.short_src .. ":" .. info.currentline end
  end
end

local function kept(e, notes, fn)
  notes.place = place_in(fn)
  if type(e) ~= "string" then return e end
  local stack = debug.traceback("", 3):gsub("\n%s*%[C%]: in function 'error'", "")
  notes.traceback = e .. stack:gsub("\n%s*%[C%]: in function 'xpcall'.*$", "")
  return e
end

--- Deferred functions run at its end, where they may wait; or, when it is closed from outside, in its close handler.
local function body(fn, list, notes)
  return function()
    local _ <close> = setmetatable({}, { __close = function() run_deferred(list) end })
    local results = table.pack(xpcall(fn, function(e) return (kept(e, notes, fn)) end))
    local failed = run_deferred(list)
    if not results[1] then error(results[2], 0) end
    if failed then error(failed.why, 0) end
    return table.unpack(results, 2, results.n)
  end
end

local passed_on = { "steps", "time", "stall", "strict", "guard", "faults", "compute" }

--- plan: { strategy=, depth=, length=, sticky=, prefix= }; opts: of the sim; more: choices=, trace=. Gives the outcome
--- of simcore.run; of an error of the body also its `place`, and, if it is a string, `strung`: it with its traceback.
function once.run(fn, opts, seed, run, plan, more)
  local o = { seed = schedule.seed(seed, run), strategy = plan.strategy, depth = plan.depth, length = plan.length,
              sticky = plan.sticky, prefix = plan.prefix }
  for _, name in ipairs(passed_on) do o[name] = opts[name] end
  for name, value in pairs(more or {}) do o[name] = value end
  local list, notes = {}, {}
  deferred = list
  local ok, outcome = pcall(core.run, body(fn, list, notes), o)
  deferred = nil
  if not ok then error(outcome, 0) end
  if outcome.why == "error" then outcome.strung, outcome.place = notes.traceback, notes.place end
  return outcome
end

return once
