-- Back-tests of policies on recorded beats whose figures can be worked out by hand.
local helper = require "spec.bindings.helper"
local beats = require "lubdub.beats"

local files = {}
local function file(text)
  local path = helper.file(text)
  files[#files + 1] = path
  return path
end

local command = file [[
local name = table.remove(arg, 1)
os.exit(require("lubdub.backtest")["main_" .. name](arg))
]]

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- Runs a command; exit code, stdout, stderr.
local function run(name, ...)
  local words = { "run", command, name }
  for _, word in ipairs { ... } do words[#words + 1] = quoted(word) end
  return helper.run(table.concat(words, " "))
end

--- Recorded lines: each { t, event, ... } of one incarnation of a heart.
local function recorded(heart, id, events)
  local lines = {}
  for i, e in ipairs(events) do
    lines[i] = ('{"t":%.6f,"heart":"%s","id":%d,"event":"%s"%s}\n'):format(e[1], heart, id, e[2], e[3] or "")
  end
  return table.concat(lines)
end

--- A heart that opens at the first time and beats at the others.
local function beating(heart, id, times)
  local events = {}
  for i, t in ipairs(times) do events[i] = i == 1 and { t, "open", ',"interval":1' } or { t, "beat" } end
  return recorded(heart, id, events)
end

--- The rows of the table: the words of each line behind the one that begins with the head.
local function rows(out, head)
  local found, list = false, {}
  for line in out:gmatch "[^\n]+" do
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    if found then list[#list + 1] = table.concat(words, " ") end
    found = found or words[1] == head
  end
  return list
end

local function replayed(...)
  local code, out, err = run("replay", ...)
  assert.equals("", err)
  assert.equals(0, code)
  return rows(out, "heart"), out
end

local fixed, phi = "scripts/policies/fixed.lua", "scripts/policies/phi.lua"
local once_late = beating("db", 1, { 10, 11, 12, 13, 16, 17, 18 }) -- one silence of 3 s, in 8 s

after_each(function()
  for i = #files, 2, -1 do
    os.remove(files[i])
    files[i] = nil
  end
end)
teardown(function() os.remove(command) end)

describe("replay", function()
  it("prints Chen's figures: a silence of 3 s in 8 s, against a limit of 1.5 s", function()
    local path = file(once_late)
    local got, out = replayed(path, fixed, "limit=1.5")
    --           beats, detection: mean, p99, max; mistakes, an hour, recurrence, duration, accuracy
    assert.same({ "db 6 1.500 1.500 1.500 1 450.000 8.000 1.500 0.812500" }, got)
    assert(out:find(fixed .. " limit=1.5 on " .. path, 1, true))
    assert(out:find("heart +beats +detection mean +p99 +max +mistakes +per hour +recurrence +duration +accuracy"))
  end)

  it("has no mistake when the beat comes at the very limit", function()
    assert.same({ "db 6 3.000 3.000 3.000 0 0.000 - - 1.000000" }, replayed(file(once_late), fixed, "limit=3"))
    assert.same({ "db 6 1.000 1.000 1.000 1 450.000 8.000 2.000 0.750000" },
      replayed(file(once_late), fixed, "limit=1"))
  end)

  it("sweeps an option over a range, with a step, and over a list", function()
    local path = file(once_late)
    local one = "db 1 6 1.000 1.000 1.000 1 450.000 8.000 2.000 0.750000"
    local two = "db 2 6 2.000 2.000 2.000 1 450.000 8.000 1.000 0.875000"
    local three = "db 3 6 3.000 3.000 3.000 0 0.000 - - 1.000000"
    assert.same({ one, two, three }, replayed(path, fixed, "--sweep", "limit=1..3"))
    assert.same({ one, (two:gsub("2 6 2.000 2.000 2.000 1 450.000 8.000 1.000 0.875000",
      "1.5 6 1.500 1.500 1.500 1 450.000 8.000 1.500 0.812500")), two },
      replayed(path, fixed, "--sweep=limit=1..2..0.5"))
    assert.same({ three, one }, replayed(path, fixed, "--sweep", "limit=3,1"))
    assert.equals(3, #replayed(path, fixed, "--sweep", "limit=0.1..0.3..0.1"))
    assert.equals(2, #replayed(path, phi, "--sweep", "exact=true,false"))
  end)

  it("sweeps counts as integers", function()
    assert.equals(3, #replayed(file(once_late), "scripts/policies/k_of_n.lua", "--sweep", "k=1..3"))
  end)

  it("finds the detection times of phi in closed form", function()
    local times = {}
    for i = 0, 1000 do times[i + 1] = i end
    local got = replayed(file(beating("db", 1, times)), phi, "pause=0", "--sweep", "threshold=1,2,3,5,8")
    -- the first beat has a quarter of the interval as deviation, all the others a tenth
    local y = { 1.282215, 2.322750, 3.058938, 4.119188, 5.225987 }
    local p99 = { 1.128, 1.232, 1.306, 1.412, 1.523 }
    for i, row in ipairs(got) do
      local _, _, _, _, late, most = table.unpack(table.pack(row:match(("(%S+) "):rep(6))))
      assert.equals(("%.3f"):format(p99[i]), late)
      assert.equals(("%.3f"):format(1 + y[i] / 4), most)
    end
  end)

  it("does not let the policy learn from what it called dead", function()
    local times = { 0 }
    for i = 1, 10 do times[#times + 1] = i end
    for i = 1, 10 do times[#times + 1] = 100 + i end
    local got = replayed(file(beating("db", 1, times)), phi, "pause=0")
    -- sd stays at its least: dead after 1.523 s; the first beat, with a guess for the deviation, after 2.306
    assert.same({ "db 20 1.562 2.306 2.306 1 32.727 110.000 89.477 0.186569" }, got)
  end)

  it("does not count the last silence, nor that of who waits", function()
    local path = file(recorded("db", 1, {
      { 0, "open", ',"interval":1' }, { 1, "beat" }, { 1, "park", ',"state":"idle"' }, { 100, "wake" },
      { 100, "unit", ',"unit":"a"' }, { 101, "rest" }, { 150, "verdict", ',"verdict":"dead"' }, { 200, "close" },
    }))
    assert.same({ "db 3 2.000 2.000 2.000 0 0.000 - - 1.000000" }, replayed(path, fixed))
  end)

  -- A fiber that yields is put back into the queue and runs on: that was recorded as a wake each time.
  it("takes no wake for a sign of life of who was not parked", function()
    local path = file(recorded("db", 1, { { 0, "open", ',"interval":1' }, { 1, "beat" }, { 2, "wake" }, { 3, "wake" },
      { 4, "beat" } }))
    assert.same({ "db 2 2.000 2.000 2.000 1 900.000 4.000 1.000 0.750000" }, replayed(path, fixed))
    local _, out = run("check", fixed, path)
    assert(out:find "db +2 +4.000 +5 +1 +dead at 3.000 after 2.000, alive at 4.000", out)
  end)

  it("has a mistake that lasts to the end, though nothing takes it back", function()
    assert.same({ "db 6 0.000 0.000 0.000 1 450.000 8.000 8.000 0.000000" },
      replayed(file(once_late), file 'return function() return function() return "dead" end end'))
  end)

  it("keeps a mistake open while the policy does, over several beats", function()
    local path = file(recorded("db", 1, {
      { 0, "open", ',"interval":1' }, { 0, "unit", ',"unit":1' }, { 4, "beat" }, { 8, "beat" }, { 10, "rest" },
      { 20, "rest" } }))
    -- the unit took 10 s and was suspected after 5; when beating, between units, no death is ever noticed
    assert.same({ "db 5 never never never 1 180.000 20.000 5.000 0.750000" },
      replayed(path, "scripts/policies/unit_deadline.lua", "limit=5"))
  end)

  it("takes each heart for itself, all its incarnations together, and then all hearts", function()
    local path = file(once_late .. beating("web", 2, { 0, 1, 2 }) .. beating("db", 3, { 50, 51, 52 }))
    local got = replayed(path, fixed, "limit=2")
    assert.same({
      "db 8 2.000 2.000 2.000 1 360.000 10.000 1.000 0.900000",
      "web 2 2.000 2.000 2.000 0 0.000 - - 1.000000",
      "(all) 10 2.000 2.000 2.000 1 300.000 12.000 1.000 0.916667",
    }, got)
    assert.same({ got[2] }, replayed(path, fixed, "limit=2", "--heart", "web"))
    local code, _, err = run("replay", path, fixed, "--heart", "mail")
    assert.equals(1, code)
    assert(err:find("no heart 'mail' was recorded, but 'db', 'web'", 1, true), err)
  end)

  it("counts the verdict that it is told to", function()
    local path = file(once_late)
    local ladder = "scripts/policies/ladder.lua"
    assert.same({ "db 6 2.000 2.000 2.000 1 450.000 8.000 1.000 0.875000" }, replayed(path, ladder))
    assert.same({ "db 6 1.000 1.000 1.000 1 450.000 8.000 1.000 0.875000" },
      replayed(path, ladder, "--verdict", "late"))
    assert.same({ "db 6 10.000 10.000 10.000 0 0.000 - - 1.000000" }, replayed(path, ladder, "--verdict", "dead"))
  end)

  it("leaves out a last line that is cut off, and says so", function()
    local path = file(once_late .. '{"t":19.0,"hea')
    local code, out, err = run("replay", path, fixed)
    assert.equals(0, code)
    assert.equals(1, #rows(out, "heart"))
    assert(err:find(path .. ":8: the last line is cut off", 1, true), err)
  end)

  it("fails with the line of what is no recorded beat", function()
    local open = '{"t":5,"heart":"db","id":1,"event":"open","interval":1}\n'
    local cases = {
      { "hello\n", ":1: no object at column 1" },
      { open .. '{"t":5,"heart":"db","id":1,"event":"boat"}\n', ':2: no event is named "boat"' },
      { open .. '{"t":4,"heart":"db","id":1,"event":"beat"}\n', ":2: time goes back for heart 'db' (id 1)" },
      { open .. '{"t":6,"heart":"db","id":2,"event":"beat"}\n', ":2: beat of heart 'db' (id 2), which is not open" },
      { open .. open, ":2: heart 'db' (id 1) opens for a second time" },
      { '{"t":5,"heart":"db","id":1,"event":"open"}\n', ":1: open without interval > 0" },
      { open .. '{"t":6,"heart":"db","id":1,"event":"park","state":"x"}\n', ":2: park without state" },
      { open .. '{"t":6,"heart":"db","id":1,"event":"unit"}\n', ":2: unit without unit" },
      { open .. '{"t":-1,"heart":"db","id":1,"event":"beat"}\n', ":2: no time t >= 0" },
      { open .. '{"t":6,"id":1,"event":"beat"}\n', ":2: no name of a heart" },
      { open .. '{"t":6,"heart":"db","event":"beat"}\n', ":2: no id" },
      { "", "no heart was recorded" },
    }
    for _, case in ipairs(cases) do
      local code, out, err = run("replay", file(case[1]), fixed)
      assert(err:find(case[2], 1, true), case[2] .. "\n" .. err)
      assert.same({ 1, "" }, { code, out })
    end
  end)

  it("is not used with wrong arguments", function()
    local path = file(once_late)
    local cases = {
      { {}, "no recorded beats" }, { { path }, "no policy" }, { { path, fixed, "x" }, 'what is "x"' },
      { { path, fixed, "--seep", "x=1" }, "no option is named --seep" },
      { { path, fixed, "--sweep" }, "--sweep needs a value" },
      { { path, fixed, "--sweep", "limit" }, "expected option=values" },
      { { path, fixed, "--sweep", "limit=3..1" }, "expected 1 to 1000 values, got 3..1" },
      { { path, fixed, "--sweep", "limit=1..3..0" }, "expected 1 to 1000 values" },
      { { path, fixed, "--sweep", "limit=1..1e9" }, "expected 1 to 1000 values" },
      { { path, fixed, "--sweep", "limit=a..b" }, 'expected a number, got "a"' },
    }
    for _, case in ipairs(cases) do
      local code, out, err = run("replay", table.unpack(case[1]))
      assert(err:find(case[2], 1, true), case[2] .. "\n" .. err)
      assert(err:find("usage: lubdub replay", 1, true))
      assert.same({ 2, "" }, { code, out })
    end
  end)

  it("fails when a file is not there", function()
    assert.equals(1, (run("replay", "/nonexistent", fixed)))
    assert.equals(1, (run("replay", file(once_late), "/nonexistent")))
  end)
end)

describe("check", function()
  local function checked(...)
    local code, out, err = run("check", ...)
    assert.equals("", err)
    assert.equals(0, code)
    local table_of = {}
    for _, row in ipairs(rows(out, "history")) do
      local name, rest = row:match "^(%a[%a ]-) (%d.*)$"
      table_of[name] = rest
    end
    return table_of, out
  end

  it("says what the policy would have said, and when, how often it asked and how often it was wrong", function()
    local of = checked(fixed)
    assert.equals("1000 500.000 1001 0 nothing", of.steady)
    assert.equals("0", of.jittery:match "^%d+ %S+ %d+ (%d+)")
    -- beats every 0.5 s; beat 499 at 249.5, the next 4 s later; asked at each sign of life, at the limit and beyond it
    assert.equals("1000 503.500 1003 1 dead at 250.500 after 1.000, alive at 253.500", of.pause)
    assert.equals("100 50.000 103 0 dead at 51.000 after 1.000", of.death)
    assert(of.idle:find "0 nothing$")
    assert(of["stuck unit"]:find "0 nothing$")
  end)

  it("counts a suspicion that no verdict takes back, but the next sign of life refutes", function()
    local of = checked(file 'return function() return function() return "dead" end end')
    assert.equals("1000 500.000 1001 1 dead at 0.000 after 0.000", of.steady)
    of = checked(file [[
      return function() return function(h) return h.beats > 3 and "dead" or "alive" end end]])
    assert(of.steady:find "^1000 500.000 %d+ 1 dead at 2.000 after 0.000$", of.steady)
  end)

  it("knows of units and of who waits", function()
    assert(checked("scripts/policies/unit_deadline.lua")["stuck unit"]:find "0 dead at [%d.]+ after 0.000$")
    assert(checked("scripts/policies/ladder.lua").blocked:find "1 late at 10.500 after 0.500, missed at 11.000")
  end)

  it("tries the policy of a group on a group", function()
    -- one of five dies every 5 s; the third beats last at 15 s, the fifth at 25 s, and has a limit of 1 s
    local of = checked "scripts/policies/quorum.lua"
    assert(of["group of five"]:find "dead at 16.500", of["group of five"])
    of = checked("scripts/policies/quorum.lua", "need=1")
    assert(of["group of five"]:find "dead at 26.500", of["group of five"])
  end)

  it("repeats itself for a seed", function()
    local bursty = checked(fixed, "--seed", "7").bursty
    assert.equals(bursty, checked(fixed, "--seed=7").bursty)
    assert.not_equals(bursty, checked(fixed, "--seed", "8").bursty)
    assert.equals("1000 2000.000 1001 0 nothing", checked(fixed, "--interval", "2").steady)
  end)

  it("takes recorded lives too", function()
    assert.equals("6 8.000 9 1 dead at 14.500 after 1.500, alive at 16.000",
      checked(fixed, file(once_late), "limit=1.5").db)
  end)

  it("accepts every policy there is", function()
    for name in io.popen("ls scripts/policies"):lines() do checked("scripts/policies/" .. name) end
  end)

  describe("fails a policy that", function()
    local cases = {
      ["raises"] = { "h.no.such()", "attempt to index a nil value", true },
      ["loops for ever"] = { "while true do end", "it ran for more than 1000000 instructions", true },
      ["loops for ever behind pcall"] = { "while true do pcall(function() while true do end end) end",
        "it ran for more than", true },
      ["takes all memory"] = { "local t = {} while true do t[#t + 1] = ('x'):rep(9999) .. #t end",
        "it took more than 16 MiB", true },
      ["takes all memory at once"] = { "x = ('x'):rep(1 << 25) return 'alive'", "it took more than 16 MiB" },
      ["yields"] = { "coroutine.yield()", "it yielded", true },
      ["has no verdict"] = { "return", "nonsense as the verdict: expected a name, got nil" },
      ["has a nameless verdict"] = { "return ''", 'the verdict: expected a name, got ""' },
      ["has no verdict but a number"] = { "return 1", "the verdict: expected a name, got 1" },
      ["wants to be asked in the past"] = { "return 'alive', -1", "ask again: expected seconds >= 0, got -1" },
      ["wants to be asked at no time"] = { "return 'alive', 0/0", "ask again: expected seconds >= 0, got -nan" },
      ["wants to be asked at a word"] = { "return 'alive', 'soon'", 'expected seconds >= 0, got "soon"' },
      ["wants to be asked all the time"] = { "return 'alive', 0", "asked again at once, 100 times in a row" },
      ["has a score that is none"] = { "return 'alive', 1, {}", "the score: expected a number, got table" },
    }
    for name, case in pairs(cases) do
      it(name, function()
        local path = file("return function() return function(h) " .. case[1] .. " end end")
        local code, out, err = run("check", path)
        assert(err:find(case[2], 1, true), err)
        assert.equals(case[3] or false, err:find("stack traceback", 1, true) ~= nil)
        assert.same({ 1, "" }, { code, out })
        assert.equals(1, (run("replay", file(once_late), path)))
      end)
    end

    it("is no script of a policy", function()
      local scripts = { ["return 5"] = "the script's result: expected a function, got number",
        ["return function() end"] = "what it makes of options: expected a function, got nil",
        ["return function() return print, 5 end"] = "what it wants: expected a table, got number",
        ["return function( "] = "<name> or '...' expected", ["error 'no'"] = ":1: no",
        ["while true do end"] = "it ran for more than" }
      for text, why in pairs(scripts) do
        local code, _, err = run("check", file(text))
        assert(err:find(why, 1, true), err)
        assert.equals(1, code)
      end
    end)

    it("refuses its options", function()
      local code, _, err = run("check", phi, "threshold=-1")
      assert.equals(1, code)
      assert(err:find("scripts/policies/phi.lua:%d+: policy 'phi': option 'threshold': expected a number > 0, got %-1"))
    end)
  end)

  it("is not used with wrong arguments", function()
    local cases = { { {}, "no policy" }, { { fixed, "--seed", "x" }, 'expected a number, got "x"' },
      { { fixed, "--seed", "1.5" }, "--seed: expected an integer" } }
    for _, bad in ipairs { "0", "-1", "3e8", "1e9" } do -- with the last two a life would not end in time
      cases[#cases + 1] = { { fixed, "--interval", bad }, "--interval: expected seconds above 0, at most 100000, got " }
    end
    for _, case in ipairs(cases) do
      local code, _, err = run("check", table.unpack(case[1]))
      assert(err:find(case[2], 1, true), err)
      assert(err:find("usage: lubdub check", 1, true))
      assert.equals(2, code)
    end
    assert.equals(0, (run("check", fixed, "--interval", "1e5")))
  end)
end)

describe("beats.parse", function()
  it("reads flat objects of strings, numbers, booleans and nulls", function()
    assert.same({}, beats.parse "{}")
    assert.same({ a = 1, b = -2.5e3, c = "x", d = true, e = false }, beats.parse
      ' { "a" : 1 , "b":-2.5E+3,"c":"x","d":true,"e":false, "f":null} ')
    assert.same({ ["k\n"] = '"\\/\b\f\n\r\té😀' }, beats.parse [[{"k\n":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}]])
  end)

  it("refuses everything else, and says where", function()
    for _, text in ipairs { "", "1", "[]", "{", "{]", '{"a"}', '{"a":}', '{"a":1', '{"a":1,}', '{,}', '{"a":1}x',
      '{"a":1 "b":2}', '{"a":[1]}', '{"a":{}}', '{"a":"x}', '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\ud83d"}',
      '{"a":"\\ude00"}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}', '{"a":1e}', '{"a":0x10}', '{"a":nan}',
      '{"a":tru}', '{"a":1,"a":2}', "{a:1}", '{"a":"\n"}', "{'a':1}" } do
      local object, why = beats.parse(text)
      assert(object == nil, text .. " was read")
      assert(why:find "at column %d+$", why)
    end
  end)
end)
