--- What a sim is asked for: its options, and those of the environment, which go before them.
local check = require "lubdub.check"
local token = require "lubdub.token"

local wishes = {}

local COMMON = "name seed strategy sticky depth steps time stall strict guard faults compute replay"
local known = { sim = COMMON, explore = COMMON .. " runs preemptions shrink" }
local strategies = {
  sim = { "first", "random", "sticky", "pct" },
  explore = { "portfolio", "first", "random", "sticky", "pct", "exhaustive" },
}

local function whole(v, name, default, least)
  if v == nil then return default end
  local n = type(v) == "number" and math.tointeger(v)
  if not n or n < least then
    check.refuse(name, least == 0 and "a whole number, not negative" or "a whole number above 0", v)
  end
  return n
end

local function share(v, name)
  if v ~= nil and not (type(v) == "number" and v > 0 and v < 1) then
    check.refuse(name, "a number between 0 and 1", v)
  end
  return v
end

--- Virtual time is counted in nanoseconds.
local function span(v, name)
  if v ~= nil and not (type(v) == "number" and v > 0 and v <= 9e9) then
    check.refuse(name, "seconds above 0, at most 9e9", v)
  end
  return v
end

local function checked(kind, o)
  check.names(o, "", known[kind])
  local w = {}
  for k, v in pairs(o) do w[k] = v end
  check.type(o.name, "name", "string")
  w.seed = whole(o.seed, "seed", nil, 0)
  w.strategy = check.word(o.strategy, "strategy", strategies[kind], kind == "sim" and "random" or "portfolio")
  w.depth = whole(o.depth, "depth", nil, 1)
  if w.depth and w.depth > 16 then check.refuse("depth", "at most 16", w.depth) end
  w.sticky = share(o.sticky, "sticky")
  w.steps = check.count(o.steps, "steps")
  w.time = span(o.time, "time")
  w.stall = span(o.stall, "stall")
  w.compute = check.positive(o.compute, "compute")
  check.from_zero(o.guard, "guard")
  check.type(o.faults, "faults", "boolean")
  check.type(o.replay, "replay", "string")
  check.type(o.strict, "strict", "boolean")
  if kind == "explore" then
    w.runs = check.count(o.runs, "runs", w.strategy == "exhaustive" and 20000 or 200)
    w.preemptions = whole(o.preemptions, "preemptions", 2, 0)
    w.shrink = check.type(o.shrink, "shrink", "boolean", true)
    if o.preemptions and w.strategy ~= "exhaustive" then
      check.refuse("preemptions", "strategy 'exhaustive' beside it", o.preemptions)
    end
  end
  return w
end

--- ([opts,] fn) of lub.sim and the like -> the options, checked, and fn. Errors are at the caller's caller.
function wishes.of(kind, where, opts, fn)
  if fn == nil and type(opts) == "function" then opts, fn = {}, opts end
  return check.call(where, 3, function()
    if opts ~= nil and type(opts) ~= "table" then check.refuse("options", "a table", opts) end
    if type(fn) ~= "function" then check.refuse("the body", "a function", fn) end
    return checked(kind, opts or {}), fn
  end)
end

local function variable(name)
  local text = os.getenv(name)
  return text ~= "" and text or nil
end

local function variable_count(name, least)
  local text = variable(name)
  local n = text and text:match "^%d+$" and math.tointeger(tonumber(text))
  if text and (not n or n < least) then
    error(("%s: expected a whole number from %d to 2^63-1, got '%s'"):format(name, least, text), 0)
  end
  return n
end

local function any_seed() return (os.time() * 1000003 + math.floor(os.clock() * 1e6) * 7919) & 0x7fffffff end

--- LUBDUB_SEED, or the option, or the one of the test.
function wishes.seed(w, test)
  if variable "LUBDUB_SEED" == "random" then return any_seed() end
  if variable "LUBDUB_SEED" and not variable "LUBDUB_SEED":match "^%d+$" then
    error(("LUBDUB_SEED: expected a whole number or 'random', got '%s'"):format(variable "LUBDUB_SEED"), 0)
  end
  return variable_count("LUBDUB_SEED", 0) or w.seed or test.seed
end

function wishes.runs(w) return variable_count("LUBDUB_RUNS", 1) or w.runs end

--- Whether each run is made twice.
function wishes.twice() return variable "LUBDUB_CHECK" == "1" end

function wishes.loud() return variable "LUBDUB_VERBOSE" == "1" end

--- The token that this test is to be run from, or nil.
function wishes.replay(w, test)
  local text = w.replay or variable "LUBDUB_REPLAY"
  if not text then return nil end
  local t, why = token.read(text)
  if not t then error((w.replay and "replay: " or "LUBDUB_REPLAY: ") .. why, 0) end
  if t.id == test.id or w.replay then return t end
end

return wishes
