--- What a policy would have done: `lubdub check` tries it on made-up and recorded lives, `lubdub replay` takes Chen's
--- figures of it on recorded ones, for one or for many values of an option.
local asking = require "lubdub.asking"
local beats = require "lubdub.beats"
local histories = require "lubdub.histories"
local play = require "lubdub.play"

local backtest = {}

local usage = {
  check = "usage: lubdub check policy.lua [beats.jsonl ...] [option=value ...] [--seed n] [--interval seconds]",
  replay = "usage: lubdub replay beats.jsonl policy.lua [option=value ...] [--heart name] [--verdict name]\n"
    .. "                     [--sweep option=from..to[..step] | --sweep option=value,value,...]",
}

-- Arguments. What the user got wrong is raised as { usage = why }, what failed as { failed = why }.

local function misuse(...) error { usage = (...):format(select(2, ...)) } end

--- The value of an option of a policy: true, false, inf, a number, or else the text itself.
local function value_of(text)
  if text == "true" or text == "false" then return text == "true" end
  if text == "inf" then return math.huge end
  return tonumber(text) or text
end

local function number(text, name)
  local n = tonumber(text)
  if not n or n ~= n or math.abs(n) == math.huge then misuse("%s: expected a number, got %q", name, text) end
  return n
end

local MOST = 1000 -- values in a sweep

--- from..to[..step], or values with commas between them.
local function range(text)
  local from, to, step = text:match "^(.-)%.%.(.-)%.%.(.+)$"
  if not from then from, to = text:match "^(.-)%.%.(.+)$" end
  local values = {}
  if not from then
    for value in text:gmatch "[^,]+" do values[#values + 1] = value_of(value) end
    return #values > 0 and values or misuse "--sweep: no values"
  end
  from, to, step = number(from, "--sweep"), number(to, "--sweep"), number(step or "1", "--sweep")
  local last = step > 0 and (to - from) / step + 1e-9 or -1
  if last < 0 or last >= MOST then misuse("--sweep: expected 1 to %d values, got %s", MOST, text) end
  for i = 0, last // 1 | 0 do values[i + 1] = from + i * step end
  return values
end

local function sweep(text)
  local name, values = text:match "^([%a_][%w_]*)=(.+)$"
  if not name then misuse("--sweep: expected option=values, got %q", text) end
  return { name = name, values = range(values) }
end

local flags = {
  check = { seed = number, interval = number },
  replay = { sweep = sweep, heart = tostring, verdict = tostring },
}

--- words, options of the policy, flags (each also as --name=value).
local function parse(args, known)
  local words, opts, given, i = {}, {}, {}, 1
  while i <= #args do
    local arg = args[i]
    local flag, value = arg:match "^%-%-([^=]+)=?(.*)$"
    local name, text = arg:match "^([%a_][%w_]*)=(.*)$"
    if flag then
      if not known[flag] then misuse("no option is named --%s", flag) end
      if not arg:find("=", 1, true) then
        i = i + 1
        value = args[i] or misuse("--%s needs a value", flag)
      end
      given[flag] = known[flag](value, "--" .. flag)
    elseif name then
      opts[name] = value_of(text)
    else
      words[#words + 1] = arg
    end
    i = i + 1
  end
  return words, opts, given
end

-- Tables, to be read.

local LEFT = { history = true, heart = true, said = true, option = true }

--- Prints rows under their heads, figures to the right.
local function print_table(heads, rows)
  local lines = { heads, table.unpack(rows) }
  local width = {}
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do width[i] = math.max(width[i] or 0, utf8.len(cell) or #cell) end
  end
  for _, line in ipairs(lines) do
    local cells = {}
    for i, cell in ipairs(line) do
      local pad = (" "):rep(width[i] - (utf8.len(cell) or #cell))
      cells[i] = LEFT[heads[i]] and cell .. pad or pad .. cell
    end
    io.stdout:write((table.concat(cells, "  "):gsub(" +$", "")), "\n")
  end
end

local function seconds(s) return s == math.huge and "never" or ("%.3f"):format(s) end

local function read(path)
  local lives, note = beats.read(path)
  if not lives then error { failed = note } end
  if note then io.stderr:write("lubdub: ", note, "\n") end
  return lives
end

local function described(path, opts)
  local words = {}
  for name, value in pairs(opts) do words[#words + 1] = ("%s=%s"):format(name, value) end
  table.sort(words)
  table.insert(words, 1, path)
  return table.concat(words, " ")
end

-- lubdub check

local SHOWN = 3 -- verdicts of a life
local LONGEST = 1e5 -- seconds: a made-up life has some 2,000 intervals, and may last 3e8 s as all that is timed

local function said(result)
  local words = {}
  for i = 1, math.min(#result.told, SHOWN) do
    local t = result.told[i]
    words[i] = t.verdict == "alive" and ("alive at %s"):format(seconds(t.at))
      or ("%s at %s after %s"):format(t.verdict, seconds(t.at), seconds(t.silence))
  end
  if #result.told > SHOWN then words[SHOWN + 1] = ("%d more"):format(#result.told - SHOWN) end
  return #words == 0 and "nothing" or table.concat(words, ", ")
end

--- The row of a table that tells of a life.
local function story(result)
  return { result.life.heart, ("%d"):format(result.beats), seconds(result.observed), ("%d"):format(result.asks),
    ("%d"):format(result.mistakes), said(result) }
end

local function check(words, opts, given)
  local path = words[1] or misuse "no policy"
  local seed, interval = given.seed or 1, given.interval or 0.5
  if not math.tointeger(seed) then misuse("--seed: expected an integer, got %s", seed) end
  if not (interval > 0 and interval <= LONGEST) then
    misuse("--interval: expected seconds above 0, at most %d, got %s", LONGEST, interval)
  end
  local lives = histories.make(math.tointeger(seed), interval)
  for i = 2, #words do
    local more = read(words[i])
    table.move(more, 1, #more, #lives + 1, lives)
  end

  local make = asking.load(path)
  local rows = {}
  local ask, wants = make(opts)
  if wants.members then
    rows[1], lives = story(play.group(ask, interval)), {}
  end
  for i, life in ipairs(lives) do
    ask, wants = make(opts)
    rows[i] = story(play.life(life, ask, wants))
  end
  io.stdout:write(described(path, opts), "\n")
  io.stdout:write(("histories of a heart with an interval of %g s, seed %d; times in seconds\n\n")
    :format(interval, seed))
  print_table({ "history", "beats", "lasts", "asked", "false alarms", "said" }, rows)
end

-- lubdub replay

--- The sum of what happened in several lives.
local function total(results)
  local sum = { beats = 0, observed = 0, mistakes = 0, mistaken = 0, detections = {} }
  for _, r in ipairs(results) do
    for _, name in ipairs { "beats", "observed", "mistakes", "mistaken" } do sum[name] = sum[name] + r[name] end
    table.move(r.detections, 1, #r.detections, #sum.detections + 1, sum.detections)
  end
  table.sort(sum.detections)
  return sum
end

--- Chen's figures of a total. Recurrence is the mean time from one mistake to the next, accuracy the chance that the
--- policy is right when it is asked at any moment.
local function figures(sum)
  local d, n = sum.detections, #sum.detections
  local mean = 0
  for _, s in ipairs(d) do mean = mean + s / n end
  local m, t = sum.mistakes, sum.observed
  return {
    ("%d"):format(sum.beats),
    n > 0 and seconds(mean) or "-",
    n > 0 and seconds(d[math.ceil(n * 0.99)]) or "-",
    n > 0 and seconds(d[n]) or "-",
    ("%d"):format(m),
    t > 0 and ("%.3f"):format(m / t * 3600) or "-",
    m > 0 and seconds(t / m) or "-",
    m > 0 and seconds(sum.mistaken / m) or "-",
    t > 0 and ("%.6f"):format(1 - sum.mistaken / t) or "-",
  }
end

local HEADS = { "beats", "detection mean", "p99", "max", "mistakes", "per hour", "recurrence", "duration", "accuracy" }

--- Lives by the names of their hearts, in the order in which these came.
local function by_heart(lives, only)
  local hearts = {}
  for _, life in ipairs(lives) do
    local name = life.heart
    if not hearts[name] then
      hearts[name], hearts[#hearts + 1] = {}, name
    end
    table.insert(hearts[name], life)
  end
  if #hearts == 0 then error { failed = "no heart was recorded" } end
  if not only then return hearts end
  if not hearts[only] then error { failed = ("no heart '%s' was recorded, but '%s'"):format(only,
    table.concat(hearts, "', '")) } end
  return { only, [only] = hearts[only] }
end

local function replayed(lives, make, opts, verdict)
  local results = {}
  for i, life in ipairs(lives) do
    local ask, wants = make(opts)
    results[i] = play.life(life, ask, wants, true, verdict)
  end
  return results
end

local function row(heart, value, results)
  local cells = { heart }
  if value ~= nil then cells[2] = type(value) == "number" and ("%.14g"):format(value) or tostring(value) end
  return table.move(figures(total(results)), 1, #HEADS, #cells + 1, cells)
end

local function replay(words, opts, given)
  local recording, path = words[1] or misuse "no recorded beats", words[2] or misuse "no policy"
  if #words > 2 then misuse("what is %q?", words[3]) end
  local hearts = by_heart(read(recording), given.heart)
  local make = asking.load(path)
  local sweeping = given.sweep
  local rows = {}
  for _, value in ipairs(sweeping and sweeping.values or { false }) do
    if sweeping then opts[sweeping.name] = value end
    local all = {}
    for _, heart in ipairs(hearts) do
      local results = replayed(hearts[heart], make, opts, given.verdict)
      rows[#rows + 1] = row(heart, sweeping and value, results)
      table.move(results, 1, #results, #all + 1, all)
    end
    if #hearts > 1 then rows[#rows + 1] = row("(all)", sweeping and value, all) end
  end
  local heads = { "heart", sweeping and sweeping.name }
  if sweeping then opts[sweeping.name] = nil end
  io.stdout:write(("%s on %s; times in seconds\n\n"):format(described(path, opts), recording))
  print_table(table.move(HEADS, 1, #HEADS, #heads + 1, heads), rows)
end

--- Runs a command; its exit code.
local function main(name, command, args)
  local ok, why = pcall(function() command(parse(args, flags[name])) end)
  if ok then return 0 end
  if type(why) ~= "table" then error(why, 0) end
  if why.usage then
    io.stderr:write("lubdub ", name, ": ", why.usage, "\n", usage[name], "\n")
    return 2
  end
  io.stderr:write("lubdub ", name, ": ", why.failed or "the policy failed: " .. why.policy, "\n")
  return 1
end

--- Arguments as strings -> exit code: 0 fine, 1 the policy or a file failed, 2 usage.
function backtest.main_check(args) return main("check", check, args) end
function backtest.main_replay(args) return main("replay", replay, args) end

return backtest
