local lub = require "lubdub"

describe("fibers", function()
  it("share their worker's heap and give results by reference, as often as asked", function()
    local t = {}
    local f = lub.go(function(x) return x, 2 end, t)
    assert.equals(t, (f:join()))
    assert.same({ t, 2 }, { f:join() })
    assert.equals("dead", f:state())
  end)

  it("pass on an error to whoever joins", function()
    local ok, why = lub.go(error, "boom"):join()
    assert.is_nil(ok)
    assert.matches("boom", why)
  end)

  it("park inside nested coroutines without their caller's seeing it", function()
    local ch = lub.chan()
    local f = lub.go(function()
      local inner = coroutine.wrap(function()
        for _ = 1, 3 do coroutine.yield((ch:recv())) end
      end)
      return inner() + inner() + inner()
    end)
    for i = 1, 3 do ch:send(i) end
    assert.equals(6, f:join())
  end)

  it("park under pcall, in sort, gsub and metamethods", function()
    local ch = lub.chan()
    lub.go(function() for i = 1, 100 do ch:send(i) end end)
    assert.same({ true, 1 }, { pcall(ch.recv, ch) })
    local f = lub.go(function()
      local t = { 3, 1, 2 }
      table.sort(t, function(a, b)
        ch:recv()
        return a < b
      end)
      return t[1], (("ab"):gsub(".", function() return tostring(ch:recv()) end))
    end)
    assert.equals(1, (f:join()))
  end)

  it("cannot be resumed or closed by others while parked", function()
    local ch, co = lub.chan(), nil
    local f = lub.go(function()
      co = coroutine.create(function() return ch:recv() end)
      return coroutine.resume(co)
    end)
    lub.yield()
    assert.equals("normal", coroutine.status(co))
    assert.is_false((coroutine.resume(co)))
    assert.has_error(function() coroutine.close(co) end)
    ch:send("fine")
    assert.same({ true, "fine" }, { f:join() })
  end)

  it("are cancelled at every later wait", function()
    local seen = {}
    local f = lub.go(function()
      local ch = lub.chan()
      seen[1] = { ch:recv() }
      seen[2] = { lub.sleep(1000) }
      seen[3] = { ch:send(1) }
    end)
    lub.yield()
    f:cancel("enough")
    f:join()
    for i = 1, 3 do assert.same({ nil, "cancelled" }, seen[i]) end
  end)

  it("cannot swallow a kill, and run their close handlers", function()
    local closed = lub.chan(1)
    local f = lub.go(function()
      local guard <close> = setmetatable({}, { __close = function() closed:send(true) end })
      while guard do pcall(lub.sleep, 1000) end
    end)
    lub.yield()
    f:kill()
    assert.same({ nil, "killed" }, { f:join(5) })
    assert.is_true(closed:recv(5))
  end)

  it("that hog are preempted, also under pcall, and can be killed", function()
    local f = lub.go(function()
      while true do pcall(function() while true do end end) end
    end)
    assert.is_true(lub.sleep(0.05))
    f:kill()
    assert.same({ nil, "killed" }, { f:join(5) })
  end)

  it("may not join themselves", function()
    local ok, why = lub.go(function() return pcall(function() lub.self():join() end) end):join()
    assert.is_false(ok)
    assert.matches("itself", why)
  end)

  it("report a deadlock instead of hanging", function()
    local ok, why = pcall(function() lub.chan():recv() end)
    assert.is_false(ok)
    assert.matches("deadlock", why)
  end)
end)

describe("workers", function()
  it("run in parallel states, with copied arguments and results", function()
    local t = { 1 }
    local w = lub.spawn({ name = "w" }, function(x)
      x[1] = 2
      return x, #x
    end, t)
    assert.equals("w", w:name())
    assert.same({ { 2 }, 1 }, { w:join() })
    assert.same({ { 2 }, 1 }, { w:join() })
    assert.equals(1, t[1])
  end)

  it("say who failed, where", function()
    local _, why = lub.spawn({ name = "bad" }, function() error "boom" end):join()
    assert.matches("boom.*worker 'bad'.*fiber 'main'.*fiber_spec", why)
  end)

  it("are killed in an endless loop, and cancelled in a wait", function()
    local w = lub.spawn(function() while true do end end)
    w:kill()
    assert.same({ nil, "killed" }, { w:join(10) })
    local c = lub.spawn(function() return lub.chan():recv() end)
    c:cancel()
    assert.same({ nil, "cancelled" }, { c:join(10) })
  end)

  it("have a memory limit", function()
    local _, why = lub.spawn({ memory = 2 << 20 }, function()
      local t = {}
      for i = 1, 1e9 do t[i] = i end
      return #t
    end):join()
    assert.matches("not enough memory", why)
  end)

  it("go on while others sit in a C call", function()
    local stuck = {}
    for i = 1, 4 do stuck[i] = lub.spawn(function() os.execute "sleep 0.3" end) end
    local t = lub.now()
    assert.equals(1, lub.spawn(function() return 1 end):join())
    assert.is_true(lub.now() - t < 0.25)
    for i = 1, 4 do stuck[i]:join() end
  end)

  it("refuse what cannot cross, naming the upvalue", function()
    local cache = { file = io.stdout }
    local ok, why = pcall(lub.spawn, function() return cache end)
    assert.is_false(ok)
    assert.matches("cannot send a userdata (at argument 1 upvalue 'cache' .file)", why, 1, true)
  end)
end)
