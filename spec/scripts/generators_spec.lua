-- Times are exact: on a clock of the script's own, which a spec may set, or in a sim, with fibers.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"
local virtual = require "spec.scripts.virtual"

local it_sims = helper.in_sim(it)

local names = { "ticker", "poisson", "burst", "counter", "lines", "channel", "walk", "replay", "cron" }
local function path_of(name) return "scripts/generators/" .. name .. ".lua" end
local function script(name) return dofile(path_of(name)) end
local function on_virtual_clock(name) return virtual(path_of(name)) end

--- What the iterator gives, up to n units.
local function collect(n, ...)
  local list = {}
  if n == 0 then return list end
  for unit in ... do
    list[#list + 1] = unit
    if #list == n then break end
  end
  return list
end

--- Asserts that next() goes on saying nil once it has ended.
local function ended(next_unit) for _ = 1, 3 do assert.is_nil(next_unit()) end end

local function near(expected, actual)
  assert.is_true(math.abs(expected - actual) < 1e-6, expected .. " ~ " .. actual)
end

--- The times, in seconds from now, at which the iterator gives its units.
local function times(clock, next_unit)
  local start, list = clock.now, {}
  for _ in next_unit do list[#list + 1] = clock.now - start end
  return list
end

local function refuses(name, opts, option, expected, got)
  local text = ("%s: option '%s': expected %s, got %s"):format(name, option, expected, got)
  local ok, why = pcall(function() script(name)(opts) end)
  assert.is_false(ok, text .. ": it was accepted")
  assert.truthy(tostring(why):find(text, 1, true), "expected: " .. text .. "\ngot: " .. tostring(why))
  assert.matches("generators_spec%.lua:%d+: ", why)
end

local complete = { -- the least that each wants
  ticker = { every = 1 }, poisson = { rate = 1 }, burst = { n = 1, every = 1 }, counter = {}, walk = {},
  lines = { path = "Makefile" }, replay = { trace = {} }, cron = { expression = "@hourly" },
  channel = { from = lub.chan() },
}

local function with(name, option, value)
  local opts = {}
  for k, v in pairs(complete[name]) do opts[k] = v end
  if option then opts[option] = value end
  return opts
end

describe("every generator", function()
  for _, name in ipairs(names) do
    it(name .. " says what it is for, and names its options, at its top", function()
      assert.matches("^%-%- %u.-\n%-%-   %l", helper.read(path_of(name)))
    end)

    it(name .. " gives an iterator that belongs to its caller alone", function()
      local a, b = script(name)(with(name)), script(name)(with(name))
      assert.is_function(a)
      assert.not_equals(a, b)
    end)

    it(name .. " refuses options that it does not know", function()
      local ok, why = pcall(script(name), with(name, "evrey", 1))
      assert.is_false(ok)
      assert.matches(name .. ": option \"evrey\" is unknown; it has: [%l, ]+", why)
    end)

    it(name .. " refuses what is no table of options", function()
      for _, bad in ipairs { 5, "x", true } do
        local ok, why = pcall(script(name), bad)
        assert.is_false(ok)
        assert.truthy(why:find(name .. ": expected a table of options, got ", 1, true))
      end
    end)
  end

  it("names the line of the script itself when C gives the options", function()
    local ok, why = pcall(script "ticker", {})
    assert.is_false(ok)
    assert.matches("^scripts/generators/ticker%.lua:%d+: ticker: option 'every'", why)
  end)

  it("refuses times and rates that are no positive, finite numbers", function()
    local wrong = { [0] = "0", [-1] = "-1", [math.huge] = "inf", [-math.huge] = "-inf", [{}] = "table" }
    for _, case in ipairs { { "ticker", "every" }, { "burst", "every" }, { "poisson", "rate" }, { "walk", "step" },
      { "replay", "speed" } } do
      for bad, got in pairs(wrong) do refuses(case[1], with(case[1], case[2], bad), case[2], "a number > 0", got) end
      refuses(case[1], with(case[1], case[2], helper.nan), case[2], "a number > 0", "nan")
      refuses(case[1], with(case[1], case[2], "1"), case[2], "a number > 0", '"1"')
    end
  end)

  it("refuses to do without what it needs", function()
    refuses("ticker", nil, "every", "a number > 0", "nothing")
    refuses("poisson", {}, "rate", "a number > 0", "nothing")
    refuses("burst", { every = 1 }, "n", "an integer >= 1", "nothing")
    refuses("channel", {}, "from", "a value", "nothing")
    refuses("cron", {}, "expression", "a string", "nothing")
    refuses("lines", {}, "path", "either a path or a command", "nothing")
    refuses("replay", {}, "path", "either a path or a trace", "nothing")
  end)

  it("refuses counts and seeds that are no whole numbers", function()
    for _, name in ipairs { "ticker", "poisson", "burst", "channel", "walk", "cron" } do
      for bad, got in pairs { [0] = "0", [-1] = "-1", [1.5] = "1.5", x = '"x"' } do
        refuses(name, with(name, "count", bad), "count", "an integer >= 1", got)
      end
    end
    for _, name in ipairs { "poisson", "walk" } do
      refuses(name, with(name, "seed", 0.5), "seed", "an integer", "0.5")
      refuses(name, with(name, "seed", "x"), "seed", "an integer", '"x"')
    end
  end)
end)

describe("ticker", function()
  it_sims("counts to its end, and waits for the time of each tick", function()
    local next_unit = script "ticker" { every = 0.5, count = 4 }
    for i = 1, 4 do assert.same({ i, i / 2 }, { next_unit(), lub.now() }) end
    ended(next_unit)
  end)

  it("waits in real time", function()
    local start = lub.now()
    for unit in script "ticker" { every = 0.004, count = 4 } do
      assert.is_true(lub.now() - start > unit * 0.004 - 1e-6)
    end
  end)

  it("does not drift, however long its consumer takes for each", function()
    local ticker, clock = on_virtual_clock "ticker"
    for unit in ticker { every = 0.1, count = 5000 } do
      near(1000 + unit * 0.1, clock.now)
      clock.now = clock.now + 0.07
    end
  end)

  it("skips ticks that its consumer missed: they come as one, at once", function()
    local ticker, clock = on_virtual_clock "ticker"
    local next_unit = ticker { every = 1 }
    assert.equals(1, next_unit())
    clock.now = 1004.5 -- ticks at 2, 3 and 4 s have passed
    assert.equals(2, next_unit())
    near(1004.5, clock.now)
    assert.equals(3, next_unit())
    near(1005, clock.now)
  end)

  it("catches up with them if told so", function()
    local ticker, clock = on_virtual_clock "ticker"
    local next_unit = ticker { every = 1, missed = "catch_up" }
    next_unit()
    clock.now = 1004.5
    assert.same({ 2, 3, 4 }, collect(3, next_unit))
    near(1004.5, clock.now)
    assert.equals(5, next_unit())
    near(1005, clock.now)
  end)

  it("refuses another way to miss", function()
    refuses("ticker", { every = 1, missed = "queue" }, "missed", "'skip' or 'catch_up'", '"queue"')
  end)

  it_sims("ends when its fiber is cancelled", function()
    local f = lub.go(function() return #collect(nil, script "ticker" { every = 1000 }) end)
    lub.pass(2500)
    f:cancel()
    assert.same({ 2, 2500.0 }, { f:join(), lub.now() })
  end)
end)

describe("poisson", function()
  it("has gaps that are exponential: mean and deviation 1 / rate, no memory", function()
    local poisson, clock = on_virtual_clock "poisson"
    local last, sum, squares, longer, much_longer, n = clock.now, 0, 0, 0, 0, 20000
    for _ in poisson { rate = 4, count = n, seed = 7 } do
      local gap = clock.now - last
      last, sum, squares = clock.now, sum + gap, squares + gap * gap
      if gap > 0.25 then longer = longer + 1 end
      if gap > 0.5 then much_longer = much_longer + 1 end
    end
    local mean = sum / n
    assert.is_true(math.abs(mean - 0.25) < 0.01)
    assert.is_true(math.abs(math.sqrt(squares / n - mean * mean) - 0.25) < 0.01)
    assert.is_true(math.abs(longer / n - math.exp(-1)) < 0.015)
    assert.is_true(math.abs(much_longer / n - math.exp(-2)) < 0.015)
  end)

  it("is repeated by its seed, and another by another", function()
    local function run(seed)
      local poisson, clock = on_virtual_clock "poisson"
      return times(clock, poisson { rate = 10, count = 20, seed = seed })
    end
    assert.same(run(1), run(1))
    assert.not_same(run(1), run(2))
    assert.not_same(run(nil), run(nil))
  end)

  it("with a seed leaves math.random alone", function()
    math.randomseed(5)
    local expected = { math.random(), math.random() }
    math.randomseed(5)
    local first = math.random()
    collect(nil, on_virtual_clock "poisson" { rate = 1, seed = 3, count = 10 })
    collect(nil, script "walk" { seed = 3, count = 10 })
    assert.same(expected, { first, math.random() })
  end)

  it("does not wait for its consumer: missed arrivals come at once", function()
    local poisson, clock = on_virtual_clock "poisson"
    local free = times(clock, poisson { rate = 10, count = 50, seed = 9 })
    poisson, clock = on_virtual_clock "poisson"
    local next_unit = poisson { rate = 10, count = 50, seed = 9 }
    clock.now = 1000 + free[30]
    assert.equals(29, #collect(29, next_unit))
    near(1000 + free[30], clock.now)
    collect(21, next_unit)
    near(1000 + free[50], clock.now)
  end)

  it_sims("numbers its units and ends", function()
    local next_unit = script "poisson" { rate = 1, count = 3 }
    assert.same({ 1, 2, 3 }, collect(nil, next_unit))
    ended(next_unit)
  end)

  it("ends when its fiber is cancelled", function()
    local poisson, clock = on_virtual_clock "poisson"
    clock.cancelled = true
    ended(poisson { rate = 1 })
  end)
end)

describe("burst", function()
  it("gives n units at once, every so often", function()
    local burst, clock = on_virtual_clock "burst"
    local seen = {}
    for unit, number in burst { n = 3, every = 2, count = 7 } do
      seen[#seen + 1] = ("%d in %d at %g"):format(unit, number, clock.now)
    end
    assert.same({ "1 in 1 at 1002", "2 in 1 at 1002", "3 in 1 at 1002", "4 in 2 at 1004", "5 in 2 at 1004",
      "6 in 2 at 1004", "7 in 3 at 1006" }, seen)
  end)

  it("makes up for bursts that were missed, and does not drift", function()
    local burst, clock = on_virtual_clock "burst"
    local next_unit = burst { n = 2, every = 1 }
    clock.now = 1002.5
    assert.same({ 1, 2, 3, 4 }, collect(4, next_unit))
    near(1002.5, clock.now)
    next_unit()
    near(1003, clock.now)
  end)

  it_sims("waits, and ends", function()
    local next_unit = script "burst" { n = 2, every = 5, count = 4 }
    for i, at in ipairs { 5.0, 5.0, 10.0, 10.0 } do assert.same({ i, at }, { (next_unit()), lub.now() }) end
    ended(next_unit)
  end)

  it("refuses a burst of nothing", function() refuses("burst", { n = 0, every = 1 }, "n", "an integer >= 1", "0") end)
end)

describe("counter", function()
  local function count(opts, n) return collect(n, script "counter"(opts)) end

  it("counts from 1 without end if nothing else is said", function() assert.same({ 1, 2, 3, 4 }, count(nil, 4)) end)

  it("counts up and down, `to` included", function()
    assert.same({ 3, 4, 5 }, count { from = 3, to = 5 })
    assert.same({ 0, 5, 10 }, count { from = 0, to = 12, step = 5 })
    assert.same({ 2, 1, 0, -1 }, count { from = 2, to = -1, step = -1 })
    assert.same({ 7 }, count { from = 7, to = 7 })
    assert.same({ 0, -1, -2 }, count({ from = 0, step = -1 }, 3))
  end)

  it("gives nothing when the end is before the beginning", function()
    assert.same({}, count { from = 2, to = 1 })
    assert.same({}, count { from = 1, to = 2, step = -1 })
  end)

  it("keeps integers integers, and does not add up the errors of fractions", function()
    assert.equals("integer", math.type(count({}, 1)[1]))
    local tenths = count { from = 0, to = 100, step = 0.1 }
    assert.equals(1001, #tenths)
    assert.equals(100, tenths[1001])
  end)

  it("ends where numbers end, instead of wrapping around or standing still", function()
    assert.same({ math.maxinteger - 1, math.maxinteger }, count { from = math.maxinteger - 1 })
    assert.same({ math.mininteger }, count { from = math.mininteger, step = -5 })
    assert.same({ 2.0 ^ 53 }, count { from = 2.0 ^ 53, step = 0.5 })
  end)

  it("refuses a step of 0 and ends that are not finite", function()
    refuses("counter", { step = 0 }, "step", "a finite number, not 0", "0")
    refuses("counter", { to = math.huge }, "to", "a finite number", "inf")
    refuses("counter", { from = helper.nan }, "from", "a finite number", "nan")
  end)
end)

describe("lines", function()
  local function lines_of(text)
    local path = helper.file(text)
    local lines = collect(nil, script "lines" { path = path })
    os.remove(path)
    return lines
  end

  it("gives the lines of a file, also empty ones and a last one without newline", function()
    assert.same({ "a", "", "c" }, lines_of "a\n\nc\n")
    assert.same({ "a", "b" }, lines_of "a\nb")
    assert.same({}, lines_of "")
    assert.same({ "", "\0x\r" }, lines_of "\n\0x\r\n")
  end)

  it("goes on saying nil after the end", function()
    local next_line = script "lines" { path = "/dev/null" }
    ended(next_line)
  end)

  it("gives what a command prints", function()
    assert.same({ "one", "two" }, collect(nil, script "lines" { command = "echo one; echo two" }))
  end)

  it("raises when the command has failed, after its last line", function()
    local next_line = script "lines" { command = "echo one; exit 3" }
    assert.equals("one", next_line())
    helper.raises("lines: echo one; exit 3: exit 3", next_line)
    ended(next_line)
  end)

  it("names a file that is missing, when it is made", function()
    refuses("lines", { path = "/no/such" }, "path", "what can be read (/no/such: No such file or directory)",
      '"/no/such"')
  end)

  it("raises when the file cannot be read", function()
    helper.raises("lines: spec: Is a directory", script "lines" { path = "spec" })
  end)

  it("refuses a path and a command at once", function()
    refuses("lines", { path = "x", command = "y" }, "path", "either a path or a command", '"x"')
  end)

  it("closes its file when the loop is left early", function()
    local next_line, state, first, file = script "lines" { path = "Makefile" }
    assert.equals("file", io.type(file))
    for _ in next_line, state, first, file do break end -- luacheck: ignore 512
    assert.equals("closed file", io.type(file))
    ended(next_line)
  end)
end)

describe("channel", function()
  it("gives what comes until the channel is closed and drained", function()
    local ch = lub.chan(3)
    for _, v in ipairs { "a", false, 3 } do ch:send(v) end
    ch:close()
    local next_value = script "channel" { from = ch }
    assert.same({ "a", false, 3 }, collect(nil, next_value))
    ended(next_value)
  end)

  it("waits for a sender, and takes no more than it was told", lub.explore({ runs = 40 }, function()
    for _, capacity in ipairs(helper.capacities) do
      local ch = lub.chan(capacity)
      local f = lub.go(function() return collect(nil, script "channel" { from = ch:receiver(), count = 2 }) end)
      local sender = lub.go(function() for i = 1, 3 do ch:send(i) end end)
      assert.same({ 1, 2 }, f:join())
      assert.equals(3, ch:recv())
      sender:join()
    end
  end))

  it("ends when its fiber is cancelled", lub.explore({ runs = 20 }, function()
    local f = lub.go(function() return #collect(nil, script "channel" { from = lub.chan() }) end)
    f:cancel()
    assert.equals(0, f:join())
  end))

  it("refuses what is no channel", function()
    for bad, got in pairs { [5] = "5", x = '"x"', [print] = "function", [{}] = "table" } do
      refuses("channel", { from = bad }, "from", "a channel", got)
    end
  end)
end)

describe("walk", function()
  it("begins at its start and goes a step up or down each time", function()
    local last
    for _, v in ipairs(collect(200, script "walk" { start = 10, step = 3 })) do
      if last then assert.equals(3, math.abs(v - last)) else assert.equals(10, v) end
      assert.equals("integer", math.type(v))
      last = v
    end
  end)

  it("goes both ways about equally", function()
    local ups, last = 0, 0
    for v in script "walk" { count = 10001, seed = 11 } do
      if v > last then ups = ups + 1 end
      last = v
    end
    assert.is_true(ups > 4800 and ups < 5200)
  end)

  it("is repeated by its seed", function()
    local function run(seed) return collect(nil, script "walk" { count = 64, seed = seed }) end
    assert.same(run(1), run(1))
    assert.not_same(run(1), run(2))
    assert.not_same(run(nil), run(nil))
  end)

  it("ends after its count", function()
    local next_value = script "walk" { count = 3 }
    assert.equals(3, #collect(nil, next_value))
    ended(next_value)
  end)
end)

describe("replay", function()
  local function recorded(text, opts)
    local replay, clock = on_virtual_clock "replay"
    local path = helper.file(text)
    opts = opts or {}
    opts.path = path
    local ok, why = pcall(function()
      local list, start = {}, clock.now
      for event in replay(opts) do list[#list + 1] = { event, clock.now - start } end
      return list
    end)
    os.remove(path)
    if not ok then error(tostring(why):gsub(path:gsub("%p", "%%%0"), "FILE"), 0) end
    return why
  end

  it("gives values with the gaps they had, the first at once", function()
    local replay, clock = on_virtual_clock "replay"
    local trace = { { t = 5, value = "a" }, { t = 5.5, value = false }, { t = 5.5, value = 3 }, { t = 8, value = "d" } }
    local seen = {}
    for value in replay { trace = trace } do seen[#seen + 1] = { value, clock.now - 1000 } end
    assert.same({ { "a", 0 }, { false, 0.5 }, { 3, 0.5 }, { "d", 3 } }, seen)
  end)

  it("is as many times as fast as told", function()
    for speed, last in pairs { [2] = 1.5, [0.5] = 6, [1000] = 0.003 } do
      local replay, clock = on_virtual_clock "replay"
      collect(nil, replay { trace = { { t = 1 }, { t = 4 } }, speed = speed })
      near(1000 + last, clock.now)
    end
  end)

  it("begins where it is told, with the wait there was", function()
    local replay, clock = on_virtual_clock "replay"
    local trace = { { t = 1, value = 1 }, { t = 2, value = 2 }, { t = 3, value = 3 } }
    local next_value = replay { trace = trace, from = 1.5 }
    assert.equals(2, next_value())
    near(1000.5, clock.now)
    assert.equals(3, next_value())
    ended(next_value)
  end)

  it("makes up for events that were missed, without drifting", function()
    local replay, clock = on_virtual_clock "replay"
    local next_event = replay { trace = { { t = 0 }, { t = 1 }, { t = 2 }, { t = 5 } } }
    next_event()
    clock.now = 1003
    next_event()
    next_event()
    near(1003, clock.now)
    next_event()
    near(1005, clock.now)
  end)

  it("reads recorded beats: each event is a table", function()
    assert.same({
      { { t = 1, heart = "db", id = 1, event = "open", interval = 0.5 }, 0 },
      { { t = 1.5, heart = "db", id = 1, event = "unit", unit = "a \"b\", {c}\\" }, 0.5 },
      { { t = 2, heart = "db", id = 1, event = "unit", unit = true }, 1 },
    }, recorded [[
{"t":1.000000,"heart":"db","id":1,"event":"open","interval":0.5}
{"t":1.5,"heart":"db","id":1,"event":"unit","unit":"a \"b\", {c}\\"}
 { "t" : 2 , "heart" : "db" , "id" : 1, "event" : "unit", "unit" : true, "x" : null }
]])
  end)

  it("reads what JSON escapes, and values", function()
    assert.same({ { "\n\\u0041A\té\0/", 0 } }, recorded [[{"t":0,"value":"\n\\u0041\u0041\t\u00e9\u0000\/"}]])
    assert.same({ { -1.5e3, 0 }, { false, 1 } }, recorded '{"t":-1,"value":-1.5e3}\n{"value":false,"t":0}')
  end)

  it("gives only one heart's, and only one kind, if told so", function()
    local text = [[
{"t":0,"heart":"a","event":"open"}
{"t":1,"heart":"b","event":"beat"}
{"t":2,"heart":"a","event":"beat"}
{"t":4,"heart":"a","event":"beat"}
]]
    local seen = recorded(text, { heart = "a", event = "beat" })
    assert.equals(2, #seen)
    assert.same({ 2, 0 }, { seen[1][1].t, seen[1][2] })
    assert.same({ 4, 2 }, { seen[2][1].t, seen[2][2] })
    assert.same({}, recorded(text, { heart = "c" }))
  end)

  it("leaves out a last line that was cut off", function()
    assert.equals(1, #recorded '{"t":1,"heart":"a"}\n{"t":2,"hea')
    assert.equals(0, #recorded "")
  end)

  it("names the line that is no event", function()
    for _, bad in ipairs { "nonsense", '{"heart":"a"}', '{"t":"1"}', "[1]", '{"t":1', '{"t":1 "x":2}', '{"t":1,}',
      '{"t":[1]}', "", '{"t":nil}', '{t:1}' } do
      helper.raises("replay: FILE:2: expected an event with a time t", recorded, '{"t":0}\n' .. bad .. "\n")
    end
    helper.raises("replay: FILE:2: expected t to be 3 or more, got 2", recorded, '{"t":3}\n{"t":2}\n')
  end)

  it("names the entry of a list that is no event", function()
    local function replayed(...) return collect(nil, script "replay" { trace = { { t = 0 }, ... } }) end
    for _, bad in ipairs { 5, { t = helper.nan }, { t = math.huge }, { value = 1 }, { t = "0" } } do
      helper.raises("replay: trace[2]: expected an event with a time t", replayed, bad)
    end
    helper.raises("replay: trace[2]: expected t to be 0 or more, got -1", replayed, { t = -1 })
  end)

  it("names a file that is missing, and one that cannot be read", function()
    refuses("replay", { path = "/no/such" }, "path", "a file that can be read (/no/such: No such file or directory)",
      '"/no/such"')
    helper.raises("replay: spec: Is a directory", script "replay" { path = "spec" })
  end)

  it("refuses a path and a trace at once, and what is no list", function()
    refuses("replay", { path = "x", trace = {} }, "path", "either a path or a trace", '"x"')
    refuses("replay", { trace = "x" }, "trace", "a table", '"x"')
  end)
end)

describe("the example of generators", function()
  it("shows a stream of three sources", function()
    local code, out, err = helper.run "sim scripts/examples/generators.lua"
    assert.equals("", err)
    assert.equals(0, code)
    for i = 1, 4 do assert.matches(("\n%.2f s  tick     %d\n"):format(i / 2, i), out) end
    assert.matches("4 ticks, 8 customers, %d+ lines\n$", out)
  end)
end)
