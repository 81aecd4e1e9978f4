-- In sims the times are exact. What real carriers and the real clock do is at the end.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local go, join = helper.go, helper.join
local in_sim = helper.in_sim(it)
local in_any_order = helper.in_sim(it, { runs = 20 })
local far = 1000 -- seconds

describe("lub.now", function()
  in_sim("moves on with time, and only with time", function()
    local t = lub.now()
    for _ = 1, 1000 do lub.yield() end
    assert.equals(t, lub.now())
    lub.sleep(0.01)
    assert.equals(t + 0.01, lub.now())
  end)

  in_sim("is the same clock in every worker", function()
    lub.sleep(7)
    assert.equals(lub.now(), (join(lub.spawn(function() return lub.now() end))))
  end)

  it("refuses surplus arguments", function()
    helper.refuses("now", 1, 5, lub.now, 5)
  end)
end)

describe("lub.sleep", function()
  in_sim("returns true, at its time", function()
    for _, s in ipairs { 0.25, 1, 3.5, 86400 } do
      local t = lub.now()
      assert.same({ true }, { lub.sleep(s) })
      assert.equals(t + s, lub.now())
    end
  end)

  in_sim("of 0 or less comes back at once", function()
    for _, s in ipairs { 0, -0.0, -1, -1e300, -math.huge, math.mininteger } do assert.is_true(lub.sleep(s)) end
    assert.equals(0.0, lub.now())
  end)

  in_sim("of next to nothing comes back", function()
    for _, s in ipairs { 5e-324, 1e-12, 1e-9, 1e-6 } do assert.is_true(lub.sleep(s)) end
    assert.is_true(lub.now() < 2e-6)
  end)

  in_any_order("lets other fibers run, also with 0", function()
    local ran = false
    lub.go(function() ran = true end)
    while not ran do lub.sleep(0) end
    assert.equals(0.0, lub.now())
  end)

  in_sim("of a huge or infinite time never ends by itself", function()
    for _, s in ipairs { math.huge, 1e300, 1e18, 9.3e9, math.maxinteger } do
      local f = go(function() return lub.sleep(s) end)
      lub.pass(86400)
      assert.equals("idle", f:state())
      f:cancel()
      assert.same({ nil, "cancelled" }, { join(f) })
    end
  end)

  it("refuses what is no time", function()
    helper.refuses_waits("sleep", 1, lub.sleep)
    helper.refuses("sleep", 1, nil, lub.sleep)
    helper.refuses("sleep", 1, nil, lub.sleep, nil)
  end)

  it("refuses surplus arguments", function()
    helper.refuses("sleep", 2, 5, lub.sleep, 0, 5)
  end)

  in_any_order("is ended by a cancel, whether it has begun or not", function()
    local f = lub.go(function() return lub.sleep(far) end)
    f:cancel()
    assert.same({ nil, "cancelled" }, { join(f) })
    assert.equals(0.0, lub.now())
  end)

  in_any_order("wakes sleepers in the order of their times, each at its own", function()
    local woke, fibers = {}, {}
    for i, s in ipairs { 0.15, 0.001, 0.075 } do
      fibers[i] = lub.go(function()
        lub.sleep(s)
        woke[#woke + 1] = { s, lub.now() }
      end)
    end
    for i = 1, 3 do join(fibers[i]) end
    assert.same({ { 0.001, 0.001 }, { 0.075, 0.075 }, { 0.15, 0.15 } }, woke)
  end)

  in_sim("wakes each of 10,000 sleepers at its time", function()
    local fibers, wrong = {}, 0
    for i = 1, 10000 do
      fibers[i] = lub.go(function()
        local s = (i * 7919 % 20) / 1000
        lub.sleep(s)
        if lub.now() ~= s then wrong = wrong + 1 end
      end)
    end
    for i = 1, 10000 do assert.equals(0, select("#", join(fibers[i]))) end
    assert.equals(0, wrong)
  end)

  in_sim("in one worker delays no other", function()
    local slow = lub.spawn(function() return lub.sleep(1000) end)
    assert.is_true((join(lub.spawn(function() return lub.sleep(0.001) end))))
    assert.equals(0.001, lub.now())
    slow:cancel()
    assert.same({ nil, "cancelled" }, { join(slow) })
    assert.equals(0.001, lub.now())
  end)
end)

describe("lub.after(s)", function()
  in_sim("is a channel that receives the time once", function()
    local t = lub.after(0.005)
    assert.same({ nil, "timeout" }, { t:recv(0.0049) })
    assert.equals(0.005, t:recv(far))
    assert.equals(0.005, lub.now())
    assert.same({ nil, "timeout" }, { t:recv(far) })
  end)

  in_sim("never closes", function()
    local t = lub.after(0)
    assert.is_false(t:closed())
    t:recv(far)
    assert.is_false(t:closed())
    assert.same({ nil, "timeout" }, { t:recv(0) })
    t:stop()
    assert.is_false(t:closed())
  end)

  in_sim("keeps its value, the time at which it fired, until somebody comes", function()
    local t = lub.after(0.001)
    lub.pass(10)
    assert.equals(0.001, t:recv(0))
  end)

  in_any_order("serves one of several receivers", function()
    local t, woke, late = lub.after(0.001), 0, 0
    local fibers = {}
    for i = 1, 3 do
      fibers[i] = lub.go(function()
        if t:recv(0.05) then woke = woke + 1 elseif lub.now() == 0.05 then late = late + 1 end
      end)
    end
    for i = 1, 3 do join(fibers[i]) end
    assert.same({ 1, 2 }, { woke, late })
  end)

  in_sim("fires at once for 0 and less", function()
    for _, s in ipairs { 0, -1, -1e300, -math.huge } do assert.equals(0.0, lub.after(s):recv(far)) end
  end)

  in_sim("never fires for a huge or infinite time", function()
    for _, s in ipairs { math.huge, 1e300, 1e18, math.maxinteger } do
      local t = lub.after(s)
      assert.same({ nil, "timeout" }, { t:recv(86400) })
      assert.is_true(t:stop())
    end
  end)

  it("that is infinite wakes nobody: to wait for it is a deadlock", function()
    for _, wait in ipairs { "lub.after(math.huge):recv()", "lub.tick(math.huge):recv()",
      "lub.select(lub.after(math.huge), lub.chan())",
      "local t = lub.after(60) t:reset(math.huge) t:recv()" } do
      local code, _, err = helper.script("local lub = require 'lubdub' " .. wait)
      assert.same({ wait, 4 }, { wait, code })
      assert.matches("deadlock", err)
    end
    local t = lub.tick(math.huge)
    assert.is_true(t:reset(0.001))
    assert.is_number(t:recv(helper.long))
  end)

  it("is not one for a function that is nil", function()
    helper.raises("after: argument 2: expected a function, got nil", lub.after, 1, nil)
  end)

  in_sim("lets go of who waits to send to it, with what lies in it, when it is stopped or reset", function()
    for _, make in ipairs { lub.after, lub.tick } do
      for _, over in ipairs { "stop", "reset" } do
        local t = make(86400)
        t:send("in it")
        local waits = helper.go(function() return t:send("behind it") end)
        assert.is_true(over == "stop" and t:stop() or over == "reset" and t:reset(1))
        assert.is_true(helper.join(waits))
        assert.equals(0, #t)
        t:stop()
      end
    end
  end)

  it("refuses what is no time", function()
    helper.refuses_waits("after", 1, lub.after)
    helper.refuses("after", 1, nil, lub.after)
    helper.refuses("after", 1, nil, lub.after, nil)
  end)

  in_sim("fires in the order of time, not of making", function()
    local late, early = lub.after(0.15), lub.after(0.001)
    assert.same({ early, 0.001, 2 }, { lub.select(late, early) })
    assert.same({ late, 0.15, 1 }, { lub.select(late, early) })
  end)

  in_any_order("is a timeout for a whole loop of selects", function()
    local done, tick, n = lub.after(0.031), lub.tick(0.002), 0
    while lub.prefer(done, tick) ~= done do n = n + 1 end
    tick:stop()
    assert.equals(15, n)
    assert.equals(0.031, lub.now())
  end)

  in_sim("can be sent to another worker", function()
    assert.equals(0.001, (join(lub.spawn(function(t) return t:recv() end, lub.after(0.001)))))
  end)

  in_sim("may be made by the thousand and dropped", function()
    for _ = 1, 20000 do lub.after(far) end
    collectgarbage()
    collectgarbage()
    assert.equals(0.0, lub.after(0):recv(far))
  end)
end)

describe("lub.after(s, fn, ...)", function()
  in_sim("runs the function with its arguments in a new fiber", function()
    local ch, me = lub.chan(1), lub.self()
    local t = {}
    lub.after(0.001, function(...)
      local same = select("#", ...) == 3 and (...) == t and select(3, ...) == nil
      ch:send { same = same, another = lub.self() ~= me }
    end, t, 2, nil)
    assert.same({ same = true, another = true }, ch:recv(far))
  end)

  in_sim("runs it at its time, and once", function()
    local ran = {}
    lub.after(0.005, function() ran[#ran + 1] = lub.now() end)
    lub.pass(far)
    assert.same({ 0.005 }, ran)
  end)

  in_sim("runs a method of a channel", function()
    local done = lub.chan()
    lub.after(0.001, done.close, done)
    assert.same({ nil, "closed" }, { done:recv(far) })
    assert.equals(0.001, lub.now())
  end)

  in_any_order("runs it later, never from within the call", function()
    for _, s in ipairs { 0, -1 } do
      local ran = false
      lub.after(s, function() ran = true end)
      assert.is_false(ran)
      lub.settle()
      assert.is_true(ran)
    end
    assert.equals(0.0, lub.now())
  end)

  in_sim("runs it though nobody keeps the timer", function()
    local ran = false
    lub.after(0.005, function() ran = true end)
    collectgarbage()
    collectgarbage()
    lub.pass(0.005)
    assert.is_true(ran)
  end)

  in_any_order("may wait in the function", function()
    local a, b = lub.chan(), lub.chan()
    lub.after(0, function() b:send(a:recv() + 1) end)
    a:send(1)
    assert.equals(2, b:recv(far))
  end)

  in_sim("is stopped before it runs", function()
    local ran = false
    local t = lub.after(0.002, function() ran = true end)
    lub.pass(0.0019)
    assert.is_true(t:stop())
    assert.is_false(t:stop())
    lub.pass(far)
    assert.is_false(ran)
  end)

  in_any_order("cannot be stopped after it ran", function()
    local ran = false
    local t = lub.after(0, function() ran = true end)
    lub.settle()
    assert.is_true(ran)
    assert.is_false(t:stop())
  end)

  in_any_order("that is stopped when it is due runs, or says that it will not", function()
    local ran = false
    local t = lub.after(1, function() ran = true end)
    lub.sleep(1)
    local stopped = t:stop()
    lub.settle()
    assert.is_true(ran ~= stopped)
  end)

  in_sim("can be moved, and runs at the new time only", function()
    local ran = {}
    local t = lub.after(10, function() ran[#ran + 1] = lub.now() end)
    assert.is_true(t:reset(0.005))
    lub.pass(far)
    assert.same({ 0.005 }, ran)
  end)

  in_sim("runs again when it is reset after it ran or was stopped", function()
    local ch = lub.chan()
    local t = lub.after(0, function(v) ch:send(v) end, "v")
    assert.equals("v", ch:recv(far))
    assert.is_false(t:reset(0))
    assert.equals("v", ch:recv(far))
    t:reset(far)
    assert.is_true(t:stop())
    assert.is_false(t:reset(0.001))
    assert.equals("v", ch:recv(far))
    assert.equals(0.001, lub.now())
  end)

  it("refuses what is no function and no time", function()
    for _, bad in ipairs { "x", 1, {}, true } do helper.refuses("after", 2, bad, lub.after, 0, bad) end
    helper.refuses_waits("after", 1, function(s) lub.after(s, print) end)
    local t = lub.after(far, print)
    helper.refuses_waits("reset", 1, function(s) t:reset(s) end)
    assert.is_true(t:stop())
  end)

  in_sim("never runs after an infinite time", function()
    local t = lub.after(math.huge, error, "it ran")
    lub.pass(86400)
    assert.is_true(t:stop())
  end)
end)

describe("lub.tick", function()
  in_sim("receives the time again and again", function()
    local t = lub.tick(0.25)
    for i = 1, 10 do
      assert.equals(i * 0.25, t:recv(far))
      assert.equals(i * 0.25, lub.now())
    end
    t:stop()
  end)

  in_any_order("never queues for a slow receiver", function()
    local t = lub.tick(0.25)
    lub.pass(5.125)
    assert.is_number(t:recv(0)) -- one that was missed
    assert.same({ nil, "timeout" }, { t:recv(0) })
    assert.equals(5.25, t:recv())
    t:stop()
  end)

  in_sim("goes on after its receiver was slow", function()
    local t = lub.tick(0.001)
    for _ = 1, 3 do
      lub.pass(0.0055)
      assert.is_number(t:recv(0))
    end
    t:stop()
  end)

  in_any_order("shares its ticks among receivers", function()
    local t, got, fibers = lub.tick(0.001), { 0, 0 }, {}
    for i = 1, 2 do
      fibers[i] = lub.go(function()
        for _ = 1, 5 do
          t:recv()
          got[i] = got[i] + 1
        end
      end)
    end
    for i = 1, 2 do join(fibers[i]) end
    t:stop()
    assert.same({ 5, 5 }, got)
    assert.equals(0.01, lub.now())
  end)

  in_sim("serves another worker", function()
    local t = lub.tick(0.001)
    local n = join(lub.spawn(function(tick)
      local n = 0
      for _ in tick do
        n = n + 1
        if n == 3 then return n end
      end
    end, t))
    assert.equals(3, n)
    assert.equals(0.003, lub.now())
    t:stop()
  end)

  it("refuses a period of 0 or less, and what is no time", function()
    for _, bad in ipairs { 0, 0.0, -1, -1e-9, -math.huge, math.mininteger } do
      helper.refuses("tick", 1, bad, lub.tick, bad)
    end
    helper.refuses_waits("tick", 1, lub.tick)
    helper.refuses("tick", 1, nil, lub.tick)
  end)

  it("refuses surplus arguments", function()
    helper.refuses("tick", 2, 5, lub.tick, far, 5)
  end)

  in_sim("takes a huge or infinite period, and never ticks", function()
    for _, period in ipairs { 1e300, 1e18, math.maxinteger, math.huge } do
      local t = lub.tick(period)
      assert.same({ nil, "timeout" }, { t:recv(86400) })
      assert.is_true(t:stop())
    end
  end)
end)

describe("timer.stop", function()
  it("tells whether the timer was running", function()
    local t = lub.after(far)
    assert.is_true(t:stop())
    assert.is_false(t:stop())
    local tick = lub.tick(far)
    assert.is_true(tick:stop())
    assert.is_false(tick:stop())
  end)

  in_sim("is false after the value was received", function()
    local t = lub.after(0)
    t:recv(far)
    assert.is_false(t:stop())
  end)

  in_any_order("takes back a value that nobody received", function()
    local t = lub.after(0.001)
    lub.pass(0.01)
    t:stop()
    assert.same({ nil, "timeout" }, { t:recv(0) })
    local tick = lub.tick(0.001)
    lub.pass(0.01)
    assert.is_true(tick:stop())
    assert.same({ nil, "timeout" }, { tick:recv(0) })
  end)

  in_any_order("counts a value that nobody received as still running, as Go 1.23 does", function()
    local t = lub.after(0.001)
    lub.pass(0.01)
    assert.is_true(t:stop())
    assert.is_false(t:stop())
  end)

  in_any_order("silences a timer for those who wait already", function()
    local t = lub.after(0.005)
    local f = lub.go(function() return t:recv(0.03) end)
    t:stop()
    assert.same({ nil, "timeout" }, { join(f) })
    assert.equals(0.03, lub.now())
  end)

  in_any_order("of a timer that is due takes the value from whoever waits, or comes too late", function()
    local t = lub.after(1)
    local f = lub.go(function() return t:recv(2) end)
    lub.sleep(1)
    local stopped = t:stop()
    local v, why = join(f)
    assert.same(stopped and { nil, "timeout" } or { 1.0 }, { v, why })
  end)

  in_any_order("silences a tick for good", function()
    local t = lub.tick(0.001)
    t:recv(far)
    t:stop()
    assert.same({ nil, "timeout" }, { t:recv(far) })
    assert.is_false(t:closed())
  end)

  it("is refused by a channel without a timer", function()
    assert.has_error(function() lub.chan():stop() end)
    assert.has_error(function() lub.chan(1):reset(1) end)
  end)

  it("refuses surplus arguments", function()
    local t = lub.after(far)
    helper.refuses("stop", 1, 5, t.stop, t, 5)
    assert.is_true(t:stop())
  end)

  in_sim("works from another worker", function()
    local t = lub.after(far)
    assert.is_true((join(lub.spawn(function(x) return x:stop() end, t))))
    assert.is_false(t:stop())
  end)
end)

describe("timer.reset", function()
  in_sim("tells whether the timer was running, and sets it anew", function()
    local t = lub.after(far)
    assert.is_true(t:reset(0.25))
    assert.equals(0.25, t:recv(far))
    assert.is_false(t:reset(0.25))
    assert.equals(0.5, t:recv(far))
    t:reset(far)
    assert.is_true(t:stop())
    assert.is_false(t:reset(0))
    assert.equals(0.5, t:recv(far))
  end)

  in_any_order("moves the time of those who wait already", function()
    local t = lub.after(far)
    local f = lub.go(function() return t:recv(far) end)
    t:reset(0.001)
    assert.equals(0.001, (join(f)))
  end)

  in_sim("counts from now", function()
    local t = lub.after(0.5)
    lub.pass(0.25)
    t:reset(1)
    assert.equals(1.25, t:recv(far))
  end)

  in_any_order("takes back a value that nobody received", function()
    local t = lub.after(0.001)
    lub.pass(0.01)
    t:reset(far)
    assert.same({ nil, "timeout" }, { t:recv(0) })
    assert.is_true(t:stop())
  end)

  in_sim("changes the period of a tick", function()
    local t = lub.tick(far)
    assert.is_true(t:reset(0.25))
    for i = 1, 3 do assert.equals(i * 0.25, t:recv(far)) end
    t:stop()
    assert.is_false(t:reset(0.5))
    for i = 1, 3 do assert.equals(0.75 + i * 0.5, t:recv(far)) end
    assert.is_true(t:reset(far))
    assert.same({ nil, "timeout" }, { t:recv(far - 1) })
    t:stop()
  end)

  in_sim("fires at once with 0 or less", function()
    local t = lub.after(far)
    for _, s in ipairs { 0, -1, -math.huge } do
      t:reset(s)
      assert.equals(0.0, t:recv(far))
    end
  end)

  it("of a tick refuses a period of 0 or less", function()
    local t = lub.tick(far)
    for _, bad in ipairs { 0, -1, -math.huge } do helper.refuses("reset", 1, bad, t.reset, t, bad) end
    assert.is_true(t:stop())
  end)

  it("refuses what is no time", function()
    for _, t in ipairs { lub.after(far), lub.tick(far) } do
      helper.refuses_waits("reset", 1, function(s) t:reset(s) end)
      helper.refuses("reset", 1, nil, t.reset, t)
      assert.is_true(t:stop())
    end
  end)

  it("refuses surplus arguments", function()
    local t = lub.after(far)
    helper.refuses("reset", 2, 5, t.reset, t, 1, 5)
    t:stop()
  end)

  in_any_order("that races with the timer delivers one value for each run", function()
    local t, values, runs = lub.after(1), 0, 1
    for _ = 1, 20 do
      lub.sleep(1)
      if t:recv(0) then values = values + 1 end
      if t:reset(1) then runs = runs - 1 end -- that one was taken back
      runs = runs + 1
    end
    if t:stop() then runs = runs - 1 end
    assert.equals(runs, values)
    assert.same({ nil, "timeout" }, { t:recv(far) })
  end)
end)

describe("a timer that nobody refers to", function()
  in_sim("is collected", function()
    local weak = setmetatable({ lub.tick(0.001), lub.after(far) }, { __mode = "v" })
    lub.pass(1)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.is_nil(weak[2])
  end)

  in_sim("is kept by a view, and by a channel that holds it", function()
    local r, box = lub.after(0.005):receiver(), lub.chan(1)
    box:send(lub.tick(0.001))
    collectgarbage()
    collectgarbage()
    assert.equals(0.005, r:recv(far))
    assert.is_number(box:recv():recv(far))
  end)

  in_sim("is kept by the fiber that waits for it", function()
    local f = go(function() return lub.after(0.005):recv() end)
    local g = go(function() return lub.select(lub.chan(), lub.after(0.005)) end)
    collectgarbage()
    collectgarbage()
    assert.equals(0.005, (join(f)))
    assert.equals(0.005, select(2, join(g)))
  end)
end)

-- Lower bounds are exact but for the rounding of doubles; upper bounds are missing, because a loaded machine may be
-- late by any time.
describe("in real time", function()
  local epsilon = 1e-6

  it("now never falls, and is one clock in every worker", function()
    local last = lub.now()
    assert.is_number(last)
    for _ = 1, 1000 do
      local t = lub.now()
      assert.is_true(t >= last)
      last = t
    end
    local theirs = join(lub.spawn(function() return lub.now() end))
    assert.is_true(last <= theirs and theirs <= lub.now())
  end)

  it("a sleep is never over early, beside 1,000 others", function()
    local fibers, early = {}, 0
    for i = 1, 1000 do
      fibers[i] = lub.go(function()
        local s = (i * 7919 % 20) / 1000
        local t = lub.now()
        lub.sleep(s)
        if lub.now() - t < s - epsilon then early = early + 1 end
      end)
    end
    for i = 1, 1000 do assert.equals(0, select("#", join(fibers[i]))) end
    assert.equals(0, early)
  end)

  it("after fires and runs its function, not before its time", function()
    local ran, start = lub.chan(1), lub.now()
    lub.after(0.005, function() ran:send(lub.now()) end)
    local v = lub.after(0.005):recv(helper.long)
    assert.is_true(v >= start + 0.005 - epsilon and v <= lub.now())
    assert.is_true(ran:recv(helper.long) >= start + 0.005 - epsilon)
  end)

  it("tick receives the time again and again, never early, here and in a worker", function()
    local function ticks(t, start, n)
      local last = start
      for i = 1, n do
        local v = t:recv()
        if v <= last or v < start + i * 0.002 - 1e-6 or v > lub.now() then return ("tick %d at %f"):format(i, v) end
        last = v
      end
      return "fine"
    end
    local start = lub.now()
    local t = lub.tick(0.002)
    assert.equals("fine", ticks(t, start, 5))
    t:stop()
    start = lub.now()
    t:reset(0.002)
    assert.equals("fine", (join(lub.spawn(ticks, t, start, 5))))
    t:stop()
  end)

  it("the shortest period does not choke a tick", function()
    for _, period in ipairs { 5e-324, 1e-12, 1e-9 } do
      local t = lub.tick(period)
      for _ = 1, 3 do assert.is_number(t:recv(helper.long)) end
      assert.is_true(lub.sleep(0.001))
      assert.is_true(t:stop())
    end
  end)

  it("stop and reset race with the timer: one value for each run", function()
    local t, values = lub.after(0), 0
    for _ = 1, 500 do
      if t:recv(0) then values = values + 1 end
      t:reset(0)
    end
    t:stop()
    assert.is_true(values <= 500)
    assert.same({ nil, "timeout" }, { t:recv(0) })
  end)
end)
