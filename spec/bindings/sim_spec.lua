-- A sim's body, its clock, what it says when it fails, its tokens; and that busted takes all of it for its own.
local lub = require "lubdub"
local sim = require "lubdub.sim"
local tokens = require "lubdub.token"
local helper = require "spec.bindings.helper"
local support = require "spec.support"
local same = support.same

--- The error of a sim with this body, which must fail.
local function failure(opts, body)
  if body == nil then opts, body = {}, opts end
  local ok, why = pcall(sim.run, opts, body)
  assert(not ok, "it did not fail")
  return why
end

--- The text has all of these in it.
local function says(text, ...)
  for _, part in ipairs { ... } do
    assert(tostring(text):find(part, 1, true), ("expected: %s\ngot: %s"):format(part, text))
  end
end

local function token_of(text) return tostring(text):match "LUBDUB_REPLAY=(%S+)" end
local function line() return debug.getinfo(2, "l").currentline end

describe("sim.run", function()
  it("gives the results of the body, nils included", function()
    local results = table.pack(sim.run(function() return 1, nil, "x", nil end))
    same(4, results.n)
    same({ 1, nil, "x" }, { results[1], results[2], results[3] })
    same(0, select("#", sim.run(function() end)))
  end)

  it("runs the body in the state of its caller", function()
    local list = {}
    sim.run(function() lub.go(function() list[#list + 1] = "fiber" end):join() end)
    same({ "fiber" }, list)
  end)

  it("spends no time on a day that passes", function()
    local before = lub.now()
    same(86400.0, sim.run(function()
      lub.sleep(86400)
      return lub.now()
    end))
    assert(lub.now() - before < 5, "it took as long")
  end)

  it("spends no time on a wait of none, not even at its first instant", function()
    -- the clock begins at 0, and a deadline of 0, which is long past, once was moved to 1 ns
    sim.run(function()
      local ran
      lub.after(0, function() ran = lub.now() end)
      lub.settle()
      same(0.0, ran)
      lub.sleep(0)
      same(0.0, lub.now())
    end)
  end)

  it("makes the same choices from the same seed, and others from another", function()
    local function order(seed)
      return sim.run({ seed = seed }, function()
        local seen, fibers = {}, {}
        for i = 1, 6 do fibers[i] = lub.go(function() seen[#seen + 1] = i end) end
        for i = 1, 6 do fibers[i]:join() end
        return table.concat(seen)
      end)
    end
    local seen, n = {}, 0
    for seed = 1, 20 do
      same(order(seed), order(seed))
      if not seen[order(seed)] then seen[order(seed)], n = true, n + 1 end
    end
    assert(n > 10, n)
  end)

  it("is the same run in another process", function()
    local path = helper.file [[
      local lub, core = require "lubdub", require "lubdub.simcore"
      local order = {}
      local outcome = core.run(function()
        local ch, fibers = lub.chan(2), {}
        for i = 1, 5 do
          fibers[i] = lub.go(function()
            lub.sleep(i % 2)
            ch:send(i)
            order[#order + 1] = i .. ":" .. lub.select(lub.after(1), lub.after(1), ch):name() .. #ch
          end)
        end
        for i = 1, 5 do fibers[i]:join() end
      end, { seed = 11, trace = true })
      print(outcome.why, outcome.hash, outcome.now, table.concat(order, " "))
      print(outcome.trace)]]
    local code, out = helper.shell(helper.lua .. " " .. path)
    same(0, code)
    for _ = 1, 3 do same(out, select(2, helper.shell(helper.lua .. " " .. path))) end
    os.remove(path)
  end)

  it("has the strategies it is asked for", function()
    for _, strategy in ipairs { "first", "random", "sticky", "pct" } do
      same(1, sim.run({ strategy = strategy, depth = 3, sticky = 0.5 }, function() return 1 end))
    end
  end)

  it("lets others run, in the end, beside one that polls", function()
    for _, strategy in ipairs { "first", "random", "sticky", "pct" } do
      sim.run({ strategy = strategy }, function()
        local done = lub.chan()
        lub.go(function() done:close() end)
        while select(2, lub.select(done, 0)) == "timeout" do end
      end)
    end
  end)

  it("leaves the engine outside as it was", function()
    local ch = lub.chan(1)
    sim.run(function() lub.sleep(1) end)
    pcall(sim.run, function() error "x" end)
    same(true, ch:send(1))
    same(1, ch:recv())
    same(7, lub.go(function() return 7 end):join())
  end)

  -- What a heart was to have was freed by the collector, when its engine was no more.
  it("leaves nothing of its engine to the collector: a heart that was refused", function()
    sim.run(function()
      local h = lub.heart()
      for _ = 1, 100 do
        helper.raises("heart: interval: expected", lub.heart, { policy = function() end, interval = true })
        helper.raises("heart: members: expected", lub.heart, { policy = function() end, members = { h, 1 } })
      end
    end)
    collectgarbage()
  end)

  -- The list held references: the engine stayed, 7 KiB of each sim.
  it("leaves nothing of its engine to the collector: a list of workers", function()
    if not support.resident() then return end
    local function sims()
      for _ = 1, 200 do
        sim.run(function()
          local gate = lub.chan()
          for _ = 1, 5 do lub.spawn(function() gate:recv() end) end
          assert(#lub.workers() >= 6)
          gate:close()
          lub.sleep(1)
        end)
        collectgarbage()
      end
    end
    sims()
    local before = support.resident()
    sims()
    local grown = support.resident() - before
    assert(grown < 500000, grown)
  end)
end)

describe("compute", function()
  it("makes loops spend time, and lets others have their turn", function()
    sim.run({ compute = 1e6 }, function()
      local done, loops = false, 0
      local fiber = lub.go(function()
        while not done do loops = loops + 1 end
      end)
      lub.sleep(1)
      done = true
      fiber:join()
      assert(loops > 50000 and loops < 1e6, loops)
      assert(lub.now() < 1.1, lub.now())
    end)
  end)

  it("finds the same instruction in each run", function()
    local function stopped_at()
      return sim.run({ compute = 1e6 }, function()
        local loops = 0
        local w = lub.spawn(function()
          local h = lub.heart { name = "hog", interval = 0.1, limit = 0.3 }
          h:beat()
          while true do end
        end)
        local f = lub.go(function() while true do loops = loops + 1 end end)
        lub.sleep(0.5)
        f:kill()
        w:kill()
        w:join()
        return loops
      end)
    end
    same(stopped_at(), stopped_at())
  end)

  it("is without bound by default: time stands while a fiber runs", function()
    same(0.0, sim.run(function()
      for _ = 1, 1e6 do end
      return lub.now()
    end))
  end)

  it("refuses what is no number above 0", function()
    for _, bad in ipairs { 0, -1, "1", {}, math.huge, helper.nan } do
      helper.raises("sim.run: compute: expected a finite number above 0", sim.run, { compute = bad }, print)
    end
  end)
end)

describe("pass", function()
  it("sleeps, and comes back when all has happened that was due", function()
    sim.run(function()
      local ticks = 0
      local fiber = lub.go(function()
        while true do
          lub.sleep(1)
          ticks = ticks + 1
        end
      end)
      for n = 1, 5 do
        lub.pass(1)
        same(n, ticks)
      end
      same(5.0, lub.now())
      lub.pass(0)
      same(5, ticks)
      fiber:kill()
    end)
  end)

  it("refuses what is no time", function()
    for _, bad in ipairs { -1, helper.nan, math.huge, -math.huge, 1e308, "1", {} } do
      helper.refuses("pass", 1, bad, lub.pass, bad)
      sim.run(function() helper.refuses("pass", 1, bad, lub.pass, bad) end)
    end
    helper.refuses("pass", 1, nil, lub.pass)
  end)

  it("is refused outside a sim, and settle and defer are", function()
    helper.raises("pass: not inside a sim", lub.pass, 1)
    helper.raises("settle: not inside a sim", lub.settle)
    helper.raises("defer: not inside the body of a sim", lub.defer, print)
  end)

  it("says that its fiber was cancelled", function()
    sim.run(function()
      local fiber = lub.go(function() return lub.pass(100) end)
      lub.pass(1)
      fiber:cancel()
      local ok, why = fiber:join()
      same({ nil, "cancelled" }, { ok, why })
      same(1.0, lub.now())
    end)
  end)
end)

describe("settle", function()
  it("lets all others run until they wait, and no time pass", function()
    sim.run(function()
      local steps = 0
      local fiber = lub.go(function()
        for _ = 1, 10 do
          lub.yield()
          steps = steps + 1
        end
        lub.sleep(1)
        steps = steps + 1
      end)
      lub.settle()
      same({ 10, 0.0 }, { steps, lub.now() })
      fiber:join()
    end)
  end)

  it("is for one fiber at a time", function()
    says(failure(function()
      lub.go(function() lub.settle() end)
      lub.settle()
    end), "settle: already in progress, by another fiber")
  end)
end)

describe("defer", function()
  it("is done at the end of the body, newest first, and may wait", function()
    local done = {}
    sim.run(function()
      lub.defer(function() done[#done + 1] = lub.now() end)
      lub.defer(function()
        lub.sleep(2)
        done[#done + 1] = "newest"
      end)
      lub.sleep(1)
      done[#done + 1] = "body"
    end)
    same({ "body", "newest", 3.0 }, done)
  end)

  it("is done when the body fails, whatever that was", function()
    local bodies = {
      function() error "x" end,
      function() lub.chan():recv() end,
      function() lub.go(function() error "x" end) lub.sleep(1) end,
      function() while true do lub.yield() end end,
      function() lub.spawn(function() while true do require "lubdub".sleep(1) end end) lub.chan():recv() end,
    }
    for i, body in ipairs(bodies) do
      local done
      failure({ stall = 10 }, function()
        done = {} -- who lives too long is run again, to see who is busy
        lub.defer(function() done[#done + 1] = 1 end)
        lub.defer(function() done[#done + 1] = 2 end)
        body()
      end)
      assert(done[1] == 2 and done[2] == 1 and #done == 2, i .. ": " .. table.concat(done, " "))
    end
  end)

  it("may come from what was deferred, but not when the body has ended", function()
    local done = {}
    local why = failure(function()
      lub.defer(function()
        done[#done + 1] = "first"
        lub.defer(function() done[#done + 1] = "second" end)
      end)
      local gate = lub.chan()
      lub.go(function()
        gate:recv()
        lub.defer(function() end)
      end)
      lub.settle()
      lub.defer(function() gate:close() end)
    end)
    same({ "first", "second" }, done)
    says(why, "defer: not inside the body of a sim")
  end)

  it("fails the body when it fails itself, and the others are done all the same", function()
    local done = false
    says(failure(function()
      lub.defer(function() done = true end)
      lub.defer(function() error "in defer" end)
    end), "in defer")
    same(true, done)
  end)

  it("refuses what is no function", function()
    for _, bad in ipairs { "x", {}, true } do
      helper.raises("defer: argument 1: expected a function, got " .. type(bad), lub.defer, bad)
    end
  end)
end)

describe("a failing sim", function()
  it("says where an error was raised, with its traceback and a token", function()
    local at = line() + 1
    local why = failure(function() error "boom" end)
    same(("sim_spec.lua:%d: boom"):format(at), why:match "sim_spec.lua:%d+: boom")
    says(why, "stack traceback:", "replay: LUBDUB_REPLAY=lub1:random:", " busted ")
  end)

  it("says what an error is that is a table", function()
    says(failure(function() error { code = 3 } end), "sim_spec.lua:", "an error that is a table: { code = 3 }")
    local named = setmetatable({}, { __tostring = function() return "by name" end })
    says(failure(function() error(named) end), "by name")
    says(failure(function() error(nil) end), "nil", "replay: ")
  end)

  it("deadlock: who waits, for what, where, for how long", function()
    local at = line() + 4
    local why = failure(function()
      lub.sleep(1)
      lub.go(function() lub.sleep(2) lub.chan(0, "beats"):send(1) end)
      lub.chan(0, "acks"):recv()
    end)
    says(why, "deadlock at t=+3.000000000s (virtual), 2 fibers", "recv on 'acks' for 2.000 s at",
      "sim_spec.lua:" .. at, "send on 'beats' for 0.000 s", "hint: ", "replay: LUBDUB_REPLAY=lub1:")
  end)

  it("killed: a body that does not return", function()
    says(failure(function()
      lub.self():kill()
      error "never reached"
    end), "killed at t=+0.000000000s (virtual)", "hint: ")
    says(failure(function()
      local body = lub.self()
      lub.go(function() body:kill() end)
      lub.sleep(1)
    end), "killed at t=")
  end)

  it("stalled, or over its budget, also while the body waits where Lua cannot yield", function()
    local function wait()
      lub.go(function() while true do lub.sleep(1) end end)
      string.gsub("x", ".", function() lub.chan(0, "q"):recv() end)
    end
    for why, limits in pairs { stalled = { stall = 20 }, budget = { time = 50 } } do
      limits.seed = 1
      local out = require "lubdub.simcore".run(wait, limits)
      assert.equals(why, out.why)
      assert.near(why == "stalled" and 20 or 50, out.now, 2)
    end
  end)

  it("deadlock: the cycle", function()
    says(failure(function()
      local a, b = lub.chan(0, "a"), lub.chan(0, "b")
      lub.go(function() a:send(b:recv()) end)
      b:send(a:recv())
    end), "deadlock", "cycle: ")
  end)

  it("leaked: what the body left behind", function()
    local at = line() + 2
    local why = failure(function()
      lub.go(function() lub.chan(0, "never"):recv() end)
      lub.sleep(1)
    end)
    says(why, "leaked fibers at t=+1.000000000s (virtual): the body has returned, and 1 fiber did not end",
      "recv on 'never'", "sim_spec.lua:" .. at, "hint: join, cancel or kill")
    says(failure(function() lub.spawn(function() require "lubdub".chan():recv() end) end), "leaked fibers")
  end)

  -- They learned of a deadlock, and that was an error which nobody had joined.
  it("leaked: who waits where Lua cannot yield, in the body's worker or another", function()
    local function wait() string.gsub("x", ".", function() lub.chan(0, "never"):recv() end) end
    for _, start in ipairs { lub.go, lub.spawn } do
      local why = failure(function()
        start(wait)
        lub.sleep(1)
        start(wait)
      end)
      says(why, "leaked fibers at t=+1.000000000s (virtual): the body has returned, and 2 fibers did not end",
        "recv on 'never' for 1.000 s", "recv on 'never' for 0.000 s", "hint: join, cancel or kill")
      assert.is_nil(why:find "deadlock")
    end
    says(failure(function()
      lub.spawn(function() error "in a worker" end)
      lub.go(wait)
    end), "failed: an error that nobody joined", "in a worker")
  end)

  it("livelock: who does what, how often", function()
    local why = failure(function()
      lub.go(function() while true do lub.yield() end end)
      lub.chan():recv()
    end)
    says(why, "livelock at t=+0.000000000s (virtual): ", " at one instant, 2 fibers", "busiest:",
      " times  P.1  yield  ", "hint: who asks again and again has to sleep")
  end)

  it("livelock: of one that is alone, in the body and after it", function()
    local at = line() + 2
    says(failure(function()
      while select(2, lub.select(lub.chan(), 0)) == "timeout" do end
    end), "livelock at t=+0.000000000s", " times  P  select  ", "sim_spec.lua:" .. at)
    says(failure(function()
      lub.go(function() while true do lub.chan():recv(0) end end)
    end), "livelock at t=+0.000000000s", " times  P.1  recv  ")
  end)

  it("stalled: the body waits, and only others run", function()
    local why = failure(function()
      lub.go(function() while true do lub.sleep(1) end end)
      lub.chan(0, "beats"):recv()
    end)
    says(why, "stalled at t=+36", "the body waits without a deadline, and only others ran for 3600 s",
      "recv on 'beats'", "times  P.1  sleep  ", "hint: settle() does not move time: use lub.pass")
    says(failure({ stall = 10 }, function()
      lub.go(function() while true do lub.sleep(1) end end)
      lub.chan():recv()
    end), "only others ran for 10 s")
  end)

  it("budget: steps, or time", function()
    local function run() while true do lub.sleep(1) end end
    says(failure({ steps = 100 }, run), "budget: 101 steps at t=+", "of at most 100 steps", "hint: ")
    says(failure({ time = 60 }, run), "budget: ", "s and 60 s")
  end)

  it("failed: what nobody joined", function()
    says(failure(function()
      lub.spawn(function() error "in a worker" end)
      lub.sleep(1)
    end), "failed: an error that nobody joined, t=+1.000000000s", "in a worker", "stack traceback", "hint: ")
    says(failure(function()
      lub.go(function() error "in a fiber" end)
      lub.sleep(1)
    end), "in a fiber")
  end)

  it("nested: there is one sim at a time", function()
    says(failure(function() sim.run(function() end) end), "this is inside a sim already: sims do not nest")
    says(failure(function() lub.explore.run(function() end) end), "sims do not nest")
    says(failure(lub.sim(function() end)), "sims do not nest")
  end)

  it("tells of things that were used after it", function()
    local kept
    sim.run(function() kept = lub.chan(1) end)
    helper.raises("send: expected a channel, got one of a sim that is over", kept.send, kept, 1)
  end)

  it("leaves the done channel of a fiber outside alone, which was first asked for in it", function()
    local gate = lub.chan()
    local f = lub.go(function() gate:recv() end)
    sim.run(function() f:done() end)
    assert.same({ nil, "timeout" }, { f:done():recv(0) })
    assert.equals(f:done(), f:done())
    gate:send(1)
    assert.same({ nil, "closed" }, { f:done():recv(helper.long) })
  end)
end)

describe("options", function()
  it("that are unknown are errors that name them, at the caller's line", function()
    for _, word in ipairs { "sim", "explore" } do
      local at = line() + 1
      local ok, why = pcall(function() return lub[word]({ sed = 1 }, function() end) end)
      assert(not ok and why:find("sim_spec.lua:" .. at .. ": " .. word .. ": unknown option 'sed'", 1, true), why)
    end
    helper.raises("sim.run: unknown option 'runs'", sim.run, { runs = 3 }, function() end)
    helper.raises("explore.run: unknown option 'x'", lub.explore.run, { x = 3 }, function() end)
  end)

  it("that make no sense are errors that name function, option and value", function()
    local cases = {
      { "sim.run: seed: expected a whole number, not negative, got -1", { seed = -1 } },
      { "sim.run: seed: expected a whole number, not negative, got 1.5", { seed = 1.5 } },
      { "sim.run: seed: expected a whole number, not negative, got inf", { seed = math.huge } },
      { "sim.run: seed: expected a whole number, not negative, got 'x'", { seed = "x" } },
      { "sim.run: steps: expected a whole number above 0, got 0", { steps = 0 } },
      { "sim.run: time: expected seconds above 0, at most 9e9, got inf", { time = math.huge } },
      { "sim.run: time: expected seconds above 0, at most 9e9, got 1e+20", { time = 1e20 } },
      { "sim.run: time: expected seconds above 0, at most 9e9, got -1", { time = -1 } },
      { "sim.run: stall: expected seconds above 0, at most 9e9, got 0", { stall = 0 } },
      { "sim.run: guard: expected a finite number from 0, got -1", { guard = -1 } },
      { "sim.run: faults: expected a boolean, got 5", { faults = 5 } },
      { "sim.run: sticky: expected a number between 0 and 1, got 2", { sticky = 2 } },
      { "sim.run: depth: expected a whole number above 0, got 0", { depth = 0 } },
      { "sim.run: depth: expected at most 16, got 17", { depth = 17 } },
      { "sim.run: strategy: expected one of first, random, sticky, pct, got 'dfs'", { strategy = "dfs" } },
      { "sim.run: name: expected a string, got 1", { name = 1 } },
    }
    for _, case in ipairs(cases) do helper.raises(case[1], sim.run, case[2], function() end) end
    for _, name in ipairs { "seed", "steps", "time", "stall", "sticky", "depth" } do
      helper.raises("sim.run: " .. name .. ": expected ", sim.run, { [name] = helper.nan }, function() end)
    end
  end)

  it("and the body are told apart", function()
    helper.raises("sim: the body: expected a function, got nil", lub.sim, {})
    helper.raises("sim: the body: expected a function, got 4", lub.sim, {}, 4)
    helper.raises("sim: options: expected a table, got 4", lub.sim, 4, function() end)
    helper.raises("sim.run: the body: expected a function", sim.run)
  end)
end)

-- ---- from outside: scripts and specs as processes of their own ----

local busted = helper.lua .. " spec/build/busted.lua --ignore-lua -o plainTerminal "

--- Runs a spec with this text in busted; its exit code, what it printed, its path.
local function in_busted(text, env, args)
  local path = helper.file('local lub = require "lubdub" require "lubdub.sim" ' .. text)
  local spec = path .. "_spec.lua"
  os.rename(path, spec)
  local code, out, err = helper.shell(("%s timeout 60 %s %s %s"):format(env or "", busted, args or "", spec))
  os.remove(spec)
  return code, out .. err, spec
end

describe("a sim in busted", function()
  local failing = [[
    it("fails", lub.sim(function()
      lub.pass(1)
      assert.equals(1, 2)
    end))]]

  it("passes and fails as any test, at the line of the assert", function()
    local code, passing = in_busted([[it("passes", lub.sim(function() lub.pass(1) end))]])
    same(0, code)
    says(passing, "1 success / 0 failures / 0 errors / 0 pending")
    local failed, text, spec = in_busted(failing)
    same(1, failed)
    says(text, "0 successes / 1 failure / 0 errors / 0 pending", spec .. ":3: Expected objects to be equal.",
      "(number) 2", "replay: LUBDUB_REPLAY=lub1:random:", " busted " .. spec)
  end)

  it("has errors for errors, at the test", function()
    local code, text, spec = in_busted([[it("hangs", lub.sim(function() lub.chan():recv() end))]])
    same(1, code)
    says(text, "0 successes / 0 failures / 1 error / 0 pending", "Error -> " .. spec .. " @ 1", ":1: deadlock at t=")
  end)

  it("fails in a fiber as in the body", function()
    local code, text, spec = in_busted [[it("fails", lub.sim(function()
      lub.go(function()
        assert.same({ 1 }, { 2 })
      end)
      lub.pass(1)
    end))]]
    same(1, code)
    says(text, "1 failure / 0 errors", spec .. ":3: Expected objects to be the same.")
  end)

  it("leaves pending what is pending", function()
    local code, text, spec = in_busted [[
      it("waits", lub.sim(function()
        pending "for better days" end))
      it("waits too", lub.explore(function()
        pending "for worse" end))]]
    same(0, code)
    says(text, "0 successes / 0 failures / 0 errors / 2 pending", spec .. ":2: for better", spec .. ":4: for worse")
    assert(not text:find "LUBDUB_REPLAY", text)
  end)

  it("has before_each, finally, spies and upvalues", function()
    local code, text = in_busted [[
      local n, spied = 0, nil
      before_each(function() n, spied = n + 1, spy.new(function() end) end)
      after_each(function() assert(n < 10) end)
      it("once", lub.sim(function() spied(7) assert.spy(spied).was.called_with(7) assert.equals(1, n) end))
      it("twice", lub.sim(function()
        finally(function() n = 2 end)
        lub.go(function() lub.sleep(1) spied() end)
        lub.pass(2)
        assert.spy(spied).was.called(1)
        assert.equals(2, n)
      end))]]
    same(0, code)
    says(text, "2 successes / 0 failures / 0 errors / 0 pending")
  end)

  it("makes the same run when shuffled or repeated", function()
    local spec = [[
      for i = 1, 3 do it("prints " .. i, lub.sim(function()
        local order = {}
        for k = 1, 8 do lub.go(function() order[k] = #order io.write(k) end) end
        lub.settle()
        print(" of " .. i)
      end)) end]]
    local function lines(args)
      local code, text = in_busted(spec, nil, args)
      same(0, code)
      local seen = {}
      for order, i in text:gmatch "(%d%d%d%d%d%d%d%d) of (%d)" do
        if seen[i] then same(seen[i], order) end
        seen[i] = order
      end
      return seen
    end
    for _, args in ipairs { "--repeat=3", "--shuffle --repeat=2" } do
      local seen = lines(args)
      assert(seen["1"] and seen["2"] and seen["3"])
    end
  end)

  it("takes the seed of the environment, which must be one", function()
    local _, text = in_busted(failing, "LUBDUB_SEED=77")
    says(text, "LUBDUB_REPLAY=lub1:random:77:1:")
    local code
    code, text = in_busted(failing, "LUBDUB_SEED=x")
    same(1, code)
    says(text, "LUBDUB_SEED: expected a whole number or 'random', got 'x'")
    local _, a = in_busted(failing, "LUBDUB_SEED=random")
    says(a, "LUBDUB_REPLAY=lub1:random:")
    _, text = in_busted([[it("x", lub.explore(function() end))]], "LUBDUB_RUNS=0")
    says(text, "LUBDUB_RUNS: expected a whole number from 1 to 2^63-1, got '0'")
    _, text = in_busted([[it("x", lub.explore(function() end))]], "LUBDUB_RUNS=7 LUBDUB_VERBOSE=1")
    says(text, "x: 7 runs (portfolio, seed ")
  end)

  it("runs every run twice where LUBDUB_CHECK=1 asks for it", function()
    local spec = [[local n = 0 it("counts", lub.sim(function() n = n + 1 if n == 2 then lub.sleep(1) end end))]]
    same(0, (in_busted(spec)))
    local code, text = in_busted(spec, "LUBDUB_CHECK=1")
    same(1, code)
    says(text, "nondeterminism: two runs with seed ", "differ in ", "hint: ")
  end)
end)

describe("a token", function()
  local kinds = { "fiber", "switch", "timer", "case", "other", "fault" }

  local function choices(n, last)
    local list = {}
    for i = 1, n do
      local of = i * 7 % 5 + 2
      list[i] = { kind = kinds[i * i % 6 + 1], n = of, taken = i <= last and i % of + 1 or 1, fiber = "P." .. i % 3 }
    end
    return list
  end

  local function reread(plan, all, forced)
    return tokens.read(tokens.write("abcd", { plan = plan, seed = 1, run = 1, forced = forced }, all))
  end

  it("has at most 60 characters, whatever the seed and the strategy", function()
    local pct, sticky = { strategy = "pct", depth = 4, length = 1000 }, { strategy = "sticky", sticky = 127 / 128 }
    for _, plan in ipairs { { strategy = "first" }, { strategy = "random" }, pct, sticky, { strategy = "sticky" } } do
      local run = { plan = plan, seed = math.maxinteger, run = 20000 }
      local text = tokens.write("abcd", run, choices(5000, 5000))
      assert(#text <= 60, text)
      local t = tokens.read(text)
      same({ "abcd", math.maxinteger, 20000, plan.strategy }, { t.id, t.seed, t.run, t.plan.strategy })
      same(nil, tokens.diverged(t, choices(5000, 5000)))
    end
  end)

  it("keeps what a strategy was asked for to the last bit", function()
    for _, p in ipairs { 7 / 8, 31 / 32, 127 / 128, 0.5, 1 / 3, 0.1, 1e-9, 1 - 2 ^ -53 } do
      local t = reread({ strategy = "sticky", sticky = p }, {})
      assert(t.plan.sticky == p, p)
    end
    local t = reread({ strategy = "pct", depth = 3, length = 57 }, {})
    same({ strategy = "pct", depth = 3, length = 57 }, t.plan)
  end)

  it("carries choices of any kind and number, up to the last that is not the first of its n", function()
    for n = 0, 40 do
      for _, last in ipairs { 0, n // 2, n } do
        local all = choices(n, last)
        local carried = reread({ strategy = "first" }, all, true).choices or {}
        for i = 1, n do
          local c = carried[i]
          same(all[i].taken, c and c.taken or 1)
          if c then same({ all[i].kind, all[i].n }, { c.kind, c.n }) end
        end
        assert(#carried == 0 or carried[#carried].taken > 1)
      end
    end
    local big = { { kind = "other", n = 4294967295, taken = 4294967294, fiber = "P" } }
    local t = reread({ strategy = "first" }, big, true)
    same(4294967294, t.choices[1].taken)
  end)

  it("says at which choice a run went another way", function()
    local was = choices(20, 20)
    local with = reread({ strategy = "first" }, was, true)
    local without = reread({ strategy = "random" }, was)
    same(nil, tokens.diverged(with, was))
    same(nil, tokens.diverged(without, was))
    local now = choices(20, 20)
    now[11] = { kind = "case", n = 9, taken = 2, fiber = "P.4.1" }
    same("replay diverged at choice 11: recorded switch 5/6, now case with 9 options, of P.4.1",
      (tokens.diverged(with, now):gsub("recorded %l+ %d/%d", "recorded switch 5/6")))
    says(tokens.diverged(without, now), "replay diverged between choices 9 and 16: choice 9 is now ")
    now = choices(10, 10)
    says(tokens.diverged(with, now), "replay diverged at choice 11: recorded ", ", now the run ends before it")
    says(tokens.diverged(without, now), "replay diverged ")
    now = choices(20, 20)
    now[1].n = now[1].n + 1
    says(tokens.diverged(with, now), "at choice 1: ")
    says(tokens.diverged(without, now), "replay diverged ") -- a digit is right by chance once in 16
    says(tokens.diverged(without, {}), "there was a choice, now there is none")
  end)

  local orders = [[
    local function body()
      local n, fibers = 0, {}
      for i = 1, 4 do
        fibers[i] = lub.go(function()
          local ch = lub.chan(1)
          local was = n
          ch:send(0)
          n = was + 1
        end)
      end
      for i = 1, 4 do fibers[i]:join() end
      assert.equals(4, n)
    end
    %s
    it("counts", lub.%s({ seed = 2 }, body))]]

  --- The token of the failure of this spec, and what a run of `second` with that token says.
  local function replayed(first, second)
    local folder = helper.folder()
    local spec = folder .. "/token_spec.lua" -- a name that stays: it is in the seed
    local function run(text, env)
      local f = assert(io.open(spec, "w"))
      f:write('local lub = require "lubdub" require "lubdub.sim" ', text)
      f:close()
      local code, out, err = helper.shell(("%s timeout 60 %s %s"):format(env or "", busted, spec))
      return code, out .. err
    end
    local _, text = run(first)
    local token = token_of(text)
    assert(token, text)
    local code, again = run(second or first, "LUBDUB_REPLAY=" .. token)
    os.execute("rm -r " .. folder)
    return token, code, again, text
  end

  it("is short, and replays the run in the test it is of, while others run as usual", function()
    local spec = orders:format([[it("other", lub.sim(function() print "the other ran" end))]], "sim")
    local token, code, again, text = replayed(spec)
    assert(#token <= 60, token)
    same(1, code)
    says(again, "the other ran", "1 success / 1 failure", "replayed:", token, "Expected objects to be equal")
    same(text:match "Passed in:\n(.-)\n", again:match "Passed in:\n(.-)\n")
  end)

  it("is of one of the sims in a test", function()
    local _, code, again = replayed [[it("has two", function()
      lub.sim.run(function() lub.go(function() end):join() print "the first ran" end)
      lub.sim.run(function() lub.chan(0, "x"):recv() end)
    end)]]
    same(1, code)
    says(again, "the first ran", "deadlock", "replayed:")
    assert(not again:find "diverged", again)
  end)

  it("of a shrunk schedule carries its choices", function()
    local token, code, again = replayed(orders:format("", "explore"))
    same(1, code)
    assert(token:find "^lub1:first:%d+:%d+:%x+" and #token < 120, token)
    says(again, "replayed:", token)
  end)

  it("of other code says where it diverged", function()
    local was = orders:format("", "sim")
    local _, code, again = replayed(was, (was:gsub("for i = 1, 4", "for i = 1, 5")))
    same(1, code)
    says(again, "replay diverged ", "choice ", "the program, or Lua, is not the one of the token")
    was = orders:format("", "explore")
    _, code, again = replayed(was, (was:gsub("local ch = lub.chan%(1%)", "%0 ch:send(1) ch:recv()")))
    same(1, code)
    says(again, "replay diverged ")
    _, code, again = replayed(was, [[it("counts", lub.explore(function() end))]])
    same(1, code)
    says(again, "replay diverged")
  end)

  it("that is none is refused", function()
    for _, bad in ipairs { "x", "lub1:", "lub2:random:1:1:abcd00", "lub1:dfs:1:1:abcd00", "lub1:first:1:1:abcd00:!!",
                           "lub1:first:1:1:abcd00:zz" } do
      helper.raises("replay: expected a token, lub1:strategy:seed:run:print, got '" .. bad .. "'", sim.run,
        { replay = bad }, function() end)
    end
  end)

  it("works in a script of its own", function()
    local path = helper.file [[
      local lub = require "lubdub"
      require "lubdub.sim"
      lub.sim.run(function() lub.chan(0, "acks"):recv() end)]]
    local code, _, err = helper.shell(helper.lua .. " " .. path)
    same(1, code)
    says(err, path .. ":3: deadlock", "LUBDUB_REPLAY=", " " .. helper.lua .. " " .. path)
    local _, _, again = helper.shell(("LUBDUB_REPLAY=%s %s %s"):format(token_of(err), helper.lua, path))
    says(again, "replayed:", "recv acks", path .. ":3: deadlock")
    os.remove(path)
  end)
end)
