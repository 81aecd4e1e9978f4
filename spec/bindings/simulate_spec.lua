-- `lubdub sim` from outside: a script in virtual time, its exit codes, the tokens of runs, its trace.
local helper = require "spec.bindings.helper"
local json = require "dkjson"

local shell = helper.shell

--- Runs the command on a script with this text; options go before it, arguments behind it.
local function sim(text, options, args)
  local path = helper.file(text)
  local code, out, err = helper.run(("sim %s %s %s"):format(options or "", path, args or ""))
  os.remove(path)
  return code, out, err, path
end

local LOST = [[
  local lub = require "lubdub"
  local account, balance = lub.chan(1), 0
  local function pay()
    local before = balance
    account:send(1)
    account:recv()
    balance = before + 1
  end
  local a, b = lub.go(pay), lub.go(pay)
  a:join() b:join()
  print("balance", balance)
  assert(balance == 2, "a payment is lost")
]]

describe("lubdub sim", function()
  it("runs an hour in no time, and prints what real time would", function()
    local began = os.time()
    local code, out, err = helper.run "sim scripts/examples/interval.lua 3600"
    assert.is_true(os.time() - began < 10)
    assert.equals("", err)
    assert.equals(0, code)
    local results = select(2, out:gsub("results %d%d\n", ""))
    assert.is_true(results == 4 or results == 5) -- the fifth is due when all ends
    local _, unhealthy = helper.run "sim scripts/examples/unhealthy.lua"
    assert.equals("pulse\npulse\nworker goroutine is not healthy!\n", unhealthy)
  end)

  it("does the same each time, and something else with another seed", function()
    local seen = {}
    for seed = 1, 8 do
      local _, out = sim(LOST, "--seed " .. seed)
      local _, again = sim(LOST, "--seed " .. seed)
      assert.equals(out, again)
      seen[out] = true
    end
    assert.is_not_nil(next(seen, next(seen)))
  end)

  -- Who drove others inside a comparator lost its way back when one of these was asked something.
  it("lets go of workers that are killed where Lua cannot yield, whenever that is", function()
    for _, at in ipairs { 0.2, 0.25, 0.3, 0.35 } do
      local code, out, err = sim([[
        local lub = require "lubdub"
        local function work(first)
          lub.sleep(first)
          for _ = 1, 9 do
            table.sort({ 3, 1, 2 }, function(x, y) lub.sleep(0.1) return x < y end)
            lub.sleep(0.2)
          end
        end
        local a, b = lub.spawn(work, 0), lub.spawn(work, 0.2)
        lub.sleep(tonumber(arg[1]))
        a:kill()
        b:kill()
        a:join()
        b:join()
        lub.sleep(1)
        print(a:state(), b:state())]], "", at)
      assert.same({ 0, "dead\tdead\n", "" }, { code, out, err })
    end
  end)

  it("hands the arguments to arg and to ...", function()
    local code, out, _, path = sim("print(arg[0], ...)", "", "a 'b c' --seed")
    assert.equals(0, code)
    assert.equals(path .. "\ta\tb c\t--seed\n", out)
    _, out = shell(("echo 'print(arg[0], ...)' | %s sim - x"):format(helper.command))
    assert.equals("-\tx\n", out)
  end)

  it("has the exit codes of run", function()
    local code, _, err = sim "error 'boom'"
    assert.equals(1, code)
    assert.matches(":1: boom\nstack traceback:", err)
    code, _, err = sim "local lub = require 'lubdub' lub.spawn(function() error 'unheard' end) lub.sleep(10)"
    assert.equals(1, code)
    assert.matches("unheard", err)
    code, _, err = sim "local lub = require 'lubdub' lub.chan(0, 'nobody'):recv()"
    assert.equals(4, code)
    assert.matches("deadlock.*recv on 'nobody' for 0.000 s", err)
    code, _, err = sim "local lub = require 'lubdub' lub.heart { name = 'h', startup = 1 } lub.sleep(5) print 'no'"
    assert.equals(3, code)
    assert.matches("heart 'h' died", err)
    assert.equals(7, (sim "os.exit(7)"))
    code, _, err = sim "x ="
    assert.equals(1, code)
    assert.matches("unexpected symbol", err)
  end)

  it("ends with its main function, whatever others do", function()
    local code, out, err = sim [[
      local lub = require "lubdub"
      lub.go(function() lub.sleep(1000) end)
      local w = lub.spawn(function() for _ in require "lubdub".tick(1) do end end)
      lub.sleep(3)
      print(w:state())
    ]]
    assert.equals("", err)
    assert.equals("idle\n", out)
    assert.equals(0, code)
  end)

  it("settles and passes as in lub.sim", function()
    local code, out = sim [[
      local lub, sim = require "lubdub", require "lubdub.sim"
      local n = 0
      lub.go(function() for _ in lub.tick(1) do n = n + 1 end end)
      sim.pass(3)
      print(n, lub.now())
    ]]
    assert.equals(0, code)
    assert.equals("3\t3.0\n", out)
  end)

  it("ends a script that runs on for ever", function()
    local code, _, err = sim("local lub = require 'lubdub' while true do lub.sleep(60) end", "--time 3600")
    assert.equals(124, code)
    assert.matches("still runs after 3600 s.*sleeps", err)
  end)

  it("stops at SIGINT", function()
    local path = helper.file [[
      local lub = require "lubdub"
      local _ <close> = setmetatable({}, { __close = function() print "closed" end })
      io.popen("kill -INT " .. io.open "/proc/self/stat":read "n"):close()
      while true do
        local ok, why = lub.sleep(1)
        if not ok then print(why) break end
      end
    ]]
    local code, out = helper.run("sim " .. path)
    os.remove(path)
    assert.equals(130, code)
    assert.equals("cancelled\nclosed\n", out)
  end)

  it("preempts who computes, at the same instruction each time", function()
    local text = [[
      local lub = require "lubdub"
      local n = 0
      lub.go(function() while true do n = n + 1 end end)
      lub.go(function() while true do pcall(function() while true do n = n + 1 end end) end end)
      lub.spawn(function() while true do end end)
      local w = lub.spawn(function() while true do pcall(function() while true do end end) end end)
      for _ = 1, 3 do lub.sleep(0.1) end
      w:kill()
      print(lub.now(), n, w:join())
    ]]
    local code, out, err = sim(text, "--seed 3")
    assert.equals("", err)
    assert.equals(0, code)
    assert.matches("^0%.%d+\t%d+\tnil\tkilled\n$", out)
    local _, again = sim(text, "--seed 3")
    assert.equals(out, again)
  end)

  -- Inside a comparator and the like it looked at no signal.
  it("kills who does not heed SIGINT", function()
    for _, text in ipairs {
      "while true do pcall(loop) end",
      "table.sort({ 1, 2 }, function() while true do pcall(loop) end end)",
      "print(setmetatable({}, { __tostring = loop }))",
      "setmetatable({}, { __gc = loop }) collectgarbage()",
    } do
      local path = helper.file([[
        local function loop() while true do end end
        io.popen("kill -INT " .. io.open "/proc/self/stat":read "n"):close()
      ]] .. text)
      local code = shell(("timeout -s KILL 100 %s sim %s"):format(helper.command, path))
      os.remove(path)
      assert.equals(130, code, text)
    end
  end)

  it("ends a script that computes for too long where Lua cannot yield", function()
    local code, _, err = sim("table.sort({ 1, 2 }, function() while true do end end)", "--time 1")
    assert.equals(124, code)
    assert.matches("still runs after 1 s", err)
  end)

  it("heals a stuck ward", function()
    local code, out, err = helper.run "sim scripts/examples/heal_stuck.lua"
    assert.equals("", err)
    assert.equals(0, code)
    assert.matches("result%s+4\n.*dead: silent for.*heal_stuck.lua:13.*result%s+9\n.*result%s+25\n", out)
  end)

  it("runs the other examples", function()
    for _, name in ipairs { "generators", "pulses", "phi_against_fixed", "resumable_copy", "stuck_in_c" } do
      local code, out, err = helper.run(("sim scripts/examples/%s.lua"):format(name))
      assert.equals("", err)
      assert.equals(0, code, name)
      assert.is_true(#out > 50)
    end
  end)

  it("refuses what makes no sense", function()
    local cases = {
      [""] = "no script is named", ["--what x.lua"] = "unknown option '--what'", ["--seed x x.lua"] = "a whole number",
      ["--seed 9223372036854775808 x.lua"] = "from 0 to 2^63-1, got '9223372036854775808'",
      ["--seed"] = "a value is missing", ["--runs 0 x.lua"] = "a whole number from 1 to 2^63-1",
      ["--time -1 x.lua"] = "seconds above 0", ["--replay lub2:x x.lua"] = "a token",
      ["--runs 2 --trace t.json x.lua"] = "of one run", ["--runs 2 -"] = "can be read but once",
      ["--seed 1 --replay lub1:random:1:1:00000 x.lua"] = "the token says the seed",
    }
    for args, expected in pairs(cases) do
      local code, out, err = helper.run("sim " .. args)
      assert.equals(2, code, args)
      assert.equals("", out)
      assert.is_truthy(err:find(expected, 1, true), err)
      assert.matches("usage:", err)
    end
    local code, _, err = helper.run "sim no/such.lua"
    assert.equals(1, code)
    assert.matches("no/such.lua", err)
  end)
end)

describe("lubdub sim --runs", function()
  it("says nothing but the sum when all is well", function()
    local code, out, err = sim("print 'hello'", "--runs 5")
    assert.equals(0, code)
    assert.equals("", out)
    assert.equals("lubdub: 0 of 5 runs failed\n", err)
  end)

  it("finds a lost update, and tokens that replay it", function()
    local path = helper.file(LOST)
    local code, out, err = helper.run("sim --runs 30 " .. path .. " a 'b c'")
    assert.equals(1, code)
    assert.matches("^balance\t1\n", out)
    local again, failed = err:match "to run it again: lubdub (sim [^\n]+)", err:match "(%d+) of 30 runs failed"
    assert.is_true(tonumber(failed) > 0 and tonumber(failed) < 30)
    assert.matches(" a 'b c'$", again)
    for _ = 1, 2 do
      code, out, err = helper.run(again)
      assert.equals(1, code)
      assert.equals("balance\t1\n", out)
      assert.matches("a payment is lost", err)
      assert.is_nil(err:find("diverged", 1, true))
    end
    os.remove(path)
    local other = helper.file((LOST:gsub("account:recv%(%)", "account:recv() lub.yield()")))
    local otherwise, _, why = helper.run((again:gsub(path:gsub("%p", "%%%0"), other)))
    os.remove(other)
    assert.equals(1, otherwise)
    assert.matches("replay diverged .*choice %d+", why)
  end)

  it("shows a script that exits, or kills its process", function()
    local code, _, err = sim("print 'here' os.exit(9)", "--runs 2")
    assert.equals(9, code)
    assert.matches("run 2 of 2 %(random, seed 1%) ended with 9", err)
    assert.matches("2 of 2 runs failed", err)
    code, _, err = sim("io.popen('kill -KILL ' .. io.open'/proc/self/stat':read'n'):close()", "--runs 1 --seed 1")
    assert.equals(137, code, err)
  end)

  it("notices a script whose runs differ though the seed is the same", function()
    local mark = os.tmpname()
    local code, _, err = sim(([[
      local lub = require "lubdub"
      local f = io.open(%q, "r+")
      local n = f:read "n" or 0
      f:seek "set"
      f:write(n + 1)
      f:close()
      for _ = 1, n %% 2 + 2 do lub.go(function() lub.yield() end) end
      lub.sleep(1)
    ]]):format(mark), "--runs 2")
    os.remove(mark)
    assert.equals(1, code)
    assert.matches("nondeterminism: two runs with one seed differ at choice %d+", err)
  end)
end)

-- ---- the trace: Chrome's documented format ----

local REQUIRED = { -- of each phase, beside ph and pid
  M = { name = "string", args = "table" },
  X = { name = "string", cat = "string", ts = "number", dur = "number", tid = "number" },
  b = { name = "string", cat = "string", ts = "number", id = "string", tid = "number" },
  e = { name = "string", cat = "string", ts = "number", id = "string", tid = "number" },
  n = { name = "string", cat = "string", ts = "number", id = "string", tid = "number" },
  i = { name = "string", ts = "number", s = "string", tid = "number" },
}

local function check_fields(e)
  local required = assert(REQUIRED[e.ph], "an unknown phase: " .. tostring(e.ph))
  assert(math.type(e.pid) == "integer", "no pid")
  for name, kind in pairs(required) do
    assert(type(e[name]) == kind, ("%s of %s is %s"):format(name, e.ph, type(e[name])))
  end
  if e.ph == "i" then assert(("gpt"):find(e.s, 1, true)) end
end

--- Slices of one thread are disjoint or one is inside the other.
local function check_slices(events)
  local open = {}
  for _, e in ipairs(events) do
    if e.ph == "X" then
      assert(e.dur > 0)
      local stack = open[e.tid] or {}
      open[e.tid] = stack
      while stack[1] and stack[#stack] <= e.ts do stack[#stack] = nil end
      assert(not stack[1] or e.ts + e.dur <= stack[#stack], "slices overlap")
      stack[#stack + 1] = e.ts + e.dur
    end
  end
end

local function check_pairs(events)
  local open = {}
  for _, e in ipairs(events) do
    local key = e.cat and e.id and e.cat .. " " .. e.id
    if e.ph == "b" then
      assert(not open[key], "begun twice: " .. key)
      open[key] = e.name
    elseif e.ph == "n" then
      assert(open[key], "an instant of nothing: " .. key)
    elseif e.ph == "e" then
      assert(open[key] == e.name, "ended, but not begun: " .. key)
      open[key] = nil
    end
  end
  assert(not next(open), "not ended: " .. tostring(next(open)))
end

local function check_order(events)
  local last, named = 0, {}
  for _, e in ipairs(events) do
    assert(e.ts >= last, "not in order")
    last = e.ts
    if e.ph == "M" and e.name == "thread_name" then named[e.tid] = e.args.name end
    assert(named[e.tid] or e.ph == "M", "a thread without a name")
  end
  return named
end

--- The trace of a run, checked; its events by phase, and the names of its threads.
local function traced(args)
  local path = os.tmpname()
  local code, _, err = helper.run(("sim --trace %s %s"):format(path, args))
  local text = helper.read(path)
  os.remove(path)
  local trace, _, why = json.decode(text)
  assert(trace, why)
  assert.equals("ms", trace.displayTimeUnit)
  local events, by = trace.traceEvents, {}
  for _, e in ipairs(events) do
    check_fields(e)
    by[e.ph] = by[e.ph] or {}
    table.insert(by[e.ph], e)
  end
  check_slices(events)
  check_pairs(events)
  return by, check_order(events), code, err
end

local function traced_text(text)
  local path = helper.file(text)
  local by, named, code, err = traced(path)
  os.remove(path)
  return by, named, code, err
end

local function names(events)
  local found = {}
  for _, e in ipairs(events or {}) do found[e.name] = (found[e.name] or 0) + 1 end
  return found
end

describe("lubdub sim --trace", function()
  it("shows turns, waits and workers", function()
    local by, named, code = traced_text [[
      local lub = require "lubdub"
      local ch = lub.chan(0, "work \"\\\n")
      local w = lub.spawn({ name = "other" }, function(ch)
        for i = 1, 3 do require "lubdub".sleep(1) ch:send(i) end
        ch:close()
      end, ch)
      for _ in ch do end
      w:join()
      table.sort({ 1, 2, 3 }, function(a, b) lub.sleep(0.5) return a < b end)
    ]]
    assert.equals(0, code)
    local threads = {}
    for _, name in pairs(named) do threads[name] = true end
    assert.same({ main = true, other = true, hearts = true }, threads)
    assert.is_true(names(by.X).P >= 4 and names(by.X)["P.1"] >= 4)
    local waits = names(by.b)
    assert.equals(3, waits["P.1: sleep"])
    assert.is_truthy(next(waits, nil))
    local last = by.X[#by.X]
    assert.is_true(last.ts >= 4e6 and last.args.time >= 4) -- 3 s and two comparisons or more
  end)

  it("shows hearts, beats and verdicts", function()
    local by, _, code = traced_text [[
      local lub = require "lubdub"
      local heart = lub.heart { name = "pump", interval = 1 }
      local verdicts = heart:verdicts()
      for i = 1, 3 do lub.sleep(1) heart:beat() end
      heart:fail "on purpose"
      print(verdicts:recv().verdict)
      heart:close()
      lub.heart { name = "left open" }
    ]]
    assert.equals(0, code)
    assert.equals(1, names(by.b).pump)
    assert.equals(1, names(by.b)["left open"])
    assert.equals(3, names(by.n).beat)
    assert.equals(1, names(by.i)["pump: dead"])
    assert.is_true(by.i[1].ts >= 3e6 and by.i[1].ts < 3.001e6)
  end)

  it("is whole for every end of a script", function()
    for text, expected in pairs {
      ["os.exit(3)"] = 3, ["error 'x'"] = 1, [""] = 0, ["require 'lubdub'.chan():recv()"] = 4,
      ["local lub = require 'lubdub' lub.go(function() lub.sleep(9) end) lub.sleep(1)"] = 0,
    } do
      local by, _, code = traced_text(text)
      assert.equals(expected, code, text)
      assert.is_truthy(by.X, text)
    end
  end)

  it("is told when it cannot be written", function()
    local path = helper.file "print 'runs'"
    local code, out, err = helper.run("sim --trace /no/such/t.json " .. path)
    assert.equals(1, code)
    assert.equals("", out)
    assert.matches("/no/such/t.json: No such file", err)
    if io.open "/dev/full" then
      code, out, err = helper.run("sim --trace /dev/full " .. path)
      assert.equals(1, code)
      assert.equals("runs\n", out)
      assert.matches("cannot write the trace", err)
    end
    os.remove(path)
  end)

  it("takes the examples with their stewards", function()
    for _, name in ipairs { "failing_ward", "nested_stewards", "supervisor_tree" } do
      local by, named, code, err = traced("scripts/examples/" .. name .. ".lua")
      assert.equals(0, code, err)
      assert.is_true(#by.X > 50)
      local found = {}
      for _, thread in pairs(named) do found[thread] = true end
      assert.is_true(found.judge and found.main)
    end
  end)
end)
