-- Several values at once. Where time or the order of fibers matters it runs in sims; between real workers at the end.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"
local fault = require "lubdub.fault"
require "lubdub.sim"
local support = require "spec.support"
local everywhere, in_fibers = support.words(it)
local same = support.same

local go, join = helper.go, helper.join

--- The numbers first..last as a list.
local function numbers(first, last)
  local t = {}
  for i = first, last do t[#t + 1] = i end
  return t
end

--- All that is there, one after the other.
local function drain(ch)
  local t = {}
  for v in function() return ch:recv(0) end do t[#t + 1] = v end
  return t
end

for _, capacity in ipairs(helper.capacities) do
  describe("many, over a capacity of " .. capacity .. ",", function()
    it("are sent without waiting as far as there is room, and the rest is told", function()
      local ch = lub.chan(capacity)
      assert.same({ nil, "timeout", capacity }, { ch:send_many(numbers(1, capacity + 3), 0) })
      assert.same(numbers(1, capacity), drain(ch))
      if capacity == 0 then return end
      assert.same({ capacity }, { ch:send_many(numbers(1, capacity), 0) })
      assert.same({ numbers(1, capacity) }, { ch:recv_many(capacity + 9) })
    end)

    it("come in order, whatever the batches", function()
      local ch, got = lub.chan(capacity), {}
      lub.go(function()
        for i = 0, 9 do ch:send_many(numbers(i * 20 + 1, i * 20 + 20)) end
        ch:close()
      end)
      for t in function() return ch:recv_many(#got % 7 + 1) end do
        assert.is_true(#t > 0)
        table.move(t, 1, #t, #got + 1, got)
      end
      assert.same(numbers(1, 200), got)
    end)

    it("stay together, in one place of the line", function()
      local ch = lub.chan(capacity)
      local all = capacity + 5
      local first = go(function() return ch:send_many(numbers(1, all)) end)
      local second = go(function() return ch:send(all + 1) end)
      local third = go(function() return ch:send_many(numbers(all + 2, all + 4)) end)
      assert.equals("blocked_send", first:state())
      assert.same(numbers(1, all + 4), drain(ch))
      assert.equals(all, (join(first)))
      assert.is_true((join(second)))
      assert.equals(3, (join(third)))
    end)

    it("are received at once as far as they are there, parked ones too", function()
      local ch = lub.chan(capacity)
      local f = go(function() return ch:send_many(numbers(1, capacity + 300)) end)
      assert.same(numbers(1, 2), ch:recv_many(2))
      assert.same(numbers(3, capacity + 300), ch:recv_many(math.maxinteger))
      assert.equals(capacity + 300, (join(f)))
      assert.same({ nil, "timeout" }, { ch:recv_many(5, 0) })
    end)

    it("serve receivers first come, first served", function()
      local ch, fibers = lub.chan(capacity), {}
      for i = 1, 3 do fibers[i] = go(function() return ch:recv() end) end
      assert.same({ 3 + capacity }, { ch:send_many(numbers(1, 3 + capacity), 0) })
      for i = 1, 3 do assert.equals(i, (join(fibers[i]))) end
      assert.equals(capacity, #ch)
    end)

    it("come to a receiver that waits: the first, and what else is there when it runs", function()
      local ch = lub.chan(capacity)
      local f = go(function() return ch:recv_many(200) end)
      assert.equals("idle", f:state())
      lub.go(function() ch:send_many(numbers(1, 100)) end)
      assert.same(numbers(1, 100), (join(f)))
    end)

    it("raise when the channel closes meanwhile, with how many went", function()
      local ch = lub.chan(capacity, "jobs")
      local f = go(function() return pcall(ch.send_many, ch, numbers(1, capacity + 5)) end)
      assert.same(numbers(1, 2), ch:recv_many(2))
      ch:close()
      local ok, why = join(f)
      assert.is_false(ok)
      local text = ("send on closed channel 'jobs' (%d of %d values were sent)"):format(capacity + 2, capacity + 5)
      assert.equals(text, why:match "send on.*")
      assert.same(capacity > 0 and numbers(3, capacity + 2) or nil, (ch:recv_many(99)))
      assert.same({ nil, "closed" }, { ch:recv_many(99) })
      helper.raises("(0 of 2 values were sent)", ch.send_many, ch, { 1, 2 })
      helper.raises("(0 of 2 values were sent)", ch.send_many, ch, { 1, 2 }, 0)
    end)

    it("tell a cancelled sender how many went", function()
      local ch = lub.chan(capacity)
      local f = go(function() return ch:send_many(numbers(1, capacity + 5)) end)
      assert.same(numbers(1, 3), ch:recv_many(3))
      f:cancel()
      assert.same({ nil, "cancelled", capacity + 3 }, { join(f) })
      assert.same(numbers(4, capacity + 3), drain(ch))
    end)

    it("of a killed sender that have not gone go nowhere", function()
      local ch = lub.chan(capacity)
      local f = go(function() ch:send_many(numbers(1, capacity + 5)) end)
      assert.same(numbers(1, 3), ch:recv_many(3))
      lub.go(function() ch:send "next" end)
      lub.yield()
      f:kill()
      local expected = numbers(4, capacity + 3)
      expected[#expected + 1] = "next"
      assert.same(expected, drain(ch))
    end)

    it("lose nothing to a receiver that was cancelled or killed", function()
      local ch = lub.chan(capacity)
      local cancelled = go(function() return ch:recv_many(9) end)
      local killed = go(function() return ch:recv_many(9) end)
      cancelled:cancel()
      killed:kill()
      local sender = lub.go(function() return ch:send_many { 1, 2, 3 } end)
      assert.equals(1, ch:recv())
      assert.equals(2, ch:recv())
      assert.equals(3, ch:recv())
      assert.equals(3, (join(sender)))
      assert.same({ nil, "cancelled" }, { join(cancelled) })
    end)

    it("have one wait for all", lub.sim(function()
      local ch = lub.chan(capacity)
      local f = lub.go(function() return lub.now(), lub.now(), ch:send_many(numbers(1, capacity + 5), 2) end)
      lub.pass(1.5)
      assert.same(numbers(1, 2), ch:recv_many(2))
      lub.pass(0.4)
      assert.equals("blocked_send", f:state())
      lub.pass(0.2)
      assert.same({ nil, "timeout", capacity + 2 }, { select(3, f:join()) })
      assert.same(numbers(3, capacity + 2), drain(ch))
      local start = lub.now()
      assert.same({ nil, "timeout" }, { ch:recv_many(4, 3) })
      assert.is_true(math.abs(lub.now() - start - 3) < 1e-9)
    end))

    it("arrive once each, and every sender knows how many went, in any schedule", lub.explore({ runs = 60 }, function()
      local ch, sent, got, seen, senders, receivers = lub.chan(capacity), 0, 0, {}, {}, {}
      for i = 1, 3 do
        senders[i] = lub.go(function()
          local t, wait = numbers(i * 100 + 1, i * 100 + capacity + 4), i == 2 and 1 or nil
          local n, _, part = ch:send_many(t, wait)
          for k = 1, n or part do seen[t[k]] = (seen[t[k]] or 0) + 1 end
          sent = sent + (n or part)
        end)
      end
      for i = 1, 2 do
        receivers[i] = lub.go(function()
          for t in function() return ch:recv_many(i * 2) end do
            for k = 1, #t do
              got = got + 1
              seen[t[k]] = (seen[t[k]] or 0) - 1
            end
            if lub.fault "slow" then lub.sleep(0.7) end
          end
        end)
      end
      if lub.fault "cancel" then senders[1]:cancel() end
      for i = 1, 3 do senders[i]:join() end
      ch:close()
      for i = 1, 2 do receivers[i]:join() end
      assert.equals(sent, got)
      for v, n in pairs(seen) do assert.equals(0, n, tostring(v)) end
    end))
  end)
end

describe("many", function()
  everywhere("are shared by workers: each arrives once", function()
    for _, capacity in ipairs { 0, 1, 64 } do
      local ch, sum, workers = lub.chan(capacity), 0, {}
      for i = 1, 3 do
        workers[i] = lub.spawn(function(out, id)
          for k = 0, 99 do
            local t = {}
            for j = 1, k % 10 + 1 do t[j] = id end
            assert(out:send_many(t) == #t)
          end
        end, ch, i)
      end
      for i = 4, 6 do
        workers[i] = lub.spawn(function(input)
          local mine = 0
          for t in function() return input:recv_many(7) end do for k = 1, #t do mine = mine + t[k] end end
          return mine
        end, ch)
      end
      for i = 1, 3 do assert(select("#", workers[i]:join(20)) == 0) end
      ch:close()
      for i = 4, 6 do sum = sum + workers[i]:join(20) end
      same(550 * 6, sum)
    end
  end, { carriers = 2 })

  in_fibers("go to and from the fibers of one worker", function()
    local ch, n = lub.chan(3), 0
    local f = lub.go(function()
      for i = 1, 50 do ch:send_many { i, i, { i } } end
      ch:close()
    end)
    for t in function() return ch:recv_many(4) end do n = n + #t end
    same(150, n)
    f:join()
  end)
end)

describe("chan.send_many", function()
  it("of none gives 0 at once, whatever the channel", function()
    local ch = lub.chan()
    assert.same({ 0 }, { ch:send_many {} })
    ch:close()
    assert.same({ 0 }, { ch:send_many {} })
  end)

  it("sends every kind of value", function()
    local ch, other = lub.chan(8), lub.chan()
    local t = { false, 1, -0.5, "short", ("long"):rep(100), { 1, { 2 } }, other, true }
    assert.equals(8, ch:send_many(t))
    assert.same(t, ch:recv_many(8))
  end)

  it("copies the values when it is called", function()
    local ch, t = lub.chan(), { { 1 }, { 2 } }
    go(function() ch:send_many(t) end)
    t[1][1], t[2] = 5, nil
    assert.same({ { 1 }, { 2 } }, ch:recv_many(2))
  end)

  it("sends none when one cannot be sent, and names it", function()
    local ch = lub.chan(8)
    helper.raises("cannot send a coroutine (at argument 1 [2])", ch.send_many, ch, { 1, coroutine.create(print) })
    helper.raises("cannot send a fiber (at argument 1 [2].job[1])", ch.send_many, ch, { 1, { job = { lub.self() } } })
    helper.raises("send_many: argument 1: expected values that are not nil, got nil at [2]", ch.send_many, ch,
      { 1, nil, 3 })
    assert.equals(0, #ch)
    assert.equals(1, ch:send_many { "fine" })
    assert.equals("fine", ch:recv())
  end)

  it("looks into the table as it is, past its metatable", function()
    local ch = lub.chan(8)
    local t = setmetatable({ 1, 2 }, { __len = function() return 5 end, __index = function() return "no" end })
    assert.equals(2, ch:send_many(t))
    assert.same({ 1, 2 }, ch:recv_many(9))
  end)

  it("refuses what is no table, no wait, or too much", function()
    local ch = lub.chan(8)
    for _, bad in ipairs { 1, "x", true, print } do helper.refuses("send_many", 1, bad, ch.send_many, ch, bad) end
    helper.refuses("send_many", 1, nil, ch.send_many, ch)
    helper.refuses_waits("send_many", 2, function(wait) ch:send_many({ 1 }, wait) end)
    helper.refuses("send_many", 3, 5, ch.send_many, ch, { 1 }, 0, 5)
    helper.raises("send_many: channel 'x' is a receiver here", ch.send_many, lub.chan(0, "x"):receiver(), {})
    assert.equals(0, #ch)
  end)

  it("sends through a view, and to a select", function()
    local ch = lub.chan()
    go(function() ch:sender():send_many { 1, 2, 3 } end)
    for i = 1, 3 do
      local from, v = lub.select(ch, 0)
      assert.is_true(from == ch)
      assert.equals(i, v)
    end
  end)

  it("gives 'cancelled' in a fiber that was cancelled, after what can go at once", function()
    local ch = lub.chan(2)
    local f = lub.go(function()
      lub.select((lub.cancelled()))
      return ch:send_many { 1, 2, 3 }
    end)
    f:cancel()
    assert.same({ nil, "cancelled", 2 }, { join(f) })
  end)

  it("lets go of what was not sent, however that came", function() -- a leak checker looks on
    local ch, heavy = lub.chan(1), { lub.chan(), { lub.chan() }, ("x"):rep(1000) }
    local cancelled = go(function() return ch:send_many(heavy) end)
    local killed = go(function() return ch:send_many(heavy) end)
    cancelled:cancel()
    killed:kill()
    assert.same({ nil, "cancelled", 1 }, { join(cancelled) })
    assert.same({ nil, "timeout", 0 }, { ch:send_many(heavy, 0) })
    heavy[4] = coroutine.create(print)
    helper.raises("(at argument 1 [4])", ch.send_many, ch, heavy)
  end)

  it("that was cut short has no part in what its fiber sends next", function()
    local ch = lub.chan()
    local f = go(function()
      assert.same({ nil, "timeout", 0 }, { ch:send_many({ 1, 2, 3 }, 0) })
      return ch:send "alone"
    end)
    assert.same({ "alone" }, ch:recv_many(9))
    assert.is_true((join(f)))
  end)

  it("wakes a worker's main fiber in the midst of a sort", function()
    local ch, got = lub.chan(), {}
    local f = lub.go(function()
      for t in function() return ch:recv_many(3) end do table.move(t, 1, #t, #got + 1, got) end
    end)
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b)
      ch:send_many { a, b }
      return a < b
    end)
    ch:close()
    join(f)
    assert.same({ 1, 2, 3 }, t)
    assert.is_true(#got >= 4)
  end)
end)

describe("chan.recv_many", function()
  it("refuses what is no count, no wait, or too much", function()
    local ch = lub.chan(1)
    ch:send "kept"
    for _, bad in ipairs { 0, -1, 1.5, "1", {}, helper.nan, math.huge } do
      helper.refuses("recv_many", 1, bad, ch.recv_many, ch, bad)
    end
    helper.refuses("recv_many", 1, nil, ch.recv_many, ch)
    helper.refuses_waits("recv_many", 2, function(wait) ch:recv_many(1, wait) end)
    helper.refuses("recv_many", 3, 5, ch.recv_many, ch, 1, 0, 5)
    helper.raises("recv_many: channel 'x' is a sender here", ch.recv_many, lub.chan(0, "x"):sender(), 1)
    assert.equals(1, #ch)
    assert.same({ "kept" }, ch:recv_many(1.0))
  end)

  it("takes what single senders have, parked or not", function()
    local ch = lub.chan(2)
    for i = 1, 5 do go(function() ch:send(i) end) end
    assert.same(numbers(1, 5), ch:recv_many(9))
  end)

  it("gives a value that cannot be received as an error, once", function()
    local ch = lub.chan(4)
    local class = {}
    lub.register("chan_many_spec.class", class)
    ch:send_many { 1, setmetatable({}, class), 3 }
    ch:send "next"
    local w = lub.spawn(function(input)
      local ok, why = pcall(input.recv_many, input, 3)
      return ok, why, input:recv_many(9)
    end, ch)
    local ok, why, after = join(w)
    assert.is_false(ok)
    assert.matches("chan_many_spec.class", why)
    assert.same({ "next" }, after)
  end)

  it("loses no number for want of memory, whichever allocation fails", function()
    local t, failed, n = numbers(1, 600), 0, 0
    repeat
      n = n + 1
      local went_well = lub.sim.run(function()
        local ch = lub.chan(600)
        ch:send_many(t)
        local ok, got = pcall(function()
          fault.alloc(n)
          return ch:recv_many(600)
        end)
        fault.heal()
        if not ok then
          assert.equals("not enough memory", got)
          assert.equals(600, #ch)
          got = ch:recv_many(600)
        end
        assert.same(t, got)
        return ok
      end)
      if not went_well then failed = failed + 1 end
    until went_well
    assert.is_true(failed >= 2) -- a table and its room
  end)

  it("says when memory ends in a worker, and the worker goes on", function()
    local ch = lub.chan(100)
    for _ = 1, 100 do ch:send(("x"):rep(10000)) end
    local w = lub.spawn({ memory = 400000 }, function(input)
      local ok, why = pcall(input.recv_many, input, 100)
      input:send "still"
      return ok, why, input:recv()
    end, ch)
    local ok, why, after = join(w)
    assert.is_false(ok)
    assert.matches("not enough memory", why)
    assert.equals("still", after)
  end)
end)
