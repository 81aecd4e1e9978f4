-- A script cannot tell a worker's state from stock Lua's, whatever it touches first. Each probe is a script of its own:
-- it runs in stock Lua, in the command and in a spawned worker, and must print the same in all three.
local helper = require "spec.bindings.helper"

local spawning = [[
local lub = require "lubdub"
for _, probe in ipairs(arg) do
  local _, why = lub.spawn(probe):join()
  if why then error(why, 0) end
end
]]

-- What the line prints, but for addresses.
local function output(line)
  local code, out, err = helper.shell(line)
  return code .. "\n" .. (out .. err):gsub("0x%x+", "0x")
end

local function each(program, paths)
  return ("(for p in %s; do timeout 20 %s $p || exit; done)"):format(paths, program)
end

local function same_everywhere(...)
  local probes, spawner = {}, helper.file(spawning)
  for i, text in ipairs { ... } do probes[i] = helper.file(text) end
  local paths = table.concat(probes, " ")
  local stock = output(each(helper.lua, paths))
  local main = output(each(helper.command .. " run", paths))
  local spawned = output(("timeout 20 %s run %s %s"):format(helper.command, spawner, paths))
  os.remove(spawner)
  for _, path in ipairs(probes) do os.remove(path) end
  assert(stock:find "^0\n.", "the probe itself fails: " .. stock)
  assert.equals(stock, main)
  assert.equals(stock, spawned)
end

local libraries = { "string", "table", "math", "utf8", "os", "io", "coroutine", "debug", "package" }

local function for_each_library(text)
  local probes = {}
  for i, name in ipairs(libraries) do probes[i] = text:gsub("LIB", name) end
  same_everywhere(table.unpack(probes))
end

describe("the globals of a worker, like stock Lua's,", function()
  local sorted = [[
    local names = {}
    ITERATE if k ~= "arg" then names[#names + 1] = k .. " " .. type(v) end end
    table.sort(names)
    print(table.concat(names, "\n"))
  ]]
  for _, iterate in ipairs { "for k, v in pairs(_G) do", "for k, v in next, _G do", "for k, v in pairs(_ENV) do",
    "local k, v while true do k, v = next(_G, k) if k == nil then break end",
    "local _ENV = setmetatable({}, { __index = _G, __pairs = function() return next, _G end }) for k, v in pairs(_ENV) "
      .. "do",
  } do
    it("are all there for: " .. iterate, function()
      same_everywhere((sorted:gsub("ITERATE", function() return iterate end)))
    end)
  end

  it("are found raw", function()
    for_each_library 'print(type(rawget(_G, "LIB")), rawlen(_G), #_G, rawequal(_G, _G._G))'
    same_everywhere [[
      local print, next, globals = print, next, _G
      local n = 0
      for k in next, globals do globals[k] = nil n = n + 1 end
      print(n > 20, next(globals))
    ]]
  end)

  it("can be set raw", function()
    for_each_library 'rawset(_G, "LIB", 5) print(LIB, rawget(_G, "LIB")) print(type(require "LIB"))'
    for_each_library 'rawset(_G, "LIB", nil) print(LIB, rawget(_G, "LIB")) print(type(require "LIB"), LIB)'
    for_each_library 'rawset(_G, "LIB", false) for k, v in next, _G do if k == "LIB" then print(v) end end'
  end)

  it("can be taken by the script", function()
    for_each_library 'LIB = 5 print(LIB, rawget(_G, "LIB")) print(type(require "LIB"), LIB)'
    for_each_library 'LIB = nil print(LIB, rawget(_G, "LIB")) print(type(require "LIB"), LIB)'
    for_each_library '_G["LIB"] = nil local l = require "package".loaded.LIB print(type(l), LIB)'
    for_each_library 'LIB = LIB print(LIB == require "LIB", LIB == require "package".loaded.LIB)'
    for_each_library [[
      local old = LIB LIB = nil
      for k in pairs(_G) do if k == "LIB" then print "back" end end print(type(old))
    ]]
  end)

  it("are there for whatever touches one of them first", function()
    same_everywhere('print = nil io.write(tostring(print), "\\n")', 'x = 1 print(x, _G.x, _ENV.x)',
      '_VERSION = 7 print(_VERSION, _G._VERSION)', 'assert = false print(assert, rawget(_G, "assert"))',
      '_G = nil print(_G, _ENV._G)', 'local e = _ENV e.print, e.type = e.print, nil e.print(e.type, nothing)',
      'print(rawequal(_ENV, _G), #_G)', 'nothing = nil print(nothing)', 'print(require == _G.require)',
      'function print(...) io.write("mine ", ..., "\\n") end print(_VERSION)',
      '_ENV[1] = "a" print(_G[1], #_ENV)', 'local s = ("x"):rep(3) print(s)', 'print(pcall(nothing))')
  end)

  it("take a strict metatable", function()
    for_each_library [[
      setmetatable(_G, {
        __newindex = function(_, name) error("assign to undeclared " .. name, 2) end,
        __index = function(_, name) error("undeclared " .. name, 2) end,
      })
      print(pcall(function() foo = 1 end))
      print(pcall(function() return foo end))
      print(type(LIB), type(rawget(_G, "LIB")))
      LIB = nil
      print(pcall(function() return LIB end))
      print(pcall(function() LIB = 1 end))
      rawset(_G, "LIB", 7)
      print(LIB)
    ]]
    same_everywhere [[
      local mt = getmetatable(_G)
      print(mt)
      if mt == nil then mt = {} setmetatable(_G, mt) end
      print(getmetatable(_G) == mt, next(mt))
      mt.__metatable = "locked"
      print(getmetatable(_G), pcall(setmetatable, _G, nil))
      print(type(table), type(os))
    ]]
  end)

  it("take a metatable that finds names elsewhere", function()
    for_each_library 'setmetatable(_G, { __index = { x = 1, LIB = 2 } }) print(x, type(LIB)) LIB = nil print(LIB)'
    for_each_library 'print(setmetatable(_G, nil) == _G, type(LIB))'
  end)

  it("can be had through other environments", function()
    for_each_library [[
      local env = setmetatable({}, { __index = _G })
      print(load("return type(LIB)", "x", "t", env)(), rawget(env, "LIB"))
      local function inside(_ENV) return LIB end
      print(inside(env) == LIB, inside {})
    ]]
    for_each_library 'local t = setmetatable({}, { __newindex = _G }) t.LIB = 1 print(LIB, rawget(t, "LIB"))'
    for_each_library 'local t = setmetatable({}, { __newindex = _G }) t.LIB = nil print(LIB) print(type(require "LIB"))'
    for_each_library 'local print, _ENV = print, { LIB = 3 } print(LIB)'
    for_each_library 'print(load("LIB = nil return LIB")(), LIB)'
    for_each_library 'print(coroutine.wrap(function() return type(LIB), LIB == _G.LIB end)())'
  end)

  it("refuse impossible keys with the line", function()
    same_everywhere [[
      print(pcall(function() _G[nil] = 1 end))
      print(pcall(function() _G[0 / 0] = 1 end))
      print(pcall(rawset, _G, nil, 1))
      print(pcall(rawset, _G, 0 / 0, 1))
      _G[1], _G[2.0], _G[true] = "a", "b", "c"
      print(#_G, _G[2], _G[true], _G[nil], _G[0 / 0], table.concat(_G, ","), table.unpack(_G))
    ]]
  end)

  it("are a plain table with plain functions", function()
    same_everywhere [[
      print(_G, _G._G == _G, _ENV == _G, _VERSION)
      print(pairs {} == next, select("#", pairs {}), ipairs {} ~= nil)
      print(pcall(next), pcall(next, 1))
      print(pcall(next, {}, "no such key"))
      print(pcall(next, _G, "no such key"))
      print(pcall(pairs), pcall(pairs, nil))
      print(pcall(rawget), pcall(rawget, 1, 2), pcall(rawget, {}))
      print(pcall(rawset), pcall(rawset, {}, 1), pcall(rawset, 1, 2, 3))
      print(pcall(getmetatable), getmetatable(1), getmetatable(nil), getmetatable(print))
      print(pcall(setmetatable), pcall(setmetatable, {}), pcall(setmetatable, {}, 1), pcall(setmetatable, 1, {}))
      print(pcall(setmetatable, setmetatable({}, { __metatable = 1 }), nil))
      print(getmetatable(setmetatable({}, { __metatable = false })))
      local function where(f, ...) f(...) return nil end
      for _, f in ipairs { next, pairs, rawget, rawset, getmetatable, setmetatable, load, loadfile, dofile, require } do
        print(pcall(where, f))
      end
      local once = { __pairs = function(t) return function(_, i) return not i and 1 or nil, 2 end, t end }
      for k, v in pairs(setmetatable({}, once)) do print(k, v) end
      local yielding = setmetatable({}, { __pairs = function() coroutine.yield "yielded" return next, { 1 } end })
      local w = coroutine.wrap(function() for k in pairs(yielding) do print(k) end end)
      print(w(), w())
    ]]
  end)
end)

describe("the libraries of a worker, like stock Lua's,", function()
  it("have the same members", function()
    for_each_library [[
      local names = {}
      for k, v in pairs(LIB) do
        local shown = k == "preload" and "" or tostring(v)
        names[#names + 1] = tostring(k) .. " " .. type(v) .. " " .. shown:gsub("0x%x+", "0x"):gsub("builtin.*", "")
      end
      table.sort(names)
      print(table.concat(names, "\n"), LIB)
    ]]
  end)

  it("and base functions are told by debug as they are", function()
    same_everywhere [[
      local lines = {}
      for module, t in pairs(package.loaded) do
        for name, f in pairs(t) do
          if type(f) == "function" then
            local i = debug.getinfo(f, "Su")
            local up = debug.getupvalue(f, 1)
            lines[#lines + 1] = module .. "." .. name .. " " .. i.what .. " " .. i.short_src .. " " .. i.nups .. " " ..
              i.nparams .. " " .. tostring(i.isvararg) .. " " .. tostring(up)
          end
        end
      end
      table.sort(lines)
      print(table.concat(lines, "\n"))
    ]]
  end)

  it("are in package.loaded", function()
    same_everywhere [[
      local names = {}
      for k, v in pairs(package.loaded) do names[#names + 1] = k .. " " .. tostring(v == _G[k]) end
      table.sort(names)
      print(table.concat(names, "\n"))
    ]]
    for_each_library 'local loaded = require "package".loaded print(loaded.LIB == LIB, loaded._G == _G)'
    for_each_library 'package.loaded.LIB = nil print(type(LIB), pcall(require, "LIB"))'
    for_each_library 'package.loaded.LIB = 5 print(type(LIB), require "LIB")'
    for_each_library [[
      local old = LIB package.loaded.LIB = nil package.preload.LIB = function(...) return ... end print(require "LIB")
    ]]
  end)

  it("are what require gives", function()
    for_each_library 'local l = require "LIB" print(l == LIB, l == require "LIB", select("#", require "LIB"))'
    same_everywhere 'print(require "_G" == _G, select("#", require "_G"))'
    same_everywhere [[
      print(pcall(function() require "nobody_has_this" end))
      print(pcall(require, "nobody_has_this"))
      print(pcall(function() require {} end), pcall(require), pcall(require, nil))
      package.preload.mine = function(...) print(...) return "mine" end
      print(require "mine", require "mine", (require "mine"))
      print(require "mine")
      table.insert(package.searchers, 2, function(name) return function(...) print(...) end, name .. "!" end)
      print(require "other", package.loaded.other)
      package.searchers = nil
      print(pcall(function() require "third" end))
    ]]
    same_everywhere [[
      local r = require require = nil print(r "table" == table, require)
      print(r == package.require, rawget(_G, "require"))
    ]]
    same_everywhere 'local r = require require = 5 print(type(package), require)'
  end)

  it("are in the registry", function()
    same_everywhere [[
      local registry = debug.getregistry()
      local names = {}
      for k, v in pairs(registry._LOADED) do names[#names + 1] = k .. " " .. tostring(v == _G[k]) end
      table.sort(names)
      print(table.concat(names, "\n"))
      print(registry[2] == _G, registry._LOADED == package.loaded, registry._PRELOAD == package.preload)
      print(registry["FILE*"] == getmetatable(io.stdout), type(registry._CLIBS))
    ]]
    same_everywhere 'print(require "debug".getmetatable(_G), debug.getmetatable("").__index == string)'
    same_everywhere 'print(debug.setmetatable(_G, nil) == _G, type(table), type(os))'
    same_everywhere [[
      debug.setmetatable(_G, { __index = function(_, k) return k end })
      print(x, type(table), type(utf8))
    ]]
    same_everywhere 'local d = debug debug = nil print(d.getmetatable(_G), type(utf8), debug)'
  end)

  it("warn when they are told to", function()
    same_everywhere [[
      print(pcall(warn), pcall(warn, {}), pcall(warn, "a", 1, nil))
      warn "silent"
      warn("@", "on")
      warn "silent"
      warn "@on"
      warn("one ", "two ", 3)
      warn "@unknown"
      warn("@off", " is text here")
      setmetatable({}, { __gc = function() error "in a finalizer" end })
      collectgarbage()
      warn "@off"
      warn "silent"
      warn("text", "@on")
      warn "loud again"
      print "end"
    ]]
  end)

  it("are there for finalizers of the end", function()
    same_everywhere [[
      setmetatable({}, { __gc = function()
      print(table.concat { "a", ("b"):upper(), "1" + 1 }) end }) print "end"
    ]]
  end)
end)

describe("the strings of a worker, like stock Lua's,", function()
  it("have methods", function()
    same_everywhere 'print(("abc"):upper(), ("abc").len == string.len, ("%d"):format(3), ("abc"):rep(2, "-"))'
    same_everywhere 'print(("x").nope, ("x")[1], ("x")[nil], #"x") print(pcall(function() return ("x").nope.y end))'
    same_everywhere 'print(pcall(function() return ("x"):nope() end)) print(pcall(function() ("x").y = 1 end))'
    same_everywhere [[
      print(pcall(function() return ("x"):rep() end))
      print(pcall(function() return ("x").rep({}) end))
      print(pcall(string.rep))
    ]]
    same_everywhere 'string = nil print(("abc"):upper(), string, require "string" == getmetatable("").__index)'
    same_everywhere 'local f = ("x").upper print(f == string.upper, f == require "string".upper)'
    same_everywhere 'string.shout = function(s) return s:upper() .. "!" end print(("abc"):shout())'
    same_everywhere 'local s = "x" print(pcall(function() local a = s.y.z end)) print(pcall(function() s.y() end))'
  end)

  it("have a metatable", function()
    same_everywhere [[
      print(getmetatable("").__index == string, getmetatable("") == getmetatable "other", getmetatable("").__name)
    ]]
    same_everywhere [[
      local n = {}
      for k, v in next, getmetatable("") do n[#n + 1] = k .. " " .. type(v) end table.sort(n)
      print(table.concat(n, " "))
    ]]
    same_everywhere 'getmetatable("").__index = function(s, k) return s .. k end print(("a").b, string.upper "c")'
    same_everywhere [[
      local s = string getmetatable("").__add = function(a, b) return a .. b end print("a" + "b", "1" * 2, string == s)
    ]]
    same_everywhere 'local s = string package.loaded.string = nil print(getmetatable("").__index == s, ("x").len)'
    same_everywhere 'getmetatable("").__call = function(s, x) return s .. x end print(("a")("b"))'
    same_everywhere 'print(pcall(setmetatable, "", {}))'
    same_everywhere [[
      debug.setmetatable("", nil)
      print(pcall(function() return ("x").y end))
      print(pcall(function() return "1" + 1 end))
    ]]
    same_everywhere [[
      debug.setmetatable("", { __index = function(_, k) return k end })
      print(("x").y, string.upper("z"))
    ]]
  end)

  it("count", function()
    for _, op in ipairs { "+", "-", "*", "/", "//", "%", "^", "&", "|", "~", "<<", ">>", "..", "==" } do
      same_everywhere((([[
        local a, t = "a", {}
        print(pcall(function() return "10" OP "3", "10" OP 3, 10 OP "0x3", " 3 " OP 2.0 end))
        print(pcall(function() return a OP 1 end))
        print(pcall(function() return 1 OP a end))
        print(pcall(function() return a OP a end))
        print(pcall(function() return "1" OP t end))
      ]]):gsub("OP", (op:gsub("%%", "%%%%")))))
    end
    same_everywhere 'print(-"2", -"0x10", -"1.5", - -"3")'
    same_everywhere 'local a = "a" print(pcall(function() return -a end))'
    same_everywhere 'print(pcall(function() return ~"a" end)) print(pcall(function() return ~"1" end))'
    same_everywhere 'print(math.type("10" + 0), math.type("10.0" + 0), "9007199254740993" + 0, "1" // 1)'
    same_everywhere [[
      print(pcall(function() return "1" // 0 end))
      print(pcall(function() return "1" // "0" end))
      print("1" / 0)
    ]]
    same_everywhere 'print(pcall(function() for i = "1", 2 do end end))'
  end)

  it("leave arithmetic to a metatable beside them", function()
    for _, op in ipairs { "add +", "sub -", "mul *", "div /", "idiv //", "mod %", "pow ^", "band &" } do
      local event, sign = op:match "(%a+) (.+)"
      same_everywhere(([[
        local t = setmetatable({}, { __%s = function(a, b) return type(a) .. type(b) end })
        print("a" %s t, t %s "a", "1" %s t)
      ]]):format(event, sign, sign, sign))
    end
    same_everywhere [[
      local t = setmetatable({}, { __sub = function() error "mine" end })
      print(pcall(function() return "a" - t end))
      print(xpcall(function() return "a" + 1 end, function(m) return "handled " .. m end))
    ]]
  end)
end)

describe("the loading functions of a worker, like stock Lua's,", function()
  it("name themselves and the line in their errors", function()
    same_everywhere [[
      print(load "return 1 +")
      print(load("x =", "=name"), load("x =", "@file"))
      print(load(5))
      print(pcall(function() load() end))
      print(pcall(function() load({}) end))
      print(pcall(function() load("", {}) end))
      print(pcall(function() return load(function() return {} end) end))
      print(pcall(load, function() error "from the reader" end))
      local pieces = { "return ", "...", nil }
      local i = 0
      print(load(function() i = i + 1 return pieces[i] end)(1, 2))
      print(load("return x", "c", "t", { x = 7 })(), load("return x", "c", nil, { x = 8 })())
      print(pcall(load("return x", "c", "t", nil)))
      print(load "\27Lua" ~= nil, pcall(load, "return 1", "c", "t"))
      print(pcall(function() loadfile {} end))
      print(loadfile "/nonexistent/file", pcall(dofile, "/nonexistent/file"))
      print(pcall(function() dofile {} end))
    ]]
  end)
end)

describe("the coroutines of a worker, like stock Lua's,", function()
  it("name themselves and what they want in their errors", function()
    same_everywhere [[
      for _, name in ipairs { "create", "wrap", "resume", "yield", "close", "status", "isyieldable" } do
        local f = coroutine[name]
        print(name, pcall(f))
        print(name, pcall(f, nil))
        print(name, pcall(f, 5))
        print(name, pcall(function() f {} end))
        print(name, pcall(function() coroutine[name](print) end))
      end
      print(pcall(coroutine.wrap(function() error "inside" end)))
      print(pcall(coroutine.wrap(function() error {} end)))
      local w = coroutine.wrap(print)
      w()
      print(pcall(w))
      print(pcall(function() w() end))
      print(coroutine.resume(coroutine.running()))
      print(select(2, coroutine.running()), coroutine.isyieldable(), coroutine.status(coroutine.running()))
      print(pcall(coroutine.close, coroutine.running()))
      print(coroutine.wrap(function() return pcall(table.sort, { 1, 2, 3 }, coroutine.yield) end)())
    ]]
  end)
end)

describe("a worker whose memory ends while a library opens", function()
  -- Each size of memory ends in another place. A coroutine gives the error to the body, which goes on.
  local function sweep(body, ...)
    local lub = require "lubdub"
    local seen = {}
    for memory = 9000, 20000, 24 do
      local ok, worker = pcall(lub.spawn, { memory = memory }, body, ...)
      if ok then
        local what = worker:join()
        if what then seen[tostring(what)] = true end
      end
    end
    return seen
  end

  it("finds the whole of it, or nothing, later", function()
    local coroutine, string = coroutine, string
    local seen = sweep(function(code)
      local resume, create = coroutine.resume, coroutine.create
      local made = { create(function() return print end), create(function() end), create(function() end) }
      local opened = resume(made[1])
      made[1], made[2], made[3] = nil, nil, nil -- room for what follows
      local load, next, type = load, next, type
      local function runs(f) return f and f() end
      return opened or not type or (runs(load(code, "x", "b")) or next({}, nil) or type(load) .. " " .. type(next))
    end, string.dump(function() return "bytecode ran" end))
    assert.is_true(seen["function function"], "memory never ended there")
    seen["function function"], seen["true"] = nil, nil
    assert.same({}, seen)
  end)
end)

describe("a stock Lua's base library", function()
  it("stays as it is, whatever the script has made of package.loaded", function()
    local code, out, err = helper.stock [[
      local lub = require "lubdub"
      local ch = lub.chan(1)
      lub.spawn(function(to) to:send(tostring) end, ch):join()
      local old = print
      print = function(...) old("mine", ...) end
      package.loaded._G = nil
      print(pcall(ch.recv, ch) == false, type(load), pcall(require, "string"))
    ]]
    assert.same({ 0, "" }, { code, err })
    assert.matches("^mine\ttrue\tfunction\ttrue", out)
  end)
end)
