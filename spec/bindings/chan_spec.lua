local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local go, join, parked, rounds = helper.go, helper.join, helper.parked, helper.rounds
local in_sim, in_both = helper.in_sim(it), helper.in_both(it)
local in_any_order = helper.in_sim(it, { runs = 20 })

describe("lub.chan", function()
  it("makes a rendezvous when no capacity is given", function()
    assert.equals(0, lub.chan():capacity())
    assert.equals(0, lub.chan(nil):capacity())
    assert.equals(0, lub.chan(nil, "named"):capacity())
  end)

  it("makes a channel of the capacity it is given", function()
    for _, capacity in ipairs { 0, 1, 2, 3, 64, 1000, 2.0 } do
      assert.equals(math.tointeger(capacity), lub.chan(capacity):capacity())
    end
    assert.equals("integer", math.type(lub.chan(2.0):capacity()))
  end)

  it("refuses what is no capacity, with the value", function()
    local bad = { -1, 1.5, math.huge, -math.huge, helper.nan, 2 ^ 40, math.maxinteger, math.mininteger, (1 << 31) + 1,
      1e300, "3", "x", {}, true, print }
    for _, value in ipairs(bad) do helper.refuses("chan", 1, value, lub.chan, value) end
  end)

  it("gives the largest capacity or says that memory does not suffice", function()
    local ok, got = pcall(lub.chan, 1 << 31)
    if ok then
      assert.equals(1 << 31, got:capacity())
      assert.is_true(got:send("there is room", 0))
    else
      assert.matches("chan: .*memory", got)
    end
  end)

  it("goes on after a capacity beyond memory was refused", function()
    for _ = 1, 3 do pcall(lub.chan, (1 << 31) - 1) end
    local ch = lub.chan(1)
    ch:send(1)
    assert.equals(1, ch:recv())
  end)

  it("says so when the machine has no such memory, and the script goes on", function()
    if (os.getenv "SAN" or "") ~= "" then return pending "a sanitizer needs more address space than that" end
    local path = helper.file [[
      local lub = require "lubdub"
      local ok, why = pcall(lub.chan, 1 << 29)
      print(ok, why)
      local ch = lub.chan(1)
      ch:send "on"
      print(ch:recv())
    ]]
    local code, out = helper.shell(("ulimit -v 2000000; %s run %s"):format(helper.command, path))
    os.remove(path)
    assert.equals(0, code)
    assert.matches("^false\t[^\n]*chan: [^\n]*memory[^\n]*\non\n$", out)
  end)

  it("takes a name", function()
    assert.equals("results", lub.chan(8, "results"):name())
    assert.equals("with spaces, 'quotes' and é", lub.chan(0, "with spaces, 'quotes' and é"):name())
  end)

  it("keeps a long name whole", function()
    local name = ("long"):rep(50)
    assert.equals(name, lub.chan(0, name):name())
  end)

  it("refuses a name that is no string", function()
    for _, value in ipairs { {}, true, print } do helper.refuses("chan", 2, value, lub.chan, 0, value) end
  end)

  it("refuses surplus arguments", function()
    helper.refuses("chan", 3, 2, lub.chan, 0, "x", 2)
  end)

  it("names the line that misused it", function()
    local ok, why = pcall(function() lub.chan(-1) end)
    assert.is_false(ok)
    assert.matches("chan_spec%.lua:%d+: chan: argument 1", why)
  end)

  it("makes every channel another", function()
    local a, b = lub.chan(0, "same"), lub.chan(0, "same")
    assert.is_true(a ~= b)
    assert.is_false(a == "same")
    assert.is_false(a == nil)
  end)
end)

describe("tostring(chan)", function()
  it("shows name, values and capacity", function()
    local ch = lub.chan(8, "results")
    assert.equals("chan 'results' (0/8)", tostring(ch))
    for _ = 1, 3 do ch:send(1) end
    assert.equals("chan 'results' (3/8)", tostring(ch))
  end)

  it("shows some name when none was given", function()
    local ch = lub.chan()
    assert.is_string(ch:name())
    assert.equals(("chan '%s' (0/0)"):format(ch:name()), tostring(ch))
  end)

  it("shows the channel's name in a view", function()
    local ch = lub.chan(8, "results")
    assert.matches("results", tostring(ch:sender()))
    assert.matches("results", tostring(ch:receiver()))
  end)
end)

for _, capacity in ipairs(helper.capacities) do
  local function fill(ch)
    for _ = 1, capacity do ch:send("filler") end
  end

  describe("a channel of capacity " .. capacity, function()
    in_both("keeps values in order", function()
      local ch, got = lub.chan(capacity), {}
      lub.go(function()
        for i = 1, 200 do ch:send(i) end
        ch:close()
      end)
      for v in ch do got[#got + 1] = v end
      assert.equals(200, #got)
      for i = 1, 200 do assert.equals(i, got[i]) end
    end)

    in_both("sends without waiting while there is room, and no further", function()
      local ch = lub.chan(capacity)
      for i = 1, capacity do
        assert.is_true(ch:send(i, 0))
        assert.equals(i, #ch)
      end
      assert.same({ nil, "timeout" }, { ch:send("too much", 0) })
      assert.equals(capacity, #ch)
    end)

    in_both("polls a receive with a wait of 0", function()
      local ch = lub.chan(capacity)
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    in_both("blocks a sender until there is room", function()
      local ch = lub.chan(capacity)
      fill(ch)
      local f = go(function() return ch:send("last") end)
      assert.equals("blocked_send", f:state())
      for _ = 1, capacity do assert.equals("filler", ch:recv()) end
      assert.equals("last", ch:recv())
      assert.is_true((join(f)))
    end)

    in_both("blocks a receiver until there is a value", function()
      local ch = lub.chan(capacity)
      local f = go(function() return ch:recv() end)
      assert.equals("idle", f:state())
      assert.is_true(ch:send("v"))
      assert.equals("v", (join(f)))
    end)

    in_both("hands a value to a waiting receiver, past the buffer", function()
      local ch = lub.chan(capacity)
      local f = go(function() return ch:recv() end)
      assert.is_true(ch:send("v", 0))
      assert.equals(0, #ch)
      assert.equals("v", (join(f)))
    end)

    in_both("serves receivers in the order in which they came", function()
      local ch, fibers = lub.chan(capacity), {}
      for i = 1, 10 do fibers[i] = go(function() return ch:recv() end) end
      for i = 1, 10 do ch:send(i) end
      for i = 1, 10 do assert.equals(i, (join(fibers[i]))) end
    end)

    in_both("serves senders in the order in which they came, after what is buffered", function()
      local ch = lub.chan(capacity)
      for i = 1, capacity do ch:send(i) end
      for i = capacity + 1, capacity + 10 do go(function() ch:send(i) end) end
      for i = 1, capacity + 10 do assert.equals(i, ch:recv()) end
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    in_both("lets a newcomer wait behind those who wait already", function()
      local ch = lub.chan(capacity)
      fill(ch)
      local f = go(function() ch:send("first") end)
      for _ = 1, capacity do ch:recv() end
      lub.go(function() ch:send("second") end)
      assert.equals("first", ch:recv())
      assert.equals("second", ch:recv())
      join(f)
    end)

    in_any_order("forgets a sender whose wait is over", function()
      local ch = lub.chan(capacity)
      fill(ch)
      assert.same({ nil, "timeout" }, { ch:send("late", 0.5) })
      assert.equals(0.5, lub.now())
      lub.go(function() ch:send("next") end)
      for _ = 1, capacity do assert.equals("filler", ch:recv()) end
      assert.equals("next", ch:recv())
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    in_any_order("forgets a receiver whose wait is over", function()
      local ch = lub.chan(capacity)
      local early = go(function() return ch:recv(0.5) end)
      local patient = go(function() return ch:recv() end)
      assert.same({ nil, "timeout" }, { join(early) })
      assert.equals(0.5, lub.now())
      ch:send("v")
      assert.equals("v", (join(patient)))
    end)

    in_both("loses no value to a receiver that was cancelled or killed", function()
      local ch = lub.chan(capacity)
      local cancelled = go(function() return ch:recv() end)
      local killed = go(function() return ch:recv() end)
      local third = go(function() return ch:recv() end)
      cancelled:cancel()
      killed:kill()
      assert.is_true(ch:send("v"))
      assert.equals("v", (join(third)))
      assert.same({ nil, "cancelled" }, { join(cancelled) })
    end)

    in_both("delivers nothing of a sender that was cancelled or killed", function()
      local ch = lub.chan(capacity)
      fill(ch)
      local cancelled = go(function() return ch:send("cancelled") end)
      local killed = go(function() return ch:send("killed") end)
      lub.go(function() ch:send("third") end)
      lub.yield()
      cancelled:cancel()
      killed:kill()
      for _ = 1, capacity do assert.equals("filler", ch:recv()) end
      assert.equals("third", ch:recv())
      assert.same({ nil, "cancelled" }, { join(cancelled) })
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    in_both("raises in a send that is blocked when the channel closes", function()
      local ch, fibers = lub.chan(capacity, "jobs"), {}
      fill(ch)
      for i = 1, 3 do fibers[i] = go(function() return pcall(ch.send, ch, "never") end) end
      ch:close()
      for i = 1, 3 do
        local ok, why = join(fibers[i])
        assert.is_false(ok)
        assert.matches("send on closed channel 'jobs'", why)
      end
      for _ = 1, capacity do assert.equals("filler", ch:recv()) end
      assert.same({ nil, "closed" }, { ch:recv() })
    end)

    in_both("raises in a timed send that is blocked when the channel closes", function()
      local ch = lub.chan(capacity, "jobs")
      fill(ch)
      local f = go(function() return pcall(ch.send, ch, "never", helper.long) end)
      ch:close()
      local ok, why = join(f)
      assert.is_false(ok)
      assert.matches("send on closed channel 'jobs'", why)
    end)

    in_both("wakes every receiver when it closes", function()
      local ch, fibers = lub.chan(capacity), {}
      for i = 1, 10 do
        fibers[i] = go(function() return ch:recv(i % 2 == 0 and helper.long or nil) end)
      end
      ch:close()
      for i = 1, 10 do assert.same({ nil, "closed" }, { join(fibers[i]) }) end
    end)

    in_both("ends every loop over it when it closes", function()
      local ch, fibers = lub.chan(capacity), {}
      for i = 1, 3 do
        fibers[i] = go(function()
          local n = 0
          for _ in ch do n = n + 1 end
          return n
        end)
      end
      for _ = 1, 9 do ch:send(true) end
      ch:close()
      local sum = 0
      for i = 1, 3 do sum = sum + join(fibers[i]) end
      assert.equals(9, sum)
    end)

    in_both("is drained after it was closed", function()
      local ch = lub.chan(capacity)
      for i = 1, capacity do ch:send(i) end
      ch:close()
      assert.equals(capacity, #ch)
      assert.is_true(ch:closed())
      for i = 1, capacity do assert.equals(i, ch:recv()) end
      for _ = 1, 3 do
        assert.same({ nil, "closed" }, { ch:recv() })
        assert.same({ nil, "closed" }, { ch:recv(0) })
        assert.same({ nil, "closed" }, { ch:recv(helper.long) })
      end
      for _ in ch do error "nothing is left" end
    end)

    in_both("refuses a send after it was closed, also one that only polls", function()
      local ch = lub.chan(capacity, "jobs")
      ch:close()
      helper.raises("send on closed channel 'jobs'", ch.send, ch, 1)
      helper.raises("send on closed channel 'jobs'", ch.send, ch, 1, 0)
      helper.raises("send on closed channel 'jobs'", ch.send, ch, 1, helper.long)
    end)

    in_both("gets every value of many fibers to many fibers once", function()
      local ch, seen, receivers, senders, n = lub.chan(capacity), {}, {}, {}, rounds(100)
      for i = 1, 10 do
        receivers[i] = lub.go(function()
          for v in ch do seen[v] = (seen[v] or 0) + 1 end
        end)
      end
      for i = 1, 10 do
        senders[i] = lub.go(function()
          for k = 1, n do ch:send(i * 1000 + k) end
        end)
      end
      for i = 1, 10 do join(senders[i]) end
      ch:close()
      for i = 1, 10 do join(receivers[i]) end
      for i = 1, 10 do
        for k = 1, n do assert.equals(1, seen[i * 1000 + k]) end
      end
    end)

    in_both("keeps each sender's order between workers, and loses nothing", function()
      local ch, workers, last, count = lub.chan(capacity), {}, { 0, 0, 0, 0 }, 0
      local n = rounds(250)
      for i = 1, 4 do
        workers[i] = lub.spawn(function(out, id)
          for k = 1, n do out:send { id, k } end
        end, ch, i)
      end
      for _ = 1, 4 * n do
        local v = ch:recv(helper.long)
        assert.equals(last[v[1]] + 1, v[2])
        last[v[1]], count = v[2], count + 1
      end
      for i = 1, 4 do join(workers[i]) end
      assert.equals(4 * n, count)
      assert.same({ nil, "timeout" }, { ch:recv(0) })
    end)

    in_both("shares the values among the workers that receive", function()
      local ch, workers, sum = lub.chan(capacity), {}, 0
      for i = 1, 3 do
        workers[i] = lub.spawn(function(input)
          local mine = 0
          for v in input do mine = mine + v end
          return mine
        end, ch)
      end
      for i = 1, 1000 do ch:send(i) end
      ch:close()
      for i = 1, 3 do sum = sum + join(workers[i]) end
      assert.equals(500500, sum)
    end)

    in_both("delivers exactly what was sent when a close races with senders", function()
      for _ = 1, rounds(20) do
        local ch, workers, sent, received = lub.chan(capacity), {}, 0, 0
        for i = 1, 3 do
          workers[i] = lub.spawn(function(out)
            local n = 0
            while pcall(out.send, out, n) do n = n + 1 end
            return n
          end, ch)
        end
        for _ = 1, 20 do
          ch:recv()
          received = received + 1
        end
        ch:close()
        for _ in ch do received = received + 1 end
        for i = 1, 3 do sent = sent + join(workers[i]) end
        assert.equals(sent, received)
      end
    end)

    in_both("wakes the receivers of every worker when a close races with them", function()
      for _ = 1, rounds(20) do
        local ch, workers = lub.chan(capacity), {}
        for i = 1, 4 do
          workers[i] = lub.spawn(function(input) return select(2, input:recv()) end, ch)
        end
        ch:close()
        for i = 1, 4 do assert.equals("closed", (join(workers[i]))) end
      end
    end)
  end)
end

describe("chan.send", function()
  it("returns true", function()
    assert.same({ true }, { lub.chan(1):send("v") })
  end)

  it("sends every value but nil", function()
    local ch = lub.chan(1, "jobs")
    for _, v in ipairs { false, true, 0, "", -0.5, "text" } do
      assert.is_true(ch:send(v))
      assert.equals(v, ch:recv())
    end
    helper.refuses("send", 1, nil, ch.send, ch, nil)
    helper.refuses("send", 1, nil, ch.send, ch)
    helper.refuses("send", 1, nil, ch.send, ch, nil, 0)
    assert.equals(0, #ch)
  end)

  it("copies the value, also between fibers of one worker", function()
    local ch, t = lub.chan(), { 1 }
    local f = go(function() return ch:recv() end)
    ch:send(t)
    t[1] = 2
    local got = join(f)
    assert.is_true(got ~= t)
    assert.equals(1, got[1])
  end)

  it("copies the value when it is called, not when it is received", function()
    local ch, t = lub.chan(), { 1 }
    go(function() ch:send(t) end)
    t[1] = 2
    assert.equals(1, ch:recv()[1])
  end)

  it("leaves the channel as it was when the value cannot be sent", function()
    local ch = lub.chan(1)
    helper.raises("cannot send a coroutine (at argument 1", ch.send, ch, coroutine.create(print))
    assert.equals(0, #ch)
    local f = go(function() return ch:recv() end)
    assert.is_false((pcall(ch.send, ch, { coroutine.create(print) })))
    assert.equals("idle", f:state())
    ch:send "fine"
    assert.equals("fine", (join(f)))
  end)

  it("refuses what is no wait", function()
    local ch = lub.chan(1)
    helper.refuses_waits("send", 2, function(wait) ch:send(1, wait) end)
    assert.equals(0, #ch)
  end)

  it("refuses surplus arguments", function()
    local ch = lub.chan(1)
    helper.refuses("send", 3, 5, ch.send, ch, 1, 0, 5)
    assert.equals(0, #ch)
  end)

  it("refuses what is no channel, with what it got", function()
    local ch = lub.chan()
    for _, bad in ipairs { "x", 1, {}, true } do
      local ok, why = pcall(ch.send, bad, 1)
      assert.is_false(ok)
      assert.matches("send: .*channel.*got " .. type(bad), why)
    end
    assert.has_error(function() ch.send() end)
    assert.has_error(function() ch.send(io.stdout, 1) end)
  end)
end)

describe("chan.recv", function()
  it("refuses what is no wait", function()
    local ch = lub.chan(1)
    ch:send "kept"
    helper.refuses_waits("recv", 1, function(wait) ch:recv(wait) end)
    assert.equals(1, #ch)
  end)

  it("refuses surplus arguments", function()
    local ch = lub.chan(1)
    helper.refuses("recv", 2, 5, ch.recv, ch, 0, 5)
  end)

  it("refuses what is no channel, with what it got", function()
    local ch = lub.chan()
    for _, bad in ipairs { "x", 1, {}, true } do
      local ok, why = pcall(ch.recv, bad)
      assert.is_false(ok)
      assert.matches("recv: .*channel.*got " .. type(bad), why)
    end
  end)
end)

describe("a wait", function()
  in_sim("of nil is for ever, as if absent", function()
    local ch = lub.chan()
    local f = go(function() return ch:recv(nil) end)
    assert.is_true(ch:send("v", nil))
    assert.equals("v", (join(f)))
  end)

  in_sim("that is negative acts like 0", function()
    local ch = lub.chan()
    for _, wait in ipairs { -1, -0.0, -1e-300, -1e300, -math.huge, math.mininteger } do
      assert.same({ nil, "timeout" }, { ch:recv(wait) })
      assert.same({ nil, "timeout" }, { ch:send(1, wait) })
    end
  end)

  in_sim("that is huge or infinite never ends", function()
    for _, wait in ipairs { math.huge, 1e300, 1e18, 9.3e9, math.maxinteger } do
      local ch = lub.chan()
      local receiver = go(function() return ch:recv(wait) end)
      assert.equals("idle", receiver:state())
      ch:send "v"
      assert.equals("v", (join(receiver)))
      local sender = go(function() return ch:send("w", wait) end)
      assert.equals("blocked_send", sender:state())
      assert.equals("w", ch:recv())
      assert.is_true((join(sender)))
    end
  end)

  in_sim("that is tiny ends", function()
    local ch = lub.chan()
    for _, wait in ipairs { 5e-324, 1e-12, 1e-9, 0.0001 } do
      assert.same({ nil, "timeout" }, { ch:recv(wait) })
      assert.same({ nil, "timeout" }, { ch:send(1, wait) })
    end
  end)

  in_sim("ends at its time", function()
    local ch = lub.chan()
    assert.same({ nil, "timeout" }, { ch:recv(0.25) })
    assert.equals(0.25, lub.now())
    assert.same({ nil, "timeout" }, { ch:send(1, 0.5) })
    assert.equals(0.75, lub.now())
  end)

  in_any_order("that ends when a partner comes either ends or meets it, at both ends the same", function()
    local ch = lub.chan()
    local f = lub.go(function() return ch:recv(1) end)
    lub.sleep(1)
    local sent, got = ch:send("v", 0), join(f)
    assert.equals(sent and "v" or nil, got)
  end)

  it("does not end early in real time", function()
    local ch, t = lub.chan(), lub.now()
    assert.same({ nil, "timeout" }, { ch:recv(0.01) })
    assert.is_true(lub.now() - t > 0.01 - 1e-6)
    t = lub.now()
    assert.same({ nil, "timeout" }, { ch:send(1, 0.01) })
    assert.is_true(lub.now() - t > 0.01 - 1e-6)
  end)

  in_sim("does not matter when the operation can be done at once", function()
    local ch = lub.chan(1)
    for _, wait in ipairs { 0, -1, math.huge, 1 } do
      assert.is_true(ch:send("v", wait))
      assert.equals("v", ch:recv(wait))
    end
  end)
end)

describe("for v in chan", function()
  in_both("goes on over false", function()
    local ch, got = lub.chan(3), {}
    for _, v in ipairs { false, true, false } do ch:send(v) end
    ch:close()
    for v in ch do got[#got + 1] = v end
    assert.same({ false, true, false }, got)
  end)

  in_both("receives through a view", function()
    local ch, n = lub.chan(2), 0
    ch:send(1)
    ch:send(2)
    ch:close()
    for v in ch:receiver() do n = n + v end
    assert.equals(3, n)
  end)

  in_both("ends when the fiber is cancelled", function()
    local ch = lub.chan()
    local f = go(function()
      for _ in ch do error "nothing was sent" end
      return "ended"
    end)
    f:cancel()
    assert.equals("ended", (join(f)))
    assert.is_false(ch:closed())
  end)
end)

describe("chan.close", function()
  in_both("returns nothing and can be done once", function()
    local ch = lub.chan(0, "x")
    assert.equals(0, select("#", ch:close()))
    helper.raises("close of closed channel 'x'", ch.close, ch)
    helper.raises("close of closed channel 'x'", ch.close, ch:sender())
  end)

  in_both("refuses surplus arguments", function()
    local ch = lub.chan()
    helper.refuses("close", 1, 5, ch.close, ch, 5)
    assert.is_false(ch:closed())
  end)

  in_both("is seen at once by closed(), before the channel is drained", function()
    local ch = lub.chan(1)
    assert.is_false(ch:closed())
    ch:send(1)
    ch:close()
    assert.is_true(ch:closed())
    assert.equals(1, ch:recv())
    assert.is_true(ch:closed())
  end)

  in_both("of one channel races: one of many workers closes it, the others are told", function()
    for _ = 1, rounds(20) do
      local ch, workers, closers = lub.chan(0, "x"), {}, 0
      for i = 1, 4 do
        workers[i] = lub.spawn(function(c) return pcall(c.close, c) end, ch)
      end
      for i = 1, 4 do
        local ok, why = join(workers[i])
        if ok then closers = closers + 1 else assert.matches("close of closed channel 'x'", why) end
      end
      assert.equals(1, closers)
    end
  end)

  in_both("leaves either a value or the end to a poll, never nothing", function()
    -- Go's TestNonblockRecvRace: a poll beside a close once saw neither the value nor the end.
    local asked, answers = lub.chan(), lub.chan()
    local w = lub.spawn(function(input, output)
      for ch in input do output:send { ch:recv(0) } end
    end, asked, answers)
    for _ = 1, rounds(500) do
      local ch = lub.chan(1)
      ch:send "value"
      asked:send(ch)
      ch:close()
      local v, why = ch:recv(0)
      local theirs = answers:recv(helper.long)
      assert.is_true(v == "value" or why == "closed")
      assert.is_true(theirs[1] == "value" or theirs[2] == "closed")
      assert.is_true((v == "value") ~= (theirs[1] == "value"))
    end
    asked:close()
    join(w)
  end)
end)

describe("#chan", function()
  in_both("counts buffered values, not waiting senders", function()
    local ch = lub.chan(2)
    assert.equals(0, #ch)
    ch:send(1)
    assert.equals(1, #ch)
    ch:send(2)
    local f = go(function() ch:send(3) end)
    assert.equals(2, #ch)
    ch:recv()
    assert.equals(2, #ch)
    ch:recv()
    ch:recv()
    assert.equals(0, #ch)
    join(f)
  end)

  in_both("is 0 for a rendezvous", function()
    local ch = lub.chan()
    local f = go(function() ch:send(1) end)
    assert.equals(0, #ch)
    ch:recv()
    join(f)
  end)
end)

describe("a handle", function()
  it("is the same value wherever the channel comes back from", function()
    local ch, box = lub.chan(), lub.chan(1)
    box:send { inner = ch, again = ch }
    local got = box:recv()
    assert.is_true(rawequal(ch, got.inner))
    assert.is_true(rawequal(ch, got.again))
    local back = join(lub.spawn(function(c) return c end, ch))
    assert.is_true(rawequal(ch, back))
  end)

  it("serves as a key in tables", function()
    local a, b, box = lub.chan(), lub.chan(), lub.chan(1)
    local t = { [a] = "a", [b] = "b" }
    box:send(a)
    assert.equals("a", t[box:recv()])
    assert.equals("b", t[b])
  end)

  it("of a view serves as a key too, apart from its channel", function()
    local ch, box = lub.chan(), lub.chan(1)
    local t = { [ch:sender()] = "sender", [ch:receiver()] = "receiver", [ch] = "both" }
    box:send(ch:receiver())
    assert.equals("receiver", t[box:recv()])
    assert.equals("sender", t[ch:sender()])
    assert.equals("both", t[ch])
  end)

  it("travels through its own channel", function()
    local ch = lub.chan(1)
    ch:send(ch)
    assert.is_true(rawequal(ch, ch:recv()))
  end)

  it("left in its own channel is collected without harm", function()
    for _ = 1, 100 do
      local ch = lub.chan(1)
      ch:send(ch)
    end
    collectgarbage()
    collectgarbage()
    local ch = lub.chan(1)
    ch:send(1)
    assert.equals(1, ch:recv())
  end)

  it("that is dropped does not end the channel for others", function()
    local box = lub.chan(1)
    box:send(lub.chan(1, "kept"))
    collectgarbage()
    collectgarbage()
    local ch = box:recv()
    assert.equals("kept", ch:name())
    ch:send(1)
    assert.equals(1, ch:recv())
  end)

  it("has no fields of its own", function()
    local ch = lub.chan()
    assert.is_nil(ch.nonsense)
    assert.has_error(function() ch.name = 1 end)
  end)

  it("outlives the worker that made it", function()
    local ch = join(lub.spawn(function()
      local made = lub.chan(1, "orphan")
      made:send "left behind"
      return made
    end))
    assert.equals("left behind", ch:recv())
    assert.equals("orphan", ch:name())
  end)
end)

describe("handles that nobody has any more", function()
  for what, make in pairs {
    channels = function(one) one.chan() end, ["timers that were stopped"] = function(one) one.after(60):stop() end,
  } do
    it("do not pile up, though what they keep lies outside of Lua: " .. what, function()
      local most = lub.spawn(function(make_one)
        local most, one = 0, require "lubdub"
        for i = 1, 50000 do
          make_one(one)
          if i % 100 == 0 then most = math.max(most, collectgarbage "count") end
        end
        return most
      end, make):join()
      assert(most < 200, ("%.0f KB of handles"):format(most))
    end)
  end
end)

describe("chan.sender", function()
  it("can send, close and tell, and nothing else", function()
    local ch = lub.chan(2, "out")
    local s = ch:sender()
    assert.is_true(s:send(1))
    assert.equals(1, #s)
    assert.equals(2, s:capacity())
    assert.equals("out", s:name())
    assert.is_false(s:closed())
    s:close()
    assert.is_true(s:closed())
    assert.is_true(ch:closed())
    assert.equals(1, ch:recv())
  end)

  it("refuses to receive, and says so", function()
    local s = lub.chan(1, "out"):sender()
    local function loop()
      local n = 0
      for _ in s do n = n + 1 end
      return n
    end
    for _, receive in ipairs { s.recv, loop, lub.select, lub.prefer } do
      local ok, why = pcall(receive, s)
      assert.is_false(ok)
      assert.matches("'out'", why)
      assert.matches("receive", why)
    end
  end)

  it("gives no receiver", function()
    local s = lub.chan(1):sender()
    assert.has_error(function() s:receiver() end)
    assert.is_true(rawequal(s, s:sender()))
  end)

  it("refuses surplus arguments", function()
    local ch = lub.chan(1)
    helper.refuses("sender", 1, 5, ch.sender, ch, 5)
  end)
end)

describe("chan.receiver", function()
  it("can receive and tell, and nothing else", function()
    local ch = lub.chan(2, "input")
    local r = ch:receiver()
    ch:send(1)
    assert.equals(1, #r)
    assert.equals(2, r:capacity())
    assert.equals("input", r:name())
    assert.equals(1, r:recv())
    assert.same({ nil, "timeout" }, { r:recv(0) })
    ch:close()
    assert.is_true(r:closed())
    assert.same({ nil, "closed" }, { r:recv() })
  end)

  it("refuses to send and to close, and says so", function()
    local ch = lub.chan(1, "input")
    local r = ch:receiver()
    local function case() return r << 1 end
    for name, operation in pairs { send = r.send, close = r.close, ["send "] = case } do
      local ok, why = pcall(operation, r, name ~= "close" and 1 or nil)
      assert.is_false(ok)
      assert.matches("'input'", why)
      assert.matches(name:match "%a+", why)
    end
    assert.equals(0, #ch)
    assert.is_false(ch:closed())
  end)

  it("gives no sender", function()
    local r = lub.chan(1):receiver()
    assert.has_error(function() r:sender() end)
    assert.is_true(rawequal(r, r:receiver()))
  end)
end)

describe("a view", function()
  it("equals its channel and the other view", function()
    local ch, other = lub.chan(), lub.chan()
    assert.is_true(ch == ch:sender())
    assert.is_true(ch:receiver() == ch)
    assert.is_true(ch:sender() == ch:receiver())
    assert.is_false(ch:sender() == other)
    assert.is_false(ch:sender() == other:sender())
    assert.is_true(rawequal(ch:sender(), ch:sender()))
    assert.is_true(rawequal(ch:receiver(), ch:receiver()))
  end)

  it("stays one in another worker", function()
    local ch = lub.chan(1)
    local ok, why, equal = join(lub.spawn(function(r, whole)
      local sent, reason = pcall(r.send, r, 1)
      return sent, reason, r == whole
    end, ch:receiver(), ch))
    assert.is_false(ok)
    assert.matches("send", why)
    assert.is_true(equal)
    assert.is_true((join(lub.spawn(function(s) return s:send "from there" end, ch:sender()))))
    assert.equals("from there", ch:recv())
  end)

  it("keeps its channel alive", function()
    local s, r
    do
      local ch = lub.chan(1)
      s, r = ch:sender(), ch:receiver()
    end
    collectgarbage()
    collectgarbage()
    s:send(1)
    assert.equals(1, r:recv())
  end)
end)

describe("a channel under load", function()
  it("passes a token round a ring of fibers", function()
    local first = lub.chan()
    local left = first
    for _ = 1, 1000 do
      local input, output = left, lub.chan()
      lub.go(function() output:send(input:recv() + 1) end)
      left = output
    end
    first:send(0)
    assert.equals(1000, left:recv())
  end)

  it("sieves primes through a chain of fibers", function()
    local source = lub.chan()
    local stop = lub.chan()
    local function generate(out)
      local n = 2
      while lub.select(stop, out << n) == out do n = n + 1 end
    end
    local function filter(input, out, prime)
      while true do
        local from, n = lub.select(stop, input)
        if from == stop then return end
        if n % prime ~= 0 and lub.select(stop, out << n) == stop then return end
      end
    end
    lub.go(generate, source)
    local primes, input = {}, source
    for i = 1, 25 do
      primes[i] = input:recv()
      local out = lub.chan()
      lub.go(filter, input, out, primes[i])
      input = out
    end
    stop:close()
    assert.equals(97, primes[25])
  end)

  it("holds 10,000 waiting receivers", function()
    local ch, sum, done = lub.chan(), 0, lub.chan()
    for _ = 1, 10000 do
      lub.go(function()
        local v = ch:recv()
        sum = sum + v
        done:send(true)
      end)
    end
    lub.go(function() for i = 1, 10000 do ch:send(i) end end)
    for _ = 1, 10000 do done:recv() end
    assert.equals(50005000, sum)
  end)

  for _, capacity in ipairs(helper.capacities) do
    it("may be given to another worker while fibers wait on it, capacity " .. capacity, function()
      for round = 1, helper.rounds(60) do
        local ch, back, received, sum = lub.chan(capacity), lub.chan(), 0, 0
        local function note(v)
          received = received + 1
          sum = sum + v
        end
        -- the first three wait before anybody else has it, the others come while the worker uses it
        local takers = {
          function() note(ch:recv()) end,
          function() note((select(2, lub.select(ch, back)))) end,
          function() note(ch:recv(helper.long)) end,
          function() for _, v in ipairs(ch:recv_many(1)) do note(v) end end,
          function() note((select(2, lub.prefer(ch, helper.long)))) end,
        }
        local fibers = {}
        for i = 1, 3 do fibers[i] = helper.go(takers[i]) end
        local late = helper.go(function() return ch:recv(round % 2 == 0 and 0.0001 or 0) end)
        local sender = lub.spawn(function(out, n)
          for i = 1, n do out:send(i) end
          return n
        end, ch, 20)
        for i = 4, 5 do fibers[i] = lub.go(takers[i]) end
        for _, fiber in ipairs(fibers) do assert(select("#", fiber:join(helper.long)) == 0) end
        local early = late:join(helper.long)
        if early then note(early) end
        while received < 20 do note(ch:recv(helper.long)) end
        assert.equals(210, sum)
        assert.equals(20, (sender:join(helper.long)))
        assert.equals(0, #ch)
      end
    end)

    it("may be given away with values and blocked senders in it, capacity " .. capacity, function()
      for _ = 1, helper.rounds(60) do
        local ch, out = lub.chan(capacity), lub.chan(200)
        local senders = {}
        collectgarbage "stop" -- with what other specs left it takes long: a sender would have to make way for the next
        for i = 1, 100 do
          senders[i] = lub.go(function()
            if i % 3 == 0 then return lub.select(ch << i) end
            if i % 3 == 1 then return ch:send_many { i } end
            return ch:send(i)
          end)
        end
        lub.yield()
        collectgarbage "restart"
        local w = lub.spawn(function(input, output) for _ = 1, 100 do output:send(input:recv()) end end, ch, out)
        for _, sender in ipairs(senders) do assert(sender:join(helper.long)) end
        assert(select("#", w:join(helper.long)) == 0)
        for i = 1, 100 do assert.equals(i, out:recv(0)) end
      end
    end)
  end

  it("answers pings between two workers", function()
    local ping, pong = lub.chan(), lub.chan()
    local w = lub.spawn(function(input, output)
      for v in input do output:send(v + 1) end
    end, ping, pong)
    for i = 1, 2000 do
      ping:send(i)
      assert.equals(i + 1, pong:recv(helper.long))
    end
    ping:close()
    join(w)
  end)

  it("wakes a parked worker from another", function()
    local ch = lub.chan()
    local w = parked(lub.spawn(function(input) return input:recv() end, ch))
    assert.equals("idle", w:state())
    ch:send "wake"
    assert.equals("wake", (join(w)))
  end)
end)
