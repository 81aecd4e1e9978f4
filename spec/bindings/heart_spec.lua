local lub = require "lubdub"
local fault = require "lubdub.fault"
local helper = require "spec.bindings.helper"

-- In virtual time, in which loops compute; who computes is looked at every 10 ms.
local it_sims = helper.in_sim(it, { compute = 1e6 })
local SLICE = 0.01

-- A worker with a heart; `body(h, go)` runs in it, with the heart and a channel to wait on. Gives the worker, its
-- heart, the channel and the verdicts.
local function ward(options, body)
  local out, go = lub.chan(1), lub.chan()
  local w = lub.spawn({ name = "ward" }, function(o, f, out_, go_)
    local h = require "lubdub".heart(o)
    out_:send(h)
    go_:recv()
    return f(h, go_)
  end, options, body, out, go)
  local h = out:recv()
  local verdicts = h:verdicts()
  return w, h, go, verdicts
end

local function stuck() while true do end end

describe("a heart", function()
  it_sims("tells what its fiber does", function()
    local w, h, go = ward({ name = "db", interval = 0.02 }, function(h, go)
      h:beat()
      go:recv()
      return h:state()
    end)
    lub.settle()
    assert.equals("idle", h:state())
    assert.equals("heart 'db' (idle, alive)", tostring(h))
    go:send(true)
    go:send(true)
    assert.equals("busy", w:join())
    assert.equals("dead", h:state())
    assert.same({ nil, "closed" }, { h:beat() })
    assert.same({ nil, "closed" }, { h:unit() })
    assert.same({ nil, "closed" }, { h:close() })
  end)

  it_sims("ends with a to-be-closed variable", function()
    local kept
    do
      local h <close> = lub.heart { name = "brief" }
      kept = h
      assert.equals("alive", h:stats().verdict)
    end
    assert.same({ nil, "closed" }, { kept:beat() })
    lub.heart { name = "next" }:close()
  end)

  -- Preempted at each look, it was said to wait for a CPU, and a policy that spares such never found it.
  it_sims("computes, in a sim too, until it is looked at", function()
    local w, _, go, verdicts = ward({ name = "hog", interval = 0.02, policy = function(s)
      if s.state == "runnable" then return "alive", 0.02 end
      return s.age > 0.1 and "dead" or "alive", 0.02
    end }, stuck)
    go:send(true)
    local v = verdicts:recv()
    assert.same({ "dead", "busy" }, { v.verdict, v.state })
    w:kill()
  end)

  it_sims("begins a unit at the very beginning of a sim, where the clock is 0", function()
    local h = lub.heart { name = "db" }
    h:unit "first"
    lub.sleep(2)
    assert.equals("first", h:stats().unit)
    assert.near(2, h:stats().unit_age, 1e-6)
  end)

  it("does not keep a sim from its deadlock", function()
    for _, startup in ipairs { false, 3 } do
      local out = require "lubdub.simcore".run(function()
        local verdicts = lub.heart { name = "db", interval = 0.1, startup = startup or nil }:verdicts()
        if startup then assert.equals("dead", verdicts:recv().verdict) end
        verdicts:recv()
      end, { seed = 1 })
      assert.equals("deadlock", out.why)
      assert.near(startup or 0, out.now, 1e-3)
    end
  end)

  it("may have a policy that another sim, or none, has asked", function()
    local function policy() return "ill" end
    for _ = 1, 3 do
      local out = require "lubdub.simcore".run(function()
        local verdicts = lub.heart { name = "db", interval = 0.1, policy = policy }:verdicts()
        return verdicts:recv(1).verdict
      end, { seed = 1 })
      assert.is_nil(out.why, out.report)
      assert.same({ "ill", "" }, { out.values[1], out.log })
      collectgarbage()
    end
    local h = lub.heart { name = "db", interval = 0.01, policy = policy }
    assert.equals("ill", h:verdicts():recv(5).verdict)
    h:close()
  end)

  it_sims("is judged beside one whose policy answers with what cannot be told", function()
    local function answer(kind)
      return function()
        local odd = setmetatable({}, { __tostring = function() while kind == "loop" do end error "odd" end })
        return "alive", odd
      end
    end
    for _, kind in ipairs { "loop", "error" } do
      local odd = lub.heart { name = "odd", interval = 0.01, policy = answer(kind) }
      local w, _, go, verdicts = ward({ name = "ward", interval = 0.01, limit = 0.05 }, stuck)
      go:send(true)
      assert.equals("dead", verdicts:recv(1).verdict)
      w:kill()
      odd:close()
    end
  end)

  it_sims("shows its members to the policy of their group while that is asked", function()
    local member, kept = lub.heart { name = "member", interval = 60 }, nil
    local group = lub.heart { name = "group", interval = 0.01, members = { member }, policy = function(h)
      kept = kept or h.members[1]
      local ok, name = pcall(function() return kept.name end)
      return ok and name or name:match "valid" and "gone" or "odd"
    end }
    local verdicts = group:verdicts()
    assert.equals("member", verdicts:recv(1).verdict)
    assert.equals("gone", verdicts:recv(1).verdict)
    group:close()
    member:close()
  end)

  it("wakes who waits, if its policy wants to be asked: else there is a deadlock", function()
    local function run(policy, unit)
      return require "lubdub.simcore".run(function()
        local w = lub.spawn(function(p, u)
          local h = lub.heart { name = "w", interval = 0.1, policy = p }
          local verdicts, letters = h:verdicts(), lub.chan()
          if u then h:unit(1) end
          lub.go(function() return verdicts:recv() end)
          letters:send(1)
        end, policy, unit)
        w:join()
      end, { seed = 1 }).why
    end
    assert.equals("deadlock", run(nil, true))
    local out = require "lubdub.simcore".run(function()
      local h = lub.heart { name = "w", interval = 1, policy = function(h)
        if h.state_age > 0.3 then return "dead" end
        return "alive", 0.1
      end }
      local verdicts, told = h:verdicts(), nil
      local letters = lub.chan()
      lub.go(function()
        told = verdicts:recv().verdict
        letters:recv()
      end)
      letters:send(1)
      return told
    end, { seed = 1 })
    assert.is_nil(out.why, out.report)
    assert.equals("dead", out.values[1])
  end)

  it_sims("counts beats and units, and the intervals between beats", function()
    local h = lub.heart { name = "counts", window = 4 }
    lub.sleep(1)
    for i = 1, 5 do
      assert.is_true(h:unit(i))
      assert.equals(i, h:stats().unit)
      lub.sleep(i)
      assert.is_true(h:beat())
    end
    assert.is_true(h:rest())
    local s = h:stats()
    assert.equals(11, s.beats)
    assert.equals(5, s.units)
    assert.is_nil(s.unit)
    assert.same({ 7.0, 11.0, 11.0, 16.0, 16.0 }, s.last)
    assert.same({ 4, 0.0, 5.0 }, { s.samples, s.min, s.max })
    assert.same({ 2.25, 3.0, 5.0 }, { s.mean, s.mean_unit, s.max_unit }) -- of 4 s, 0, 5 s, 0
    h:close()
  end)

  it_sims("keeps the latest progress, also when one cannot cross", function()
    local out = lub.chan(1)
    local w = lub.spawn(function(o)
      local h = require "lubdub".heart { name = "p" }
      o:send(h)
      h:beat { at = 1 }
      h:beat { at = 2, list = { 1, 2 } }
      h:beat()
      return h:beat(coroutine.create(print)), h:stats().lost, h:stats().beats
    end, out)
    local h = out:recv()
    assert.same({ true, 1, 4 }, { w:join() })
    assert.same({ at = 2, list = { 1, 2 } }, h:progress())
  end)

  it_sims("gives pulses: what it does, and, while it waits, the engine's", function()
    local w, h, go = ward({ name = "p", interval = 0.005 }, function(h, go)
      h:unit(7)
      go:recv()
      h:rest()
    end)
    local pulses = h:pulses()
    assert.same({ "idle recv", 0.005 }, { pulses:recv(1), lub.now() })
    go:send(true)
    lub.settle()
    assert.equals("unit 7", pulses:recv())
    lub.pass(0.02)
    assert.equals("idle recv", pulses:recv())
    assert.equals(5, h:stats().pulses)
    go:send(true)
    assert.is_nil((w:join()))
    assert.equals("rest", pulses:recv())
    assert.same({ nil, "closed" }, { pulses:recv() })
  end)

  it_sims("is known again when it comes back, also inside a table, also from another worker", function()
    lub.go(function()
      local h, ch = lub.heart(), lub.chan(1)
      ch:send { h }
      assert.is_true(ch:recv()[1] == h)
      lub.spawn(function(out, mine) out:send(mine) end, ch, h)
      assert.is_true(ch:recv() == h)
    end):join()
  end)

  it_sims("is one for a fiber, and ends with it", function()
    local f = lub.go(function()
      local h = lub.heart { name = "one" }
      local ok, why = pcall(lub.heart, { name = "two" })
      assert.is_false(ok)
      assert.matches("heart: this fiber has a heart already %('one'%)", why)
      h:close()
      lub.heart { name = "three" }
      return h
    end)
    assert.equals("dead", f:join():state())
  end)

  it("refuses what makes no sense, and says what", function()
    local function refused(text, options)
      local ok, why = pcall(lub.heart, options)
      assert.is_false(ok)
      assert.matches(text, why, 1, true)
    end
    refused("heart: interval: expected seconds (above 0, at most 3e8), got 0", { interval = 0 })
    refused("heart: interval: expected seconds (above 0, at most 3e8), got -1", { interval = -1 })
    refused("heart: interval: expected seconds (above 0, at most 3e8), got ", { interval = 0 / 0 })
    refused("heart: interval: expected seconds (above 0, at most 3e8), got 1e+308", { interval = 1e308 })
    refused("heart: limit: expected seconds (above 0, at most 3e8), got inf", { limit = math.huge })
    refused("heart: startup: expected seconds (above 0, at most 3e8), got 'x'", { startup = "x" })
    refused("heart: window: expected a number of intervals (an integer from 0 to 2^20), got 1.5", { window = 1.5 })
    refused("heart: policy: expected a function or the path of a script", { policy = true })
    refused("heart: policy: expected a function or the path of a script, got 7", { policy = 7 })
    refused("heart: policy: cannot open no/such.lua", { policy = "no/such.lua" })
    local picky = helper.file "return function(o) error('n: expected 7, got ' .. o.n) end"
    local ok, why = pcall(function() return (lub.heart { policy = picky, policy_opts = { n = 8 } }) end)
    os.remove(picky)
    assert.is_false(ok)
    assert.matches("heart_spec%.lua:%d+: heart: policy: .*:1: n: expected 7, got 8", why)
    refused("heart: unknown option 'intervall'", { intervall = 1 })
    refused("heart: members: expected a heart at 1, got number", { members = { 1 } })
    refused("heart: argument 1: expected a table of options, got number 1", 1)
    local h = lub.heart { name = "u" }
    assert.has_error(function() h:unit {} end,
      "unit: argument 1: expected an id (a string, number or boolean), got table")
    h:close()
  end)
end)

describe("the judge", function()
  it_sims("tells once of a silence, with what the fiber does right then, and of the recovery", function()
    local w, _, go, verdicts = ward({ name = "busy", interval = 0.02, limit = 0.05 }, function(h, go)
      while h:stats().verdict ~= "dead" do end
      h:beat()
      go:recv()
    end)
    go:send(true)
    local v = verdicts:recv(100)
    assert.same({ "dead", "busy" }, { v.verdict, v.heart })
    assert.near(0.05 + SLICE, v.age, 1e-6)
    assert.matches("heart_spec.lua", v.traceback)
    assert.equals("alive", verdicts:recv(100).verdict)
    lub.pass(3600)
    go:send(true)
    w:join()
    assert.same({ nil, "closed" }, { verdicts:recv(100) })
  end)

  it_sims("finds who waits alive, however long", function()
    local w, h, go, verdicts = ward({ name = "idle", interval = 2, limit = 4 }, function(h, go)
      h:unit(1)
      go:recv()
    end)
    go:send(true)
    lub.pass(86400)
    assert.equals(0, #verdicts)
    assert.same({ "alive", 43200 }, { h:stats().verdict, h:stats().pulses })
    go:send(true)
    w:join()
  end)

  it_sims("tells of what never starts", function()
    local w, _, go, verdicts = ward({ name = "late", interval = 0.02, startup = 0.05 }, function(_, go) go:recv() end)
    local v = verdicts:recv() -- it waits, and so does its ward: that was said to be a deadlock
    assert.equals("dead", v.verdict)
    assert.equals("no beat within 0.05 s of its start", v.reason)
    assert.near(0.05, v.time, 1e-6)
    go:send(true)
    go:send(true)
    w:join()
  end)

  it_sims("hears who says himself that he has failed", function()
    local w, h, go, verdicts = ward({ name = "f" }, function(h, go)
      h:fail "no more disk"
      go:recv()
    end)
    go:send(true)
    local v = verdicts:recv(100)
    assert.same({ "dead", "no more disk", 0.0 }, { v.verdict, v.reason, v.time })
    go:send(true)
    w:join()
    assert.equals("dead", h:state())
  end)

  it("hears it also of one that closes at once", lub.explore({ runs = 30 }, function()
    local w, h, go, verdicts = ward({ name = "f" }, function(h, go)
      h:fail "no more disk"
      h:close()
      go:recv()
    end)
    go:send(true)
    local v = verdicts:recv(100)
    assert.same({ "dead", "no more disk" }, { v.verdict, v.reason })
    assert.is_nil((verdicts:recv(100)))
    assert.equals("dead", h:state())
    go:send(true)
    w:join()
  end))

  it("tells of a failure once, whoever closes the heart meanwhile", lub.explore({ runs = 30 }, function()
    local h = lub.heart { name = "f" }
    local verdicts, closed = h:verdicts(), 0
    local fibers = {}
    for i = 1, 2 do fibers[i] = lub.go(function() if h:close() then closed = closed + 1 end end) end
    local failed = h:fail "no more disk"
    for i = 1, 2 do fibers[i]:join() end
    local told = 0
    for v in verdicts do told = told + (v.reason == "no more disk" and 1 or 99) end
    assert.same({ 1, failed and 1 or 0 }, { closed, told })
  end))

  it_sims("lets who is paused be, and counts pauses", function()
    local w, h, go, verdicts = ward({ name = "paused", interval = 0.01, limit = 0.02 }, function(h)
      h:pause "a"
      h:pause "b"
      local t = os.clock()
      while os.clock() - t < 0.1 do end
      h:resume()
      local state = h:state()
      h:resume()
      return state, h:state()
    end)
    go:send(true)
    assert.same({ "paused", "busy" }, { w:join() })
    assert.same({ nil, "closed" }, { verdicts:recv(100) })
    assert.near(0.1, h:stats().excused, SLICE)
    local own = lub.heart { name = "own" }
    assert.has_error(function() own:resume() end, "resume: heart 'own' is not paused")
    own:close()
  end)

  it_sims("extends a silence, up to ten limits", function()
    local h = lub.heart { name = "e", limit = 1 }
    assert.equals(4, h:extend(4))
    assert.equals(6, h:extend(60))
    assert.equals(0, h:extend(1))
    h:beat()
    assert.equals(10, h:extend(11))
    for _, bad in ipairs { -1, 1e9 } do
      assert.has_error(function() h:extend(bad) end,
        "extend: argument 1: expected seconds (from 0 to 3e8), got number " .. bad)
    end
    h:close()
  end)

  it_sims("tells of a C call", function()
    local w, h, go, verdicts = ward({ name = "c", interval = 0.05, limit = 0.1 }, function()
      require "lubdub.fault".slow_call(function() end, 600)
    end)
    go:send(true)
    local v = verdicts:recv(100)
    assert.same({ "dead", "in_c" }, { v.verdict, v.state })
    assert.near(0.1, v.age, 1e-6)
    assert.matches("inside a C call", v.traceback)
    w:join()
    assert.near(600, h:stats().in_c, 0.1)
  end)

  it_sims("asks a group's policy of its members", function()
    local w, h, go = ward({ name = "member", interval = 0.2, limit = 0.5 }, stuck)
    local group = lub.heart {
      name = "group", interval = 0.2, members = { h },
      policy = function(g)
        return g.members[1].verdict == "dead" and #g.members == 1 and "dead" or "alive", 0.2
      end,
    }
    local verdicts = group:verdicts()
    go:send(true)
    local v = verdicts:recv(100)
    assert.equals("dead", v.verdict)
    assert.near(0.6, v.time, 0.2)
    w:kill()
    w:join()
    group:close()
  end)
end)

describe("a host that stood for a minute", function()
  --- What is said of a ward until it is dead, as "verdict time, …"; the host stands after 2.5 s. Each heart is given an
  --- interval more.
  local function told_of(options, body)
    options.interval = 1
    local w, _, go, verdicts = ward(options, body)
    go:send(true)
    lub.after(2.5, fault.jump_clock, 60)
    local said = {}
    repeat
      local v = verdicts:recv(100)
      said[#said + 1] = ("%s %.3f"):format(v.verdict, v.time)
    until v.verdict == "dead"
    w:kill()
    return table.concat(said, ", ")
  end

  -- Its age was shortened, so "alive" was told, and then "late" again.
  it_sims("makes nobody alive who was late", function()
    local function policy(h)
      if h.unit_age > 5 then return "dead" end
      if h.unit_age > 2 then return "late", 5 - h.unit_age end
      return "alive", 2 - h.unit_age
    end
    assert.equals("late 2.000, dead 66.000", told_of({ policy = policy }, function(h, go)
      h:unit()
      go:recv()
    end))
  end)

  it_sims("is excused to who has not beaten, as to who is silent", function()
    local function policy(h)
      if h.progress_age > 5 then return "dead" end
      return "alive", 5 - h.progress_age
    end
    assert.equals("dead 66.000", told_of({ policy = policy }, function(h, go)
      h:beat()
      go:recv()
    end))
  end)

  it_sims("is excused no longer when it has beaten", function()
    local h = lub.heart { name = "db", interval = 1, policy = function(h)
      if h.progress_age > 0.5 then return "late" end
      return "alive", 0.5 - h.progress_age
    end }
    local verdicts = h:verdicts()
    h:beat()
    fault.jump_clock(60)
    lub.sleep(0.25)
    h:beat() -- within the interval more
    local v = verdicts:recv(100)
    assert.near(60.75, v.time, 1e-3)
    assert.same({ { 60.25 }, 0 }, { h:stats().last, h:stats().samples })
    h:close()
  end)

  it_sims("is excused to who has still to start", function()
    assert.equals("dead 66.000", told_of({ startup = 5 }, function(_, go) go:recv() end))
  end)

  -- What was busy before the call was then said to have lasted less than nothing.
  it_sims("is nothing that anybody has spent, in a C call neither", function()
    local w, h, go = ward({ interval = 1 }, function() require "lubdub.fault".slow_call(function() end, 100) end)
    go:send(true)
    lub.sleep(2)
    assert.equals("in_c", h:state())
    fault.jump_clock(60)
    w:join()
    local s = h:stats()
    assert.near(40, s.busy + s.in_c, 1e-6)
    assert.is_true(s.busy >= 0 and s.busy <= 1)
  end)
end)

describe("a policy", function()
  local function first_verdict(policy, opts)
    local options = { name = "w", interval = 0.02, limit = 0.05, policy = policy, policy_opts = opts }
    local w, _, go, verdicts = ward(options, stuck)
    go:send(true)
    local v = verdicts:recv(100)
    w:kill()
    w:join()
    return v
  end

  it_sims("is asked again when it says, and each of its verdicts is told once", function()
    local w, _, go, verdicts = ward({ name = "ladder", interval = 0.02, policy = function(h)
      if h.age > 1.5 then return "dead" end
      if h.age > 1 then return "gone", 1.5 - h.age end
      if h.age > 0.5 then return "late", 0.01, h.age end
      return "alive", 0.5 - h.age
    end }, stuck)
    go:send(true)
    local said = {}
    for i = 1, 3 do said[i] = verdicts:recv(100) end
    assert.same({ "late", "gone", "dead" }, { said[1].verdict, said[2].verdict, said[3].verdict })
    for i = 1, 3 do assert.near(0.5 * i, said[i].time, 0.2) end
    assert.equals(said[1].time, said[1].score)
    w:kill()
    assert.same({ nil, "closed" }, { verdicts:recv(100) })
  end)

  it_sims("sees the heart, and only while it is asked", function()
    local kept
    local v = first_verdict(function(h)
      if kept and not pcall(function() return kept.age end) then return "gone" end
      kept = h
      local n = 0
      for k, x in pairs(h) do n = n + (h[k] ~= nil and x ~= nil and 1 or 0) end
      if pcall(function() h.age = 1 end) or n < 15 or h.nothing ~= nil then return "wrong" end
      return "alive", 0.001
    end)
    assert.equals("gone", v.verdict)
  end)

  it_sims("may be a script, with options, that says what it wants to know", function()
    local path = helper.file [[return function(opts)
      if not opts.word then error("no word", 0) end
      return function(h) return h.samples == 2 and opts.word or "alive", 0.001 end, { window = 8, estimate = 1 }
    end]]
    lub.defer(function() os.remove(path) end)
    local w, h, go, verdicts = ward({ name = "s", interval = 0.02, policy = path, policy_opts = { word = "seen" } },
      function(heart, go_)
        heart:beat()
        go_:recv()
      end)
    go:send(true)
    assert.equals("seen", verdicts:recv(100).verdict)
    assert.equals(0.25, h:stats().sd)
    go:send(true)
    w:join()
    local ok, why = pcall(lub.heart, { policy = path })
    assert.same({ false, "heart: policy: no word" }, { ok, why })
  end)

  for name, policy in pairs {
    raises = function() error "oops" end,
    loops = function() while true do pcall(function() while true do end end) end end,
    yields = function() coroutine.yield() end,
    waits = function() require "lubdub".sleep(1) end,
    ["returns a number"] = function() return 1 end,
    ["returns a bad time"] = function() return "alive", 0 / 0 end,
    ["eats memory"] = function() local t = {} while true do t[#t + 1] = ("x"):rep(1e5) .. #t end end,
  } do
    it_sims("that " .. name .. " is replaced by the built-in one", function()
      local v = first_verdict(policy)
      assert.equals("dead", v.verdict)
      assert.is_true(v.age > 0.05)
    end)
  end
end)

describe("what is told of a script that fails", function()
  -- The log of a sim in which a heart has these options for a while.
  local function log(options)
    local out = require "lubdub.simcore".run(function()
      lub.heart(options):unit(1)
      lub.sleep(0.1)
    end, { seed = 1 })
    return out.log
  end

  it("is that it was the pulse script, or the policy, and what happens instead", function()
    local pulse = "heart 'h': its pulse script has failed, the interval stays as it is: "
    local policy = "heart 'h': its policy has failed, the built-in one takes its place: "
    for fn, why in pairs {
      [function() error "oops" end] = ": oops",
      [function() error {} end] = ": (error object is a table value)",
      [function() return "soon", "soon" end] = "expected ",
      [function() require "lubdub".sleep(1) end] = " cannot wait, start or send anything",
      [function() os.exit(9) end] = "os.exit: not in a script that the judge asks",
    } do
      local told = log { name = "h", interval = fn }
      assert.equals(1, told:find(pulse, 1, true), told)
      assert.truthy(told:find(why, 1, true), told)
      assert.falsy(told:find("policy", 1, true), told)
      told = log { name = "h", interval = 0.01, policy = fn }
      assert.equals(1, told:find(policy, 1, true), told)
      assert.truthy(told:find(why, 1, true), told)
    end
  end)

  it("is where it had what cannot cross", function()
    local co = coroutine.create(print)
    local function fn() return co end
    helper.raises("cannot send a coroutine (at interval upvalue 'co')", lub.heart, { interval = fn })
    helper.raises("cannot send a coroutine (at policy upvalue 'co')", lub.heart, { policy = fn })
    helper.raises("(at interval_opts ", lub.heart, { interval = "x.lua", interval_opts = { co } })
    helper.raises("(at policy_opts ", lub.heart, { policy = "x.lua", policy_opts = { co } })
  end)
end)

-- The same on threads: who computes is looked at and interrupted from outside, a carrier in a C call is replaced.
describe("in real time", function()
  it("a loop is told of, with where it is, while it runs, and its recovery", function()
    local w, _, go, verdicts = ward({ name = "busy", interval = 0.02, limit = 0.05 }, function(h, go)
      repeat
        while h:stats().verdict ~= "dead" do end
        h:beat()
      until go:recv(0)
    end)
    go:send(true)
    local tries, v = 0
    repeat -- who is given no CPU for 0.05 s cannot say where it is
      v, tries = verdicts:recv(helper.long), tries + 1
      assert.equals("dead", v.verdict)
      assert.is_true(v.age > 0.05)
      assert.equals("alive", verdicts:recv(helper.long).verdict)
    until v.traceback:match "heart_spec.lua" or tries == 50
    assert.matches("heart_spec.lua", v.traceback)
    go:send(true)
    w:join()
    for _ in verdicts do end
  end)

  it("a policy that loops is cut off, though others want its judge's carrier all the while", function()
    local function waits(h, go)
      h:unit(1)
      go:recv()
    end
    local looped = { name = "looped", interval = 0.01, policy = function()
      while true do string.rep("x", 300) end -- a count of these takes longer than a slice
    end }
    local late = { name = "late", interval = 0.01, policy = function(h)
      return h.unit and h.unit_age > 0.2 and "dead" or "alive", 0.02
    end }
    local w2, _, go2, verdicts = ward(late, waits)
    local w1, _, go1 = ward(looped, waits)
    local hogs = {}
    for i = 1, 4 do hogs[i] = lub.spawn(stuck) end
    go1:send(true)
    go2:send(true)
    local v = verdicts:recv(helper.long)
    for _, hog in ipairs(hogs) do hog:kill() end
    assert.equals("dead", v and v.verdict) -- the judge has come to it
    go1:send(true)
    go2:send(true)
    w1:join()
    w2:join()
    for _ in verdicts do end
  end)

  it("who waits pulses, and is alive", function()
    local w, h, go, verdicts = ward({ name = "idle", interval = 0.002, limit = 0.004 }, function(h, go)
      h:unit(1)
      go:recv()
    end)
    go:send(true)
    local pulses = h:pulses()
    for _ = 1, 10 do pulses:recv(helper.long) end
    assert.equals(0, #verdicts)
    go:send(true)
    w:join()
  end)

  it("a C call is told of, while it lasts", function()
    local path = helper.file() -- the call lasts until somebody writes to it
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local options = { name = "c", interval = 0.05, limit = 0.1, policy = function(h)
      return h.state == "in_c" and h.age > h.limit and "dead" or "alive", 0.02
    end }
    local w, h, go, verdicts = ward(options, load(("io.open(%q):close()"):format(path)))
    go:send(true)
    local v = verdicts:recv(helper.long)
    assert.same({ "dead", "in_c" }, { v.verdict, v.state })
    assert.matches("inside a C call", v.traceback)
    io.open(path, "w"):close()
    w:join()
    os.remove(path)
    assert.is_true(h:stats().in_c > 0)
  end)

  -- Only the youngest question to a worker was kept: the others' hearts were said to be inside a C call.
  it("of many in one worker that fall silent together it is shown what each does", function()
    local told = lub.chan(50)
    local w = lub.spawn(function(n, out)
      local inner = require "lubdub"
      local never = inner.chan()
      local function fall_silent()
        local h = inner.heart {
          interval = 0.02,
          policy = function(s) return s.unit and s.unit_age > 0.1 and "dead" or "alive", 0.02 end,
        }
        inner.go(function(verdicts) out:send(verdicts:recv()) end, h:verdicts())
        h:unit()
        never:recv()
      end
      for _ = 1, n do inner.go(fall_silent) end
      never:recv()
    end, 50, told)
    for _ = 1, 50 do
      local v = told:recv(helper.long)
      assert.equals("dead", v.verdict)
      assert.matches("heart_spec.lua", v.traceback)
    end
    w:kill()
  end)

  -- Its channel was closed before it was told, when its traceback was awaited meanwhile.
  it("a death that was announced is told of a heart that closes then", function()
    local hearts = lub.chan()
    local w = lub.spawn(function(out)
      local h = require "lubdub".heart { name = "disk" }
      out:send(h)
      out:recv()
      h:fail "worn out"
      os.execute "sleep 0.1" -- in which it shows no traceback
    end, hearts)
    local h = hearts:recv(helper.long)
    local verdicts = h:verdicts()
    hearts:send(true)
    while h:stats().verdict ~= "dead" do end
    h:close()
    local v = verdicts:recv(helper.long)
    assert.same({ "dead", "worn out" }, { v and v.verdict, v and v.reason })
    assert.same({ nil, "closed" }, { verdicts:recv(helper.long) })
    w:join()
  end)

  -- Its channel stayed open for ever.
  it("without the judge's worker the channels of who closes close too, and the next heart brings a new one", function()
    local code, out, err = helper.script [[
      local lub = require "lubdub"
      local hearts = lub.chan()
      local function policy(h) return h.failed and "odd" or "alive" end
      local function ward(out, policy)
        local h = require "lubdub".heart { name = "disk", policy = policy, interval = 0.01 }
        out:send(h)
        out:recv()
        h:fail "worn out"
        os.execute "sleep 0.1" -- in which it shows no traceback
      end
      local function judge()
        for _, w in ipairs(lub.workers()) do if w:name() == "judge" and w:state() ~= "dead" then return w end end
      end
      local first = lub.spawn(ward, hearts, policy)
      local h = hearts:recv()
      local verdicts = h:verdicts()
      hearts:send(true)
      while h:stats().verdict ~= "dead" do end
      local killed = judge()
      killed:kill()
      killed:join()
      h:close()
      print(verdicts:recv(20))
      first:join()
      lub.spawn(ward, hearts, policy)
      h = hearts:recv()
      verdicts = h:verdicts()
      hearts:send(true)
      print(verdicts:recv(20).verdict)
      os.exit(0)]]
    assert.equals("nil\tclosed\ndead\n", out)
    assert.equals(0, code)
    assert.matches("the judge's worker has ended", err)
  end)

  -- It was run in a call that could not yield: its worker stood still.
  it("a script that does not come to an end when it is read holds up nobody, and can be killed", function()
    for _, text in ipairs { "while true do end", "return function() while true do end end" } do
      for _, option in ipairs { "policy", "interval" } do
        local w = lub.spawn(function(options)
          local inner = require "lubdub"
          local f = inner.go(function() inner.heart(options) end)
          inner.sleep(0.02)
          f:kill()
          return f:join()
        end, { [option] = helper.file(text) })
        assert.same({ nil, "killed" }, { helper.join(w) })
      end
    end
  end)

  -- Nobody was judged any more, and nothing said so.
  it("a script that does not return gives its place up, and others are asked by the next judge", function()
    local code, out, err = helper.script [[
      local lub = require "lubdub"
      local hearts = lub.chan()
      local verdict = "sleepy"
      local function ward(out, options, fate)
        local h = require "lubdub".heart(options)
        out:send(h)
        out:recv()
        fate(h)
      end
      local function open(name, policy, fate)
        local go = lub.chan()
        lub.spawn(ward, go, { name = name, policy = policy, interval = 0.002 }, fate)
        local h = go:recv()
        return h, h:verdicts(), go
      end
      local function never_ends() return ("a"):rep(40):find(("a?"):rep(40) .. ("a"):rep(40)) end
      local stuck, of_stuck, begin = open("stuck", function(s)
        return s.unit and never_ends() and "odd" or "alive", 0.001
      end, function(h) h:unit(1) while true do end end)
      local _, of_worn, fail = open("worn", function() return "alive" end, function(h)
        h:fail "worn out"
        os.execute "sleep 0.1" -- in which it shows no traceback, and no verdict is told
      end)
      local _, of_good, sleep = open("good", function(s)
        return s.unit and s.unit_age > 0.1 and verdict or "alive", 0.01
      end, function(h) h:unit(2) require "lubdub".sleep(1000) end)
      fail:send(true)
      begin:send(true)
      sleep:send(true)
      for _, verdicts in ipairs { of_worn, of_good, of_stuck } do
        local v = verdicts:recv(20)
        print(v.heart, v.verdict, v.reason)
      end
      os.exit(0)]]
    assert.equals("worn\tdead\tworn out\ngood\tsleepy\tnil\nstuck\tdead\tnil\n", out)
    assert.equals(0, code)
    assert.matches("heart 'stuck': its policy has failed, .*running for 2 seconds, perhaps inside a C call", err)
    assert.is_nil(err:match "'good'")
  end)

  -- The next judge asked nobody, and so settled nothing.
  it("what was heard of others is told, though the one whose script is stuck closes meanwhile", function()
    local code, out = helper.script [[
      local lub = require "lubdub"
      local member = lub.heart { name = "member", interval = 1 }
      local t = lub.now() + 0.1
      local function group(name, policy)
        return lub.heart { name = name, interval = 0.1, members = { member }, policy = policy }
      end
      local function never_ends() return ("a"):rep(40):find(("a?"):rep(40) .. ("a"):rep(40)) end
      local a = group("a", function(h) return h.now >= t and never_ends() and "odd" or "alive" end)
      local b = group("b", function(h) return h.now >= t and "odd" or "alive" end)
      local verdicts = b:verdicts()
      member:close()
      lub.after(0.5, function() a:close() end)
      print(verdicts:recv(20).verdict)
      os.exit(0)]]
    assert.equals("odd\n", out)
    assert.equals(0, code)
  end)

  it("one that was asked when the judge was killed is asked by the next", function()
    local code, out = helper.script [[
      local lub = require "lubdub"
      local hearts = lub.chan()
      lub.spawn(function(hearts)
        hearts:send(require "lubdub".heart { interval = 0.01, policy = function(h)
          if h.age > 0.1 then return "dead" end
          if h.age > 0.01 then os.execute "sleep 0.2" end -- the judge is killed in here
          return "alive", 0.01
        end })
        while true do end
      end, hearts)
      local h = hearts:recv()
      local verdicts = h:verdicts()
      local judge
      repeat
        for _, w in ipairs(lub.workers()) do
          if w:name() == "judge" then judge = w end
        end
      until judge and judge:state() == "in_c"
      judge:kill()
      judge:join()
      repeat lub.go(function() lub.heart { name = "next" } end):join() until verdicts:recv(0.01)
      print(h:stats().verdict)
      os.exit(0)]]
    assert.equals("dead\n", out)
    assert.equals(0, code)
  end)

  -- Its traceback was still awaited when the script ended, so that the command did not say who had died.
  it("a death that was announced is told before the command ends", function()
    local code, _, err = helper.script [[
      local lub = require "lubdub"
      local hearts = lub.chan()
      lub.spawn(function(out)
        local h = require "lubdub".heart { name = "disk" }
        out:send(h)
        h:fail "worn out"
        os.execute "sleep 0.1" -- in which it shows no traceback
      end, hearts)
      local h = hearts:recv()
      while h:stats().verdict ~= "dead" do end]]
    assert.equals(3, code)
    assert.matches("heart 'disk' died: worn out\n", err) -- of who told it there is no silence to tell
  end)
end)
