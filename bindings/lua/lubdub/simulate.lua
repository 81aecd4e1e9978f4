--- What `lubdub sim` is asked for, which schedule each of its runs has, and the tokens that name them.
local schedule = require "lubdub.schedule"
local spot = require "lubdub.spot"
local token = require "lubdub.token"

local simulate = {}

local MONTH = 30 * 24 * 3600

-- ---- the command line ----

local function whole(text, least)
  local n = text:match "^%d+$" and math.tointeger(tonumber(text))
  if n and n >= least then return n end
  return nil, ("a whole number from %d to 2^63-1"):format(least)
end

local options = {
  ["--seed"] = function(wish, text)
    local why
    wish.seed, why = whole(text, 0)
    return why
  end,
  ["--runs"] = function(wish, text)
    local why
    wish.runs, why = whole(text, 1)
    return why
  end,
  ["--time"] = function(wish, text)
    local s = tonumber(text)
    wish.time = s and s > 0 and s <= 1e9 and s or nil
    return not wish.time and "seconds above 0, at most 1e9" or nil
  end,
  ["--trace"] = function(wish, text) wish.trace = text end,
  ["--replay"] = function(wish, text)
    local why
    wish.token, why = token.read(text)
    return why and "a token, lub1:strategy:seed:run:print"
  end,
}

local function conflict(wish)
  local many = (wish.runs or 1) > 1
  if wish.token and (wish.seed or wish.runs) then return "--replay: the token says the seed, and which run" end
  if wish.trace and many then return "--trace: a trace is of one run" end
  if wish.script == "-" and many then return "--runs: the script on standard input can be read but once" end
end

--- { seed=, runs=, time=, trace=, token=, script=, first= the place of the script } or nil, what is wrong.
function simulate.read(args)
  local wish, i = {}, 1
  while args[i] and args[i]:find "^%-." do
    local set, value = options[args[i]], args[i + 1]
    if not set then return nil, ("unknown option '%s'"):format(args[i]) end
    if not value then return nil, ("sim: %s: a value is missing"):format(args[i]) end
    local expected = set(wish, value)
    if expected then return nil, ("sim: %s: expected %s, got '%s'"):format(args[i], expected, value) end
    i = i + 2
  end
  if not args[i] then return nil, "sim: no script is named" end
  wish.script, wish.first = args[i], i
  local why = conflict(wish)
  if why then return nil, "sim: " .. why end
  wish.command = table.move(args, i, #args, 1, {})
  wish.time = wish.time or MONTH
  return wish
end

-- ---- schedules ----

--- Without a seed or with many runs, the first has the order of the queues; `most`: choices that a run had until now.
local function plan_of(wish, run, most)
  if wish.token then return wish.token.plan end
  if (wish.runs or 1) == 1 then return { strategy = wish.seed and "random" or "first" } end
  return schedule.plan("portfolio", run, most, {})
end

--- { plan=, seed=, run=, forced=, mixed= what the sim gets, prefix= }
function simulate.run(wish, number, most)
  local from = wish.token
  local run = { plan = plan_of(wish, number, most), seed = from and from.seed or wish.seed or 1,
                run = from and from.run or number, forced = from and from.choices ~= nil }
  run.mixed, run.prefix = schedule.seed(run.seed, run.run), {}
  for i, c in ipairs(from and from.choices or {}) do run.prefix[i] = c.taken end
  return run
end

-- ---- what is said of one ----

function simulate.token(wish, run, choices)
  local h = spot.hash(wish.script:match "[^/\\]*$")
  return token.write(("%04x"):format((h ~ h >> 32) & 0xffff), run, choices)
end

--- Where a run from a token went another way; nil: nowhere.
function simulate.diverged(wish, choices)
  local where = wish.token and token.diverged(wish.token, choices)
  return where and where .. "; the script, or Lua, is not the one of the token"
end

local function quoted(word)
  if word:find "^[%w@%%+=:,./_-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The command that makes the run again.
function simulate.again(wish, text)
  local words = { "lubdub sim --replay", text }
  for _, word in ipairs(wish.command) do words[#words + 1] = quoted(word) end
  return table.concat(words, " ")
end

--- "run 3 of 100 (random, seed 1)"
function simulate.name(wish, run)
  return ("run %d of %d (%s, seed %d)"):format(run.run, wish.runs, token.label(run.plan), run.seed)
end

return simulate
