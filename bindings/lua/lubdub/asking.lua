--- Asks a policy as the judge does: within a budget, and what it answers is checked.
local asking = {}

local INSTRUCTIONS, STEP = 1000000, 10000 -- a policy may run so many; they are counted in steps
local MEMORY = 16 * 1024 -- KiB that it may leave behind or hold
local ASKED = {} -- what our own yields carry: any other is the policy's

--- Raises in the policy once its budget is spent, and then at every instruction, so that no pcall of it can hold on.
local function limiter(co)
  local steps, memory
  local function out(why)
    debug.sethook(co, function() error(why, 0) end, "", 1)
    error(why, 0)
  end
  local function bloated()
    if collectgarbage "count" - memory > MEMORY then return ("it took more than %d MiB"):format(MEMORY // 1024) end
  end
  local function step()
    steps = steps + 1
    if steps * STEP >= INSTRUCTIONS then out(("it ran for more than %d instructions"):format(INSTRUCTIONS)) end
    local why = bloated()
    if why then out(why) end
  end
  local function arm()
    steps, memory = 0, collectgarbage "count"
    debug.sethook(co, step, "", STEP)
  end
  local function disarm()
    debug.sethook(co)
    return bloated()
  end
  return arm, disarm
end

--- A coroutine in which the policy is called anew with whatever it is resumed with.
local function server(policy)
  return coroutine.create(function(h)
    while true do h = coroutine.yield(ASKED, policy(h)) end
  end)
end

local function refuse_exit() error("os.exit: not in a script that the judge asks", 2) end

--- Runs a coroutine on within a budget: true and its results | false and what went wrong, with its traceback.
local function guard(co)
  local arm, disarm = limiter(co)
  return function(...)
    local exit = os.exit
    os.exit = refuse_exit -- luacheck: ignore
    arm()
    local r = table.pack(coroutine.resume(co, ...))
    os.exit = exit -- luacheck: ignore
    local bloated = disarm()
    if not r[1] then return false, debug.traceback(co, tostring(r[2])) end
    if coroutine.status(co) == "suspended" and r[2] ~= ASKED then return false, debug.traceback(co, "it yielded") end
    if bloated then return false, bloated end
    return table.unpack(r, 1, r.n)
  end
end

local function shown(v) return type(v) == "string" and ("%q"):format(v) or tostring(v) end

local function nonsense(verdict, ask_again, score)
  if type(verdict) ~= "string" or verdict == "" then
    return "the verdict: expected a name, got " .. shown(verdict)
  elseif ask_again ~= nil and not (type(ask_again) == "number" and ask_again >= 0) then
    return "when to ask again: expected seconds >= 0, got " .. shown(ask_again)
  elseif score ~= nil and not (type(score) == "number" and score == score) then
    return "the score: expected a number, got " .. shown(score)
  end
end

local function place(fn)
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- asking.policy(fn) -> ask: function(h) -> verdict, seconds until it wants to be asked again (math.huge: not before
--- a change), score. ask raises a table { policy = what went wrong } when the policy is not fit to be asked.
function asking.policy(fn)
  local call = guard(server(fn))
  return function(h)
    local ok, why, verdict, ask_again, score = call(h) -- why, or what tells the yield
    if not ok then error { policy = why } end
    local wrong = nonsense(verdict, ask_again, score)
    if wrong then error { policy = ("%s: it returned nonsense as %s"):format(place(fn), wrong) } end
    return verdict, ask_again or math.huge, score
  end
end

--- asking.load(path) -> make: function(opts) -> ask, wants. Raises { policy = … } as above.
function asking.load(path)
  local chunk, why = loadfile(path)
  if not chunk then error { policy = why } end
  local function run(what, fn, ...)
    local ok, result, wants = guard(coroutine.create(fn))(...)
    if not ok then error { policy = result } end
    if type(result) ~= "function" then
      error { policy = ("%s: %s: expected a function, got %s"):format(path, what, type(result)) }
    end
    return result, wants
  end
  local factory = run("the script's result", chunk)
  return function(opts)
    local policy, wants = run("what it makes of options", factory, opts)
    if wants ~= nil and type(wants) ~= "table" then
      error { policy = ("%s: what it wants: expected a table, got %s"):format(path, type(wants)) }
    end
    return asking.policy(policy), wants or {}
  end
end

return asking
