-- Lower bounds are exact but for the rounding of doubles; upper bounds are missing or generous, because a
-- loaded machine may be late by any time.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local go, join = helper.go, helper.join
local epsilon = 1e-6
local far = 1000 -- seconds: no spec reaches it

--- Waits until every timer set before, for `seconds` or less, has fired.
local function pass(seconds) lub.sleep(seconds) end

describe("lub.now", function()
  it("is a number of seconds that never falls", function()
    local last = lub.now()
    assert.is_number(last)
    for _ = 1, 1000 do
      local t = lub.now()
      assert.is_true(t >= last)
      last = t
    end
  end)

  it("moves on with time", function()
    local t = lub.now()
    lub.sleep(0.01)
    local d = lub.now() - t
    assert.is_true(d > 0.01 - epsilon and d < helper.long)
  end)

  it("is the same clock in every worker", function()
    local before = lub.now()
    local theirs = join(lub.spawn(function() return lub.now() end))
    assert.is_true(before <= theirs and theirs <= lub.now())
  end)

  it("refuses surplus arguments", function()
    helper.refuses("now", 1, 5, lub.now, 5)
  end)
end)

describe("lub.sleep", function()
  it("returns true, and not before its time", function()
    for _, s in ipairs { 0.001, 0.005, 0.01 } do
      local t = lub.now()
      assert.same({ true }, { lub.sleep(s) })
      assert.is_true(lub.now() - t > s - epsilon)
    end
  end)

  it("of 0 or less comes back at once", function()
    for _, s in ipairs { 0, -0.0, -1, -1e300, -math.huge, math.mininteger } do assert.is_true(lub.sleep(s)) end
  end)

  it("of next to nothing comes back", function()
    for _, s in ipairs { 5e-324, 1e-12, 1e-9, 1e-6 } do assert.is_true(lub.sleep(s)) end
  end)

  it("lets other fibers run, also with 0", function()
    local ran = false
    lub.go(function() ran = true end)
    helper.eventually(function() lub.sleep(0) return ran end)
    assert.is_true(ran)
  end)

  it("of a huge or infinite time never ends by itself", function()
    for _, s in ipairs { math.huge, 1e300, 1e18, 9.3e9, math.maxinteger } do
      local f = go(function() return lub.sleep(s) end)
      pass(0.001)
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

  it("is ended by a cancel", function()
    local f = go(function() return lub.sleep(far) end)
    f:cancel()
    assert.same({ nil, "cancelled" }, { join(f) })
  end)

  it("wakes sleepers in the order of their times", function()
    local woke, fibers = {}, {}
    for i, s in ipairs { 0.15, 0.001, 0.075 } do
      fibers[i] = go(function()
        lub.sleep(s)
        woke[#woke + 1] = s
      end)
    end
    for i = 1, 3 do join(fibers[i]) end
    assert.same({ 0.001, 0.075, 0.15 }, woke)
  end)

  it("wakes each of 10,000 sleepers, none of them early", function()
    local fibers, early = {}, 0
    for i = 1, 10000 do
      fibers[i] = lub.go(function()
        local s = (i * 7919 % 20) / 1000
        local t = lub.now()
        lub.sleep(s)
        if lub.now() - t < s - epsilon then early = early + 1 end
      end)
    end
    for i = 1, 10000 do assert.equals(0, select("#", join(fibers[i]))) end
    assert.equals(0, early)
  end)

  it("in one worker delays no other", function()
    local slow = lub.spawn(function() return lub.sleep(1000) end)
    assert.is_true((join(lub.spawn(function() return lub.sleep(0.001) end))))
    slow:cancel()
    assert.same({ nil, "cancelled" }, { join(slow) })
  end)
end)

describe("lub.after(s)", function()
  it("is a channel that receives the time once", function()
    local before = lub.now()
    local t = lub.after(0.005)
    local v = t:recv(helper.long)
    assert.is_number(v)
    assert.is_true(v > before + 0.005 - epsilon)
    assert.is_true(v <= lub.now())
    assert.same({ nil, "timeout" }, { t:recv(0.005) })
  end)

  it("never closes", function()
    local t = lub.after(0)
    assert.is_false(t:closed())
    t:recv(helper.long)
    assert.is_false(t:closed())
    assert.same({ nil, "timeout" }, { t:recv(0) })
    t:stop()
    assert.is_false(t:closed())
  end)

  it("keeps its value until somebody comes", function()
    local t = lub.after(0.001)
    pass(0.01)
    assert.is_number(t:recv(helper.long))
  end)

  it("serves one of several receivers", function()
    local t, woke = lub.after(0.001), 0
    local fibers = {}
    for i = 1, 3 do
      fibers[i] = go(function()
        if t:recv(0.05) then woke = woke + 1 end
      end)
    end
    for i = 1, 3 do join(fibers[i]) end
    assert.equals(1, woke)
  end)

  it("fires at once for 0 and less", function()
    for _, s in ipairs { 0, -1, -1e300, -math.huge } do assert.is_number(lub.after(s):recv(helper.long)) end
  end)

  it("never fires for a huge or infinite time", function()
    for _, s in ipairs { math.huge, 1e300, 1e18, math.maxinteger } do
      local t = lub.after(s)
      assert.same({ nil, "timeout" }, { t:recv(0.001) })
      assert.is_true(t:stop())
    end
  end)

  it("refuses what is no time", function()
    helper.refuses_waits("after", 1, lub.after)
    helper.refuses("after", 1, nil, lub.after)
    helper.refuses("after", 1, nil, lub.after, nil)
  end)

  it("fires in the order of time, not of making", function()
    local late, early = lub.after(0.15), lub.after(0.001)
    assert.equals(early, (lub.select(late, early)))
    assert.equals(late, (lub.select(late, early)))
  end)

  it("is a timeout for a whole loop of selects", function()
    local done, tick, n = lub.after(0.03), lub.tick(0.002), 0
    while lub.prefer(done, tick) ~= done do n = n + 1 end
    tick:stop()
    assert.is_true(n <= 15)
  end)

  it("can be sent to another worker", function()
    assert.is_number((join(lub.spawn(function(t) return t:recv() end, lub.after(0.001)))))
  end)

  it("may be made by the thousand and dropped", function()
    for _ = 1, 20000 do lub.after(far) end
    collectgarbage()
    collectgarbage()
    assert.is_number(lub.after(0):recv(helper.long))
  end)
end)

describe("lub.after(s, fn, ...)", function()
  it("runs the function with its arguments in a new fiber", function()
    local ch, me = lub.chan(1), lub.self()
    local t = {}
    lub.after(0.001, function(...)
      local same = select("#", ...) == 3 and (...) == t and select(3, ...) == nil
      ch:send { same = same, another = lub.self() ~= me }
    end, t, 2, nil)
    assert.same({ same = true, another = true }, ch:recv(helper.long))
  end)

  it("runs it not before its time, and once", function()
    local runs, at, done, before = 0, nil, lub.chan(), lub.now()
    lub.after(0.005, function()
      runs, at = runs + 1, lub.now()
      done:close()
    end)
    done:recv(helper.long)
    assert.is_true(at > before + 0.005 - epsilon)
    pass(0.01)
    assert.equals(1, runs)
  end)

  it("runs a method of a channel", function()
    local done = lub.chan()
    lub.after(0.001, done.close, done)
    assert.same({ nil, "closed" }, { done:recv(helper.long) })
  end)

  it("runs it later, never from within the call", function()
    for _, s in ipairs { 0, -1 } do
      local ran, done = false, lub.chan()
      lub.after(s, function()
        ran = true
        done:close()
      end)
      assert.is_false(ran)
      assert.same({ nil, "closed" }, { done:recv(helper.long) })
      assert.is_true(ran)
    end
  end)

  it("runs it though nobody keeps the timer", function()
    local done = lub.chan()
    lub.after(0.005, function() done:close() end)
    collectgarbage()
    collectgarbage()
    assert.same({ nil, "closed" }, { done:recv(helper.long) })
  end)

  it("may wait in the function", function()
    local a, b = lub.chan(), lub.chan()
    lub.after(0, function() b:send(a:recv() + 1) end)
    a:send(1)
    assert.equals(2, b:recv(helper.long))
  end)

  it("is stopped before it runs", function()
    local ran = false
    local t = lub.after(0.002, function() ran = true end)
    assert.is_true(t:stop())
    assert.is_false(t:stop())
    pass(0.01)
    assert.is_false(ran)
  end)

  it("cannot be stopped after it ran", function()
    local done = lub.chan()
    local t = lub.after(0, done.close, done)
    done:recv(helper.long)
    assert.is_false(t:stop())
  end)

  it("can be moved, and runs at the new time only", function()
    local runs, done, before = 0, lub.chan(), lub.now()
    local t = lub.after(far, function()
      runs = runs + 1
      done:close()
    end)
    assert.is_true(t:reset(0.005))
    done:recv(helper.long)
    assert.is_true(lub.now() > before + 0.005 - epsilon)
    assert.equals(1, runs)
  end)

  it("runs again when it is reset after it ran or was stopped", function()
    local ch = lub.chan()
    local t = lub.after(0, function(v) ch:send(v) end, "v")
    assert.equals("v", ch:recv(helper.long))
    assert.is_false(t:reset(0))
    assert.equals("v", ch:recv(helper.long))
    t:reset(far)
    assert.is_true(t:stop())
    assert.is_false(t:reset(0.001))
    assert.equals("v", ch:recv(helper.long))
  end)

  it("refuses what is no function and no time", function()
    for _, bad in ipairs { "x", 1, {}, true } do helper.refuses("after", 2, bad, lub.after, 0, bad) end
    helper.refuses_waits("after", 1, function(s) lub.after(s, print) end)
    local t = lub.after(far, print)
    helper.refuses_waits("reset", 1, function(s) t:reset(s) end)
    assert.is_true(t:stop())
  end)

  it("never runs after an infinite time", function()
    local t = lub.after(math.huge, error, "it ran")
    pass(0.001)
    assert.is_true(t:stop())
  end)
end)

describe("lub.tick", function()
  it("receives the time again and again, never early", function()
    local start = lub.now()
    local t = lub.tick(0.002)
    local last = start
    for i = 1, 10 do
      local v = t:recv(helper.long)
      assert.is_true(v > last)
      assert.is_true(v > start + i * 0.002 - epsilon)
      assert.is_true(v <= lub.now())
      last = v
    end
    t:stop()
  end)

  it("never queues for a slow receiver", function()
    local period = 0.002
    local t = lub.tick(period)
    pass(20 * period)
    local start, n = lub.now(), 0
    while t:recv(0) do n = n + 1 end
    assert.is_true(n <= 2 + (lub.now() - start) / period)
    t:stop()
  end)

  it("goes on after its receiver was slow", function()
    local t = lub.tick(0.001)
    for _ = 1, 3 do
      pass(0.005)
      assert.is_number(t:recv(helper.long))
    end
    t:stop()
  end)

  it("shares its ticks among receivers", function()
    local t, got, fibers = lub.tick(0.001), { 0, 0 }, {}
    for i = 1, 2 do
      fibers[i] = go(function()
        for _ = 1, 5 do
          t:recv()
          got[i] = got[i] + 1
        end
      end)
    end
    for i = 1, 2 do join(fibers[i]) end
    t:stop()
    assert.same({ 5, 5 }, got)
  end)

  it("serves another worker", function()
    local t = lub.tick(0.001)
    local n = join(lub.spawn(function(tick)
      local n = 0
      for _ in tick do
        n = n + 1
        if n == 3 then return n end
      end
    end, t))
    assert.equals(3, n)
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

  it("takes the shortest period without choking", function()
    for _, period in ipairs { 5e-324, 1e-12, 1e-9 } do
      local t = lub.tick(period)
      for _ = 1, 3 do assert.is_number(t:recv(helper.long)) end
      assert.is_true(lub.sleep(0.001))
      assert.is_true(t:stop())
    end
  end)

  it("takes a huge or infinite period, and never ticks", function()
    for _, period in ipairs { 1e300, 1e18, math.maxinteger, math.huge } do
      local t = lub.tick(period)
      assert.same({ nil, "timeout" }, { t:recv(0.001) })
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

  it("is false after the value was received", function()
    local t = lub.after(0)
    t:recv(helper.long)
    assert.is_false(t:stop())
  end)

  it("takes back a value that nobody received", function()
    local t = lub.after(0.001)
    pass(0.01)
    t:stop()
    assert.same({ nil, "timeout" }, { t:recv(0) })
    local tick = lub.tick(0.001)
    pass(0.01)
    assert.is_true(tick:stop())
    assert.same({ nil, "timeout" }, { tick:recv(0) })
  end)

  it("counts a value that nobody received as still running, as Go 1.23 does", function()
    local t = lub.after(0.001)
    pass(0.01)
    assert.is_true(t:stop())
    assert.is_false(t:stop())
  end)

  it("silences a timer for those who wait already", function()
    local t = lub.after(0.005)
    local f = go(function() return t:recv(0.03) end)
    t:stop()
    assert.same({ nil, "timeout" }, { join(f) })
  end)

  it("silences a tick for good", function()
    local t = lub.tick(0.001)
    t:recv(helper.long)
    t:stop()
    assert.same({ nil, "timeout" }, { t:recv(0.01) })
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

  it("works from another worker", function()
    local t = lub.after(far)
    assert.is_true((join(lub.spawn(function(x) return x:stop() end, t))))
    assert.is_false(t:stop())
  end)
end)

describe("timer.reset", function()
  it("tells whether the timer was running, and sets it anew", function()
    local t = lub.after(far)
    assert.is_true(t:reset(0.001))
    assert.is_number(t:recv(helper.long))
    assert.is_false(t:reset(0.001))
    assert.is_number(t:recv(helper.long))
    t:reset(far)
    assert.is_true(t:stop())
    assert.is_false(t:reset(0))
    assert.is_number(t:recv(helper.long))
  end)

  it("moves the time of those who wait already", function()
    local t = lub.after(far)
    local f = go(function() return t:recv(helper.long) end)
    t:reset(0.001)
    assert.is_number((join(f)))
  end)

  it("counts from now", function()
    local t = lub.after(0.002)
    pass(0.001)
    local before = lub.now()
    t:reset(0.01)
    assert.is_true(t:recv(helper.long) > before + 0.01 - epsilon)
  end)

  it("takes back a value that nobody received", function()
    local t = lub.after(0.001)
    pass(0.01)
    t:reset(far)
    assert.same({ nil, "timeout" }, { t:recv(0) })
    assert.is_true(t:stop())
  end)

  it("changes the period of a tick", function()
    local t = lub.tick(far)
    assert.is_true(t:reset(0.001))
    for _ = 1, 3 do assert.is_number(t:recv(helper.long)) end
    t:stop()
    assert.is_false(t:reset(0.001))
    for _ = 1, 3 do assert.is_number(t:recv(helper.long)) end
    assert.is_true(t:reset(far))
    assert.same({ nil, "timeout" }, { t:recv(0.005) })
    t:stop()
  end)

  it("fires at once with 0 or less", function()
    local t = lub.after(far)
    for _, s in ipairs { 0, -1, -math.huge } do
      t:reset(s)
      assert.is_number(t:recv(helper.long))
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

  it("that races with the timer delivers one value for each run", function()
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

describe("a timer that nobody refers to", function()
  it("is collected", function()
    local weak = setmetatable({ lub.tick(0.001), lub.after(far) }, { __mode = "v" })
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.is_nil(weak[2])
  end)

  it("is kept by a view, and by a channel that holds it", function()
    local r, box = lub.after(0.005):receiver(), lub.chan(1)
    box:send(lub.tick(0.001))
    collectgarbage()
    collectgarbage()
    assert.is_number(r:recv(helper.long))
    assert.is_number(box:recv():recv(helper.long))
  end)

  it("is kept by the fiber that waits for it", function()
    local f = go(function() return lub.after(0.005):recv() end)
    local g = go(function() return lub.select(lub.chan(), lub.after(0.005)) end)
    collectgarbage()
    collectgarbage()
    assert.is_number((join(f)))
    assert.is_number(select(2, join(g)))
  end)
end)
