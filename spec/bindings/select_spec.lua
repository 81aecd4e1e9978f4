local lub = require "lubdub"

describe("select", function()
  it("takes each of several ready cases about as often", function()
    local a, b, from_a = lub.chan(1), lub.chan(1), 0
    for _ = 1, 1000 do
      a:send(1, 0)
      b:send(1, 0)
      if lub.select(a, b) == a then from_a = from_a + 1 end
    end
    assert.is_true(from_a > 400 and from_a < 600)
  end)

  it("gives from, value and the argument's position", function()
    local a, b = lub.chan(1), lub.chan(1)
    b:send("x")
    assert.same({ b, "x", 3 }, { lub.select(nil, a, b, 1) })
    assert.same({ a, true, 2 }, { lub.select(nil, a << 5) })
    assert.equals(5, a:recv())
  end)

  it("times out, polls, and sees a closed channel", function()
    local ch = lub.chan()
    assert.same({ nil, "timeout" }, { lub.select(ch, 0) })
    assert.same({ nil, "timeout" }, { lub.select(ch << 1, 0.001) })
    ch:close()
    local from, v = lub.select(ch)
    assert.equals(ch, from)
    assert.is_nil(v)
    assert.has_error(function() lub.select(ch << 1) end)
  end)

  it("wakes for the one case that comes, and only once", function()
    local a, b = lub.chan(), lub.chan()
    local f = lub.go(function() return lub.select(a, b, a) end)
    lub.yield()
    b:send("b")
    local from, v, i = f:join()
    assert.equals(b, from)
    assert.equals("b", v)
    assert.equals(2, i)
    assert.same({ nil, "timeout" }, { a:send(1, 0) })
  end)

  it("refuses two waits and what is no case", function()
    assert.has_error(function() lub.select(1, 2) end)
    assert.has_error(function() lub.select("x") end)
  end)

  it("takes thousands of cases", function()
    local cases = {}
    for i = 1, 10000 do cases[i] = lub.chan() end
    lub.go(function() cases[777]:send("here") end)
    local from, v = lub.select(table.unpack(cases))
    assert.equals(cases[777], from)
    assert.equals("here", v)
  end)

  it("prefers the first that is ready", function()
    local a, b = lub.chan(1), lub.chan(1)
    a:send(1)
    b:send(2)
    assert.equals(b, (lub.prefer(b, a)))
  end)
end)

describe("time", function()
  it("ticks until stopped, and leaves nothing stale", function()
    local t = lub.tick(0.001)
    for _ = 1, 3 do assert.is_number(t:recv(5)) end
    assert.is_true(t:stop())
    assert.same({ nil, "timeout" }, { t:recv(0) })
    assert.is_false(t:stop())
  end)

  it("refuses periods and times that make no sense", function()
    for _, bad in ipairs { 0, -1, 0 / 0 } do assert.has_error(function() lub.tick(bad) end) end
    assert.has_error(function() lub.sleep("x") end)
    assert.has_error(function() lub.sleep(0 / 0) end)
  end)

  it("runs a function after a while", function()
    local ch = lub.chan(1)
    lub.after(0.001, ch.send, ch, "late")
    assert.equals("late", ch:recv(5))
    assert.is_number(lub.after(0.001):recv(5))
  end)
end)
