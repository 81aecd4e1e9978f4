local lub = require "lubdub"
local core = require "lubdub.simcore"
local fault = require "lubdub.fault"
local helper = require "spec.bindings.helper"

--- One run, which must be fine: what fn returns.
local function run(fn, opts)
  local out = core.run(fn, opts or { seed = 1 })
  assert(not out.why, out.why and ("%s: %s\n%s"):format(out.why, tostring(out.error), tostring(out.report)))
  return table.unpack(out.values, 1, out.values.n)
end

--- One run that must end like this, with an error of this text (or any).
local function fails(why, text, fn, opts)
  local out = core.run(fn, opts or { seed = 1 })
  assert.equals(why, out.why)
  local found = not text or tostring(out.error):find(text, 1, true)
  assert(found, ("expected: %s\ngot: %s"):format(text, out.error))
  return out
end

--- How often each of these points fires in a hundred askings, as text.
local function fired(names, p)
  local counts = {}
  for i, name in ipairs(names) do
    counts[i] = 0
    for _ = 1, 100 do counts[i] = counts[i] + (fault.point(name, p) and 1 or 0) end
  end
  return table.concat(counts, " ")
end

local letters = { "a", "b", "c", "d", "e", "f", "g", "h" }

-- A worker with a heart that is given to `body`; gives the worker, the heart, its verdicts.
local function ward(options, body)
  local out = lub.chan(1)
  local w = lub.spawn({ name = "ward" }, function(o, f, out_)
    local h = require "lubdub".heart(o)
    out_:send(h)
    return f(h)
  end, options, body, out)
  local h = out:recv()
  return w, h, h:verdicts()
end

--- Dead when its last beat, or the beginning of its unit, is more than a second ago.
local function since_beat(h)
  if h.progress_age > 1 then return "dead" end
  return "alive", 1 - h.progress_age
end

local function since_unit(h)
  if h.unit_age > 5 then return "dead" end
  return "alive", 5 - h.unit_age
end

local function beats(h) -- ten times, every 0.5 s
  for _ = 1, 10 do
    h:beat()
    require "lubdub".sleep(0.5)
  end
  return h:stats().beats
end

describe("a fault point", function()
  it("never fires outside a sim", function() assert.equals("0 0 0 0 0 0 0 0", fired(letters, 1)) end)

  it("is on in a quarter of the runs, at a rate of its own", function()
    local on, rates = 0, {}
    for seed = 1, 50 do
      local counts = run(function() return fired(letters, 1) end, { seed = seed })
      for n in counts:gmatch "%d+" do
        if n ~= "0" then
          on = on + 1
          rates[n] = true
        end
      end
    end
    assert(on > 60 and on < 140, on .. " of 400 were on")
    local n = 0
    for _ in pairs(rates) do n = n + 1 end
    assert(n > 20, "rates differ")
  end)

  it("fires no more often than it is asked to", function()
    for seed = 1, 20 do
      local counts = run(function() return fired(letters) end, { seed = seed })
      for n in counts:gmatch "%d+" do assert(tonumber(n) < 45, n) end
    end
  end)

  it("draws the same whatever the schedule and the other points", function()
    for seed = 1, 10 do
      local alone = run(function() return fired({ "store.write" }, 1) end, { seed = seed })
      local beside = run(function()
        lub.go(function() fired(letters, 1) end)
        lub.sleep(1)
        return fired({ "store.write" }, 1)
      end, { seed = seed, strategy = "sticky" })
      assert.equals(alone, beside)
    end
  end)

  it("is one point in all workers", function()
    for seed = 1, 20 do
      local here, there = run(function()
        local function ask()
          local f, n = require "lubdub.fault", 0
          for _ = 1, 100 do n = n + (f.point("shared", 1) and 1 or 0) end
          return n > 0
        end
        return ask(), (lub.spawn(ask):join())
      end, { seed = seed })
      assert.equals(here, there)
    end
  end)

  it("is a choice of the run, which replays under another seed", function()
    local function body() return fired(letters, 1) end
    local out
    for seed = 1, 20 do
      out = core.run(body, { seed = seed, choices = true })
      if out.values[1] ~= "0 0 0 0 0 0 0 0" then break end
    end
    local prefix = {}
    for i, c in ipairs(out.choices) do
      assert.same({ "fault", 2 }, { c.kind, c.n })
      prefix[i] = c.taken
    end
    assert.equals(800, #prefix)
    assert.equals(out.values[1], run(body, { seed = 4711, prefix = prefix }))
    assert.equals(out.values[1], run(body, { strategy = "first", prefix = prefix }))
    assert.equals("0 0 0 0 0 0 0 0", run(body, { strategy = "first" }))
  end)

  it("does not fire without faults, nor after heal", function()
    for seed = 1, 10 do
      for _, none in ipairs { false, 0 } do
        assert.equals("0 0 0 0 0 0 0 0", run(function() return fired(letters, 1) end, { seed = seed, faults = none }))
      end
      assert.equals("0 0 0 0 0 0 0 0", run(function()
        fault.heal()
        return fired(letters, 1)
      end, { seed = seed }))
    end
  end)

  it("is seen in the trace when it fires", function()
    for seed = 1, 20 do
      local out = core.run(function() return fired({ "disk" }, 1) end, { seed = seed, trace = true })
      local n = select(2, out.trace:gsub("\tfault 'disk'\t", ""))
      assert.equals(tonumber(out.values[1]), n)
    end
  end)

  it("wants a name and a probability", function()
    for _, bad in ipairs { 1, {}, true } do helper.refuses("fault", 1, bad, fault.point, bad) end
    for _, bad in ipairs { -0.1, 1.1, "x", helper.nan } do helper.refuses("fault", 2, bad, fault.point, "a", bad) end
    helper.refuses("fault", 3, 1, fault.point, "a", 1, 1)
  end)
end)

describe("beats", function()
  it("are dropped: the judge hears of none", function()
    local verdict, at, n = run(function()
      fault.drop_beats("db", 1)
      local w, _, verdicts = ward({ name = "db", interval = 0.5, policy = since_beat }, beats)
      local v = verdicts:recv(5)
      return v.verdict, v.time, (w:join())
    end)
    assert.equals("dead", verdict)
    assert(at > 1 and at <= 1.5, at)
    assert.equals(0, n)
  end)

  it("are dropped now and then: each loss is a choice", function()
    local out = core.run(function()
      local h = lub.heart { name = "db" }
      fault.drop_beats(h, 0.3)
      for _ = 1, 100 do assert.is_true(h:beat()) end
      return h:stats().beats
    end, { seed = 1, choices = true })
    local lost = 0
    for _, c in ipairs(out.choices) do lost = lost + (c.kind == "fault" and c.taken - 1 or 0) end
    assert.equals(100, out.values[1] + lost)
    assert(lost > 10 and lost < 60, lost)
  end)

  it("of other hearts are not", function()
    assert.equals(1, run(function()
      fault.drop_beats("other", 1)
      local h = lub.heart { name = "db" }
      h:beat()
      return h:stats().beats
    end))
  end)

  it("of a closed heart are refused nevertheless", function()
    run(function()
      local h = lub.heart { name = "db" }
      fault.drop_beats(h, 1)
      h:close()
      assert.same({ nil, "closed" }, { h:beat() })
      assert.same({ nil, "closed" }, { h:unit(1) })
    end)
  end)

  it("come late, with what they say, and do not move the clock alone", function()
    run(function()
      local h = lub.heart { name = "db" }
      fault.delay_beats(h, 3)
      h:unit "first"
      lub.sleep(1)
      h:beat { rows = 7 }
      lub.sleep(1.9)
      assert.same({ 0, 0 }, { h:stats().beats, h:stats().units })
      lub.sleep(0.2)
      assert.same({ 1, 1, "first" }, { h:stats().beats, h:stats().units, h:stats().unit })
      assert.is_nil(h:progress())
      lub.sleep(1)
      assert.equals(2, h:stats().beats)
      assert.same({ rows = 7 }, h:progress())
      h:beat()
    end) -- the last is under way for ever
  end)

  it("come more than once", function()
    run(function()
      local h = lub.heart { name = "db" }
      fault.duplicate_beats(h, 2)
      h:unit(1)
      h:beat "half"
      assert.same({ 6, 3, "half" }, { h:stats().beats, h:stats().units, h:progress() })
      fault.delay_beats(h, 1)
      h:beat()
      lub.sleep(2)
      assert.equals(9, h:stats().beats)
      fault.heal()
      h:beat()
      assert.equals(10, h:stats().beats)
    end)
  end)
end)

describe("a frozen worker", function()
  it("does nothing for so long; the others go on", function()
    local ended, others, n = run(function()
      local n = 0
      local w = lub.spawn(function()
        for _ = 1, 5 do require "lubdub".sleep(1) end
        return require "lubdub".now()
      end)
      local others = lub.spawn(function()
        for _ = 1, 5 do require "lubdub".sleep(1) end
        return require "lubdub".now()
      end)
      lub.sleep(2.5)
      assert.is_true(fault.freeze(w, 10))
      for _ = 1, 8 do
        lub.sleep(1)
        n = n + 1
      end
      return w:join(), others:join(), n
    end)
    assert.same({ 14.5, 5.0, 8 }, { ended, others, n })
  end)

  it("may be the one that asks: its siblings wait too", function()
    run(function()
      local woke
      local f = lub.go(function()
        lub.sleep(1)
        woke = lub.now()
      end)
      core.settle()
      assert.is_true(fault.freeze(nil, 10))
      assert.equals(10, lub.now())
      f:join()
      assert.equals(10, woke)
    end)
  end)

  it("stays frozen for the longest that was asked", function()
    assert.equals(20, run(function()
      local w = lub.spawn(function() require "lubdub".sleep(1) return require "lubdub".now() end)
      core.settle()
      fault.freeze(w, 20)
      fault.freeze(w, 5)
      return (w:join())
    end))
  end)

  it("starves, which is not its heart's fault", function()
    run(function()
      local w, h, verdicts = ward({ name = "db", interval = 0.5, limit = 1 }, function(h)
        require "lubdub".sleep(1)
        h:beat()
        return require "lubdub".now()
      end)
      fault.freeze(w, 10)
      lub.sleep(5)
      assert.equals("runnable", h:state())
      assert.same({ nil, "closed" }, { verdicts:recv() })
      assert.equals(10, (w:join()))
    end)
  end)

  it("thaws when all is healed, and at the end of the body", function()
    assert.equals(4, run(function()
      local w = lub.spawn(function() require "lubdub".sleep(1) return require "lubdub".now() end)
      core.settle()
      fault.freeze(w, 100)
      lub.sleep(4)
      fault.heal()
      return (w:join())
    end))
    run(function()
      local go = lub.chan(1)
      fault.freeze(lub.spawn(function(go_) go_:recv() end, go), 100)
      go:send(true)
    end)
  end)

  it("can be killed, once it thaws", function()
    assert.same({ "killed", 10 }, { run(function()
      local w = lub.spawn(function() require "lubdub".sleep(100) end)
      lub.sleep(1)
      fault.freeze(w, 9)
      w:kill()
      local _, why = w:join()
      return why, lub.now()
    end) })
  end)
end)

describe("a frozen judge", function()
  it("finds the dead late, and nobody dead who is not", function()
    run(function()
      local mute = lub.go(function()
        local h = lub.heart { name = "mute", interval = 0.5, policy = since_beat }
        local verdicts = h:verdicts()
        local v = verdicts:recv()
        h:close()
        return v.verdict, lub.now()
      end)
      local w, _, verdicts = ward({ name = "fine", interval = 0.5, policy = since_beat }, beats)
      assert.is_true(fault.freeze_judge(4))
      lub.sleep(3)
      assert.equals("idle", mute:state())
      local verdict, at = mute:join()
      assert.equals("dead", verdict)
      assert(at >= 4 and at < 5, at)
      w:join()
      assert.is_nil(verdicts:recv(0))
    end)
  end)
end)

describe("a clock that jumps", function()
  it("finds sleepers late, and ticks missed", function()
    run(function()
      local slept = lub.go(function()
        lub.sleep(2)
        return lub.now()
      end)
      local tick, n = lub.tick(1), 0
      lub.sleep(0.5)
      assert.is_true(fault.jump_clock(60))
      assert.equals(60.5, lub.now())
      assert.equals(60.5, slept:join())
      while tick:recv(0) do n = n + 1 end
      assert(n <= 1, n)
    end)
  end)

  it("is excused, as a machine that was suspended", function()
    local function jumped(jump)
      return function()
        local w, h, verdicts = ward({ name = "db", interval = 1, policy = since_unit }, function(h)
          h:unit "long"
          require "lubdub".sleep(4)
          h:rest()
        end)
        lub.sleep(1)
        jump(60)
        w:join()
        local v = verdicts:recv()
        local j = lub.judge()
        return v and v.verdict, j.stalls, j.stalled, math.floor(h:stats().excused)
      end
    end
    assert.same({ nil, 1, 60, 60 }, { run(jumped(fault.jump_clock)) })
    local verdict, stalls = run(function()
      local w, _, verdicts = ward({ name = "db", interval = 1, policy = since_unit }, function(h)
        h:unit "long"
        require "lubdub".sleep(100)
      end)
      lub.sleep(1)
      core.jump(60) -- not excused
      local v = verdicts:recv()
      w:kill()
      w:join()
      return v.verdict, lub.judge().stalls
    end)
    assert.same({ "dead", 0 }, { verdict, stalls })
  end)

  it("is not excused for less than the judge bears", function()
    assert.equals(0, run(function()
      lub.heart { name = "db" }
      fault.jump_clock(0.09)
      return lub.judge().stalls
    end))
  end)
end)

describe("a slow call", function()
  it("takes its time, and gives what the function gives", function()
    assert.same({ 1, nil, 3, 10 }, { run(function()
      local a, b, c = fault.slow_call(function() return 1, nil, 3 end, 10)
      return a, b, c, lub.now()
    end) })
    assert.equals(0, run(function() return select("#", fault.slow_call(function() end, 1)) end))
  end)

  it("keeps its worker from everything else, and no other", function()
    run(function()
      local woke
      local sibling = lub.go(function()
        lub.sleep(1)
        woke = lub.now()
      end)
      local other = lub.spawn(function()
        require "lubdub".sleep(1)
        return require "lubdub".now()
      end)
      core.settle()
      fault.slow_call(function() end, 10)
      sibling:join()
      assert.equals(10, woke)
      assert.equals(1, (other:join()))
    end)
  end)

  it("is silence: its heart is in C, and dies", function()
    run(function()
      local w, h, verdicts = ward({ name = "db", interval = 0.5, limit = 2 }, function(h)
        h:beat()
        return require "lubdub.fault".slow_call(function() return "late" end, 10)
      end)
      lub.sleep(1)
      assert.equals("in_c", h:state())
      local v = verdicts:recv()
      assert.same({ "dead", "in_c" }, { v.verdict, v.state })
      assert(v.time > 2 and v.time < 2.5, v.time)
      assert.equals("no traceback: it did not stop, so it is inside a C call", v.traceback)
      assert.equals("late", (w:join()))
    end)
  end)

  it("that is killed leaves a zombie", function()
    assert.same({ nil, "killed", "zombie", 1.01 }, { run(function()
      local w = lub.spawn(function() require "lubdub.fault".slow_call(function() end, 10) end)
      lub.sleep(1)
      w:kill()
      local a, why = w:join()
      local state, at = w:state(), lub.now()
      lub.sleep(20)
      assert.equals("dead", w:state())
      return a, why, state, at
    end) })
  end)

  it("passes errors on", function()
    fails("error", "boom", function() fault.slow_call(function() error "boom" end, 1) end)
  end)
end)

describe("an allocation", function()
  --- Makes n tables; how many there are.
  local function make(n)
    local all = {}
    for i = 1, n do all[i] = {} end
    return #all
  end

  it("fails, and the next does not", function()
    run(function()
      local ok, why = pcall(function()
        fault.alloc(20)
        make(100)
      end)
      assert.same({ false, "not enough memory" }, { ok, why })
      assert.equals(100, make(100))
    end)
  end)

  it("fails in a worker alone", function()
    local _, why = run(function()
      local w = lub.spawn(function()
        require "lubdub.fault".alloc(1)
        return { {} }
      end)
      make(100)
      return w:join()
    end)
    assert(why:find "not enough memory", why)
  end)

  it("of the judge is told with the verdict that it keeps from being told", function()
    local kept = 0
    for n = 1, 60 do -- from when the policy answers to when the death, with a traceback, is told
      local out = core.run(function()
        local armed
        lub.spawn(function(policy)
          require "lubdub".heart { name = "h", interval = 0.01, policy = policy }
          for _ = 1, 2e5 do end
        end, function(h)
          if h.age <= 0.05 then return "alive", 0.01 end
          armed = armed or require "lubdub.fault".alloc(n)
          return "dead"
        end):join()
      end, { seed = 1, compute = 1e6 })
      for verdict in out.log:gmatch "verdict '(.-)' was not told: not enough memory" do
        assert.equals("dead", verdict, n)
        kept = kept + 1
      end
    end
    assert.is_true(kept > 1)
  end)

  it("of the host's state does not fail after the sim", function()
    run(function() fault.alloc(20) end)
    make(100)
    run(function()
      fault.alloc(20)
      fault.heal()
      make(100)
    end)
  end)
end)

describe("eventually", function()
  it("waits in virtual time until it holds", function()
    run(function()
      local ready = false
      lub.after(7, function() ready = "yes" end)
      assert.equals("yes", fault.eventually(function() return ready end))
      assert(lub.now() >= 7 and lub.now() < 8.1, lub.now())
      fault.eventually(function() assert(lub.now() > 10, "too soon") end)
      assert(lub.now() > 10)
    end)
  end)

  it("tells what did not hold, for how long, and what it gave last", function()
    fails("error", "within 2 s (virtual): it gave nil", function()
      fault.eventually(function() return nil end, { within = 2 })
    end)
    local out = fails("error", "did not hold within 30 s (virtual): it raised ", function()
      fault.eventually(function() error "not yet" end)
    end)
    assert.equals(30, out.now)
    assert(out.error:find("not yet", 1, true))
    local function never() return false end
    out = fails("error", nil, function() fault.eventually(never, { within = 0 }) end)
    local at = debug.getinfo(never, "S")
    assert(out.error:find(("eventually: %s:%d did"):format(at.short_src, at.linedefined), 1, true), out.error)
  end)

  it("leaves a failed assertion one", function()
    local out = fails("error", nil, function()
      fault.eventually(function() assert.equals(1, 2) end, { within = 1 })
    end)
    assert.equals("table", type(out.error))
    assert(out.error.message:find("^eventually: .*Expected objects to be equal"), out.error.message)
  end)
end)

describe("always", function()
  it("ends the run when it does not come to an end itself", function()
    fails("error", "it ran for more than 100000000 instructions", function()
      fault.always(function() while true do pcall(function() while true do end end) end end)
      lub.sleep(1)
    end)
  end)

  it("may not wait, and leaves alone what the body waits for", function()
    local refused = 0
    run(function()
      local a, b = lub.chan(1), lub.chan(1)
      fault.always(function()
        for _, wait in ipairs { function() return lub.select(b, a, 0) end, function() return lub.prefer(a, b) end } do
          local ok, why = pcall(wait)
          if not ok and why:find "an invariant cannot wait" then refused = refused + 1 end
        end
        return true
      end)
      lub.go(function()
        lub.sleep(1)
        a:send("a")
        lub.sleep(1)
        b:send("b")
      end)
      assert.equals("a", select(2, lub.select(a, b, 10)))
      assert.equals("b", select(2, lub.select(a, b, 10)))
    end)
    assert(refused >= 4, tostring(refused))
  end)

  it("is checked before the clock moves", function()
    local out = fails("error", "at t=+3.000000000s (virtual): it gave false", function()
      fault.always(function() return lub.now() < 3 end)
      for _ = 1, 10 do lub.sleep(1) end
    end)
    assert.equals(3, out.now)
    assert(out.error:find "always: spec/bindings/fault_spec.lua:%d+ does not hold", out.error)
  end)

  it("may look at everything, and not wait", function()
    run(function()
      local ch, h = lub.chan(3), lub.heart { name = "db" }
      fault.always(function() return #ch <= 3 and h:stats().beats >= 0 and not ch:closed() end)
      fault.always(function() assert.equals("db", h:name()) end)
      for i = 1, 3 do
        ch:send(i)
        h:beat()
        lub.sleep(1)
      end
    end)
    for _, wait in ipairs { function() lub.sleep(1) end, function() lub.chan(1):send(1) end,
      function() fault.freeze(nil, 1) end, function() lub.go(print) end } do
      fails("error", "an invariant cannot wait", function()
        fault.always(wait)
        lub.sleep(1)
      end)
    end
    fails("error", "attempt to yield", function()
      fault.always(coroutine.yield)
      lub.sleep(1)
    end)
  end)

  it("holds in places where Lua cannot yield, too", function()
    fails("error", "it gave false", function()
      local wrong = false
      fault.always(function() return not wrong end)
      table.sort({ 1, 2, 3 }, function(a, b)
        wrong = true
        lub.sleep(1)
        return a < b
      end)
    end)
  end)

  it("ends with the body", function()
    run(function()
      local open = true
      fault.always(function() return open end)
      lub.sleep(1)
      open = false
    end)
    run(function() lub.sleep(1) end)
  end)

  it("leaves a failed assertion one", function()
    local out = fails("error", nil, function()
      fault.always(function() assert.equals(1, 2) end)
      lub.sleep(1)
    end)
    assert(out.error.message:find("^always: .*Expected objects to be equal"), tostring(out.error.message))
  end)

  it("belongs to the body's worker", function()
    local _, why = run(function()
      return lub.spawn(function() require "lubdub.fault".always(function() end) end):join()
    end)
    assert(why:find "always: only in the worker that runs the sim's body", why)
  end)
end)

describe("faults", function()
  local calls = {
    heal = { fault.heal },
    drop_beats = { fault.drop_beats, "db", 1 },
    delay_beats = { fault.delay_beats, "db", 1 },
    duplicate_beats = { fault.duplicate_beats, "db", 1 },
    freeze = { fault.freeze, nil, 1 },
    freeze_judge = { fault.freeze_judge, 1 },
    jump_clock = { fault.jump_clock, 1 },
    slow_call = { fault.slow_call, function() end, 1 },
    alloc = { fault.alloc, 1 },
    eventually = { fault.eventually, function() end },
    always = { fault.always, function() end },
  }

  it("are misuse outside a sim", function()
    for name, call in pairs(calls) do
      helper.raises(name .. ": not inside a sim", call[1], table.unpack(call, 2, 3))
    end
  end)

  it("are none in a run without them", function()
    run(function()
      local h = lub.heart { name = "db" }
      fault.drop_beats("db", 1)
      fault.delay_beats("db", 1)
      fault.duplicate_beats("db", 3)
      h:beat()
      assert.equals(1, h:stats().beats)
      for _, name in ipairs { "freeze", "freeze_judge", "jump_clock", "alloc" } do
        assert.is_false(calls[name][1](table.unpack(calls[name], 2, 3)))
      end
      assert.equals("x", fault.slow_call(function() return "x" end, 5))
      assert.equals(0, lub.now())
    end, { faults = false })
  end)

  it("refuse what they cannot do", function()
    run(function()
      local f = fault
      for _, bad in ipairs { 1, {}, true, lub.chan() } do
        helper.refuses("drop_beats", 1, bad, f.drop_beats, bad, 1)
        helper.refuses("delay_beats", 1, bad, f.delay_beats, bad, 1)
        helper.refuses("duplicate_beats", 1, bad, f.duplicate_beats, bad, 1)
        helper.refuses("freeze", 1, bad, f.freeze, bad, 1)
      end
      for _, bad in ipairs { -1, 2, "1", helper.nan } do
        helper.refuses("drop_beats", 2, bad, f.drop_beats, "db", bad)
      end
      for _, bad in ipairs { -1, math.huge, "1", helper.nan } do
        helper.refuses("delay_beats", 2, bad, f.delay_beats, "db", bad)
        helper.refuses("freeze", 2, bad, f.freeze, nil, bad)
        helper.refuses("freeze_judge", 1, bad, f.freeze_judge, bad)
        helper.refuses("jump_clock", 1, bad, f.jump_clock, bad)
        helper.refuses("slow_call", 2, bad, f.slow_call, print, bad)
      end
      for _, bad in ipairs { -1, 1.5, 1001, "1" } do
        helper.refuses("duplicate_beats", 2, bad, f.duplicate_beats, "db", bad)
      end
      for _, bad in ipairs { 0, -1, 1.5, "1" } do helper.refuses("alloc", 1, bad, f.alloc, bad) end
      for _, bad in ipairs { 1, "x", {} } do
        helper.refuses("slow_call", 1, bad, f.slow_call, bad, 1)
        helper.raises("eventually: argument 1: expected a function", f.eventually, bad)
        helper.raises("always: argument 1: expected a function", f.always, bad)
      end
      helper.raises("eventually: option 'within': expected a number >= 0", f.eventually, print, { within = -1 })
      helper.raises("slow_call: not where Lua cannot yield", table.sort, { 1, 2 }, function()
        f.slow_call(function() end, 1)
      end)
    end)
  end)

  it("put a run through all of them, the same twice", function()
    local function body()
      fault.drop_beats("db", 0.3)
      fault.delay_beats("db", 0.2)
      local w, _, verdicts = ward({ name = "db", interval = 0.5, policy = since_beat }, beats)
      for _ = 1, 5 do
        lub.sleep(0.7)
        if fault.point("freeze", 1) then fault.freeze(w, 2) end
        if fault.point("suspend", 1) then fault.jump_clock(5) end
        if fault.point("judge", 1) then fault.freeze_judge(1) end
      end
      fault.heal()
      fault.eventually(function() return w:state() == "dead" end)
      local n = 0
      for _ in verdicts do n = n + 1 end
      return n
    end
    local seen = {}
    for seed = 1, 20 do
      local one, two = core.run(body, { seed = seed, trace = true }), core.run(body, { seed = seed, trace = true })
      assert.is_nil(one.why, tostring(one.error) .. tostring(one.report))
      assert.same({ one.hash, one.trace, one.values, one.now }, { two.hash, two.trace, two.values, two.now })
      seen[one.now] = true
    end
    local n = 0
    for _ in pairs(seen) do n = n + 1 end
    assert(n > 5, n)
  end)
end)
