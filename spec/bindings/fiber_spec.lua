local lub = require "lubdub"
require "lubdub.sim"
local support = require "spec.support"
local same, eventually, refused = support.same, support.eventually, support.refused
local everywhere, in_fibers, in_worker = support.words(it)

describe("go", function()
  everywhere("hands its arguments over by reference", function()
    local t = {}
    local f = lub.go(function(x, ...) x.n = select("#", ...) end, t, nil, nil, nil)
    f:join()
    same(3, t.n)
  end)

  everywhere("does not start the fiber before its caller parks", function()
    local started = false
    local f = lub.go(function() started = true end)
    same(false, started)
    same("starting", f:state())
    f:join()
    same(true, started)
  end)

  everywhere("starts fibers in the order in which they were made", function()
    local order, last = {}, nil
    for i = 1, 5 do last = lub.go(function() order[#order + 1] = i end) end
    last:join()
    same({ 1, 2, 3, 4, 5 }, order)
  end)

  everywhere("refuses what is no function, and names itself and the argument", function()
    for _, bad in ipairs { 1, "x", {}, true } do
      local why = refused("go", lub.go, bad)
      assert(why:find("argument 1", 1, true), why)
    end
    refused("go", lub.go)
  end)
end)

describe("join", function()
  everywhere("gives the results, nils included, by reference, as often as asked", function()
    local t = {}
    local f = lub.go(function() return t, nil, 2, nil end)
    for _ = 1, 3 do
      local r = table.pack(f:join())
      same(4, r.n)
      assert(r[1] == t and r[2] == nil and r[3] == 2)
    end
  end)

  everywhere("gives nothing where the function gave nothing", function()
    same(0, select("#", lub.go(function() end):join()))
  end)

  everywhere("gives nil and the error of a fiber that failed, again and again", function()
    local f = lub.go(function() error "boom" end)
    for _ = 1, 2 do
      local ok, why = f:join()
      assert(ok == nil and tostring(why):find "boom", why)
    end
    same("dead", f:state())
  end)

  everywhere("gives an error that is a table as it was raised", function()
    local e = { code = 7 }
    local ok, why = lub.go(error, e):join()
    same(nil, ok)
    assert(why == e or type(why) == "table" and why.code == 7, tostring(why))
  end)

  everywhere("wakes everybody who waits for the same fiber", function()
    local gate, woken = lub.chan(), {}
    local f = lub.go(function() return (gate:recv()) end)
    local waiters = {}
    for i = 1, 5 do waiters[i] = lub.go(function() woken[i] = f:join() end) end
    lub.yield()
    gate:send "go"
    for i = 1, 5 do waiters[i]:join() end
    same({ "go", "go", "go", "go", "go" }, woken)
  end)

  everywhere("gives up after its wait, and can be tried again", function()
    local gate = lub.chan()
    local f = lub.go(function() return (gate:recv()) end)
    same({ nil, "timeout" }, { f:join(0) })
    same({ nil, "timeout" }, { f:join(-1) })
    same({ nil, "timeout" }, { f:join(0.001) })
    gate:send(5)
    same({ 5 }, { f:join(math.huge) })
    same({ 5 }, { f:join(0) })
  end)

  everywhere("refuses a wait that is no number of seconds", function()
    local f = lub.go(function() end)
    refused("join", f.join, f, 0 / 0)
    refused("join", f.join, f, "soon")
    refused("join", f.join, f, {})
    refused("join", f.join, 1)
    f:join()
  end)

  everywhere("refuses a fiber that wants to join itself", function()
    refused("itself", function() lub.self():join() end)
    refused("itself", function() lub.self():join(0) end)
  end)

  everywhere("of oneself is refused inside a nested coroutine and inside sort too", function()
    refused("itself", coroutine.wrap(function() lub.self():join() end))
    refused("itself", function() table.sort({ 1, 2 }, function() lub.self():join() end) end)
  end)

  everywhere("may be waited for by fibers that are killed meanwhile, and are forgotten", function()
    local gate = lub.chan()
    local f = lub.go(function() return (gate:recv()) end)
    local joiners = {}
    for i = 1, 3 do joiners[i] = lub.go(function() return f:join() end) end
    lub.yield()
    joiners[2]:kill()
    same({ nil, "killed" }, { joiners[2]:join() })
    joiners[2] = nil
    collectgarbage()
    gate:send(1)
    same({ 1, 1, 1 }, { f:join(), joiners[1]:join(), (joiners[3]:join()) })
  end)

  everywhere("may be given up for a cancel, and the joined fiber lives on", function()
    local gate = lub.chan()
    local f = lub.go(function() return (gate:recv()) end)
    local j = lub.go(function() return f:join() end)
    lub.yield()
    j:cancel()
    same({ nil, "cancelled" }, { j:join() })
    same("idle", f:state())
    gate:send(1)
    same(1, (f:join()))
  end)
end)

describe("done", function()
  everywhere("is a channel that closes when the fiber has ended", function()
    local gate = lub.chan()
    local f = lub.go(function() gate:recv() end)
    local done = f:done()
    same({ nil, "timeout" }, { done:recv(0) })
    gate:send(true)
    same({ nil, "closed" }, { done:recv() })
    same(true, done:closed())
    same({ nil, "closed" }, { f:done():recv() })
  end)

  everywhere("is the same channel each time, good as a table key and in select", function()
    local f, g = lub.go(function() end), lub.go(function() lub.sleep(60) end)
    assert(f:done() == f:done() and f:done() ~= g:done())
    local names = { [f:done()] = "f" }
    same("f", names[f:done()])
    local from, v = lub.select(g:done(), f:done())
    assert(from == f:done() and v == nil)
    g:kill()
  end)

  everywhere("is the same channel before and after the end, also when nothing else holds it", function()
    local gate = lub.chan()
    local f = lub.go(function() gate:recv() end)
    local name = tostring(f:done())
    local names = { [f:done()] = "f" }
    gate:send(true)
    f:join()
    collectgarbage()
    same("f", names[f:done()])
    same(true, f:done():closed())
    assert(tostring(f:done()) ~= name, name) -- which tells that it is closed
    collectgarbage()
    same({ nil, "closed" }, { f:done():recv() })
  end)

  everywhere("is one handle, which is its own receiver", function()
    local f = lub.go(function() end)
    assert(rawequal(f:done(), f:done()) and rawequal(f:done(), f:done():receiver()))
    f:join()
    assert(rawequal(f:done(), f:done():receiver()))
  end)

  everywhere("can only be received from", function()
    local f = lub.go(function() end)
    refused("", function() f:done():send(1) end)
    refused("", function() f:done():close() end)
    f:join()
  end)

  everywhere("of a fiber that ended long ago is closed", function()
    local f = lub.go(function() end)
    f:join()
    same({ nil, "closed" }, { f:done():recv(0) })
  end)

  everywhere("counts as somebody who cares for the error", function()
    local f = lub.go(function() error "boom" end)
    f:done():recv()
    lub.yield()
    local ok, why = f:join()
    assert(ok == nil and tostring(why):find "boom", why)
  end)
end)

describe("an error in a fiber that nobody joins", function()
  it("ends its worker with that error, the fiber, the place where it was made and a traceback", function()
    local code, text = support.run(function()
      local function deep() error "boom" end
      lub.go(function() deep() end)
      lub.sleep(5)
      print "never"
    end, { carriers = 1 })
    assert.equals(1, code)
    assert.is_nil(text:find("never", 1, true))
    assert.matches("boom.*traceback", text)
    assert.matches("deep", text)
    assert.matches("worker 'main'", text)
    assert.matches("fiber '", text)
  end)

  it("is raised from the operation in which a stock Lua's main thread waits, or from its next", function()
    local code, text = support.run(function()
      lub.go(function() error "boom" end)
      lub.sleep(5)
      lub.yield()
      print "never"
    end, { host = "lua" })
    assert.equals(1, code)
    assert.is_nil(text:find("never", 1, true))
    assert.matches("boom", text)
    assert.matches("fiber '", text)
  end)

  it("is raised on a stock Lua's main thread once, and can be caught", function()
    local code, text = support.run(function()
      lub.go(function() error "boom" end)
      local told = {}
      for _ = 1, 3 do
        local ok, why = pcall(lub.yield)
        if not ok then told[#told + 1] = why end
      end
      same(1, #told)
      assert(told[1]:find "boom", told[1])
      local ch = lub.chan(1)
      ch:send "fine"
      same("fine", ch:recv())
    end, { host = "lua" })
    assert.equals("fine\n", text)
    assert.equals(0, code)
  end)

  it("reaches whoever joins the worker", function()
    local code, text = support.run(function()
      local w = lub.spawn({ name = "bad" }, function()
        lub.go(function() error "boom" end)
        lub.sleep(60)
        return "never"
      end)
      local ok, why = w:join()
      assert(ok == nil and why:find "boom" and why:find "worker 'bad'" and why:find "traceback", why)
    end)
    assert.equals("fine\n", text)
    assert.equals(0, code)
  end)

  everywhere("is none when it was joined or its done() was asked for in time", function()
    local a, b = lub.go(error, "one"), lub.go(error, "two")
    local done = b:done()
    a:join()
    done:recv()
    lub.yield()
  end)

  everywhere("is none when the fiber was killed or cancelled", function()
    local ch = lub.chan()
    local a = lub.go(function() ch:recv() end)
    local b = lub.go(function() return ch:recv() end)
    lub.yield()
    a:kill()
    b:cancel()
    for _ = 1, 5 do lub.yield() end
    same("dead", a:state())
    same("dead", b:state())
  end)
end)

describe("fibers of one worker", function()
  everywhere("are switched only where they park or yield", function()
    local log = {}
    local function work(name)
      for _ = 1, 3 do
        log[#log + 1] = name
        for _ = 1, 1000 do math.abs(1) end
        log[#log + 1] = name
        lub.yield()
      end
    end
    local a, b = lub.go(work, "a"), lub.go(work, "b")
    a:join()
    b:join()
    for i = 1, #log, 2 do same(log[i], log[i + 1]) end
    same(12, #log)
  end)

  everywhere("do not make way for what a sibling computed in a call in which it parked", function()
    local many = {}
    for i = 1, 1000000 do many[i] = i end
    for _ = 1, 3 do
      local ch, log = lub.chan(), {}
      local hog = lub.go(function() ch:send_many(many) end) -- at the 10th millisecond it packs them
      local a = lub.go(function() log[#log + 1] = "a" end)
      lub.go(function() log[#log + 1] = "b" end)
      a:join()
      hog:kill()
      lub.yield()
      same("a b", table.concat(log, " "))
    end
  end)

  in_worker("do not make way for a question, which their worker answers where it is", function()
    local till = lub.chan()
    local w = lub.spawn(function(stop)
      local inside, mixed = false, 0
      local function work()
        while not stop:closed() do
          if inside then mixed = mixed + 1 end
          inside = true
          for _ = 1, 2000 do end
          inside = false
          lub.yield()
        end
      end
      local a, b = lub.go(work), lub.go(work)
      a:join()
      b:join()
      return mixed
    end, till)
    for _ = 1, 200 do w:traceback() end
    till:close()
    same({ 0 }, { w:join() })
  end, { carriers = 2 })

  in_worker("die when killed, however often they were asked something under a hook of their own", function()
    local w = lub.spawn(function()
      debug.sethook(function() end, "l")
      while true do
        for _ = 1, 100 do local _ = 1 end
      end
    end)
    for _ = 1, 2000 do w:traceback() end
    w:kill()
    same({ nil, "killed" }, { w:join(10) })
    eventually(function() return w:state() == "dead" end)
  end, { carriers = 2 })

  everywhere("take turns at yield", function()
    local log = {}
    local function work(name)
      for i = 1, 3 do
        log[#log + 1] = name .. i
        lub.yield()
      end
    end
    local a, b = lub.go(work, "a"), lub.go(work, "b")
    a:join()
    b:join()
    same("a1 b1 a2 b2 a3 b3", table.concat(log, " "))
  end)

  everywhere("know themselves, also inside nested coroutines and sort", function()
    local f
    f = lub.go(function()
      assert(lub.self() == f)
      coroutine.wrap(function() assert(lub.self() == f) end)()
      table.sort({ 1, 2 }, function(a, b)
        assert(lub.self() == f)
        lub.yield()
        assert(lub.self() == f)
        return a < b
      end)
      return true
    end)
    same({ true }, { f:join() })
    assert(lub.self() ~= f and lub.self() == lub.self())
  end)

  everywhere("have handles that serve as table keys and can be shown", function()
    local f, g = lub.go(function() end), lub.go(function() end)
    local t = { [f] = "f", [g] = "g" }
    same("f", t[f])
    same("g", t[g])
    same("string", type(f:name()))
    assert(f:name() ~= g:name())
    assert(tostring(f):find("fiber", 1, true), tostring(f))
    f:join()
    g:join()
  end)

  everywhere("are many: ten thousand parked at once, each woken once", function()
    local gate, n = lub.chan(), 10000
    local all, woken = {}, {}
    for i = 1, n do all[i] = lub.go(function() gate:recv() woken[i] = (woken[i] or 0) + 1 end) end
    lub.yield()
    gate:close()
    for i = 1, n do
      all[i]:join()
      assert(woken[i] == 1, i)
    end
  end)

  everywhere("are collected when they have ended and nobody holds them", function()
    local weak = setmetatable({}, { __mode = "v" })
    for i = 1, 100 do weak[i] = lub.go(function() end) end
    for _ = 1, 3 do lub.yield() end
    collectgarbage()
    collectgarbage()
    local left = 0
    for _ in pairs(weak) do left = left + 1 end
    assert(left <= 2, left .. " left")
  end)

  everywhere("that are parked live on though nobody holds their handle", function()
    local ch, out = lub.chan(), lub.chan(1)
    lub.go(function() out:send((ch:recv())) end)
    lub.yield()
    collectgarbage()
    collectgarbage()
    ch:send "alive"
    same("alive", out:recv())
  end)
end)

describe("a fiber's state", function()
  everywhere("is starting, idle, blocked_send, runnable, busy or dead, as the case may be", function()
    local ch, full = lub.chan(), lub.chan()
    local f = lub.go(function()
      local own = lub.self():state()
      ch:recv()
      full:send(1)
      return own
    end)
    same("starting", f:state())
    lub.yield()
    same("idle", f:state())
    ch:send(true)
    same("runnable", f:state())
    lub.yield()
    same("blocked_send", f:state())
    full:recv()
    same("busy", (f:join()))
    same("dead", f:state())
    same("busy", lub.self():state())
  end)

  everywhere("is idle in sleep, select, join and a receive that has a limit", function()
    local ch = lub.chan()
    local fibers = {
      lub.go(function() lub.sleep(60) end),
      lub.go(function() lub.select(ch, 60) end),
      lub.go(function() ch:recv(60) end),
    }
    fibers[4] = lub.go(function() fibers[1]:join() end)
    lub.yield()
    for _, f in ipairs(fibers) do same("idle", f:state()) end
    for _, f in ipairs(fibers) do f:kill() end
  end)

  everywhere("is runnable after a yield", function()
    local f = lub.go(function() lub.yield() end)
    lub.yield()
    same("runnable", f:state())
    f:join()
  end)

  in_fibers("is idle, too, of a fiber parked inside nested coroutines or inside sort", function()
    local ch = lub.chan()
    local f = lub.go(function() coroutine.wrap(function() coroutine.wrap(ch.recv)(ch) end)() end)
    lub.yield()
    same("idle", f:state())
    f:kill()
    local g = lub.go(function() table.sort({ 2, 1 }, function() return ch:recv() end) end)
    lub.yield()
    same("idle", g:state())
    ch:send(true)
    g:join()
  end)

  everywhere("is stopping while a killed fiber closes its variables", function()
    local seen
    local f
    f = lub.go(function()
      local guard <close> = setmetatable({}, { __close = function() seen = f:state() end })
      while guard do lub.sleep(60) end
    end)
    lub.yield()
    f:kill()
    f:join()
    same("stopping", seen)
    same("dead", f:state())
  end)

  everywhere("is dead after an error, a kill and a cancel", function()
    local ch = lub.chan()
    local failed, killed = lub.go(error, "x"), lub.go(function() ch:recv() end)
    local cancelled = lub.go(function() ch:recv() end)
    failed:done()
    lub.yield()
    killed:kill()
    cancelled:cancel()
    failed:join()
    killed:join()
    cancelled:join()
    same({ "dead", "dead", "dead" }, { failed:state(), killed:state(), cancelled:state() })
  end)
end)

describe("a fiber's traceback", function()
  everywhere("names the line where it is parked", function()
    local ch = lub.chan()
    local function inner() ch:recv() end
    local f = lub.go(function() inner() end)
    lub.yield()
    local line = debug.getinfo(inner, "S").linedefined
    local text = f:traceback()
    assert(text:find(":" .. line .. ":", 1, true), text)
    assert(text:find("inner", 1, true), text)
    f:kill()
  end)

  everywhere("begins with the innermost coroutine and goes on outward", function()
    local ch = lub.chan()
    local function deepest() return ch:recv() end
    local f = lub.go(function()
      local outer = coroutine.wrap(function()
        local inner = coroutine.wrap(function() return deepest() .. "" end)
        return inner() .. ""
      end)
      return outer() .. ""
    end)
    lub.yield()
    local line = debug.getinfo(deepest, "S").linedefined
    local text = f:traceback()
    local here = text:find(":" .. line .. ":", 1, true) or text:find("(...tail calls...)", 1, true)
    assert(here, text)
    assert(not text:find("'coroutine.wrap'", 1, true), text)
    ch:send "x"
    same("x", (f:join()))
  end)

  everywhere("of one that runs, has not begun, or has ended is a string", function()
    local f = lub.go(function() return lub.self():traceback() end)
    same("string", type(f:traceback()))
    local text = f:join()
    same("string", type(text))
    same("string", type(f:traceback()))
  end)
end)

describe("cancel", function()
  everywhere("is level-triggered: every later wait returns nil, 'cancelled' at once", function()
    local seen, ch = {}, lub.chan()
    local sibling = lub.go(function() lub.sleep(60) end)
    local f = lub.go(function()
      seen[1] = { ch:recv() }
      seen[2] = { ch:recv(60) }
      seen[3] = { ch:send(1) }
      seen[4] = { lub.sleep(60) }
      seen[5] = { lub.select(ch, ch << 1) }
      seen[6] = { lub.select(ch, 60) }
      seen[7] = { sibling:join() }
    end)
    lub.yield()
    f:cancel "enough"
    f:join()
    for i = 1, 7 do same({ i, nil, "cancelled" }, { i, seen[i][1], seen[i][2] }) end
    sibling:kill()
  end)

  everywhere("does not stop what need not wait", function()
    local ch = lub.chan(2)
    local f = lub.go(function()
      lub.cancelled():recv()
      assert(ch:send "a")
      assert(ch:send "b")
      local from, v = lub.select(ch)
      assert(from == ch)
      return v, (ch:recv()), select(2, ch:recv(0)), select(2, ch:recv())
    end)
    lub.yield()
    f:cancel()
    same({ "a", "b", "timeout", "cancelled" }, { f:join() })
  end)

  everywhere("closes the channel of cancelled()", function()
    local ch = lub.chan()
    local f = lub.go(function()
      local stop = lub.cancelled()
      local from, v = lub.select(stop, ch)
      return from == stop, v, stop:closed()
    end)
    lub.yield()
    f:cancel()
    same({ true, nil, true }, { f:join() })
  end)

  everywhere("keeps its reason, to be read as the second result of cancelled()", function()
    local f = lub.go(function()
      lub.cancelled():recv()
      return (select(2, lub.cancelled()))
    end)
    lub.yield()
    f:cancel "enough"
    f:cancel "too late"
    same("enough", (f:join()))
  end)

  everywhere("before the fiber began lets it run, cancelled", function()
    local f = lub.go(function() return lub.cancelled():closed(), select(2, lub.sleep(60)) end)
    f:cancel()
    same({ true, "cancelled" }, { f:join() })
  end)

  everywhere("ends a for loop over a channel", function()
    local ch, n = lub.chan(), 0
    local f = lub.go(function()
      for _ in ch do n = n + 1 end
      return "out"
    end)
    ch:send(1)
    ch:send(2)
    lub.yield()
    f:cancel()
    same("out", (f:join()))
    same(2, n)
    same(false, ch:closed())
  end)

  everywhere("takes the waiter off its channel", function()
    local ch = lub.chan()
    local f = lub.go(function() return ch:send "stale" end)
    lub.yield()
    f:cancel()
    f:join()
    same({ nil, "timeout" }, { ch:recv(0) })
  end)

  everywhere("reaches waits inside nested coroutines and pcall", function()
    local ch = lub.chan()
    local f = lub.go(function() return coroutine.wrap(function() return ch:recv() end)() end)
    local g = lub.go(function() return pcall(ch.recv, ch) end)
    lub.yield()
    f:cancel()
    g:cancel()
    same({ nil, "cancelled" }, { f:join() })
    same({ true, nil, "cancelled" }, { g:join() })
  end)

  in_fibers("reaches waits inside sort", function()
    local ch, why = lub.chan(), nil
    local f = lub.go(function()
      table.sort({ 2, 1 }, function()
        why = select(2, ch:recv())
        return false
      end)
    end)
    lub.yield()
    f:cancel()
    f:join()
    same("cancelled", why)
  end)

  everywhere("leaves siblings alone, and the dead", function()
    local ch = lub.chan()
    local a, b = lub.go(function() return ch:recv() end), lub.go(function() return ch:recv() end)
    lub.yield()
    a:cancel()
    a:join()
    a:cancel()
    same("idle", b:state())
    ch:send "b"
    same("b", (b:join()))
  end)

  everywhere("of oneself acts at the next wait", function()
    local f = lub.go(function()
      lub.self():cancel "me"
      return lub.sleep(60)
    end)
    same({ nil, "cancelled" }, { f:join() })
  end)

  everywhere("does not stop yield, nor a fiber that goes on", function()
    local f = lub.go(function()
      lub.cancelled():recv()
      for _ = 1, 3 do lub.yield() end
      return "went on"
    end)
    lub.yield()
    f:cancel()
    same("went on", (f:join()))
  end)
end)

describe("kill", function()
  everywhere("ends a parked fiber; its join gives nil, 'killed', again and again", function()
    local f = lub.go(function() lub.chan():recv() end)
    lub.yield()
    f:kill()
    for _ = 1, 2 do
      local ok, why = f:join()
      same({ nil, "killed" }, { ok, why })
    end
    same("dead", f:state())
    same({ nil, "closed" }, { f:done():recv(0) })
  end)

  everywhere("of one that has not begun keeps it from beginning", function()
    local ran = false
    local f = lub.go(function() ran = true end)
    f:kill()
    same("killed", (select(2, f:join())))
    same(false, ran)
  end)

  everywhere("of the dead changes nothing", function()
    local f, g = lub.go(function() return 1 end), lub.go(error, "boom")
    g:done():recv()
    f:join()
    f:kill "late"
    g:kill "late"
    same({ 1 }, { f:join() })
    assert(select(2, g:join()):find "boom")
    local h = lub.go(function() lub.sleep(60) end)
    h:kill()
    h:kill()
    h:join()
    h:kill()
    same({ nil, "killed" }, { h:join() })
  end)

  everywhere("of oneself goes no further", function()
    local after = false
    local f = lub.go(function()
      pcall(function()
        lub.self():kill()
        after = true
      end)
      after = true
    end)
    same({ nil, "killed" }, { f:join() })
    same(false, after)
  end)

  everywhere("of oneself inside a nested coroutine goes no further", function()
    local after, closed = false, {}
    local f = lub.go(function()
      local a <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "outer" end })
      coroutine.wrap(function()
        local b <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "inner" end })
        lub.self():kill()
        after = a or b
      end)()
      after = true
    end)
    same({ nil, "killed" }, { f:join() })
    same(false, after)
    same({ "inner", "outer" }, closed)
  end)

  everywhere("cannot be caught by pcall or xpcall around a wait", function()
    local handled = false
    local f = lub.go(function()
      while true do
        pcall(lub.sleep, 60)
        xpcall(lub.sleep, function() handled = true end, 60)
      end
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same(false, handled)
  end)

  everywhere("ends a fiber that loops over pcall and never parks", function()
    local f = lub.go(function() while true do pcall(error, "x") end end)
    lub.yield() -- until it was made to
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
  end)

  everywhere("ends a fiber that loops inside nested coroutines", function()
    local f = lub.go(function()
      while true do
        pcall(coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end))
      end
    end)
    lub.yield() -- until it was made to
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
  end)

  everywhere("ends a fiber that sits inside nested coroutines, and closes them innermost first", function()
    local ch, closed = lub.chan(), {}
    local function guard(name)
      return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
    end
    local f = lub.go(function()
      local a <close> = guard "fiber"
      coroutine.wrap(function()
        local b <close> = guard "outer"
        local co = coroutine.create(function()
          local c <close> = guard "inner"
          local d <close> = guard "innermost"
          return ch:recv(), c, d
        end)
        pcall(coroutine.resume, co)
        return b
      end)()
      return a
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join() })
    same({ "innermost", "inner", "outer", "fiber" }, closed)
  end)

  in_fibers("is not swallowed in a sort comparator that waits", function()
    local f = lub.go(function()
      while true do
        pcall(table.sort, { 3, 2, 1 }, function(a, b)
          pcall(lub.sleep, 60)
          return a < b
        end)
      end
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
  end)

  in_fibers("is not swallowed in a gsub callback that waits", function()
    local f = lub.go(function()
      while true do pcall(string.gsub, "abc", ".", function() pcall(lub.sleep, 60) end) end
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
  end)

  in_fibers("closes what a pcall inside a sort comparator has opened", function()
    local closed, later, heard = {}, false, lub.chan(1)
    local function guard(name)
      return support.closing(function()
        for i = 1, 1000 do closed[name] = i end
        pcall(heard.send, heard, name)
      end)
    end
    local f = lub.go(function()
      local _ <close> = guard "fiber" -- luacheck: ignore
      pcall(function()
        local _ <close> = guard "around" -- luacheck: ignore
        table.sort({ 3, 2, 1 }, function(a, b)
          local _ <close> = guard "in" -- luacheck: ignore
          pcall(function()
            local _ <close> = guard "innermost" -- luacheck: ignore
            lub.sleep(60)
          end)
          later = "inside"
          lub.sleep(60)
          return a < b
        end)
      end)
      later = "outside"
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same({ innermost = 1000, ["in"] = 1000, around = 1000, fiber = 1000 }, closed)
    same(false, later)
    same({ "in" }, { heard:recv(0) }) -- closed out of the sort, where it may be heard, as after any kill
  end)

  in_fibers("closes them though they call, catch and resume; who loops is cut short", function()
    local closed = {}
    local function guard(name, fn)
      return support.closing(function()
        fn()
        closed[#closed + 1] = name
      end)
    end
    local function spin(n) return n > 0 and 1 + spin(n - 1) or 0 end
    local f = lub.go(function()
      table.sort({ 3, 2, 1 }, function()
        local _ <close> = guard("calls", function() spin(100) end) -- luacheck: ignore
        pcall(function()
          local _ <close> = guard("loops", function() while true do pcall(spin, 10) end end) -- luacheck: ignore
          local _ <close> = guard("raises", error) -- luacheck: ignore
          local _ <close> = guard("resumes", function() coroutine.wrap(spin)(100) spin(10) end) -- luacheck: ignore
          local _ <close> = guard("catches", function() pcall(error) pcall(lub.sleep, 1) spin(10) end) -- luacheck: ignore
          lub.sleep(60)
        end)
        closed[#closed + 1] = "goes on"
      end)
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same({ "catches", "resumes", "calls" }, closed)
  end)

  in_fibers("is not swallowed in a sort by what a handler does, nor by who calls what comes next", function()
    local guard = support.closing
    local older = coroutine.wrap(function() while true do end end)
    for name, body in pairs {
      yields = function()
        coroutine.wrap(function()
          pcall(function()
            local _ <close> = guard(coroutine.yield) -- luacheck: ignore
            lub.sleep(60)
          end)
        end)()
      end,
      ["resumes who loops"] = function()
        pcall(function()
          local _ <close> = guard(function() older() end) -- luacheck: ignore
          lub.sleep(60)
        end)
      end,
      ["allocates"] = function()
        pcall(function()
          local _ <close> = guard(function() while true do ("x"):rep(1e6) end end) -- luacheck: ignore
          lub.sleep(60)
        end)
      end,
      ["a tail call"] = function() return pcall(lub.sleep, 60) end,
      ["a message handler"] = function() xpcall(lub.sleep, function() while true do end end, 60) end,
    } do
      local after = 0
      local f = lub.go(function()
        table.sort({ 3, 2, 1 }, function(a, b)
          body()
          after = after + 1
          return a < b
        end)
        after = after + 1
      end)
      lub.yield()
      f:kill()
      same({ name, nil, "killed" }, { name, f:join(10) })
      same({ name, 0 }, { name, after })
    end
    local calls = 0
    local f = lub.go(function()
      table.sort({ 3, 2, 1 }, function()
        calls = calls + 1
        return pcall(lub.sleep, 60)
      end)
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same(1, calls)
  end)

  in_fibers("that comes after what a sort comparator waited for is not overlooked", function()
    local ch, after = lub.chan(), 0
    local f = lub.go(function()
      table.sort({ 3, 2, 1 }, function(a, b)
        ch:recv()
        after = after + 1
        return a < b
      end)
      return "swallowed"
    end)
    lub.yield()
    ch:send(1)
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same(0, after)
  end)

  in_fibers("closes coroutines inside a sort innermost first", function()
    local closed = {}
    local function guard(name)
      return support.closing(function()
        pcall(lub.sleep, 0)
        closed[#closed + 1] = name
      end)
    end
    local f = lub.go(function()
      local _ <close> = guard "fiber" -- luacheck: ignore
      table.sort({ 3, 2, 1 }, function()
        local _ <close> = guard "comparator" -- luacheck: ignore
        coroutine.wrap(function()
          local _ <close> = guard "coroutine" -- luacheck: ignore
          lub.sleep(60)
        end)()
      end)
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same({ "coroutine", "comparator", "fiber" }, closed)
  end)

  -- A coroutine that a hook's error has ended has no hooks any more, and was used again.
  in_fibers("in a sort does not spare the fibers after it", function()
    for _ = 1, 3 do
      for _, body in ipairs {
        function() table.sort({ 3, 2, 1 }, function() while true do pcall(lub.sleep, 60) end end) end,
        function() pcall(table.sort, { 3, 2, 1 }, function() while true do pcall(lub.sleep, 60) end end) end,
      } do
        local f = lub.go(body)
        lub.yield()
        f:kill()
        same({ nil, "killed" }, { f:join(10) })
      end
    end
  end)

  in_worker("is not swallowed in a sort comparator that loops over pcall", function()
    local looping = lub.chan(1)
    local w = lub.spawn(function()
      table.sort({ 3, 2, 1 }, function()
        looping:send(true)
        while true do pcall(error) end
      end)
    end)
    looping:recv()
    w:kill()
    same({ nil, "killed" }, { w:join(10) })
  end)

  everywhere("is not swallowed in a gsub callback that loops", function()
    local looping = lub.chan(1)
    local w = lub.spawn(function()
      while true do
        pcall(string.gsub, "abc", ".", function()
          looping:send(true)
          while true do pcall(error) end
        end)
      end
    end)
    looping:recv()
    w:kill()
    same({ nil, "killed" }, { w:join(10) })
  end)

  everywhere("takes the waiter off its channel: nothing is sent or lost by the dead", function()
    local ch = lub.chan()
    local sender = lub.go(function() ch:send "stale" end)
    lub.yield()
    sender:kill()
    sender:join()
    same({ nil, "timeout" }, { ch:recv(0) })
    local receiver = lub.go(function() ch:recv() end)
    lub.yield()
    receiver:kill()
    receiver:join()
    same({ nil, "timeout" }, { ch:send("lost", 0) })
  end)

  everywhere("of a fiber that is cancelled still kills it", function()
    local f = lub.go(function()
      local stop = lub.cancelled()
      stop:recv()
      while true do lub.yield() end
    end)
    lub.yield()
    f:cancel()
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
  end)

  everywhere("may come from a sibling that then joins", function()
    local f = lub.go(function() lub.sleep(60) end)
    local g = lub.go(function()
      f:kill()
      return f:join()
    end)
    same({ nil, "killed" }, { g:join() })
  end)

  it("of a stock Lua's own main thread is refused or raised, and the state goes on", function()
    local code, text = support.run(function()
      pcall(function() lub.self():kill() end)
      same(1, (lub.go(function() return 1 end):join()))
    end, { host = "lua" })
    assert.equals("fine\n", text)
    assert.equals(0, code)
  end)
end)

describe("to-be-closed variables", function()
  everywhere("run in order, last first, on return, error, cancel and kill", function()
    local function body(ch, log, fail)
      local a <close> = setmetatable({}, { __close = function() log[#log + 1] = "a" end })
      local b <close> = setmetatable({}, { __close = function() log[#log + 1] = "b" end })
      local c <close> = setmetatable({}, { __close = function() log[#log + 1] = "c" end })
      if fail then error(fail) end
      ch:recv()
      return a and b and c and true
    end
    local ways = {
      returns = function(_, ch) ch:send(1) end,
      cancelled = function(f) f:cancel() end,
      killed = function(f) f:kill() end,
    }
    for _, act in pairs(ways) do
      local ch, log = lub.chan(), {}
      local f = lub.go(body, ch, log)
      lub.yield()
      act(f, ch)
      f:join()
      same({ "c", "b", "a" }, log)
    end
    local log = {}
    local ok, why = lub.go(body, lub.chan(), log, "boom"):join()
    assert(ok == nil and why:find "boom")
    same({ "c", "b", "a" }, log)
  end)

  everywhere("run when the worker ends with fibers left over", function()
    local ch = lub.chan(10)
    local w = lub.spawn(function(out)
      for i = 1, 3 do
        lub.go(function()
          local guard <close> = setmetatable({}, { __close = function() out:send(i) end })
          lub.sleep(60)
          return guard
        end)
      end
      lub.yield()
      return "over"
    end, ch)
    same("over", (w:join()))
    local sum = 0
    for _ = 1, 3 do sum = sum + assert(ch:recv(10)) end
    same(6, sum)
  end)

  it("of fibers left over run when a stock Lua's state closes", function()
    local _, text = support.run(function()
      lub.go(function()
        local guard <close> = setmetatable({}, { __close = function() print "closed" end })
        lub.sleep(60)
        return guard
      end)
      lub.yield()
    end, { host = "lua" })
    assert.equals("fine\nclosed\n", text)
  end)

  everywhere("may poll, and send where there is room, while a kill closes them", function()
    local room, full, log = lub.chan(1), lub.chan(), {}
    local f = lub.go(function()
      local guard <close> = setmetatable({}, { __close = function()
        log.sent = { room:send "bye" }
        log.full = { full:send("x", 0) }
        log.polled = { full:recv(0) }
        log.selected = { lub.select(full, 0) }
      end })
      lub.sleep(60)
      return guard
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join() })
    local late = { nil, "timeout" }
    same({ sent = { true }, full = late, polled = late, selected = late }, log)
    same("bye", room:recv(0))
  end)

  everywhere("may not park while a kill closes them, and the next ones still run", function()
    local ch, log = lub.chan(), {}
    local f = lub.go(function()
      local a <close> = setmetatable({}, { __close = function() log[#log + 1] = "a" end })
      local b <close> = setmetatable({}, { __close = function()
        local ok, v = pcall(ch.recv, ch)
        log[#log + 1] = ok and v ~= nil and "parked" or "b"
        lub.sleep(60)
        log[#log + 1] = "after"
      end })
      lub.sleep(60)
      return a, b
    end)
    lub.yield()
    f:kill()
    local ok, why = f:join(10)
    same({ nil, "killed" }, { ok, why })
    same("b", log[1])
    same("a", log[#log])
  end)

  everywhere("that raise while a kill closes them hide neither the kill nor the other variables", function()
    local log = {}
    local f = lub.go(function()
      local a <close> = setmetatable({}, { __close = function() log[#log + 1] = "a" end })
      local b <close> = setmetatable({}, { __close = function() error "in close" end })
      lub.sleep(60)
      return a, b
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same({ "a" }, log)
  end)

  everywhere("may park where nobody was killed: after a return and during an error", function()
    local ch, log = lub.chan(), {}
    local function guard()
      return setmetatable({}, { __close = function() log[#log + 1] = ch:recv() end })
    end
    local f = lub.go(function()
      do local _ <close> = guard() end
      pcall(function()
        local b <close> = guard()
        error(b and "boom")
      end)
      local c <close> = guard()
      return c and "end"
    end)
    for i = 1, 3 do ch:send(i) end
    same("end", (f:join()))
    same({ 1, 2, 3 }, log)
  end)

  everywhere("that loop for ever are ended by a second kill, or by the end of their worker", function()
    local looping = lub.chan(1)
    local w = lub.spawn(function()
      local function loop()
        looping:send(true)
        while true do end
      end
      local f = lub.go(function()
        local guard <close> = setmetatable({}, { __close = loop })
        return guard
      end)
      f:join()
    end)
    looping:recv()
    w:kill()
    same({ nil, "killed" }, { w:join(10) })
  end)

  everywhere("see a kill that comes while they run after a plain return", function()
    local log, gate = {}, lub.chan()
    local f = lub.go(function()
      local a <close> = setmetatable({}, { __close = function() log[#log + 1] = "a" end })
      local b <close> = setmetatable({}, { __close = function()
        gate:recv()
        log[#log + 1] = "never"
      end })
      return a, b
    end)
    lub.yield()
    f:kill()
    same({ nil, "killed" }, { f:join(10) })
    same({ "a" }, log)
  end)
end)

describe("a fiber's top level", function()
  everywhere("is no coroutine that a script could come by and resume", function()
    local gate = lub.chan()
    local f = lub.go(function() return gate:recv() end)
    lub.yield()
    for i = 1, 3 do assert(type(debug.getuservalue(f, i)) ~= "thread", i) end
    gate:send(3)
    same(3, (f:join()))
  end)

  in_fibers("is outside of every coroutine, as Lua says it", function()
    refused("attempt to yield from outside a coroutine", coroutine.yield, 1)
    local ok, why = lub.go(function() coroutine.yield(1) end):join()
    assert(ok == nil and why:find("attempt to yield from outside a coroutine", 1, true), why)
    ok, why = lub.go(coroutine.yield, 1):join()
    assert(ok == nil and why:find("attempt to yield from outside a coroutine", 1, true), why)
  end)
end)

describe("in every schedule", function()
  local all = { strategy = "exhaustive", preemptions = 2 }

  it("whoever joins a fiber that is killed as it ends hears the same", lub.explore(all, function()
    local f = lub.go(function()
      lub.yield()
      return "over"
    end)
    local a = lub.go(function() return table.pack(f:join()) end)
    local killer = lub.go(function() f:kill() end)
    local heard = table.pack(f:join())
    same(heard, (a:join()))
    killer:join()
    same(heard, table.pack(f:join()))
    assert(heard[1] == "over" and heard.n == 1 or heard[1] == nil and heard[2] == "killed")
    same({ nil, "closed" }, { f:done():recv(0) })
    same("dead", f:state())
  end))

  it("a cancelled join gives the results or 'cancelled', and who is joined lives on", lub.explore(all, function()
    local f = lub.go(function()
      lub.yield()
      return "over"
    end)
    local j = lub.go(function() return f:join() end)
    local canceller = lub.go(function() j:cancel() end)
    local v, why = j:join()
    assert(v == "over" or v == nil and why == "cancelled", why)
    same("over", (f:join()))
    canceller:join()
  end))

  it("a cancel loses no value: what was sent was received, or is still there", lub.explore(all, function()
    local ch, sent, got = lub.chan(), 0, 0
    local sender = lub.go(function() for _ = 1, 2 do if ch:send(true) then sent = sent + 1 end end end)
    local receiver = lub.go(function() for _ in ch do got = got + 1 end end)
    local canceller = lub.go(function()
      receiver:cancel()
      sender:cancel()
    end)
    for _, f in ipairs { sender, receiver, canceller } do f:join() end
    same(sent, got)
    same({ nil, "timeout" }, { ch:recv(0) })
    same({ nil, "timeout" }, { ch:send(true, 0) })
  end))

  it("what a killed sender has sent arrives in order, and nothing after it", lub.explore(all, function()
    local ch, sent, got = lub.chan(1), 0, 0
    local sender = lub.go(function()
      for i = 1, 3 do
        ch:send(i)
        sent = i
      end
    end)
    local killer = lub.go(function() sender:kill() end)
    while true do
      local v = select(2, lub.select(ch, sender:done()))
      if v == nil then break end
      got = got + 1
      same(got, v)
    end
    for v in function() return (ch:recv(0)) end do
      got = got + 1
      same(got, v)
    end
    assert(got == sent or got == sent + 1, got .. " of " .. sent) -- it may die between the send and what follows
    killer:join()
    same({ nil, "timeout" }, { ch:recv(0) })
  end))

  it("to-be-closed variables run once, however many kill, cancel and return", lub.explore({ runs = 500 }, function()
    local closed, gate = {}, lub.chan()
    local f = lub.go(function()
      local a <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "a" end })
      local b <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "b" end })
      gate:recv()
      return a, b
    end)
    local others = {
      lub.go(function() f:kill "one" end),
      lub.go(function() f:kill "two" end),
      lub.go(function() f:cancel() end),
      lub.go(function() gate:close() end),
    }
    f:join()
    for _, other in ipairs(others) do other:join() end
    assert(#closed == 0 or #closed == 2, #closed) -- 0: it had not begun
    if #closed == 2 then same({ "b", "a" }, closed) end
  end))
end)

describe("a fiber that computes", function()
  local function served(n, hog)
    local go, done = lub.chan(), lub.chan(n)
    for _ = 1, n do
      lub.go(function()
        go:recv()
        done:send(true)
      end)
    end
    lub.yield()
    local f = hog and lub.go(function() while true do end end)
    local began = lub.now()
    go:close()
    for _ = 1, n do done:recv() end
    if f then f:kill() end
    return lub.now() - began
  end

  it("does not come between siblings, however many are woken", function()
    local alone = served(20000)
    assert(served(20000, true) < 100 * alone + 0.1)
  end)
end)

describe("spec/support", function()
  it("knows what is alike", function()
    same({ 1, { x = 2 } }, { 1, { x = 2 } })
    assert.is_false(pcall(same, { 1 }, { 1, 2 }))
    assert.is_false(pcall(refused, "x", function() end))
    eventually(function() return lub.now() > 0 end)
  end)
end)
