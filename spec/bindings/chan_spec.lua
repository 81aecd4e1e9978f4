local lub = require "lubdub"

for _, capacity in ipairs { 0, 1, 2, 64 } do
  describe("a channel of capacity " .. capacity, function()
    it("keeps values in order", function()
      local ch, got = lub.chan(capacity), {}
      lub.go(function()
        for i = 1, 100 do ch:send(i) end
        ch:close()
      end)
      for v in ch do got[#got + 1] = v end
      assert.equals(100, #got)
      for i = 1, 100 do assert.equals(i, got[i]) end
    end)

    it("polls with a wait of 0", function()
      local ch = lub.chan(capacity)
      assert.same({ nil, "timeout" }, { ch:recv(0) })
      for _ = 1, capacity do assert.is_true(ch:send(true, 0)) end
      assert.same({ nil, "timeout" }, { ch:send(true, 0) })
      assert.equals(capacity, #ch)
    end)

    it("raises in a send that is blocked when the channel closes", function()
      local ch = lub.chan(capacity, "jobs")
      for _ = 1, capacity do ch:send(0) end
      local f = lub.go(function() return pcall(ch.send, ch, 1) end)
      lub.yield()
      ch:close()
      local ok, why = f:join()
      assert.is_false(ok)
      assert.matches("send on closed channel 'jobs'", why)
    end)
  end)
end

describe("channels", function()
  it("drain after close", function()
    local ch = lub.chan(2)
    ch:send("a")
    ch:close()
    assert.is_true(ch:closed())
    assert.equals("a", ch:recv())
    assert.same({ nil, "closed" }, { ch:recv() })
  end)

  it("close once", function()
    local ch = lub.chan(0, "x")
    ch:close()
    assert.has_error(function() ch:close() end, "close of closed channel 'x'")
  end)

  it("have views that refuse the other operation", function()
    local ch = lub.chan(1, "v")
    assert.has_error(function() ch:sender():recv() end)
    assert.has_error(function() ch:receiver():send(1) end)
    assert.has_error(function() ch:receiver():close() end)
    assert.is_true(ch:sender() == ch and ch == ch:receiver())
    assert.equals(ch:sender(), ch:sender())
  end)

  it("say what they are", function()
    local ch = lub.chan(8, "results")
    for _ = 1, 3 do ch:send(1) end
    assert.equals("chan 'results' (3/8)", tostring(ch))
    assert.equals(8, ch:capacity())
    assert.equals("results", ch:name())
  end)

  it("refuse what makes no sense, and say why", function()
    for _, bad in ipairs { -1, 1.5, math.huge, 0 / 0, 2 ^ 40, "3", {} } do
      local ok, why = pcall(lub.chan, bad)
      assert.is_false(ok)
      assert.matches("chan: argument 1", why)
    end
    assert.has_error(function() lub.chan():send(nil) end)
    assert.has_error(function() lub.chan():recv(0 / 0) end)
    assert.same({ nil, "timeout" }, { lub.chan():recv(-5) })
  end)

  it("can travel through themselves", function()
    local ch = lub.chan(1)
    ch:send(ch)
    assert.equals(ch, ch:recv())
  end)
end)

describe("values", function()
  local ch = lub.chan(1)
  local function through(v)
    ch:send(v)
    return ch:recv()
  end

  it("cross exactly", function()
    for _, v in ipairs { 1, -0.5, math.maxinteger, math.mininteger, 1e308, true, false, "", "a\0b", ("x"):rep(15) } do
      assert.equals(v, through(v))
      assert.equals(math.type(v), math.type(through(v)))
    end
    assert.equals(100 << 20, #through(("z"):rep(100 << 20)))
  end)

  it("are copied, with cycles and shared references", function()
    local t = { list = { 1, 2, { "deep" } } }
    t.self, t.again = t, t.list
    local c = through(t)
    assert.are_not.equal(t, c)
    assert.equals(c, c.self)
    assert.equals(c.list, c.again)
    assert.equals("deep", c.list[3][1])
  end)

  it("may be functions, with upvalues shared as they were", function()
    local n = 0
    local pair = through { add = function() n = n + 1 end, get = function() return n end, f = string.rep, lib = math }
    pair.add()
    assert.equals(1, pair.get())
    assert.equals(0, n)
    assert.equals(string.rep, pair.f)
    assert.equals(math, pair.lib)
  end)

  it("that cannot cross are refused with the path", function()
    local function refused(v, text)
      local ok, why = pcall(ch.send, ch, v)
      assert.is_false(ok)
      assert.matches(text, why, 1, true)
      assert.equals(0, #ch)
    end
    refused({ job = { co = coroutine.create(print) } }, "cannot send a coroutine (at argument 1 .job.co)")
    refused({ jobs = { 1, 2, io.stdout } }, "cannot send a userdata (at argument 1 .jobs[3])")
    refused({ o = setmetatable({}, {}) }, "a table with a metatable nobody registered (at argument 1 .o)")
    local deep = {}
    for _ = 1, 100000 do deep = { deep } end
    refused(deep, "levels deep")
  end)

  it("cross with a registered metatable", function()
    local mt = { __index = { hello = function() return "hi" end } }
    lub.register("greeter", mt)
    assert.equals("hi", through(setmetatable({}, mt)):hello())
  end)
end)
