local lub = require "lubdub"
require "lubdub.sim"
local support = require "spec.support"
local same, eventually, refused = support.same, support.eventually, support.refused
local everywhere, _, in_worker = support.words(it)

describe("spawn", function()
  everywhere("runs a function with its arguments, nils included, and gives its results", function()
    local w = lub.spawn(function(...) return select("#", ...), ... end, 1, nil, "x", nil)
    local r = table.pack(w:join())
    same({ 4, 1, nil, "x", n = 5 }, r)
    same(0, select("#", lub.spawn(function() end):join()))
  end)

  everywhere("copies arguments and results, and keeps what they share", function()
    local t = { list = { 1 } }
    t.self, t.again = t, t.list
    local w = lub.spawn(function(x, y)
      assert(x == y and x.self == x and x.again == x.list)
      x.list[1] = 2
      return x, x.list
    end, t, t)
    local a, b = w:join()
    assert(a ~= t and a.list == b and a.self == a)
    same(2, b[1])
    same(1, t.list[1])
  end)

  everywhere("runs a script, which gets its arguments as `...`, and gives what it returns", function()
    local path = support.file "local a, b = ... return b, a, select('#', ...)"
    same({ "b", "a", 3 }, { lub.spawn(path, "a", "b", nil):join() })
    os.remove(path)
  end)

  everywhere("names itself and its caller when the script cannot be run", function()
    local path = support.file "x ="
    local function start(script) return lub.spawn(script) and nil end
    local line = debug.getinfo(start, "S").linedefined
    refused((":%d: spawn: cannot open no/such.lua"):format(line), start, "no/such.lua")
    refused("spawn: " .. path .. ":1:", start, path)
    os.remove(path)
  end)

  everywhere("has globals of its own", function()
    _G.shared = 1
    local w = lub.spawn(function()
      local before = shared -- luacheck: ignore
      shared = 2 -- luacheck: ignore
      return before, shared -- luacheck: ignore
    end)
    local before, after = w:join()
    same(nil, before)
    same(2, after)
    same(1, _G.shared)
  end)

  everywhere("copies upvalues, local helpers and modules by name", function()
    local n = 5
    local function helper(x) return x + n end
    local w = lub.spawn(function()
      n = n + 1
      return helper(1), lub.now() > 0
    end)
    same({ 7, true }, { w:join() })
    same(5, n)
  end)

  everywhere("gives every standard library", function()
    same({ "x", 4, true, "table", "1" }, { lub.spawn(function()
      return ("x"):lower(), math.max(1, 4), utf8.char(65) == "A", type(os), (table.concat({ 1 }))
    end):join() })
    local r = lub.spawn(function()
      local names = {}
      for _, lib in ipairs { "string", "table", "math", "utf8", "os", "io", "coroutine", "debug", "package" } do
        if type(_G[lib]) ~= "table" or package.loaded[lib] ~= _G[lib] then names[#names + 1] = lib end
      end
      for k in pairs(_G) do if k == "string" then names.seen = true end end
      return names
    end):join()
    same({ seen = true }, r)
  end)

  everywhere("refuses misuse, and names itself and the argument", function()
    for _, bad in ipairs { 1, true } do
      local why = refused("spawn", lub.spawn, bad)
      assert(why:find("argument 1", 1, true), why)
    end
    refused("spawn", lub.spawn)
    refused("", lub.spawn, {})
    refused("", lub.spawn, { memory = -1 }, function() end)
    refused("", lub.spawn, { memory = "much" }, function() end)
    refused("unknown option 'memroy'", lub.spawn, { memroy = 1 }, function() end)
    refused("", lub.spawn, { name = {} }, function() end)
  end)

  everywhere("refuses what cannot cross, with the path", function()
    local cache = { file = io.stdout }
    refused("upvalue 'cache' .file)", lub.spawn, function() return cache end)
    refused("cannot send a coroutine (at argument 2 .job.co)", lub.spawn, function() end,
      { job = { co = coroutine.create(print) } })
  end)

  everywhere("of a script that is not there, does not parse or raises is an error of the worker or of spawn", function()
    local broken, raising = support.file "x =", support.file "error 'at load'"
    for _, case in ipairs { { "/nonexistent/x.lua", "x.lua" }, { broken, ":1:" }, { raising, "at load" } } do
      local ok, r, why = pcall(function() return lub.spawn(case[1]):join() end)
      local told = tostring(ok and why or r)
      assert(not (ok and r ~= nil), "it ran")
      assert(told:find(case[2], 1, true), told)
    end
    os.remove(broken)
    os.remove(raising)
  end)

  everywhere("inside spawn inside spawn, results handed outward", function()
    local function nest(depth)
      if depth == 0 then return "bottom" end
      return lub.spawn(nest, depth - 1):join()
    end
    same("bottom", nest(10))
  end)

  everywhere("gives names, and the name asked for", function()
    local a, b = lub.spawn({ name = "the worker" }, function() end), lub.spawn(function() end)
    same("the worker", a:name())
    same("string", type(b:name()))
    assert(tostring(a):find("the worker", 1, true))
    a:join()
    b:join()
  end)

  everywhere("of functions refuses bytecode from strings in load, and takes text", function()
    same({ 3, nil, true }, { lub.spawn(function()
      local f, why = load(string.dump(function() return 1 end))
      local g = load(string.dump(function() return 1 end), "=x", "b")
      return load "return 3"(), f or g, type(why) == "string" and why:find("binary", 1, true) ~= nil
    end):join() })
  end)
end)

describe("a worker's join", function()
  everywhere("can be repeated, by several, and gives copies each time", function()
    local w = lub.spawn(function() return { 1 } end)
    local a, b = w:join(), w:join()
    same({ 1 }, a)
    same({ 1 }, b)
    local f = lub.go(function() return (w:join()) end)
    same({ 1 }, (f:join()))
  end)

  everywhere("gives up after its wait, and can be tried again", function()
    local gate = lub.chan()
    local w = lub.spawn(function(c) return (c:recv()) end, gate)
    same({ nil, "timeout" }, { w:join(0) })
    same({ nil, "timeout" }, { w:join(0.001) })
    gate:send(5)
    same({ 5 }, { w:join(10) })
  end)

  everywhere("gives nil and the error with worker, fiber, spawn site and traceback", function()
    local w = lub.spawn({ name = "bad" }, function()
      local function deep() error "boom" end
      deep()
    end)
    local line = debug.getinfo(1, "l").currentline - 4
    for _ = 1, 2 do
      local ok, why = w:join()
      same(nil, ok)
      for _, part in ipairs { "boom", "worker 'bad'", "fiber 'main'", ":" .. line, "traceback", "deep" } do
        assert(why:find(part, 1, true), part .. " is not in " .. why)
      end
    end
  end)

  everywhere("gives the error when the results cannot cross, with the path", function()
    local ok, why = lub.spawn(function() return { co = coroutine.create(print) } end):join()
    same(nil, ok)
    assert(why:find("cannot send a coroutine", 1, true) and why:find(".co", 1, true), why)
  end)

  everywhere("by a worker of itself is refused", function()
    local ok, why = lub.spawn({ name = "self" }, function()
      for _, w in ipairs(lub.workers()) do
        if w:name() == "self" then return pcall(w.join, w) end
      end
    end):join()
    same(false, ok)
    assert(why:find("itself", 1, true), why)
  end)

  everywhere("through another worker's handle works", function()
    local w = lub.spawn(function() return "result" end)
    same("result", (lub.spawn(function(other) return (other:join()) end, w):join()))
  end)
end)

describe("a worker's done", function()
  everywhere("closes when it has ended, and works in select", function()
    local gate = lub.chan()
    local w = lub.spawn(function(c) c:recv() end, gate)
    assert(w:done() == w:done())
    same({ nil, "timeout" }, { lub.select(w:done(), 0) })
    gate:send(true)
    local from, v = lub.select(w:done(), 10)
    assert(from == w:done() and v == nil)
    eventually(function() return w:state() == "dead" end)
    refused("", function() w:done():send(1) end)
  end)
end)

describe("a worker that ends", function()
  everywhere("closes the fibers left over, with their variables", function()
    local ch = lub.chan(2)
    local w = lub.spawn(function(c)
      lub.go(function()
        local guard <close> = setmetatable({}, { __close = function() c:send "closed" end })
        lub.sleep(60)
        c:send(guard and "woke up")
      end)
      lub.yield()
      return "end"
    end, ch)
    same("end", (w:join()))
    same("closed", ch:recv(10))
    same({ nil, "timeout" }, { ch:recv(0) })
  end)

  everywhere("leaves its channels open to others, with what is in them", function()
    local ch = lub.spawn(function()
      local c = lub.chan(2, "left")
      c:send "value"
      return c
    end):join()
    same("value", ch:recv())
    same(false, ch:closed())
    same({ nil, "timeout" }, { ch:recv(0) })
  end)

  everywhere("while others wait on its channels leaves them waiting for whoever else sends", function()
    local out = lub.chan(1)
    local w = lub.spawn(function(o)
      local c = lub.chan()
      o:send(c)
      c:recv()
    end, out)
    local ch = out:recv()
    local f = lub.go(function() return (ch:recv()) end)
    lub.yield()
    w:kill()
    w:join()
    same("idle", f:state())
    ch:send "from another"
    same("from another", (f:join()))
  end)

  everywhere("runs its finalizers", function()
    local ch = lub.chan(1)
    lub.spawn(function(c) setmetatable({}, { __gc = function() c:send("collected", 0) end }) end, ch):join()
    same("collected", ch:recv(10))
  end)

  everywhere("by os.exit or error objects does not take the others along", function()
    local ok, why = lub.spawn(function() error { code = 7 } end):join()
    same(nil, ok)
    assert(why ~= nil)
    same(1, (lub.spawn(function() return 1 end):join()))
  end)
end)

describe("an error of a worker", function()
  everywhere("that is no text is told by its type, as Lua does it, unless it says what it is", function()
    local function told(fn)
      local ok, why = lub.spawn(fn):join()
      assert(ok == nil, ok)
      return why:match "^[^\n]*"
    end
    same("(error object is a table value)", told(function() error { code = 1 } end))
    same("(error object is a function value)", told(function() error(print) end))
    same("(error object is a nil value)", told(function() error() end))
    same("7", told(function() error(7) end))
    same("itself", told(function() error(setmetatable({}, { __tostring = function() return "itself" end })) end))
    same("(error object is a table value)", told(function() -- it crashed
      error(setmetatable({}, { __tostring = function() error {} end }))
    end))
    same("(error object is a table value)", told(function()
      require "lubdub".go(error, {})
      require "lubdub".sleep(60)
    end))
  end)

  everywhere("says where that was started, also where C did it for Lua", function()
    local function line_of(fn) return debug.getinfo(fn, "S").linedefined end
    local function fails() error "boom" end
    local function protected() return select(2, pcall(lub.spawn, fails)) end
    local _, why = protected():join()
    assert(why:find((":%d]"):format(line_of(protected)), 1, true), why)
    _, why = coroutine.wrap(lub.spawn)(fails):join()
    assert(why:find("fiber 'main', started at [C]]", 1, true), why)
  end)

  everywhere("says where its fiber was started, also where C did it for Lua", function()
    local function line_of(fn) return debug.getinfo(fn, "S").linedefined end
    local function why_of(start)
      local _, why = lub.spawn(function()
        start(function() error "boom" end)
        require "lubdub".sleep(60)
      end):join()
      return why
    end
    local function later(fn) return require "lubdub".after(0, fn) end
    local function protected(fn) return pcall(require "lubdub".go, fn) end
    for _, start in ipairs { later, protected } do
      local why = why_of(start)
      assert(why:find((":%d]"):format(line_of(start)), 1, true), why)
    end
    local why = why_of(function(fn) coroutine.wrap(require "lubdub".go)(fn) end)
    assert(why:find(", started at [C]]", 1, true), why)
  end)
end)

describe("an error of a worker that nobody joins", function()
  it("is told on stderr with its name by the command, which ends with 1", function()
    local code, text = support.run(function()
      local w = lub.spawn({ name = "lonely" }, function() error "boom" end)
      eventually(function() return w:state() == "dead" end)
    end)
    assert.matches("boom", text)
    assert.matches("worker 'lonely'", text)
    assert.matches("traceback", text)
    assert.equals(1, code)
  end)

  everywhere("is none when it was joined, even late", function()
    local w = lub.spawn(function() error "boom" end)
    w:done():recv()
    local ok, why = w:join()
    assert(ok == nil and why:find("boom", 1, true))
  end)
end)

describe("a worker's memory limit", function()
  everywhere("is an error in the worker, and everything else goes on", function()
    local w = lub.spawn({ memory = 4 << 20 }, function()
      local t = {}
      for i = 1, 1e9 do t[i] = ("x"):rep(100) .. i end
      return t
    end)
    local ok, why = w:join()
    same(nil, ok)
    assert(why:find("not enough memory", 1, true), why)
    same(1, (lub.spawn(function() return 1 end):join()))
  end)

  everywhere("can be caught by pcall, and the worker goes on", function()
    local w = lub.spawn({ memory = 4 << 20 }, function(ch)
      local ok, why = pcall(string.rep, "x", 100 << 20)
      ch:send(why)
      return ok, #("y"):rep(1000)
    end, lub.chan(1))
    same({ false, 1000 }, { w:join() })
  end)

  everywhere("that is ample is not noticed", function()
    same(100000, (lub.spawn({ memory = 64 << 20 }, function()
      local t = {}
      for i = 1, 100000 do t[i] = i end
      return #t
    end):join()))
  end)
end)

describe("cancel of a worker", function()
  everywhere("reaches all its fibers, and is level-triggered", function()
    local ready = lub.chan()
    local w = lub.spawn(function(c)
      local n = 0
      for _ = 1, 10 do
        lub.go(function()
          local first = select(2, lub.chan():recv())
          local second = select(2, lub.sleep(60))
          if first == "cancelled" and second == "cancelled" then n = n + 1 end
        end)
      end
      lub.yield()
      c:send "ready"
      local own = select(2, lub.sleep(60))
      for _ = 1, 20 do lub.yield() end
      return own, n, (select(2, lub.cancelled()))
    end, ready)
    ready:recv()
    w:cancel "enough"
    same({ "cancelled", 10, "enough" }, { w:join() })
  end)

  everywhere("reaches fibers that are made later", function()
    local ready = lub.chan()
    local w = lub.spawn(function(c)
      c:send "ready"
      lub.cancelled():recv()
      local f = lub.go(function() return select(2, lub.sleep(60)) end)
      for _ = 1, 10 do lub.yield() end
      return f:state(), (f:join())
    end, ready)
    ready:recv()
    w:cancel()
    same({ "dead", "cancelled" }, { w:join() })
  end)

  everywhere("of the dead changes nothing", function()
    local w = lub.spawn(function() return 1 end)
    w:join()
    w:cancel()
    same(1, (w:join()))
  end)
end)

describe("kill of a worker", function()
  everywhere("ends it wherever it is; its join gives nil, 'killed'", function()
    local ch = lub.chan()
    local bodies = {
      function() while true do end end,
      function() lub.sleep(60) end,
      function(c) c:recv() end,
      function(c) while true do pcall(c.recv, c) end end,
      function() lub.spawn(function() lub.sleep(60) end):join() end,
    }
    for i, body in ipairs(bodies) do
      local w = lub.spawn(body, ch)
      w:kill()
      local ok, why = w:join(10)
      same({ i, nil, "killed" }, { i, ok, why })
      eventually(function() return w:state() == "dead" end)
    end
  end)

  everywhere("of the dead changes nothing", function()
    local w = lub.spawn(function() return 1 end)
    same(1, (w:join()))
    w:kill()
    w:kill()
    same({ 1 }, { w:join() })
    same("dead", w:state())
  end)

  everywhere("runs the to-be-closed variables of all its fibers", function()
    local ch, ready = lub.chan(10), lub.chan()
    local w = lub.spawn(function(out, r)
      local function sit(name, sits)
        local guard <close> = setmetatable({}, { __close = function() out:send(name) end })
        if sits then sits:send(true) end -- the others do already
        lub.sleep(60)
        return guard
      end
      for i = 1, 3 do lub.go(sit, i) end
      lub.yield()
      sit(4, r)
    end, ch, ready)
    ready:recv()
    w:kill()
    w:join()
    local sum = 0
    for _ = 1, 4 do sum = sum + assert(ch:recv(10)) end
    same(10, sum)
  end)

  everywhere("by one of its own fibers goes no further", function()
    local after = lub.chan(1)
    local w = lub.spawn({ name = "suicide" }, function(c)
      for _, x in ipairs(lub.workers()) do if x:name() == "suicide" then x:kill() end end
      lub.yield()
      c:send "alive"
    end, after)
    local ok, why = w:join(10)
    same({ nil, "killed" }, { ok, why })
    same({ nil, "timeout" }, { after:recv(0) })
  end)

  for host, name in pairs { lua = "a stock Lua", lubdub = "the command" } do
    it("gives its memory back, 500 times 1 MiB, under " .. name, function()
      local code, text = support.run(function()
        local ready, first = lub.chan(), nil
        for i = 1, 500 do
          local w = lub.spawn(function(c)
            local t = {}
            for k = 1, 65536 do t[k] = k end
            c:send(#t)
            lub.sleep(60)
            return t
          end, ready)
          assert(ready:recv(20))
          w:kill()
          w:join()
          if i == 50 then
            collectgarbage()
            first = support.resident()
          end
        end
        collectgarbage()
        local last = support.resident()
        if last then assert(last < first + (48 << 20), ("%d -> %d"):format(first, last)) end
      end, { host = host, timeout = 60 })
      assert.equals("fine\n", text)
      assert.equals(0, code)
    end)
  end
end)

describe("a zombie", function()
  in_worker("frees its carrier's place: the others go on, and its end is seen", function()
    local w, lets_go = {}, {}
    for i = 1, 3 do
      local line, let_go = support.blocking_call()
      w[i], lets_go[i] = lub.spawn(function() os.execute(line) end), let_go
    end
    for i = 1, 3 do
      eventually(function() return w[i]:state() == "in_c" end)
      w[i]:kill()
      same({ nil, "killed" }, { w[i]:join(10) })
    end
    same(5, (lub.spawn(function() return 5 end):join(10)))
    for i = 1, 3 do same("zombie", w[i]:state()) end
    for i = 1, 3 do lets_go[i]() end
    for i = 1, 3 do eventually(function() return w[i]:state() == "dead" end) end
  end, { carriers = 1 })
end)

describe("worker handles", function()
  everywhere("are interned: table keys, equal after a journey", function()
    local ch = lub.chan(1)
    local w = lub.spawn(function() end)
    local t = { [w] = "w" }
    ch:send(w)
    same("w", t[ch:recv()])
    local back = lub.spawn(function(x) return x end, w):join()
    same("w", t[back])
    w:join()
  end)

  everywhere("are listed by workers(), each once, and drop out when they have ended", function()
    local gate, w = lub.chan(), {}
    for i = 1, 5 do w[i] = lub.spawn({ name = "listed" }, function(c) c:recv() end, gate) end
    local seen = {}
    for _, x in ipairs(lub.workers()) do seen[x] = (seen[x] or 0) + 1 end
    for i = 1, 5 do same(1, seen[w[i]]) end
    gate:close()
    for i = 1, 5 do w[i]:join() end
    eventually(function()
      for _, x in ipairs(lub.workers()) do
        if x:name() == "listed" and x:state() ~= "dead" then return false end
      end
      return true
    end)
  end)

  everywhere("have a traceback", function()
    local ch = lub.chan()
    local w = lub.spawn(function(c) c:recv() end, ch)
    eventually(function() return w:state() == "idle" end)
    same("string", type(w:traceback()))
    assert(w:traceback():find(":%d+"), w:traceback())
    ch:send(1)
    w:join()
  end)
end)

describe("named", function()
  everywhere("gives nil for what no host has published", function()
    same({ nil, n = 1 }, table.pack(lub.named "absent"))
  end)

  everywhere("refuses what is no name, and surplus arguments", function()
    refused("named: argument 1: expected a name (a string), got nothing", lub.named)
    refused("named: argument 1: expected a name (a string), got number 5", lub.named, 5)
    refused("named: argument 2: expected no more arguments, got number 1", lub.named, "absent", 1)
  end)
end)

describe("what looks at a fiber or worker", function()
  everywhere("refuses surplus arguments", function()
    for _, x in ipairs { lub.self(), lub.spawn(function() end) } do
      for _, look in ipairs { "name", "state", "traceback" } do
        refused(look .. ": argument 1: expected no more arguments, got number 1", x[look], x, 1)
      end
      same("string", type(x:name(nil)))
    end
  end)
end)

describe("dump", function()
  everywhere("lists workers and fibers, and what they wait for, in a file", function()
    local ready, path = lub.chan(), os.tmpname()
    local never = lub.chan(0, "never")
    local w = lub.spawn({ name = "sitting" }, function(r, n)
      lub.go(function() n:recv() end)
      lub.yield()
      r:send(true)
      lub.sleep(60)
    end, ready, never)
    ready:recv()
    eventually(function() return w:state() == "idle" end)
    local function start() return select(2, pcall(lub.go, function() never:recv() end)) end
    local f = start()
    lub.yield()
    local out = assert(io.open(path, "w"))
    same({ true, n = 1 }, table.pack(lub.dump(out)))
    out:close()
    local text = io.open(path):read "a"
    local at = debug.getinfo(start, "S")
    local started = (", started at %s:%d\n"):format(at.short_src, at.linedefined)
    for _, part in ipairs { "worker 'sitting'", "worker 'main'", "fiber", "never", ":", started } do
      assert(text:find(part, 1, true), part .. " is not in " .. text)
    end
    os.remove(path)
    f:kill()
    w:kill()
  end)

  everywhere("says why a file cannot be written, as io does", function()
    local full = assert(io.open("/dev/full", "w"))
    for _, mode in ipairs { "full", "no" } do
      full:setvbuf(mode)
      local ok, why, number = lub.dump(full)
      same({ nil, "No space left on device", "integer" }, { ok, why, math.type(number) })
    end
  end)

  everywhere("does not write to a file that is closed while it waits", function()
    local path = os.tmpname()
    local out = assert(io.open(path, "w"))
    local w = lub.spawn(function() while true do end end) -- does not answer at once
    eventually(function() return w:state() ~= "starting" end)
    local f = lub.go(function() return pcall(lub.dump, out) end)
    lub.yield()
    out:close()
    local ok, why = f:join()
    os.remove(path)
    w:kill()
    assert(ok == true or why:find("dump: the file was closed meanwhile", 1, true), why)
  end)

  everywhere("refuses what is no file", function()
    refused("dump", lub.dump, 5)
    refused("dump", lub.dump, {})
  end)
end)

describe("in every schedule", function()
  local all = { strategy = "exhaustive", preemptions = 2 }

  it("whoever joins a worker that is killed as it ends hears the same", lub.explore(all, function()
    local w = lub.spawn(function()
      lub.yield()
      return "over"
    end)
    local a = lub.go(function() return table.pack(w:join()) end)
    local killer = lub.go(function() w:kill() end)
    local heard = table.pack(w:join())
    same(heard, (a:join()))
    killer:join()
    same(heard, table.pack(w:join()))
    assert(heard[1] == "over" and heard.n == 1 or heard[1] == nil and heard[2] == "killed")
    lub.settle()
    same("dead", w:state())
    for _, x in ipairs(lub.workers()) do assert(x ~= w or x:state() == "dead") end
  end))

  it("what a killed worker has sent arrives in order, and nothing after it", lub.explore(all, function()
    local ch, got = lub.chan(1), 0
    local w = lub.spawn(function() for i = 1, 3 do ch:send(i) end end)
    local killer = lub.go(function() w:kill() end)
    w:join()
    killer:join()
    lub.settle()
    for v in function() return (ch:recv(0)) end do
      got = got + 1
      same(got, v)
    end
    lub.settle()
    same({ nil, "timeout" }, { ch:recv(0) })
  end))

  it("a cancel reaches fibers that were made before, meanwhile and afterwards", lub.explore({ runs = 300 }, function()
    local w = lub.spawn(function()
      local fibers, told = {}, 0
      for i = 1, 3 do
        fibers[i] = lub.go(function()
          if select(2, lub.chan():recv()) == "cancelled" then told = told + 1 end
        end)
        if i < 3 then lub.yield() end
      end
      lub.cancelled():recv()
      for i = 1, 3 do
        while fibers[i]:state() ~= "dead" do lub.yield() end
      end
      return told
    end)
    local canceller = lub.go(function() w:cancel() end)
    same(3, (w:join()))
    canceller:join()
  end))

  it("to-be-closed variables of a killed worker's fibers run once, or their fiber had not begun",
    lub.explore({ runs = 500 }, function()
    local begun, closed = lub.chan(3), lub.chan(9)
    local w = lub.spawn(function()
      local function sit(i)
        local _ <close> = setmetatable({}, { __close = function() closed:send(i) end })
        begun:send(i)
        lub.sleep(60)
      end
      lub.go(sit, 1)
      lub.go(sit, 2)
      sit(3)
    end)
    local killers = { lub.go(function() w:kill() end), lub.go(function() w:kill() end) }
    w:join()
    for _, killer in ipairs(killers) do killer:join() end
    lub.settle()
    local seen = { begun = #begun, closed = 0 }
    for i in function() return (closed:recv(0)) end do
      assert(not seen[i], i)
      seen[i], seen.closed = true, seen.closed + 1
    end
    assert(seen.closed >= seen.begun, seen.closed .. " of " .. seen.begun)
    same(0.0, lub.now())
  end))
end)

describe("many", function()
  in_worker("workers: 10,000 parked at once, each woken once", function()
    local gate, out, n = lub.chan(), lub.chan(100), 10000
    for i = 1, n do
      lub.spawn(function(g, o, k)
        g:recv()
        o:send(k)
      end, gate, out, i)
    end
    local resident = support.resident()
    if resident then assert(resident < 1 << 30, resident) end
    gate:close()
    local sum = 0
    for _ = 1, n do sum = sum + assert(out:recv(60)) end
    same(n * (n + 1) // 2, sum)
  end, { timeout = 90 })

  everywhere("fibers: 100,000 parked at once, each woken once", function()
    local gate, n = lub.chan(), 100000
    local fibers, woken = {}, {}
    for i = 1, n do
      fibers[i] = lub.go(function()
        gate:recv()
        -- to each its own: a collection makes a fiber's turn longer than its 10 ms, and others run amid a sum
        woken[i] = (woken[i] or 0) + 1
      end)
    end
    lub.yield()
    local resident = support.resident()
    if resident then assert(resident < 600 << 20, resident) end
    gate:close()
    for i = 1, n do
      fibers[i]:join()
      assert(woken[i] == 1, i)
    end
  end, { timeout = 60 })

  in_worker("spawns one after the other: 2,000, without growth", function()
    for i = 1, 2000 do same(i, (lub.spawn(function(x) return x end, i):join())) end
    local resident = support.resident()
    if resident then assert(resident < 200 << 20, resident) end
  end, { timeout = 60 })
end)

describe("a worker's state", function()
  in_worker("is starting before it has run, and runnable between its slices, on one carrier", function()
    local w = lub.spawn(function() while true do lub.yield() end end)
    same("starting", w:state())
    eventually(function() return w:state() == "runnable" end)
    w:kill()
  end, { carriers = 1 })
end)
