local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local go, join, parked, rounds = helper.go, helper.join, helper.parked, helper.rounds
local in_both = helper.in_both(it)
local in_any_order = helper.in_sim(it, { runs = 20 })

--- Counts fit a uniform choice: none is further than six standard deviations from its mean.
local function uniform(counts, n)
  local k = #counts
  local mean = n / k
  local margin = 6 * math.sqrt(n * (1 / k) * (1 - 1 / k))
  for i = 1, k do
    assert(math.abs(counts[i] - mean) < margin,
      ("case %d of %d was taken %d times of %d, expected %.0f ± %.0f"):format(i, k, counts[i], n, mean, margin))
  end
end

--- How often each case is taken in n selects over them all, of which some are ready each time.
local function choices(cases, n)
  local counts = {}
  for i = 1, #cases do counts[i] = 0 end
  for _ = 1, n do
    local _, _, i = lub.select(table.unpack(cases))
    counts[i] = counts[i] + 1
  end
  return counts
end

local function closed_channels(n)
  local t = {}
  for i = 1, n do
    t[i] = lub.chan()
    t[i]:close()
  end
  return t
end

for name, choose in pairs { select = lub.select, prefer = lub.prefer } do
  describe("lub." .. name, function()
    in_both("gives the channel that received, its value and the argument's position", function()
      local a, b = lub.chan(1), lub.chan(1)
      b:send("x")
      assert.same({ b, "x", 2 }, { choose(a, b) })
      assert.equals(0, #b)
    end)

    in_both("gives the channel that sent, true and the argument's position", function()
      local a, b = lub.chan(), lub.chan(1)
      assert.same({ b, true, 2 }, { choose(a, b << 5) })
      assert.equals(5, b:recv())
    end)

    in_both("counts nils and the number as positions", function()
      local ch = lub.chan(1)
      ch:send("x")
      assert.same({ ch, "x", 4 }, { choose(nil, 1, nil, ch, nil) })
      assert.same({ ch, true, 3 }, { choose(nil, 1.5, ch << 1) })
    end)

    in_both("names the very channel or view that was given", function()
      local ch = lub.chan(1)
      for _, given in ipairs { ch, ch:receiver() } do
        ch:send(1)
        assert.is_true(rawequal(given, (choose(given))))
      end
      for _, given in ipairs { ch, ch:sender() } do
        assert.is_true(rawequal(given, (choose(given << 1))))
        ch:recv()
      end
    end)

    in_both("receives false as a value", function()
      local ch = lub.chan(1)
      ch:send(false)
      assert.same({ ch, false, 1 }, { choose(ch) })
    end)

    in_both("polls with 0", function()
      local ch = lub.chan()
      local from, why = choose(ch, ch << 1, 0)
      assert.is_nil(from)
      assert.equals("timeout", why)
    end)

    in_both("takes what is ready also when it only polls", function()
      local ch = lub.chan(1)
      ch:send "v"
      assert.same({ ch, "v", 1 }, { choose(ch, 0) })
      assert.same({ ch, true, 1 }, { choose(ch << 1, 0) })
    end)

    in_both("polls a send: somebody listens, or it goes on", function()
      local heartbeat = lub.chan()
      assert.is_nil((choose(heartbeat << true, 0)))
      local f = go(function() return heartbeat:recv() end)
      assert.is_true(choose(heartbeat << true, 0) == heartbeat)
      assert.is_true((join(f)))
      assert.is_nil((choose(heartbeat << true, 0)))
    end)

    in_any_order("gives up after the number's seconds, and not before", function()
      local ch = lub.chan()
      assert.same({ nil, "timeout" }, { choose(ch, ch << 1, 0.25) })
      assert.equals(0.25, lub.now())
    end)

    it("gives up after the number's seconds, and not before, in real time", function()
      local ch, t = lub.chan(), lub.now()
      assert.same({ nil, "timeout" }, { choose(ch, ch << 1, 0.01) })
      assert.is_true(lub.now() - t > 0.01 - 1e-6)
    end)

    in_any_order("waits out a number without cases", function()
      assert.same({ nil, "timeout" }, { choose(0.25) })
      assert.equals(0.25, lub.now())
      assert.equals("timeout", select(2, choose(nil, nil, 0)))
    end)

    in_both("takes a negative number as 0", function()
      local ch = lub.chan()
      for _, wait in ipairs { -1, -1e300, -math.huge, math.mininteger } do
        assert.equals("timeout", select(2, choose(ch, wait)))
      end
    end)

    in_both("takes a huge or infinite number as for ever", function()
      for _, wait in ipairs { math.huge, 1e300, 1e18, math.maxinteger } do
        local ch = lub.chan()
        local f = go(function() return choose(ch, wait) end)
        assert.equals("idle", f:state())
        ch:send "v"
        assert.equals("v", select(2, join(f)))
      end
    end)

    it("refuses a number that is none", function()
      helper.refuses(name, 1, helper.nan, choose, helper.nan)
      helper.refuses(name, 3, helper.nan, choose, lub.chan(), nil, helper.nan)
    end)

    it("refuses two numbers", function()
      local ok, why = pcall(choose, 1, lub.chan(), 2)
      assert.is_false(ok)
      assert.matches(name .. ": .*argument.* 3", why)
      assert.is_false((pcall(choose, 0, 0)))
    end)

    it("takes no channel for the one that went, in whose place in memory its handle lies", function()
      local function handle_at(place)
        local made = { lub.chan(1) }
        while #made < 1000 and ("%p"):format(made[#made]) ~= place do made[#made + 1] = lub.chan(1) end
        return #made < 1000 and made[#made]
      end
      local stays, found = lub.chan(), 0
      for _ = 1, 50 do
        local place
        do
          local gone = lub.chan(1)
          gone:send("gone")
          place = ("%p"):format(gone)
          assert.equals("gone", select(2, choose(stays, gone)))
        end
        collectgarbage() -- ends it
        collectgarbage() -- and frees its place
        local ch = handle_at(place)
        if ch then
          found = found + 1
          ch:send("new")
          assert.equals("new", select(2, choose(stays, ch, 0)))
        end
      end
      if (os.getenv "SAN" or "") == "" then assert(found > 0, "no place was used again") end -- a sanitizer keeps them
    end)

    it("looks again at an argument that is another one in the same place", function()
      local a, b, waiting = lub.chan(1), lub.chan(1), lub.chan()
      for _ = 1, 3 do
        a:send("a")
        assert.equals("a", select(2, choose(waiting, a)))
        b:send("b")
        assert.equals("b", select(2, choose(waiting, b)))
        assert.same({ a, true, 2 }, { choose(waiting, a << 1) })
        assert.equals(1, (select(2, choose(waiting, a))))
        assert.equals("timeout", select(2, choose(waiting, nil, 0)))
        assert.error_matches(function() choose(waiting, lub.self()) end, "argument 2: expected a channel")
        assert.error_matches(function() choose(waiting, a:sender()) end, "is a sender here")
        assert.equals("timeout", select(2, choose(waiting, a, 0)))
      end
    end)

    it("refuses what is no case, with its position and what it is", function()
      local ch = lub.chan(1)
      ch:send "kept"
      for _, bad in ipairs { "x", "1", {}, true, false, print, io.stdout, coroutine.create(print) } do
        helper.refuses(name, 1, bad, choose, bad)
        helper.refuses(name, 3, bad, choose, nil, ch, bad)
      end
      assert.equals(1, #ch)
    end)

    in_both("never takes a nil", function()
      local ch = lub.chan(1)
      for _ = 1, 20 do
        ch:send "v"
        assert.equals(ch, (choose(nil, ch, nil)))
      end
    end)

    in_both("waits for ever without a case and without a number", function()
      for _, cases in ipairs { table.pack(), table.pack(nil), table.pack(nil, nil) } do
        local f = go(function() return choose(table.unpack(cases, 1, cases.n)) end)
        assert.equals("idle", f:state())
        f:cancel()
        assert.same({ nil, "cancelled" }, { join(f) })
      end
    end)

    in_both("waits for ever on nothing but a channel that nobody sends to", function()
      local f = go(choose, lub.chan())
      assert.equals("idle", f:state())
      f:kill()
    end)

    in_both("returns nil and 'cancelled' in a cancelled fiber", function()
      local ch = lub.chan()
      local f = go(function() return choose(ch, ch << 1, nil) end)
      f:cancel()
      assert.same({ nil, "cancelled" }, { join(f) })
    end)

    in_both("sees a closed channel: nil, at once, again and again", function()
      local a, b = lub.chan(), lub.chan()
      b:close()
      for _ = 1, 10 do
        local from, v, i = choose(a, b)
        assert.equals(b, from)
        assert.is_nil(v)
        assert.equals(2, i)
      end
    end)

    in_both("drains a closed channel first", function()
      local ch = lub.chan(2)
      ch:send(1)
      ch:close()
      assert.same({ ch, 1, 1 }, { choose(ch) })
      assert.is_nil(select(2, choose(ch)))
    end)

    in_both("raises in a send on a closed channel", function()
      local ch = lub.chan(0, "jobs")
      ch:close()
      helper.raises("send on closed channel 'jobs'", choose, ch << 1)
      helper.raises("send on closed channel 'jobs'", choose, ch << 1, 0)
    end)

    in_both("takes the end of a channel on which it waits", function()
      local a, b = lub.chan(), lub.chan()
      local f = go(function() return choose(a, b) end)
      b:close()
      local from, v, i = join(f)
      assert.equals(b, from)
      assert.is_nil(v)
      assert.equals(2, i)
    end)

    in_both("raises when a channel is closed to which it waits to send", function()
      local a, b = lub.chan(), lub.chan(0, "jobs")
      local f = go(function() return pcall(choose, a, b << 1) end)
      b:close()
      local ok, why = join(f)
      assert.is_false(ok)
      assert.matches("send on closed channel 'jobs'", why)
    end)

    in_both("is woken by the one case that comes, and leaves the others", function()
      local a, b, c = lub.chan(), lub.chan(), lub.chan()
      local f = go(function() return choose(a, b, c << "never") end)
      assert.equals("idle", f:state())
      b:send "b"
      assert.same({ b, "b", 2 }, { join(f) })
      assert.same({ nil, "timeout" }, { a:send(1, 0) })
      assert.same({ nil, "timeout" }, { b:send(1, 0) })
      assert.same({ nil, "timeout" }, { c:recv(0) })
    end)

    in_both("is woken by a receiver of one of its sends", function()
      local a, b = lub.chan(), lub.chan()
      local f = go(function() return choose(a << "a", b << "b") end)
      assert.equals("b", b:recv())
      assert.same({ b, true, 2 }, { join(f) })
      assert.same({ nil, "timeout" }, { a:recv(0) })
    end)

    in_any_order("leaves nothing behind when its time is over", function()
      local a, b = lub.chan(), lub.chan()
      choose(a, b << 1, 0.001)
      assert.same({ nil, "timeout" }, { a:send(1, 0) })
      assert.same({ nil, "timeout" }, { b:recv(0) })
    end)

    in_both("leaves what it did not take", function()
      local a, b = lub.chan(1), lub.chan(1)
      a:send "a"
      b:send "b"
      local from = choose(a, b)
      assert.equals(1, #a + #b)
      local other = from == a and b or a
      assert.equals(other == a and "a" or "b", other:recv())
    end)

    in_both("waits in line with plain senders and receivers", function()
      local ch = lub.chan()
      local first = go(function() return ch:recv() end)
      local second = go(function() return select(2, choose(ch)) end)
      local third = go(function() return ch:recv() end)
      for i = 1, 3 do ch:send(i) end
      assert.equals(1, (join(first)))
      assert.equals(2, (join(second)))
      assert.equals(3, (join(third)))
    end)

    in_both("does not match its own send with its own receive", function()
      local ch = lub.chan()
      assert.equals("timeout", select(2, choose(ch, ch << 1, 0)))
      assert.equals("timeout", select(2, choose(ch << 1, ch, 0)))
      local f = go(function() return choose(ch, ch << "out") end)
      assert.equals("idle", f:state())
      assert.equals("out", ch:recv())
      assert.same({ ch, true, 2 }, { join(f) })
    end)

    in_both("sends to and receives from itself through a buffer, one after the other", function()
      local ch = lub.chan(1)
      assert.same({ ch, true, 2 }, { choose(ch, ch << "v") })
      assert.same({ ch, "v", 1 }, { choose(ch, ch << "w") })
    end)

    in_both("meets another select that names the same channel both ways", function()
      -- Go's TestSelfSelect: two of them must exchange values, and neither may take its own.
      for _, capacity in ipairs { 0, 10 } do
        local ch, fibers = lub.chan(capacity), {}
        for id = 1, 2 do
          fibers[id] = lub.go(function()
            for _ = 1, 500 do
              local _, v, i
              if id == 1 then _, v, i = choose(ch << id, ch) else _, v, i = choose(ch, ch << id) end
              local received = i == (id == 1 and 2 or 1)
              if received and v == id and capacity == 0 then return "took its own" end
            end
            return "fine"
          end)
        end
        lub.go(function() -- whoever is left alone finds a partner here
          while fibers[1]:state() ~= "dead" or fibers[2]:state() ~= "dead" do
            choose(ch, ch << 3, 0)
            lub.yield()
          end
        end)
        for id = 1, 2 do assert.equals("fine", (join(fibers[id]))) end
      end
    end)

    in_both("may name one channel twice, and takes it once", function()
      local ch = lub.chan(2)
      ch:send(1)
      ch:send(2)
      assert.equals(1, select(2, choose(ch, ch)))
      assert.equals(1, #ch)
      assert.equals(2, select(2, choose(ch, nil, ch)))
      assert.equals("timeout", select(2, choose(ch, ch, 0)))
    end)

    in_both("that named a channel twice does not lose the waiters behind it", function()
      -- Go's TestSelectDuplicateChannel: a select on c, c and e was woken through e; taking its two entries
      -- off c's queue dropped the receiver that stood behind them, whom the next send then did not find.
      local c, e = lub.chan(), lub.chan()
      local a = go(function() return choose(c, c, e) end)
      local b = go(function() return c:recv() end)
      e:send "wake"
      assert.same({ e, "wake", 3 }, { join(a) })
      assert.is_true(c:send("for b", 0))
      assert.equals("for b", (join(b)))
    end)

    in_both("that named a channel twice, to send, is woken once", function()
      local ch = lub.chan()
      local f = go(function() return choose(ch << "x", ch << "y") end)
      local v = ch:recv()
      assert.is_true(v == "x" or v == "y")
      assert.equals(v == "x" and 1 or 2, select(3, join(f)))
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    it("takes a case of each number of cases when it is ready", function()
      for _, n in ipairs { 1, 2, 16, 1000, 100000 } do
        local cases = {}
        for i = 1, n do cases[i] = lub.chan(1) end
        cases[n]:send("last")
        assert.same({ cases[n], "last", n }, { choose(table.unpack(cases)) })
        assert.equals("timeout", select(2, choose(0, table.unpack(cases))))
      end
    end)

    it("waits on each number of cases, and leaves none of them behind", function()
      for _, n in ipairs { 1, 2, 16, 1000, 100000 } do
        local cases = {}
        for i = 1, n do cases[i] = lub.chan() end
        local at = (n + 1) // 2
        lub.go(function() cases[at]:send("here") end)
        assert.same({ cases[at], "here", at }, { choose(table.unpack(cases)) })
        for i = 1, n, n // 10 + 1 do assert.is_nil((cases[i]:send(1, 0))) end
      end
    end)

    it("waits to send on 100,000 channels", function()
      local channels, cases = {}, {}
      for i = 1, 100000 do
        channels[i] = lub.chan()
        cases[i] = channels[i] << i
      end
      local got
      local f = go(function() got = channels[77777]:recv() end)
      assert.same({ channels[77777], true, 77777 }, { choose(table.unpack(cases)) })
      join(f)
      assert.equals(77777, got)
    end)

    it("takes one channel 100,000 times", function()
      local ch, cases = lub.chan(), {}
      for i = 1, 100000 do cases[i] = ch end
      lub.go(function() ch:send "v" end)
      local from, v = choose(table.unpack(cases))
      assert.equals(ch, from)
      assert.equals("v", v)
      assert.same({ nil, "timeout" }, { ch:send(1, 0) })
    end)

    in_both("leaves the channels as they were when a value cannot be sent", function()
      local a, b = lub.chan(1), lub.chan(1)
      a:send "kept"
      helper.raises("cannot send a coroutine (at argument 2", choose, a, b << coroutine.create(print))
      assert.equals(1, #a)
      assert.equals(0, #b)
    end)

    in_any_order("works beside timers", function()
      local never, timer = lub.chan(), lub.after(0.25)
      assert.same({ timer, 0.25, 2 }, { choose(never, timer, 1) })
      assert.equals(0.25, lub.now())
    end)
  end)
end

describe("channel << value", function()
  it("reads as what it is, in a message", function()
    local jobs = lub.chan(1, "jobs")
    assert.equals("chan 'jobs' (0/1) << 5", tostring(jobs << 5))
    assert.equals("sender 'jobs' (0/1) << 'a letter'", tostring(jobs:sender() << "a letter"))
    assert.equals("chan 'jobs' (0/1) << true", tostring(jobs << true))
    assert.matches("^chan 'jobs' %(0/1%) << table: ", tostring(jobs << {}))
    local named = setmetatable({}, { __tostring = function() return "an order" end })
    assert.equals("chan 'jobs' (0/1) << an order", tostring(jobs << named))
  end)

  it("shows no more than the beginning of a long value, in whole characters", function()
    local ch = lub.chan(0, "c")
    local function shown(text) return tostring(ch << text):match "<< (.*)$" end
    assert.equals("'" .. ("x"):rep(40) .. "'", shown(("x"):rep(40)))
    assert.equals("'" .. ("x"):rep(40) .. "...'", shown(("x"):rep(1e6)))
    assert.equals("'" .. ("x"):rep(39) .. "...'", shown(("x"):rep(39) .. "éé"))
    assert.equals("'...'", shown(("\x80"):rep(50)))
  end)

  it("of a select that is refused is dropped by the next, which may have more cases", function()
    local ch = lub.chan(8)
    local long = ("x"):rep(1000) -- the address sanitizer tells of one that is lost
    helper.raises("argument 2", lub.select, ch << long, "no case")
    lub.select(ch << 1, ch << 1, ch << 1, ch << 1, ch << 1, ch << 1, ch << 1)
    assert.equals(1, ch:recv(0))
  end)

  it("sends nothing by itself", function()
    local ch = lub.chan(1)
    local case = ch << 1
    assert.is_not_nil(case)
    assert.equals(0, #ch)
  end)

  it("may be kept and used again", function()
    local ch = lub.chan(3)
    local case = ch << "again"
    for _ = 1, 3 do assert.equals(ch, (lub.select(case))) end
    assert.equals(3, #ch)
    for _ = 1, 3 do assert.equals("again", ch:recv()) end
  end)

  in_both("may be used by two fibers at a time", function()
    local ch = lub.chan()
    local case = ch << "v"
    local a = go(function() return lub.select(case) end)
    local b = go(function() return lub.select(case, case) end)
    assert.equals("v", ch:recv())
    assert.equals("v", ch:recv())
    assert.equals(ch, (join(a)))
    assert.equals(ch, (join(b)))
    assert.same({ nil, "timeout" }, { ch:recv(0) })
  end)

  it("copies the value when select runs", function()
    local ch, t = lub.chan(1), { 1 }
    local case = ch << t
    t[1] = 2
    lub.select(case)
    t[1] = 3
    assert.equals(2, ch:recv()[1])
    lub.select(case)
    assert.equals(3, ch:recv()[1])
  end)

  it("refuses nil", function()
    local ch = lub.chan(1)
    local ok, why = pcall(function() return ch << nil end)
    assert.is_false(ok)
    assert.matches("nil", why)
  end)

  it("sends false, and channels", function()
    local ch, other = lub.chan(1), lub.chan()
    lub.select(ch << false)
    assert.is_false(ch:recv())
    lub.select(ch << other)
    assert.is_true(rawequal(other, ch:recv()))
    lub.select(ch << ch)
    assert.is_true(rawequal(ch, ch:recv()))
  end)

  it("wants the channel on its left", function()
    local ch = lub.chan(1)
    for _, left in ipairs { 5, "x", {} } do assert.has_error(function() return left << ch end) end
    assert.has_error(function() return ch >> 1 end)
    assert.equals(0, #ch)
  end)

  it("keeps its channel and value alive", function()
    local box = lub.chan(1)
    local case
    do case = box:sender() << { "kept" } end
    collectgarbage()
    collectgarbage()
    lub.select(case)
    assert.equals("kept", box:recv()[1])
  end)

  it("is no value that can be sent itself", function()
    local ch, other = lub.chan(1), lub.chan(1)
    helper.raises("cannot send", ch.send, ch, other << 1)
    assert.equals(0, #ch)
  end)
end)

describe("the choice of lub.select", function()
  it("is uniform among two ready receives", function()
    local a, b, counts, n = lub.chan(1), lub.chan(1), { 0, 0 }, 10000
    for _ = 1, n do
      a:send(1, 0)
      b:send(1, 0)
      local _, _, i = lub.select(a, b)
      counts[i] = counts[i] + 1
    end
    uniform(counts, n)
  end)

  it("is uniform among sends", function()
    -- Go's TestPseudoRandomSend: zeros and ones sent through one channel by the same select.
    for _, capacity in ipairs { 0, 1, 2, 64 } do
      local ch, counts, n = lub.chan(capacity), { 0, 0 }, 4000
      local f = lub.go(function()
        for _ = 1, n do
          local v = ch:recv()
          counts[v] = counts[v] + 1
        end
      end)
      for _ = 1, n do
        if #ch == 0 then lub.yield() end
        lub.select(ch << 1, ch << 2)
      end
      join(f)
      if capacity > 0 then uniform(counts, n) else assert.is_true(counts[1] > 0 and counts[2] > 0) end
    end
  end)

  it("is uniform among sixteen cases of both kinds, wherever they stand", function()
    local cases, n = {}, 16000
    local closed = closed_channels(8)
    for i = 1, 8 do
      local out = lub.chan(n)
      cases[2 * i - 1], cases[2 * i] = closed[i], out << true
    end
    uniform(choices(cases, n), n)
  end)

  it("is uniform among channels that this worker alone has and one that others have, too", function()
    local chs, n = closed_channels(9), 20000
    local shared = lub.chan()
    lub.spawn(function(ch) return ch end, shared):join()
    shared:close()
    table.insert(chs, 5, shared)
    uniform(choices(chs, n), n)
  end)

  it("is uniform among the ready ones, whatever is not ready between them", function()
    local never, c, counts, n = lub.chan(), closed_channels(3), { 0, 0, 0 }, 6000
    local slot = { [2] = 1, [5] = 2, [9] = 3 }
    for _ = 1, n do
      local _, _, i = lub.select(never, c[1], nil, never, c[2], never, nil, 1, c[3])
      counts[slot[i]] = counts[slot[i]] + 1
    end
    uniform(counts, n)
  end)

  it("is uniform among cases, also of one channel", function()
    local a, b = table.unpack(closed_channels(2))
    local counts, n = { 0, 0, 0 }, 6000
    for _ = 1, n do
      local _, _, i = lub.select(a, b, a)
      counts[i] = counts[i] + 1
    end
    uniform(counts, n)
  end)

  it("starves no case while others are always ready", function()
    -- Go's TestSelectFairness: of two busy channels and two that never come, both busy ones are served.
    local busy, other, never, done = lub.chan(1), lub.chan(1), lub.chan(), lub.chan()
    for _, ch in ipairs { busy, other } do
      lub.go(function()
        while lub.select(done, ch << true) == ch do end -- luacheck: ignore 542
      end)
    end
    local from_busy, n = 0, 4000
    for _ = 1, n do
      lub.yield()
      if lub.select(busy, other, never, never) == busy then from_busy = from_busy + 1 end
    end
    done:close()
    assert.is_true(from_busy > n / 4 and from_busy < n * 3 / 4)
  end)

  it("counts a closed channel among the ready sends, as Go does", function()
    local closed, open, raised = lub.chan(), lub.chan(1), 0
    closed:close()
    for _ = 1, 200 do
      local ok = pcall(lub.select, closed << 1, open << 1)
      if not ok then raised = raised + 1 else open:recv() end
    end
    assert.is_true(raised > 40 and raised < 160)
    assert.equals(0, #open)
  end)
end)

describe("the choice of lub.prefer", function()
  it("is the first that is ready, always", function()
    local a, b, c = lub.chan(), lub.chan(1), lub.chan(1)
    for _ = 1, 200 do
      b:send(1, 0)
      c:send(1, 0)
      assert.equals(b, (lub.prefer(a, b, c)))
    end
    for _ = 1, 200 do
      c:send(1, 0)
      b:send(1, 0)
      assert.equals(c, (lub.prefer(nil, a, c, b)))
    end
  end)

  it("is the first also among sends and closed channels", function()
    local closed, out = lub.chan(0, "gone"), lub.chan(1)
    closed:close()
    for _ = 1, 50 do
      assert.equals(closed, (lub.prefer(closed, out << 1)))
      assert.equals(0, #out)
      assert.equals(out, (lub.prefer(out << 1, closed)))
      out:recv()
      assert.equals(out, (lub.prefer(out << 1, closed << 1)))
      out:recv()
    end
    helper.raises("send on closed channel 'gone'", lub.prefer, closed << 1, out << 1)
    assert.equals(0, #out)
  end)
end)

describe("select between workers", function()
  in_both("misses no close that races with it", function()
    for _ = 1, rounds(30) do
      local done, never, nobody, workers = lub.chan(), lub.chan(), lub.chan(), {}
      for i = 1, 4 do
        workers[i] = lub.spawn(function(stop, silent, deaf)
          local fibers, ended = {}, 0
          for k = 1, 8 do
            fibers[k] = lub.go(function()
              local from = lub.select(silent, stop, deaf << k)
              return from == stop
            end)
          end
          for k = 1, 8 do
            if fibers[k]:join() == true then ended = ended + 1 end
          end
          return ended
        end, done, never, nobody)
      end
      done:close()
      for i = 1, 4 do assert.equals(8, (join(workers[i]))) end
      assert.same({ nil, "timeout" }, { never:send(1, 0) })
      assert.same({ nil, "timeout" }, { nobody:recv(0) })
    end
  end)

  in_both("loses and doubles no value over several channels", function()
    local channels, workers, balance = { lub.chan(), lub.chan(1), lub.chan(2), lub.chan(64) }, {}, 0
    local done = lub.chan()
    for i = 1, 3 do
      workers[i] = lub.spawn(function(chs, stop, id, limit)
        local a, b, c, d = table.unpack(chs)
        local mine = 0 -- the sum of what was sent less the sum of what was received
        for k = 1, limit do
          local x = id * 1000003 + k
          local from, v, at = lub.select(stop, a, b, c, d, a << x, b << x, c << x, d << x)
          if from == stop then break end
          if at <= 5 then mine = mine - v else mine = mine + x end
        end
        return mine
      end, channels, done, i, rounds(3000))
    end
    lub.select(workers[1]:done(), workers[2]:done(), workers[3]:done(), helper.long)
    done:close()
    for i = 1, 3 do balance = balance + join(workers[i]) end
    for _, ch in ipairs(channels) do
      while #ch > 0 do balance = balance - ch:recv() end
    end
    assert.equals(0, balance)
  end)

  in_both("counts the same at both ends", function()
    -- Go's TestSelectStress, smaller: senders and receivers by select and by hand, in opposite orders.
    local a, b, n, workers = lub.chan(), lub.chan(4), rounds(2000), {}
    local function send_by_select(x, y)
      local left_x, left_y, taken = n, n, 0
      while left_x > 0 or left_y > 0 do
        local _, _, i = lub.select(left_x > 0 and x << 1 or nil, left_y > 0 and y << 1 or nil)
        if i == 1 then left_x = left_x - 1 else left_y = left_y - 1 end
        taken = taken + 1
      end
      return taken
    end
    local function receive_by_select(x, y)
      local left_x, left_y, sum = n, n, 0
      while left_x > 0 or left_y > 0 do
        local _, v, i = lub.select(left_y > 0 and y or nil, left_x > 0 and x or nil)
        if i == 2 then left_x = left_x - 1 else left_y = left_y - 1 end
        sum = sum + v
      end
      return sum
    end
    local function send_by_hand(x) for _ = 1, n do x:send(1) end end
    local function receive_by_hand(x)
      local sum = 0
      for _ = 1, n do sum = sum + x:recv() end
      return sum
    end
    for _, job in ipairs { { send_by_select, a, b }, { receive_by_select, a, b }, { send_by_hand, a },
      { send_by_hand, b }, { receive_by_hand, a }, { receive_by_hand, b } } do
      workers[#workers + 1] = lub.spawn(table.unpack(job))
    end
    assert.equals(2 * n, (join(workers[1])))
    assert.equals(2 * n, (join(workers[2])))
    assert.equals(n, (join(workers[5])))
    assert.equals(n, (join(workers[6])))
    assert.same({ nil, "timeout" }, { a:recv(0) })
    assert.same({ nil, "timeout" }, { b:recv(0) })
  end)

  in_both("never finds nothing while one of two channels is always ready", function()
    -- Go's TestNonblockSelectRace: a poll of both once fell between the two.
    local asked, answers = lub.chan(), lub.chan()
    local w = lub.spawn(function(input, output)
      for pair in input do output:send((lub.select(pair[1], pair[2], 0)) ~= nil) end
    end, asked, answers)
    for _ = 1, rounds(500) do
      local c1, c2 = lub.chan(1), lub.chan(1)
      c1:send(1)
      asked:send { c1, c2 }
      c2:send(1)
      c1:recv(0)
      assert.is_true((answers:recv(helper.long)))
    end
    asked:close()
    join(w)
  end)

  in_both("never finds nothing while a channel holds a value or another is closed", function()
    -- Go's TestNonblockSelectRace2: the same, with a close instead of the second value.
    local asked, answers = lub.chan(), lub.chan()
    local w = lub.spawn(function(input, output)
      for pair in input do output:send((lub.select(pair[1], pair[2], 0)) ~= nil) end
    end, asked, answers)
    for _ = 1, rounds(500) do
      local c1, c2 = lub.chan(1), lub.chan()
      c1:send(1)
      asked:send { c1, c2 }
      c2:close()
      c1:recv(0)
      assert.is_true((answers:recv(helper.long)))
    end
    asked:close()
    join(w)
  end)

  in_both("locks channels in any order without a standstill", function()
    local a, b, done = lub.chan(), lub.chan(), lub.chan()
    local function swap(x, y, stop)
      local n = 0
      while lub.select(x << 1, y, stop) ~= stop do n = n + 1 end
      return n
    end
    local w1, w2 = lub.spawn(swap, a, b, done), lub.spawn(swap, b, a, done)
    local w3 = lub.spawn(swap, a, b, done)
    for _ = 1, rounds(200) do
      lub.select(a, b << 1, helper.long)
      lub.select(b, a << 1, helper.long)
    end
    done:close()
    assert.is_true(join(w1) + join(w2) + join(w3) >= 2 * rounds(200))
  end)

  in_both("wakes one waiter for one value", function()
    local ch, woke, workers = lub.chan(), lub.chan(16), {}
    for i = 1, 4 do
      workers[i] = parked(lub.spawn(function(input, out)
        local _, v = lub.select((lub.cancelled()), input)
        if v == "one" then out:send(v) end
      end, ch, woke))
    end
    ch:send "one"
    assert.equals("one", woke:recv(helper.long))
    for i = 1, 4 do workers[i]:cancel() end
    for i = 1, 4 do join(workers[i]) end
    assert.equals(0, #woke)
  end)
end)
