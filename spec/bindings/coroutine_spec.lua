local lub = require "lubdub"
local support = require "spec.support"
local same, refused = support.same, support.refused
local everywhere, in_fibers = support.words(it)

-- What the manual of Lua 5.4 says (2.6, 6.2), wherever Lua runs.
describe("coroutines, as the manual has them,", function()
  everywhere("pass values both ways", function()
    local co = coroutine.create(function(a, b)
      local c = coroutine.yield(a + b)
      local d, e = coroutine.yield(c * 2)
      return d, e, nil
    end)
    same({ true, 3 }, { coroutine.resume(co, 1, 2) })
    same({ true, 20 }, { coroutine.resume(co, 10) })
    local r = table.pack(coroutine.resume(co, "d", "e"))
    same({ true, "d", "e", n = 4 }, r)
    same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    same("dead", coroutine.status(co))
  end)

  everywhere("run the manual's own example", function()
    local log = {}
    local function foo(a)
      log[#log + 1] = "foo " .. a
      return coroutine.yield(2 * a)
    end
    local co = coroutine.create(function(a, b)
      log[#log + 1] = "body " .. a .. " " .. b
      local r = foo(a + 1)
      log[#log + 1] = "body " .. r
      local s
      r, s = coroutine.yield(a + b, a - b)
      log[#log + 1] = "body " .. r .. " " .. s
      return b, "end"
    end)
    same({ true, 4 }, { coroutine.resume(co, 1, 10) })
    same({ true, 11, -9 }, { coroutine.resume(co, "r") })
    same({ true, 10, "end" }, { coroutine.resume(co, "x", "y") })
    same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co, "x", "y") })
    same({ "body 1 10", "foo 2", "body r", "body x y" }, log)
  end)

  everywhere("carry many values, and none", function()
    local values = {}
    for i = 1, 200 do values[i] = i end
    local co = coroutine.wrap(function(...)
      local got = table.pack(coroutine.yield(...))
      same(0, got.n)
    end)
    same(200, select("#", co(table.unpack(values))))
    same(0, select("#", co()))
  end)

  everywhere("refuse to be made of anything but a function", function()
    refused("bad argument #1 to 'create' (function expected", function() coroutine.create(1) end)
    refused("function expected", function() coroutine.wrap {} end)
    refused("bad argument #1 to", function() coroutine.resume(1) end)
    refused("bad argument #1 to", function() coroutine.status {} end)
    refused("bad argument #1 to", function() coroutine.close "x" end)
    refused("bad argument #1 to", function() coroutine.resume() end)
  end)

  everywhere("have the status that fits", function()
    local outer, seen
    outer = coroutine.create(function()
      seen = { coroutine.status(outer) }
      local inner = coroutine.create(function() seen[2] = coroutine.status(outer) end)
      seen[3] = coroutine.status(inner)
      coroutine.resume(inner)
      seen[4] = coroutine.status(inner)
      coroutine.yield()
      error "x"
    end)
    same("suspended", coroutine.status(outer))
    coroutine.resume(outer)
    same({ "running", "normal", "suspended", "dead" }, seen)
    same("suspended", coroutine.status(outer))
    coroutine.resume(outer)
    same("dead", coroutine.status(outer))
  end)

  everywhere("know the running one, and which of them is the main one", function()
    local top, main = coroutine.running()
    same("thread", type(top))
    same(true, main)
    same("running", coroutine.status(top))
    local co
    co = coroutine.create(function()
      local me, is_main = coroutine.running()
      assert(me == co and me ~= top)
      same(false, is_main)
      same("normal", coroutine.status(top))
      return "ok"
    end)
    same({ true, "ok" }, { coroutine.resume(co) })
  end)

  everywhere("say whether they can yield", function()
    same(false, coroutine.isyieldable())
    local co
    co = coroutine.create(function()
      local inside = coroutine.isyieldable()
      table.sort({ 1, 2 }, function(a, b)
        assert(not coroutine.isyieldable())
        return a < b
      end)
      coroutine.yield(inside, coroutine.isyieldable(co))
    end)
    same({ true, true, true }, { coroutine.resume(co) })
    same(true, coroutine.isyieldable(co))
  end)

  everywhere("cannot yield at the top", function()
    refused("attempt to yield from outside a coroutine", coroutine.yield)
    refused("attempt to yield from outside a coroutine", function() coroutine.yield(1, 2) end)
    refused("attempt to yield from outside a coroutine", function() pcall(error) coroutine.yield() end)
  end)

  everywhere("cannot yield across a C call", function()
    local co = coroutine.wrap(function()
      table.sort({ 1, 2, 3 }, function(a, b)
        coroutine.yield()
        return a < b
      end)
    end)
    refused("attempt to yield across a C-call boundary", co)
    co = coroutine.wrap(function() return ("x"):gsub(".", coroutine.yield) end)
    refused("attempt to yield across a C-call boundary", co)
  end)

  everywhere("cannot be resumed while running, normal or dead", function()
    local co
    co = coroutine.create(function()
      same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
      local inner = coroutine.create(function() return coroutine.resume(co) end)
      same({ true, false, "cannot resume non-suspended coroutine" }, { coroutine.resume(inner) })
      return "end"
    end)
    same({ true, "end" }, { coroutine.resume(co) })
    same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume((coroutine.running())) })
    local w
    w = coroutine.wrap(function() w() end)
    refused("cannot resume non-suspended coroutine", w)
    w = coroutine.wrap(function() end)
    w()
    refused("cannot resume dead coroutine", w)
  end)

  everywhere("give their error as it was raised", function()
    local e = {}
    local co = coroutine.create(function() error(e) end)
    local ok, why = coroutine.resume(co)
    assert(ok == false and why == e)
    same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    for _, v in ipairs { 5, true, "text" } do
      local r = { coroutine.resume(coroutine.create(function() error(v, 0) end)) }
      same({ false, v }, r)
    end
    same({ false, nil }, { coroutine.resume(coroutine.create(function() error() end)) })
  end)

  everywhere("wrapped pass errors on, with the caller's position before a string", function()
    local e = setmetatable({}, {})
    local ok, why = pcall(coroutine.wrap(function() error(e) end))
    assert(not ok and why == e)
    local function call() coroutine.wrap(function() error("inner", 0) end)() end
    ok, why = pcall(call)
    assert(not ok and why:find "^.-:%d+: inner$", why)
  end)

  everywhere("wrapped are closed by an error", function()
    local closed = 0
    local w = coroutine.wrap(function()
      local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      coroutine.yield(guard ~= nil)
      error "boom"
    end)
    same(true, w())
    same(0, closed)
    refused("boom", w)
    same(1, closed)
    refused("cannot resume dead coroutine", w)
  end)

  everywhere("wrapped give the error of a close handler in place of the first", function()
    local w = coroutine.wrap(function()
      local guard <close> = setmetatable({}, { __close = function() error("second", 0) end })
      error(guard and "first", 0)
    end)
    refused("second", w)
  end)

  everywhere("resumed keep their variables open after an error, until closed", function()
    local got
    local co = coroutine.create(function()
      local guard <close> = setmetatable({}, { __close = function(_, e) got = e end })
      error(guard and "boom", 0)
    end)
    same({ false, "boom" }, { coroutine.resume(co) })
    same(nil, got)
    same("dead", coroutine.status(co))
    same({ false, "boom" }, { coroutine.close(co) })
    same("boom", got)
    same(true, (coroutine.close(co)))
  end)

  everywhere("close: suspended ones run what is to be closed, last first", function()
    local log = {}
    local co = coroutine.create(function()
      local a <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = { "a", e } end })
      local b <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = { "b", e } end })
      coroutine.yield(a, b)
    end)
    coroutine.resume(co)
    same({ true }, { coroutine.close(co) })
    same({ { "b" }, { "a" } }, log)
    same("dead", coroutine.status(co))
    same({ true }, { coroutine.close(co) })
  end)

  everywhere("close: a handler's error goes on to the next and to the result", function()
    local log = {}
    local co = coroutine.create(function()
      local a <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = e end })
      local b <close> = setmetatable({}, { __close = function() error("in b", 0) end })
      coroutine.yield(a, b)
    end)
    coroutine.resume(co)
    same({ false, "in b" }, { coroutine.close(co) })
    same({ "in b" }, log)
  end)

  everywhere("close: one that never began is simply dead", function()
    local ran = false
    local co = coroutine.create(function() ran = true end)
    same({ true }, { coroutine.close(co) })
    same("dead", coroutine.status(co))
    same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    same(false, ran)
  end)

  everywhere("close: running and normal ones are refused", function()
    refused("cannot close a running coroutine", function() coroutine.close((coroutine.running())) end)
    local co
    co = coroutine.create(function()
      refused("cannot close a running coroutine", function() coroutine.close(co) end)
      coroutine.wrap(function()
        refused("cannot close a normal coroutine", function() coroutine.close(co) end)
      end)()
      return true
    end)
    same({ true, true }, { coroutine.resume(co) })
  end)

  everywhere("yield across pcall, xpcall, error and metamethods", function()
    local co = coroutine.wrap(function()
      local r = { pcall(function()
        local x = coroutine.yield "in pcall"
        error(x, 0)
      end) }
      same({ false, "oops" }, r)
      same({ true, 5 }, { xpcall(function() return coroutine.yield "in xpcall" end, debug.traceback) })
      local mt = {
        __index = function(_, k) return coroutine.yield("index " .. k) end,
        __newindex = function(_, k, v) coroutine.yield("newindex " .. k .. v) end,
        __add = function() return coroutine.yield "add" end,
        __lt = function() return coroutine.yield "lt" end,
        __le = function() return coroutine.yield "le" end,
        __eq = function() return coroutine.yield "eq" end,
        __concat = function() return coroutine.yield "concat" end,
        __len = function() return coroutine.yield "len" end,
        __unm = function() return coroutine.yield "unm" end,
        __call = function(_, a) return coroutine.yield("call " .. a) end,
      }
      local a, b = setmetatable({}, mt), setmetatable({}, mt)
      same(1, a.x)
      a.y = 7
      same(3, a + 1)
      same(true, a < b)
      same(false, a <= b)
      same(true, a == b)
      same("joined", "p" .. a)
      same(9, #a)
      same(-1, -a)
      same("called", a "arg")
      return "end"
    end)
    local steps = {
      { "in pcall" }, { "in xpcall", "oops" }, { "index x", 5 }, { "newindex y7", 1 }, { "add" }, { "lt", 3 },
      { "le", true }, { "eq", false }, { "concat", true }, { "len", "joined" }, { "unm", 9 }, { "call arg", -1 },
      { "end", "called" },
    }
    for _, step in ipairs(steps) do same(step[1], co(step[2])) end
  end)

  everywhere("yield inside iterators, close handlers and deep calls", function()
    local co = coroutine.wrap(function()
      for i in function(_, n) return coroutine.yield((n or 0) + 1) end do
        if i > 2 then break end
      end
      do
        local guard <close> = setmetatable({}, { __close = function() coroutine.yield "closing" end })
        assert(guard)
      end
      local function down(n)
        if n == 0 then return coroutine.yield "deep" end
        return (down(n - 1))
      end
      return down(100)
    end)
    same(1, co())
    same(2, co(1))
    same(3, co(2))
    same("closing", co(3))
    same("deep", co())
    same("up", co "up")
  end)

  everywhere("are generators: permutations, and a chain of filters", function()
    local function permute(a, n)
      if n <= 1 then return coroutine.yield(table.concat(a)) end
      for i = 1, n do
        a[n], a[i] = a[i], a[n]
        permute(a, n - 1)
        a[n], a[i] = a[i], a[n]
      end
    end
    local n, seen = 0, {}
    for p in coroutine.wrap(function() permute({ "a", "b", "c", "d" }, 4) end) do
      n = n + 1
      seen[p] = true
    end
    same(24, n)
    local distinct = 0
    for _ in pairs(seen) do distinct = distinct + 1 end
    same(24, distinct)
    local function from(k) return coroutine.wrap(function() for i = k, math.huge do coroutine.yield(i) end end) end
    local function filter(p, g)
      return coroutine.wrap(function() for x in g do if x % p ~= 0 then coroutine.yield(x) end end end)
    end
    local primes, g = {}, from(2)
    for _ = 1, 15 do
      primes[#primes + 1] = g()
      g = filter(primes[#primes], g)
    end
    same(47, primes[15])
  end)

  everywhere("nested too deeply are an error, and no crash", function()
    local function deeper(n)
      local co = coroutine.create(deeper)
      local ok, why = coroutine.resume(co, n + 1)
      if not ok then error(why, 0) end
      return why
    end
    local ok, why = pcall(deeper, 1)
    same(false, ok)
    assert(tostring(why):find("C stack overflow", 1, true), why)
    local function wrapped() return coroutine.wrap(wrapped)() end
    ok, why = pcall(wrapped)
    same(false, ok)
    assert(tostring(why):find("C stack overflow", 1, true), why)
    same(3, coroutine.wrap(function() return 3 end)())
  end)

  everywhere("survive a stack overflow inside", function()
    local co = coroutine.create(function()
      local function f() return 1 + f() end
      f()
    end)
    local ok, why = coroutine.resume(co)
    assert(ok == false and tostring(why):find("stack overflow", 1, true), why)
    same("dead", coroutine.status(co))
  end)

  everywhere("have a traceback and locals of their own", function()
    local co = coroutine.create(function()
      local inside = "x"
      coroutine.yield(inside)
    end)
    coroutine.resume(co)
    local text = debug.traceback(co)
    assert(text:find("yield", 1, true) and text:find("stack traceback", 1, true), text)
    local name, value = debug.getlocal(co, 1, 1)
    same({ "inside", "x" }, { name, value })
    same({ true }, { coroutine.resume(co) })
  end)

  everywhere("have hooks of their own", function()
    local hits = 0
    local co = coroutine.create(function()
      for _ = 1, 10 do math.abs(1) end
      coroutine.yield()
    end)
    debug.sethook(co, function() hits = hits + 1 end, "c")
    coroutine.resume(co)
    assert(hits > 0)
    assert(debug.gethook(co) ~= nil and debug.gethook() == nil)
  end)

  everywhere("are collected with what they hold", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local t = {}
      weak[1] = t
      local co = coroutine.wrap(function() coroutine.yield(t) end)
      co()
    end
    collectgarbage()
    collectgarbage()
    same(nil, weak[1])
  end)

  it("pass Lua's official test file inside a fiber (LUA_TESTS names its directory)", function()
    local dir = os.getenv "LUA_TESTS"
    if not dir then return pending "LUA_TESTS is not set" end
    for _, host in ipairs { "lua", "lubdub" } do
      local code, text = support.run(function()
        _G._port, _G._soft = true, true
        local f = lub.go(function() return dofile(os.getenv "LUA_TESTS" .. "/coroutine.lua") end)
        local ok, why = f:join()
        assert(ok ~= nil or why == nil, why)
      end, { host = host, timeout = 60, env = "LUA_PATH='" .. dir .. "/?.lua;;'" })
      assert.matches("fine\n$", text)
      assert.equals(0, code)
    end
  end)
end)

describe("a coroutine whose fiber parks inside it", function()
  everywhere("does not show it to its caller: wrap and resume return when it yields itself", function()
    local ch, log = lub.chan(), {}
    local f = lub.go(function()
      local w = coroutine.wrap(function()
        for _ = 1, 3 do coroutine.yield((ch:recv())) end
        return "end"
      end)
      for _ = 1, 4 do log[#log + 1] = w() end
    end)
    for i = 1, 3 do ch:send(i) end
    f:join()
    same({ 1, 2, 3, "end" }, log)
  end)

  everywhere("lets siblings run meanwhile", function()
    local ch, log = lub.chan(), {}
    local f = lub.go(function()
      coroutine.wrap(function()
        log[#log + 1] = "before"
        ch:recv()
        log[#log + 1] = "after"
      end)()
    end)
    local g = lub.go(function() log[#log + 1] = "sibling" ch:send(1) end)
    f:join()
    g:join()
    same({ "before", "sibling", "after" }, log)
  end)

  everywhere("parks ten levels deep, and yields to the right caller afterwards", function()
    local ch = lub.chan()
    local function level(n)
      if n == 0 then return ch:recv() end
      local w = coroutine.wrap(function()
        local v = level(n - 1)
        coroutine.yield(v + 1)
        return "done " .. n
      end)
      local v = w()
      same("done " .. n, w())
      return v
    end
    local f = lub.go(level, 10)
    ch:send(0)
    same(10, (f:join()))
  end)

  everywhere("looks normal, and can be neither resumed nor closed by others", function()
    local ch, co, inner, w = lub.chan(), nil, nil, nil
    local f = lub.go(function()
      co = coroutine.create(function()
        w = coroutine.wrap(function()
          inner = coroutine.running()
          return ch:recv()
        end)
        return w()
      end)
      return coroutine.resume(co)
    end)
    lub.yield()
    for _, c in ipairs { co, inner } do
      same("normal", coroutine.status(c))
      same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(c) })
      refused("cannot close a normal coroutine", function() coroutine.close(c) end)
      same(false, coroutine.isyieldable(c) and coroutine.status(c) == "suspended")
    end
    refused("cannot resume non-suspended coroutine", w)
    ch:send "fine"
    same({ true, "fine" }, { f:join() })
    same({ "dead", "dead" }, { coroutine.status(co), coroutine.status(inner) })
  end)

  everywhere("lets several waits and yields mix", function()
    local a, b = lub.chan(), lub.chan()
    local f = lub.go(function()
      local w = coroutine.wrap(function()
        local sum = 0
        while true do
          local from, v = lub.select(a, b)
          if v == nil then return from == b and sum end
          sum = sum + v
          coroutine.yield(sum)
        end
      end)
      same(1, w())
      same(3, w())
      same(6, w())
      b:close()
      return w()
    end)
    a:send(1)
    b:send(2)
    a:send(3)
    same(6, (f:join()))
  end)

  everywhere("hands errors of pcall across, after a wait", function()
    local ch = lub.chan()
    local f = lub.go(function()
      local ok, why = pcall(coroutine.wrap(function()
        local r = { pcall(function() error((ch:recv()), 0) end) }
        same({ false, "first" }, r)
        error({ (ch:recv()) })
      end))
      return ok, why[1]
    end)
    ch:send "first"
    ch:send "second"
    same({ false, "second" }, { f:join() })
  end)

  everywhere("that fails after a wait is dead, and its variables are closed as Lua does", function()
    local ch, closed = lub.chan(), 0
    local f = lub.go(function()
      local co = coroutine.create(function()
        local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        ch:recv()
        error(guard and "boom", 0)
      end)
      same({ false, "boom" }, { coroutine.resume(co) })
      same(0, closed)
      same({ false, "boom" }, { coroutine.close(co) })
      same(1, closed)
    end)
    ch:send(1)
    local ok, why = f:join()
    assert(ok == nil and why == nil, why)
  end)

  everywhere("may be handed from fiber to fiber between its waits", function()
    local values, turns, log = lub.chan(), lub.chan(), {}
    local co = coroutine.create(function()
      for _ = 1, 4 do
        local v = values:recv()
        coroutine.yield(v)
      end
    end)
    local function step()
      turns:recv()
      log[#log + 1] = select(2, coroutine.resume(co))
    end
    local fibers = {}
    for i = 1, 4 do fibers[i] = lub.go(step) end
    for i = 1, 4 do
      turns:send(true)
      values:send(i)
      fibers[i]:join()
    end
    same({ 1, 2, 3, 4 }, log)
  end)

  everywhere("yields its own way through a for loop over a channel", function()
    local ch = lub.chan()
    local f = lub.go(function()
      local doubled = coroutine.wrap(function() for v in ch do coroutine.yield(2 * v) end end)
      local sum = 0
      for v in doubled do sum = sum + v end
      return sum
    end)
    for i = 1, 10 do ch:send(i) end
    ch:close()
    same(110, (f:join()))
  end)

  everywhere("may be closed by its own fiber once it yields, and closes by waiting", function()
    local ch, log = lub.chan(), {}
    local f = lub.go(function()
      local co = coroutine.create(function()
        local guard <close> = setmetatable({}, { __close = function() log[#log + 1] = (ch:recv()) end })
        coroutine.yield(guard and 1)
      end)
      coroutine.resume(co)
      same({ true }, { coroutine.close(co) })
      return "closed"
    end)
    ch:send "seen"
    same("closed", (f:join()))
    same({ "seen" }, log)
  end)

  everywhere("keeps many at once apart", function()
    local n, fibers, chans = 200, {}, {}
    for i = 1, n do
      chans[i] = lub.chan()
      fibers[i] = lub.go(function()
        local w = coroutine.wrap(function()
          local a = chans[i]:recv()
          coroutine.yield(a)
          return a + chans[i]:recv()
        end)
        return w() + w()
      end)
    end
    lub.yield()
    for i = n, 1, -1 do chans[i]:send(i) end
    for i = 1, n do chans[i]:send(1000) end
    for i = 1, n do same(2 * i + 1000, (fibers[i]:join())) end
  end)
end)

describe("coroutine functions kept from before", function()
  in_fibers("the engine are the same ones", function()
    local wrap, yield = coroutine.wrap, coroutine.yield
    local w = wrap(function() yield((lub.select(0.001))) return "end" end)
    w()
    same("end", w())
  end)
end)
