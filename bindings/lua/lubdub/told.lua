--- What is said of a run that failed, and how it is raised: as busted wants it.
local told = {}

local hints = {
  deadlock = "nothing that runs, and no timer, can wake one of these: who should have sent, received or closed?",
  leaked = "join, cancel or kill what is left before the body returns, or close what it waits for",
  livelock = "who asks again and again has to sleep in between, or to wait for a channel",
  stalled = "settle() does not move time: use lub.pass(seconds), or give the wait a timeout",
  budget = "a run that is meant to be so long gets { steps = …, time = … }",
  hog = "only operations of the engine are seen; who computes gets { compute = 1e6 }, instructions a second, or " ..
    "a later { guard = seconds }",
  foreign = "what is done outside is promised, lub_engine_hold, until it is over, lub_engine_release",
  killed = "who is to be killed runs in a fiber of its own: lub.go",
  failed = "who starts a worker joins it, or reads done(): an error that nobody joins is told here",
}

local function fibers(report)
  local n = 0
  for _ in ("\n" .. (report or "")):gmatch "\n%s*fiber " do n = n + 1 end
  return ("%d fiber%s"):format(n, n == 1 and "" or "s")
end

local heads = {
  deadlock = function(o) return ("deadlock at t=+%.9fs (virtual), %s"):format(o.now, fibers(o.report)) end,
  leaked = function(o)
    return ("leaked fibers at t=+%.9fs (virtual): the body has returned, and %s did not end"):format(o.now,
      fibers(o.report))
  end,
  livelock = function(o)
    return ("livelock at t=+%.9fs (virtual): 100,000 turns or 500,000 operations at one instant, %s"):format(o.now,
      fibers(o.report))
  end,
  stalled = function(o, limits)
    return ("stalled at t=+%.9fs (virtual): the body waits without a deadline, and only others ran for %g s"):format(
      o.now, limits.stall or 3600)
  end,
  budget = function(o, limits)
    return ("budget: %d steps at t=+%.9fs (virtual), of at most %d steps and %g s"):format(o.steps, o.now,
      limits.steps or 1000000, limits.time or 30 * 24 * 3600)
  end,
  hog = function(o) return ("hog at t=+%.9fs (virtual)"):format(o.now) end,
  foreign = function(o) return ("foreign thread at t=+%.9fs (virtual)"):format(o.now) end,
  killed = function(o) return ("killed at t=+%.9fs (virtual): the body did not return"):format(o.now) end,
  failed = function(o) return ("failed: an error that nobody joined, t=+%.9fs (virtual)"):format(o.now) end,
}

--- Who did most, of a trace.
function told.busiest(trace)
  local counts, list = {}, {}
  for line in trace:gmatch "[^\n]+" do
    local fiber, operation, place = line:match "^%d+\t([^\t]*)\t[^\t]*\t([^\t]*)\t[^\t]*\t(.*)$"
    if fiber then
      local key = ("%s  %s  %s"):format(fiber, operation, place)
      if not counts[key] then list[#list + 1] = key end
      counts[key] = (counts[key] or 0) + 1
    end
  end
  table.sort(list, function(a, b) return counts[a] > counts[b] or counts[a] == counts[b] and a < b end)
  local out = {}
  for i = 1, math.min(5, #list) do out[i] = ("%8d times  %s"):format(counts[list[i]], list[i]) end
  return table.concat(out, "\n")
end

local function shown(e)
  local mt = debug.getmetatable(e)
  if type(e) ~= "table" or mt and mt.__tostring then return tostring(e) end
  local parts = {}
  for k, v in pairs(e) do parts[#parts + 1] = ("%s = %s"):format(tostring(k), tostring(v)) end
  table.sort(parts)
  return "an error that is a table: { " .. table.concat(parts, ", ") .. " }"
end

--- Whether the body said that it is pending, as in busted.
function told.is_pending(outcome)
  local mt = outcome.why == "error" and debug.getmetatable(outcome.error)
  return type(mt) == "table" and mt.__type == "pending"
end

--- A failure of busted's or luassert's: a table whose `message` is text.
local function is_failure(e) return type(e) == "table" and debug.getmetatable(e) and type(e.message) == "string" end

--- One line that is the same for two runs that fail in the same way.
function told.kind(outcome)
  if outcome.why ~= "error" then return outcome.why end
  local e = outcome.error
  local text = is_failure(e) and e.message or shown(e)
  return ((text:match "^[^\n]-:%d+:" or "") .. text:gsub("0x%x+", "0x"):gsub("%d+", "N")):sub(1, 200)
end

--- What was called that no seed controls, a line; nil: nothing.
function told.uncontrolled(outcome)
  local parts = {}
  for i, call in ipairs(outcome.uncontrolled or {}) do
    local times = call.count == 1 and "at" or ("%d times, first at"):format(call.count)
    parts[i] = ("%s %s %s"):format(call.name, times, call.where)
  end
  return parts[1] and "uncontrolled: " .. table.concat(parts, "; ")
end

--- The text of what failed, without a token. limits: the options steps, time, stall.
function told.text(outcome, limits)
  local why = outcome.why
  if why == "error" then
    local e = outcome.error
    if is_failure(e) then return e.message end
    return outcome.strung or shown(e)
  end
  local parts = { heads[why] and heads[why](outcome, limits) or why }
  local report = (outcome.report or ""):gsub("\n+$", "")
  if why ~= "failed" and report ~= "" then parts[#parts + 1] = report end
  if outcome.busiest and outcome.busiest ~= "" then parts[#parts + 1] = "busiest:\n" .. outcome.busiest end
  local log = (outcome.log or ""):gsub("\n+$", "")
  if log ~= "" then parts[#parts + 1] = log end
  if hints[why] then parts[#parts + 1] = "hint: " .. hints[why] end
  return table.concat(parts, "\n")
end

local function placed(text, at)
  return text:match "^[^\n]-:%d+: " and text or at .. ": " .. text
end

--- Raises e. busted says which line an error comes from, that of the innermost function that is not its own; so this
--- is raised by one that stands where the body does.
local function raise_at(at, e)
  local file, line = at:match "^(.*):(%d+)$"
  local raise = load(("\n"):rep(tonumber(line) - 1) .. "error(..., 0) return", "@" .. file, "t")
  raise(e)
end

--- Raises an error of the sim's own, at the test.
function told.fail(at, text) raise_at(at, placed(text, at)) end

--- Raises what failed, `more` lines below it. Failures stay failures, pending stays pending.
function told.raise(outcome, limits, at, more)
  local e = outcome.error
  at = outcome.place or at
  if told.is_pending(outcome) then raise_at(at, e) end
  if outcome.why == "error" and type(e) == "table" and debug.getmetatable(e) and not is_failure(e)
    and debug.getmetatable(e).__type == "failure" then
    raise_at(at, e) -- its message is a table, which busted prints: there is no place for more
  end
  if outcome.why == "error" and is_failure(e) then
    local failure = {}
    for k, v in pairs(e) do failure[k] = v end
    failure.message = e.message .. "\n" .. more
    raise_at(at, debug.setmetatable(failure, debug.getmetatable(e)))
  end
  told.fail(at, told.text(outcome, limits) .. "\n" .. more)
end

return told
