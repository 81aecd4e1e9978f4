local lub = require "lubdub"

local ch = lub.chan(1)

local function through(v)
  assert(ch:send(v))
  return ch:recv()
end

-- to another worker and back: two crossings
local function there_and_back(v)
  local ok, back = lub.spawn(function(x) return true, x end, v):join()
  assert(ok, back)
  return back
end

local function call_there(f, ...) return lub.spawn(f, ...):join() end

local function refused(text, v)
  local ok, why = pcall(ch.send, ch, v)
  assert.is_false(ok)
  assert.equals(text, (why:gsub("^[^:]*:%d+: ", "")))
  assert.equals(0, #ch)
end

for way, cross in pairs { ["through a channel"] = through, ["to a worker and back"] = there_and_back } do
  describe("values " .. way, function()
    it("keep numbers exactly", function()
      for _, v in ipairs { 0, 1, -1, 63, 64, 127, 128, 2 ^ 53, 1e308, 5e-324, -0.5, 1.0, math.huge, -math.huge, math.pi,
        math.maxinteger, math.mininteger } do
        assert.equals(v, cross(v))
        assert.equals(math.type(v), math.type(cross(v)))
        assert.equals(math.type(v), math.type(cross({ v })[1]))
        assert.equals(v, cross({ v })[1])
      end
      assert.equals(-math.huge, 1 / cross(-0.0))
      assert.equals(-math.huge, 1 / cross({ -0.0 })[1])
      local nan = cross({ 0 / 0 })[1]
      assert.is_true(nan ~= nan)
    end)

    it("keep strings of every length, zeros and all bytes", function()
      local bytes = {}
      for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
      local all = table.concat(bytes)
      for _, n in ipairs { 0, 1, 13, 14, 15, 16, 40, 41, 127, 128, 129, 16383, 16384, 100000 } do
        local s = all:rep(n // 256 + 1):sub(1, n)
        assert.equals(s, cross(s))
        assert.equals(s, cross({ s })[1])
        assert.equals(1, cross({ [s] = 1 })[s])
      end
    end)

    it("keep booleans, and false in tables", function()
      assert.is_true(cross(true))
      assert.is_false(cross({ false })[1])
      assert.same({ [true] = false, [false] = true }, cross { [true] = false, [false] = true })
    end)

    it("are copies with the same shape", function()
      local t = { 1, 2, { "deep", nil, 3 }, x = { y = { z = {} } }, [1.5] = "f", [-1] = "n", [1000] = "far" }
      local c = cross(t)
      assert.are_not.equal(t, c)
      assert.same(t, c)
      assert.same({}, cross {})
      assert.same({ nil, 2, nil, 4 }, cross { nil, 2, nil, 4 })
    end)

    it("keep cycles and shared references", function()
      local t = { list = { 1, 2, { "deep" } } }
      t.self, t.again, t[t.list] = t, t.list, t
      local c = cross(t)
      assert.equals(c, c.self)
      assert.equals(c.list, c.again)
      assert.equals(c, c[c.list])
      assert.are_not.equal(t, c)
      local many = { {} }
      for i = 2, 1000 do many[i] = { before = many[i - 1], first = many[1] } end
      local m = cross(many)
      for i = 2, 1000 do
        assert(m[i].before == m[i - 1])
        assert(m[i].first == m[1])
      end
    end)

    it("may have tables, functions and channels as keys", function()
      local key, own = {}, lub.chan(3)
      local f = function() return 7 end
      local c = cross { [key] = key, [own] = 1, [print] = 2, [f] = 3, key = key }
      assert.equals(c.key, c[c.key])
      assert.equals(1, c[own])
      assert.equals(2, c[print])
      local found
      for k, v in pairs(c) do found = found or v == 3 and k() end
      assert.equals(7, found)
    end)

    it("share channels and workers, with their view", function()
      local own = lub.chan(2, "own")
      local w = lub.spawn(function() end)
      local c = cross { own, own, own:sender(), own:receiver(), w }
      assert.equals(own, c[1])
      assert.is_true(rawequal(c[1], c[2]))
      assert.is_true(rawequal(own:sender(), c[3]))
      assert.has_error(function() c[3]:recv() end)
      assert.has_error(function() c[4]:send(1) end)
      assert.equals(w, c[5])
      assert.is_true(rawequal(own:receiver(), cross(own:receiver())))
    end)

    it("nest to 200 levels", function()
      local deep = {}
      for _ = 2, 200 do deep = { deep } end
      local c, n = cross(deep), 0
      while c do c, n = c[1], n + 1 end
      assert.equals(200, n)
    end)
  end)
end

describe("big values", function()
  it("cross whole", function()
    local s = ("z"):rep(100 << 20)
    assert.equals(#s, #through(s))
    assert.equals(s, through({ s, s })[2])
    local t = {}
    for i = 1, 200000 do t[i] = { i } end
    local c = through(t)
    assert.equals(200000, #c)
    assert.equals(200000, c[200000][1])
  end)

  it("that do not fit into the receiver are an error there, and the channel goes on", function()
    local pipe = lub.chan(2)
    pipe:send { ("y"):rep(8 << 20) }
    pipe:send "next"
    local ok, why, after = lub.spawn({ memory = 4 << 20 }, function(c)
      local ok, why = pcall(c.recv, c)
      return ok, why, c:recv()
    end, pipe):join()
    assert.is_false(ok)
    assert.matches("not enough memory", why)
    assert.equals("next", after)
  end)
end)

local function shares(f, g)
  f(5)
  return g()
end

describe("functions", function()
  it("cross with their upvalues, copied", function()
    local n, t, none = 1, { 2 }, nil
    local function helper(x) return x * 10 end
    local f = function()
      n = n + 1
      return helper(n), t[1], none
    end
    assert.same({ 20, 2 }, { call_there(f) })
    assert.equals(20, (through(f)()))
    assert.equals(1, n)
  end)

  it("may call themselves and each other", function()
    local function fac(n) return n < 2 and 1 or n * fac(n - 1) end
    local odd
    local function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    assert.equals(3628800, (call_there(function() return fac(10) end)))
    assert.equals(120, through(fac)(5))
    assert.same({ true, false }, { call_there(function() return even(10), even(7) end) })
    assert.is_true(there_and_back({ even })[1](4))
  end)

  it("share upvalues as they did, wherever they are in the message", function()
    local n = 0
    local function set(v) n = v end
    local function get() return n end
    local c = there_and_back { far = { away = { set } }, get = get }
    c.far.away[1](7)
    assert.equals(7, c.get())
    assert.equals(5, (call_there(shares, set, get)))
    assert.equals(0, n)
    local a, b, c3 = 1, 2, 3
    local sum = function() return a, b, c3 end
    local set_b, set_c = function(v) b = v end, function(v) c3 = v end
    local e = through { sum, set_b, set_c }
    e[2](20)
    e[3](30)
    assert.same({ 1, 20, 30 }, { e[1]() })
    local d = through { get, get, set }
    assert.equals(d[1], d[2])
    d[3](9)
    assert.equals(9, d[2]())
  end)

  it("may hold themselves, and share an upvalue with what is inside it", function()
    local box = {}
    box.f = function() return box end
    box.g = function(v) box = v end
    local c = through(box.f)
    local inner = c()
    assert.equals(c, inner.f)
    inner.g(8)
    assert.equals(8, c())
  end)

  it("may have 255 upvalues", function()
    local function names(s, n)
      local list = {}
      for i = 1, n do list[i] = s .. i end
      return list
    end
    local a, b = names("a", 150), names("b", 105)
    local ones = {}
    for i = 1, 150 do ones[i] = 1 end
    local code = "local %s = ... return (function(...) local %s = ... return function() return %s + %s end end)(...)"
    code = code:format(
      table.concat(a, ","), table.concat(b, ","), table.concat(a, "+"), table.concat(b, "+"))
    local f = assert(load(code))(table.unpack(ones))
    assert.equals(255, debug.getinfo(f, "u").nups)
    assert.equals(255, through(f)())
    assert.equals(255, (call_there(f)))
  end)

  it("find the receiver's globals, wherever _ENV is among the upvalues", function()
    local a, b = 1, 2
    local late = function() return a + b, type(print), _G ~= nil, _ENV == _G end
    assert.same({ 3, "function", true, true }, { call_there(late) })
    call_there(function() a_global_of_that_worker = 1 end) -- luacheck: ignore
    assert.is_nil(rawget(_G, "a_global_of_that_worker"))
    assert.equals(_G, through(_G))
    assert.equals(_G, through({ _G })[1])
    assert.is_true((call_there(function(g) return g == _G end, _G)))
    local name = package.loaded._G
    package.loaded._G = nil -- the globals need no name
    local ok, env = pcall(through, { _G })
    package.loaded._G = name
    assert.equals(_G, ok and env[1])
  end)

  it("take an environment of their own along", function()
    local f = load("count = (count or 0) + 1 return count, print", "sandbox", "t", { count = 41 })
    assert.same({ 42 }, { through(f)() })
    assert.same({ 42 }, { call_there(f) })
    local proxy = load("return _G ~= nil, getmetatable(_ENV)", "proxy", "t", setmetatable({}, { __index = _G }))
    assert.same({ true }, { call_there(proxy) })
  end)

  it("keep their debug information", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local function fails() error "boom" end
    local function outer()
      return xpcall(function()
        fails()
        return 1
      end, debug.traceback)
    end
    local _, why = call_there(outer)
    assert.matches("value_spec.lua:" .. line .. ": boom", why, 1, true)
    assert.matches("in upvalue 'fails'", why, 1, true)
    local info, original = debug.getinfo(through(fails), "S"), debug.getinfo(fails, "S")
    assert.same({ original.source, original.linedefined }, { info.source, info.linedefined })
  end)

  it("of C cross by the name under which a loaded module holds them", function()
    for _, f in ipairs { print, pairs, require, string.format, ("").rep, table.insert, math.floor, io.open, os.time,
      coroutine.wrap, utf8.char, debug.traceback, package.searchpath, lub.chan, lub.select, lub.after, ch.send,
      io.stdout.write } do
      assert.equals(f, through(f))
      assert.equals(f, through({ f })[1])
      assert.equals(f, there_and_back(f))
    end
    local fmt, send, pipe = string.format, ch.send, lub.chan(1)
    assert.equals("x=1", (call_there(function() return send(pipe, fmt("x=%d", 1)) and pipe:recv() end)))
  end)

  it("of C cross also when a module or a global has an alias", function()
    _G.an_alias, package.loaded.a_list_of_aliases = string.format, { floor = math.floor, print = print }
    local a, b, c = call_there(function(f, g, h)
      return f == string.format, g == math.floor, h == print
    end, string.format, math.floor, print)
    _G.an_alias, package.loaded.a_list_of_aliases = nil, nil
    assert.same({ true, true, true }, { a, b, c })
  end)

  it("of C that the receiver's module lacks are an error there that names them", function()
    package.loaded.string.an_alias = io.lines
    local lines, pipe = io.lines, lub.chan(1)
    io.lines = nil -- luacheck: ignore
    pipe:send { lines }
    io.lines, package.loaded.string.an_alias = lines, nil -- luacheck: ignore
    local ok, why = call_there(function(c) return pcall(c.recv, c) end, pipe)
    assert.is_false(ok)
    assert.matches("cannot receive the function 'string.an_alias': this worker has none", why, 1, true)
  end)

  it("of C that no module holds are refused", function()
    refused("cannot send a foreign C function (at argument 1)", string.gmatch("a", "a"))
    refused("cannot send a foreign C function (at argument 1 .f)", { f = coroutine.wrap(print) })
  end)

  it("do not need the script's string.dump or require", function()
    local dump, req, x = string.dump, require, 4
    string.dump, _G.require = nil, nil -- luacheck: ignore
    local ok, got = pcall(function() return through { f = function() return x end, lib = math } end)
    string.dump, _G.require = dump, req -- luacheck: ignore
    assert.is_true(ok, got)
    assert.equals(4, got.f())
    assert.equals(math, got.lib)
    assert.equals(dump(function() end), through(dump(function() end)))
  end)
end)

describe("modules", function()
  it("cross by name, as values and as upvalues", function()
    local l, m = lub, math
    assert.same({ true, true }, { call_there(function() return l == require "lubdub", m == math end) })
    assert.equals(lub, through(lub))
    assert.equals(math, through(math))
    local c = there_and_back { lib = string, deeper = { lub, lub } }
    assert.equals(string, c.lib)
    assert.equals(lub, c.deeper[2])
    assert.is_true((call_there(function(x) return x.lib == table end, { lib = table })))
  end)

  it("cross by name when the first function comes after them", function()
    package.loaded.plain_data = { 1 }
    local c = through { { package.loaded.plain_data }, { package.loaded.plain_data }, print }
    local alone = through { package.loaded.plain_data }
    local data = package.loaded.plain_data
    package.loaded.plain_data = nil
    assert.equals(data, c[1][1])
    assert.equals(data, c[2][1])
    assert.are_not.equal(data, alone[1]) -- pure data is copied
    assert.same(data, alone[1])
  end)

  it("with a metatable cross by name", function()
    package.loaded.with_meta = setmetatable({}, { __call = print })
    local m, c = package.loaded.with_meta, through { package.loaded.with_meta, x = 1 }
    package.loaded.with_meta = nil
    assert.equals(m, c[1])
    assert.equals(1, c.x)
  end)

  it("that the receiver does not find are an error that names them", function()
    package.loaded["no.such.module"] = { f = print }
    local ok, why = pcall(call_there, function(m) return m end, package.loaded["no.such.module"])
    package.loaded["no.such.module"] = nil
    assert.is_false(ok)
    assert.matches("module 'no.such.module' not found", why, 1, true)
  end)
end)

describe("objects", function()
  local mt = { __index = { hello = function(self) return "hi " .. self.name end } }
  lub.register("greeter", mt)

  it("cross with a registered metatable", function()
    local o = setmetatable({ name = "a" }, mt)
    o.me = o
    local c = through(o)
    assert.equals("hi a", c:hello())
    assert.equals(c, c.me)
    assert.are_not.equal(o, c)
    local pair = through { o, o, [o] = o }
    assert.equals(pair[1], pair[2])
    assert.equals(pair[1], pair[pair[1]])
    assert.equals(mt, getmetatable(pair[1]))
  end)

  it("do not cross when their name went to another class: they would arrive as its", function()
    local a, b = { __index = { who = "a" } }, { __index = { who = "b" } }
    lub.register("who", a)
    assert.equals("a", through(setmetatable({}, a)).who)
    lub.register("who", b)
    assert.equals("b", through(setmetatable({}, b)).who)
    local ok, why = pcall(through, setmetatable({}, a))
    assert.is_false(ok)
    assert.matches("metatable nobody registered", why, 1, true)
    lub.register("who", a)
    assert.equals("a", through(setmetatable({}, a)).who)
  end)

  it("get the receiver's metatable of that name", function()
    local pipe = lub.chan(1)
    local w = lub.spawn(function(c)
      lub.register("greeter", { __index = { hello = function(self) return "hallo " .. self.name end } })
      local o = c:recv()
      return o:hello(), o
    end, pipe)
    pipe:send(setmetatable({ name = "b" }, mt))
    local said, back = w:join()
    assert.equals("hallo b", said)
    assert.equals("hi b", back:hello())
  end)

  it("never run metamethods", function()
    local function never() error "a metamethod ran" end
    local trap = { __index = never, __len = never, __pairs = never, __newindex = never, __tostring = never,
      __eq = never, __name = never }
    lub.register("trap", trap)
    local t = setmetatable({ 1, 2, x = 3 }, trap)
    assert.equals(3, rawget(through(t), "x"))
    assert.equals(trap, getmetatable(through(t)))
    local ok, why = pcall(ch.send, ch, { [setmetatable({}, trap)] = coroutine.create(print) })
    assert.is_false(ok)
    assert.matches("argument 1 [a table])", why, 1, true)
  end)

  it("whose name the receiver does not know are an error there that says it", function()
    local ok, why = pcall(call_there, function() end, setmetatable({}, mt))
    assert.is_false(ok)
    assert.matches("cannot receive an object of class 'greeter': it is not registered in this worker", why, 1, true)
    local pipe = lub.chan(2)
    pipe:send { setmetatable({}, mt) }
    pipe:send "after"
    local got, reason, after = call_there(function(c)
      local good, text = pcall(c.recv, c)
      return good, text, c:recv()
    end, pipe)
    assert.is_false(got)
    assert.matches("class 'greeter'", reason)
    assert.equals("after", after)
  end)

  it("are registered with a name and a metatable", function()
    assert.has_error(function() lub.register(1, {}) end,
      "register: argument 1: expected a name (a string), got number 1")
    assert.has_error(function() lub.register("x", 2) end, "register: argument 2: expected a metatable, got number 2")
  end)
end)

describe("what cannot cross", function()
  local co = coroutine.create(print)

  it("is refused with the way to it", function()
    refused("cannot send a coroutine (at argument 1)", co)
    refused("cannot send a coroutine (at argument 1 .jobs[3].co)", { jobs = { 1, 2, { co = co } } })
    refused("cannot send a userdata (at argument 1 [1])", { io.stdout })
    refused("cannot send a fiber (at argument 1 .f)", { f = lub.go(print) })
    refused("cannot send a table with a metatable nobody registered (at argument 1 .o)", { o = setmetatable({}, {}) })
    refused("cannot send a coroutine (at argument 1 [a key])", { [co] = 1 })
    refused("cannot send a coroutine (at argument 1 .t[a key].x)", { t = { [{ x = co }] = 1 } })
    refused("cannot send a coroutine (at argument 1 [a table])", { [{}] = co })
    refused("cannot send a coroutine (at argument 1 [true][1.5][-3])", { [true] = { [1.5] = { [-3] = co } } })
  end)

  it("names upvalues", function()
    local cache = { file = io.stdout }
    local function reads() return cache end
    refused("cannot send a userdata (at argument 1 upvalue 'cache' .file)", reads)
    refused("cannot send a userdata (at argument 1 .jobs[1] upvalue 'cache' .file)", { jobs = { reads } })
    refused("cannot send a userdata (at argument 1 upvalue 'reads' upvalue 'cache' .file)", function() reads() end)
  end)

  it("is named from the upvalue on when it hangs on the spawned function", function()
    local cache = { file = io.stdout }
    local function spawn_error(...)
      local ok, why = pcall(lub.spawn, ...)
      assert.is_false(ok)
      return (why:gsub("^[^:]*:%d+: ", ""))
    end
    local function reads() return cache end
    assert.equals("cannot send a userdata (at upvalue 'cache' .file)", spawn_error(reads))
    assert.equals("cannot send a coroutine (at argument 2 .job.co)", spawn_error(print, { job = { co = co } }))
    assert.equals("cannot send a userdata (at argument 3 upvalue 'cache' .file)", spawn_error(print, 1, reads))
    assert.equals("cannot send a foreign C function (at argument 1)", spawn_error(coroutine.wrap(print)))
    local _, why = call_there(function() return 1, coroutine.create(print) end)
    assert.matches("cannot send a coroutine (at result 2)", why, 1, true)
  end)

  it("shows strange and long keys readably", function()
    refused('cannot send a coroutine (at argument 1 ["a b"]["1x"][""])', { ["a b"] = { ["1x"] = { [""] = co } } })
    refused('cannot send a coroutine (at argument 1 ["q\\"\\\\\\010\\000"])', { ['q"\\\n\0'] = co })
    refused("cannot send a coroutine (at argument 1 ." .. ("k"):rep(40) .. "...)", { [("k"):rep(1 << 20)] = co })
    refused('cannot send a coroutine (at argument 1 ["' .. ("\u{e9}"):rep(19) .. '-..."])',
      { [("\u{e9}"):rep(19) .. "-\u{20ac}" .. ("\u{e9}"):rep(99)] = co })
  end)

  it("too deep is refused, with both ends of the way", function()
    local deep = {}
    for _ = 2, 201 do deep = { deep } end
    local ends = ("[1]"):rep(8)
    refused("cannot send a value nested more than 200 levels deep (at argument 1 " .. ends .. " ... " .. ends .. ")",
      deep)
    local inner = { last = { co } }
    for i = 1, 100 do inner = { ["k" .. i] = inner } end
    refused("cannot send a coroutine (at argument 1 .k100.k99.k98.k97.k96.k95.k94.k93 ... .k6.k5.k4.k3.k2.k1.last[1])",
      inner)
    for _ = 1, 100000 do deep = { [("K"):rep(1000)] = deep } end
    assert.matches("nested more than 200 levels deep", select(2, pcall(ch.send, ch, deep)))
    local by_key = {}
    for _ = 1, 100000 do by_key = { [by_key] = 1 } end
    assert.matches("nested more than 200 levels deep", select(2, pcall(ch.send, ch, by_key)))
    local f = print
    for _ = 1, 1000 do
      local g = f
      f = function() return g end
    end
    assert.matches("nested more than 200 levels deep .at argument 1 upvalue 'g' upvalue",
      select(2, pcall(ch.send, ch, f)))
    assert.equals(0, #ch)
  end)

  it("leaves nothing behind", function()
    pcall(ch.send, ch, { lub.chan(), {}, {}, co })
    assert.same({ 1, 2, 3 }, through { 1, 2, 3 })
    local select_error = select(2, pcall(lub.select, ch << { x = co }, 0))
    assert.matches("cannot send a coroutine (at argument 1 .x)", select_error, 1, true)
    assert.equals(0, #ch)
  end)
end)

-- Random values: tables with shared parts and cycles. Table keys carry an id, so that the copies' can be found.
describe("random values", function()
  local seed = tonumber(os.getenv "SEED") or 20240229

  local function next_random(r, n)
    r.state = (r.state * 1103515245 + 12345) % 2147483648
    return (r.state >> 8) % n + 1
  end

  local scalars = {
    function(r) return next_random(r, 1000) - 500 end,
    function(r) return next_random(r, 1 << 20) * 0x123456789ABCD end,
    function(r) return next_random(r, 1000) / 7 end,
    function(r) return ("s"):rep(next_random(r, 300)) end,
    function(r) return string.char(next_random(r, 256) - 1) .. "\0" .. next_random(r, 9) end,
    function(r) return next_random(r, 2) == 1 end,
    function() return print end,
    function() return ch end,
    function() return math end,
  }

  local function generate(r, tables, depth)
    local kind = next_random(r, 10)
    if kind <= 2 and #tables > 0 then return tables[next_random(r, #tables)] end
    if kind <= 5 or depth > 6 or #tables >= 60 then return scalars[next_random(r, #scalars)](r) end
    local t = {}
    tables[#tables + 1] = t
    for i = 1, next_random(r, 6) - 1 do t[i] = generate(r, tables, depth + 1) end
    for _ = 1, next_random(r, 4) - 1 do
      local key = generate(r, tables, depth + 5)
      if type(key) == "table" and not (key == math or key.id) then key.id = #tables + next_random(r, 100000) * 1000 end
      t[key] = generate(r, tables, depth + 1)
    end
    return t
  end

  local function by_id(t)
    local ids = {}
    for k in pairs(t) do
      if type(k) == "table" and k ~= math then ids[k.id] = k end
    end
    return ids
  end

  local function same(a, b, pairs_of)
    if type(a) ~= "table" or a == math then return a == b and math.type(a) == math.type(b) end
    if type(b) ~= "table" or a == b then return false end
    if pairs_of[a] or pairs_of[b] then return pairs_of[a] == b and pairs_of[b] == a end
    pairs_of[a], pairs_of[b] = b, a
    local ids, left = by_id(b), 0
    for _ in pairs(b) do left = left + 1 end
    for k, v in pairs(a) do
      local key = k
      if type(k) == "table" and k ~= math then
        key = ids[k.id]
        if not key or not same(k, key, pairs_of) then return false end
      end
      if not same(v, b[key], pairs_of) then return false end
      left = left - 1
    end
    return left == 0
  end

  it("come back equal, with the same identities", function()
    local r, tables = { state = seed }, 0
    for n = 1, 4000 do
      local made = {}
      local v = { generate(r, made, 0), generate(r, made, 0) }
      tables = tables + #made
      assert(same(v, through(v), {}), ("value %d of SEED=%d"):format(n, seed))
      if n % 100 == 0 then assert(same(v, there_and_back(v), {}), ("value %d of SEED=%d, by spawn"):format(n, seed)) end
    end
    assert.is_true(tables > 4000)
  end)

  it("are told apart when they differ", function()
    local shared = {}
    assert.is_false(same({ shared, shared }, { {}, {} }, {}))
    assert.is_false(same({ {}, {} }, { shared, shared }, {}))
    assert.is_false(same({ 1 }, { 1.0 }, {}))
    assert.is_false(same({ 1 }, { 1, 2 }, {}))
  end)
end)

describe("a value that is being received", function()
  it("is not disturbed by finalizers that receive others meanwhile", function()
    local worker = lub.spawn(function() -- whose small heap is collected often
      local big, small, text, inside = lub.chan(1), lub.chan(1), ("s"):rep(100), 0
      local last = { __gc = function()
        local got = small:recv(0)
        if got then inside = inside + (got == text and 1 or -1e9) end
      end }
      for i = 1, 3000 do
        for _ = 1, 5 do setmetatable({}, last) end
        big:send { i, ("x"):rep(100), { tostring(i) } }
        small:send(text, 0) -- so that whoever takes it does so while the next line unpacks
        local got = big:recv()
        assert(got[1] == i and got[2] == ("x"):rep(100) and got[3][1] == tostring(i), "it was disturbed")
      end
      return inside
    end)
    local inside = assert(worker:join())
    assert(inside > 0, inside)
  end)
end)
