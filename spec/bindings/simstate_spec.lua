--- What Lua states see inside a sim: the virtual clock, random numbers of its seed, keys in an order; what no seed
--- controls is told.
local lub = require "lubdub"
local simcore = require "lubdub.simcore"
local helper = require "spec.bindings.helper"

--- The outcome of a run, which must end well unless `why` says otherwise.
local function run(fn, opts, why)
  local o = simcore.run(fn, opts or { seed = 1 })
  assert(o.why == why, ("%s: %s\n%s\n%s"):format(o.why, o.error or "", o.traceback or "", o.report or ""))
  assert(not o.referenced, "something of the sim is still referenced")
  return o
end

--- What fn returns in a sim.
local function inside(fn, opts)
  local o = run(fn, opts)
  return table.unpack(o.values, 1, o.values.n)
end

local EPOCH = 946684800 -- 2000-01-01T00:00:00Z

describe("time in a sim", function()
  local function times()
    lub.sleep(90.5)
    return os.time(), os.clock(), os.date "!%Y-%m-%d %H:%M:%S", os.date("!*t").sec
  end

  it("is the virtual clock's in the body", function()
    assert.same({ EPOCH + 90, 90.5, "2000-01-01 00:01:30", 30 }, { inside(times) })
  end)

  it("is the virtual clock's in workers, whichever library they open first", function()
    local function in_worker()
      local w = lub.spawn(function()
        require "lubdub".sleep(90.5)
        return os.time(), os.clock(), os.date "!%Y-%m-%d %H:%M:%S", os.date("!*t").sec
      end)
      return w:join()
    end
    assert.same({ EPOCH + 90, 90.5, "2000-01-01 00:01:30", 30 }, { inside(in_worker) })
    assert.same({ EPOCH }, { inside(function()
      return lub.spawn(function() return require("os").time() end):join()
    end) })
  end)

  it("of a given instant is Lua's own", function()
    local at = { year = 2020, month = 2, day = 3, hour = 4 }
    local want = os.time(at)
    assert.equal(want, inside(function() return os.time(at) end))
    assert.equal(os.date("!%c", 86400), inside(function() return os.date("!%c", 86400) end))
  end)

  it("names the caller's line in errors, as Lua's own", function()
    local _, why = inside(function() return pcall(function() return os.time "x" end) end)
    assert.matches("simstate_spec.lua:%d+: bad argument #1 to 'time'", why)
  end)

  it("goes down before the beginning when the clock jumps back", function()
    assert.equal(EPOCH - 1, inside(function() simcore.jump(-0.5) return os.time() end))
  end)
end)

describe("math.random in a sim", function()
  local function numbers()
    local list = {}
    for i = 1, 5 do list[i] = math.random(0) end
    return list
  end

  local function of_three()
    local function in_worker()
      local list = {}
      for i = 1, 5 do list[i] = math.random(0) end
      return list
    end
    return { numbers(), (lub.spawn(in_worker):join()), (lub.spawn(in_worker):join()) }
  end

  it("is the same with the same seed, and another with another", function()
    local first = inside(of_three)
    math.random()
    assert.same(first, inside(of_three))
    assert.not_same(first, inside(of_three, { seed = 2 }))
  end)

  it("is each state's own", function()
    local lists = inside(of_three)
    for _, pair in ipairs { { 1, 2 }, { 1, 3 }, { 2, 3 } } do
      assert.not_equal(lists[pair[1]][1], lists[pair[2]][1])
    end
  end)

  it("leaves the caller's generator as it is", function()
    math.randomseed(7)
    local want = numbers()
    math.randomseed(7)
    run(function() numbers() math.randomseed(3) numbers() end)
    assert.same(want, numbers())
  end)

  it("is seeded as ever by numbers, and by the run without", function()
    local function seeded()
      math.randomseed(42)
      local a = numbers()
      math.randomseed()
      local b = numbers()
      math.randomseed(42)
      return a, b, numbers(), (lub.spawn(function()
        math.randomseed()
        return math.random(0)
      end):join())
    end
    local a, b, c, d = inside(seeded)
    assert.same(a, c)
    assert.not_same(a, b)
    local a2, b2, _, d2 = inside(seeded)
    assert.same({ a, b, d }, { a2, b2, d2 })
  end)

  it("refuses what Lua's own refuses", function()
    local _, why = inside(function() return pcall(function() math.randomseed {} end) end)
    assert.matches("simstate_spec.lua:%d+: bad argument #1 to 'randomseed' %(number expected, got table%)", why)
  end)

  it("stays a stub where the script has put one", function()
    local random = math.random
    math.random = function() return 0.25 end -- luacheck: ignore 122
    local seen = inside(function() return math.random() end)
    math.random = random -- luacheck: ignore 122
    assert.equal(0.25, seen)
  end)
end)

describe("what no seed controls", function()
  local function here() return ("%s:%d"):format(debug.getinfo(2, "S").short_src, debug.getinfo(2, "l").currentline) end

  it("is listed with where and how often, and works", function()
    local where
    local o = run(function()
      for _ = 1, 3 do
        local p = io.popen "echo hello" where = here()
        assert(p:read "a" == "hello\n")
        p:close()
      end
      assert(os.getenv "HOME" == lub.spawn(function() return os.getenv "HOME" end):join())
      assert(os.execute "true")
      os.remove(os.tmpname())
    end)
    local first = o.uncontrolled[1]
    assert.same({ name = "io.popen", where = where, count = 3 }, first)
    local names = {}
    for i, c in ipairs(o.uncontrolled) do
      names[i] = c.name
      assert.matches("simstate_spec.lua:%d+$", c.where)
    end
    assert.same({ "io.popen", "os.getenv", "os.execute", "os.tmpname" }, names)
  end)

  it("is stdin, however it is read, but no other file", function()
    local path = helper.file "one\ntwo\n"
    local o = run(function()
      io.read(0)
      io.lines()
      io.stdin:read(0)
      io.stdin:lines()
      assert(io.lines(path)() == "one")
      local f <close> = io.open(path)
      assert(f:read() == "one" and f:lines()() == "two")
      io.input(f)
      assert(io.read "a" == "")
      io.input(io.stdin)
      lub.spawn(function() return io.read(0) end):join()
    end)
    os.remove(path)
    local names = {}
    for i, c in ipairs(o.uncontrolled) do names[i] = c.name end
    assert.same({ "io.read of stdin", "io.lines of stdin", "file:read of stdin", "file:lines of stdin",
      "io.read of stdin" }, names)
  end)

  it("is an error in a strict sim, at the caller's line", function()
    local o = run(function() return os.getenv "HOME" end, { seed = 1, strict = true }, "error")
    assert.matches("simstate_spec.lua:%d+: os.getenv: no seed controls it, and this sim is strict", o.error)
  end)

  it("is nothing in most sims", function()
    assert.same({}, run(function() return os.time() end).uncontrolled)
  end)

  it("is not the end of the process: os.exit is an error", function()
    local _, why, inner = inside(function()
      local ok, why = pcall(os.exit, 0)
      return ok, why, lub.spawn(function() return select(2, pcall(function() os.exit(0) end)) end):join()
    end)
    assert.matches("os.exit: inside a sim", why)
    assert.matches("simstate_spec.lua:%d+: os.exit: inside a sim", inner)
  end)
end)

describe("pairs and next in a sim", function()
  --- The keys of t, in the order of pairs; asks next too.
  local function keys(t)
    local list, k = {}, nil
    for key, v in pairs(t) do
      list[#list + 1] = key
      assert(rawequal(t[key], v))
    end
    for _, key in ipairs(list) do
      k = next(t, k)
      assert(rawequal(k, key))
    end
    assert(next(t, k) == nil)
    return list
  end

  it("give integers, other numbers, strings and booleans, each in their order", function()
    local t = { "one", "two", [4] = 4, [100] = 100, [0] = 0, [-3] = -3, [0.5] = 0.5, [-math.huge] = 1, b = 1, a = 1,
      aa = 1, ["a\0b"] = 1, [""] = 1, [true] = 1, [false] = 1, [2^53] = 1, [math.mininteger] = 1 }
    local want = { 1, 2, 4, 100, 2^53 | 0, -math.huge, math.mininteger, -3, 0, 0.5, "", "a", "a\0b", "aa", "b", false,
      true }
    assert.same(want, inside(function() return keys(t) end))
  end)

  it("give the same in workers", function()
    local list = inside(function()
      return lub.spawn(function()
        local list = {}
        for k in pairs { x = 1, y = 2, z = 3, a = 4, 5, [true] = 6 } do list[#list + 1] = k end
        for _, name in ipairs { "_G", "string" } do
          local t, last = _G[name], nil
          for k in pairs(t) do -- also of libraries that were not open
            assert(not last or k > last)
            last = k
          end
        end
        return list
      end):join()
    end)
    assert.same({ 1, "a", "x", "y", "z", true }, list)
  end)

  it("give handles in the order in which they were made", function()
    run(function()
      local t, want = {}, {}
      for i = 1, 20 do want[i] = lub.chan() end
      for i = 21, 30 do want[i] = lub.spawn(function() end) end
      for i = 31, 40 do want[i] = lub.go(function() end) end
      for i = 1, 40 do t[want[i * 7 % 41]] = true end
      local got = keys(t)
      for i = 1, 40 do assert(rawequal(got[i], want[i]), i) end
    end)
  end)

  it("leave keys that nothing orders for last, which is told once", function()
    local o = run(function()
      local t = { z = 1, [print] = 1, [{}] = 1, a = 1, [coroutine.create(print)] = 1, 1 }
      for _ = 1, 3 do
        local list = keys(t)
        assert(#list == 6 and list[1] == 1 and list[2] == "a" and list[3] == "z")
      end
      assert(#keys { [print] = 1 } == 1)
    end)
    assert.equal(1, #o.uncontrolled)
    assert.equal("iteration over reference keys", o.uncontrolled[1].name)
    assert.matches("simstate_spec.lua:%d+", o.uncontrolled[1].where)
    assert.same({}, run(function() keys { [{}] = 1, a = 1, [{}] = nil } end).uncontrolled)
  end)

  it("raise over such keys when the sim is strict", function()
    local o = run(function() keys { [{}] = 1, [print] = 1 } end, { seed = 1, strict = true }, "error")
    assert.matches("simstate_spec.lua:%d+: iteration over reference keys: no seed controls it", o.error)
  end)

  it("go on while fields are changed or removed", function()
    run(function()
      local t, seen = {}, 0
      for i = 1, 50 do t[i], t["k" .. i], t[-i], t[print] = i, i, i, 1 end
      for k in pairs(t) do
        seen, t[k] = seen + 1, nil
        collectgarbage "step"
      end
      assert(seen == 151 and next(t) == nil)
      t, seen = { 1, 2, 3, 4, a = 1, b = 2, c = 3 }, {}
      for k in pairs(t) do
        seen[#seen + 1] = k
        t[2], t.b, t.c = nil, nil, 7
      end
      assert(table.concat(seen, " ") == "1 3 4 a c")
    end)
  end)

  it("serve several loops over one table, and begin anew after a break", function()
    run(function()
      local t, n = { 1, 2, [5] = 5, [7] = 7, a = 1, b = 2, c = 3 }, 0
      for _ in pairs(t) do
        for k in pairs(t) do
          n = n + 1
          if k == "b" then break end
        end
      end
      assert(n == 7 * 6)
      t.bb = 1
      assert(table.concat(keys(t), " ") == "1 2 5 7 a b bb c")
      local k = 2
      for _, want in ipairs { 5, 7, "a", "b", "bb", "c" } do
        k = next(t, k)
        assert(k == want and next(t, 1) == 2)
      end
    end)
  end)

  it("let go of the tables", function()
    run(function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local t = { a = 1, b = 2 }
        weak[t] = true
        for _ in pairs(t) do break end -- luacheck: ignore 512
        next(t, "a")
      end
      collectgarbage()
      collectgarbage()
      assert(next(weak) == nil)
    end)
  end)

  it("keep to Lua's rules", function()
    run(function()
      local function once(x) return function(_, k) return not k and 1 or nil, x end, x, nil end
      local t = setmetatable({}, { __pairs = once })
      local n = 0
      for k, v in pairs(t) do
        n = n + 1
        assert(k == 1 and v == t)
      end
      assert(n == 1 and next(t) == nil and pairs {} == next)
      helper.raises("bad argument #1 to 'next' (table expected, got nil)", function() return next(nil) end)
      helper.raises("bad argument #1 to 'for iterator' (table expected, got nil)", function()
        for _ in pairs(nil) do return end -- luacheck: ignore 512
      end)
      helper.raises("bad argument #1 to 'pairs'", function() return pairs() end)
      helper.raises("invalid key to 'next'", function() return next({ a = 1 }, "never") end)
      helper.raises("invalid key to 'next'", function() return next({ a = 1 }, {}) end)
    end)
  end)

  it("are Lua's own again after it", function()
    local own_next, own_pairs = next, pairs
    local next_inside, pairs_inside = inside(function() return next, pairs end)
    assert.equal(own_next, next)
    assert.equal(own_pairs, pairs)
    assert.same({ "a", 1 }, { next_inside { a = 1 } })
    for k, v in pairs_inside { a = 1 } do assert.same({ "a", 1 }, { k, v }) end
  end)

  it("decide which of several values that cannot cross is named", function()
    local t = { zeta = 1, beta = coroutine.create(print), alpha = 2, gamma = print, delta = coroutine.create(print) }
    for _ = 1, 5 do
      local _, why = inside(function()
        local copy = {}
        for _, k in ipairs { "gamma", "delta", "beta", "zeta" } do copy[k] = t[k] end
        return pcall(lub.chan(1).send, lub.chan(1), copy)
      end)
      assert.matches("cannot send a coroutine %(at argument 1 .beta%)", why)
    end
  end)
end)

describe("the guard of a sim", function()
  local function hog(fn)
    local o = run(fn, { seed = 1, guard = 0.1 }, "hog")
    assert.matches("hog: fiber '%w+' of worker '.-' did nothing for 0.1 s of real time but run", o.report)
    assert.matches("simstate_spec.lua:%d+: in ", o.report)
    return o
  end

  local function loop()
    while true do end
  end

  it("ends a run whose body loops", function()
    local o = hog(loop)
    assert.matches("in function 'loop'\n", (o.report:gsub("function <[^>]*>", "function 'loop'")))
  end)

  it("ends one in which a fiber or a worker does, and says which", function()
    hog(function()
      lub.go(loop)
      lub.sleep(1)
    end)
    local o = hog(function()
      lub.spawn({ name = "looper" }, loop):join()
    end)
    assert.matches("worker 'looper'", o.report)
  end)

  it("ends one after the body has returned", function()
    hog(function() lub.go(loop) end)
  end)

  it("is not kept off by pcall, coroutines, comparators or close handlers", function()
    hog(function()
      while true do pcall(loop) end
    end)
    hog(coroutine.wrap(loop))
    hog(function() table.sort({ 1, 2, 3 }, loop) end)
    hog(function() local x <close> = setmetatable({}, { __close = loop }) end) -- luacheck: ignore
    hog(function()
      lub.go(function()
        local x <close> = setmetatable({}, { __close = loop }) -- luacheck: ignore
        lub.chan():recv()
      end)
    end)
  end)

  it("leaves the state as it was", function()
    hog(loop)
    assert.equal(3, inside(function() return lub.go(function() return 3 end):join() end))
  end)

  it("leaves alone a run that gets on, however slowly", function()
    local clock = os.clock
    run(function()
      local start = clock()
      while clock() < start + 0.4 do
        lub.yield()
        lub.sleep(0.001)
      end
    end, { seed = 1, guard = 0.1, steps = 1e9 // 1 })
  end)

  it("can be switched off", function()
    local clock = os.clock
    run(function()
      local start = clock()
      while clock() < start + 0.3 do end
    end, { seed = 1, guard = 0 })
    assert.is_false(pcall(simcore.run, print, { guard = -1 }))
    assert.is_false(pcall(simcore.run, print, { guard = "x" }))
  end)

  it("says on stderr where a C call sits that it cannot end", function()
    if os.getenv "SAN" == "thread" then return pending "ThreadSanitizer keeps signals back in a C call" end
    local script = helper.file [[
      local lub, simcore = require "lubdub", require "lubdub.simcore"
      local o = simcore.run(function()
        os.execute "sleep 1"
        return 1
      end, { guard = 0.1 })
      print(o.why)]]
    local code, out, err = helper.shell(helper.lua .. " " .. script)
    os.remove(script)
    assert.equal(0, code)
    assert.matches("sim: for 0.1 s of real time a fiber has been in execute, called at .-:3; nothing can end it\n", err)
    assert.equal("hog\n", out)
  end)
end)

describe("a test that fails so", function()
  local sim = require "lubdub.sim"

  local function told(opts, fn)
    local ok, why = pcall(sim.run, opts, fn)
    assert.is_false(ok)
    return tostring(type(why) == "table" and why.message or why)
  end

  it("says who was the hog, and what to do", function()
    local text = told({ guard = 0.1 }, function()
      while true do end
    end)
    assert.matches("hog at t=%+0.000000000s %(virtual%)\nhog: fiber 'main' of worker 'main' did nothing for 0.1 s",
      text)
    assert.matches("hint: only operations of the engine are seen", text)
  end)

  it("is not run again and again if it is a hog's", function()
    local runs = 0
    local ok = pcall(lub.explore.run, { guard = 0.1, runs = 5 }, function()
      runs = runs + 1
      while true do end
    end)
    assert.is_false(ok)
    assert.is_true(runs <= 2)
  end)

  it("names what no seed controls; strict refuses it", function()
    local text = told({}, function()
      os.getenv "HOME"
      error "boom"
    end)
    assert.matches("uncontrolled: os.getenv at .-simstate_spec.lua:%d+", text)
    assert.matches("os.getenv: no seed controls it", told({ strict = true }, function() os.getenv "HOME" end))
  end)

  it("has options that are checked", function()
    for _, bad in ipairs { -1, "x", helper.nan, {} } do
      assert.matches("guard: expected a finite number from 0", told({ guard = bad }, print))
    end
    sim.run({ guard = 0, strict = false }, function() end)
  end)
end)

describe("a run in another process", function()
  local text = [[
    local lub, simcore = require "lubdub", require "lubdub.simcore"
    local o = simcore.run(function()
      local stock, log = {}, {}
      for _, name in ipairs { "pear", "apple", "fig", "plum", "cherry", "quince" } do stock[name] = lub.chan(1) end
      for name, ch in pairs(stock) do
        local done = lub.chan()
        lub.spawn({ name = name }, function(name, ch, done)
          local lub, seen = require "lubdub", { one = 1, two = 2, three = 3, four = 4, [name] = 5 }
          for k in pairs(seen) do
            lub.sleep(math.random())
            ch:send(("%s %s %d %.3f"):format(name, k, os.time(), os.clock()))
          end
          done:send(name)
        end, name, ch, done)
        lub.go(function()
          while true do
            local from, v = lub.select(ch, done, math.random(3))
            log[#log + 1] = v
            if from == done then break end
          end
        end)
      end
      lub.sleep(20)
      for name in pairs(stock) do log[#log + 1] = name end
      return table.concat(log, "\n")
    end, { seed = 5, trace = true, choices = true })
    io.write(o.hash, " ", o.steps, " ", tostring(o.why), "\n", o.values and o.values[1] or o.report, "\n", o.trace)]]

  it("is the same to the last line of its trace", function()
    local script = helper.file(text)
    local code, first = helper.shell(helper.lua .. " " .. script)
    assert.equal(0, code)
    assert.matches("nil\n", first)
    assert.matches("\tsend\tplum\t", first:gsub("(\t%w+)(\tsend\t)", "\tsend%1\t"))
    for _ = 1, 3 do
      local _, again = helper.shell(helper.lua .. " " .. script)
      assert.equal(first, again)
    end
    os.remove(script)
  end)
end)

describe("the caller's libraries", function()
  local time, clock, date = os.time, os.clock, os.date

  local function assert_own()
    assert.equal(time, os.time)
    assert.equal(clock, os.clock)
    assert.equal(date, os.date)
  end

  it("have their own functions again after a sim", function()
    run(function() assert(os.time ~= time and os.clock ~= clock and os.date ~= date) end)
    assert_own()
  end)

  it("have them also after one that fails", function()
    run(function() error "boom" end, nil, "error")
    assert_own()
    run(function() lub.chan():recv() end, nil, "deadlock")
    assert_own()
    assert.is_false(pcall(simcore.run, print, { seed = "x" }))
    assert_own()
  end)

  it("have them also when the script replaced or removed them meanwhile", function()
    run(function()
      os.time = function() return 1 end -- luacheck: ignore 122
      os.clock = nil -- luacheck: ignore 122
    end)
    assert_own()
  end)

  it("keep what the script had put there before", function()
    local function stub() return 42 end
    os.time = stub -- luacheck: ignore 122
    local seen = inside(function() return os.time() end)
    local after = os.time
    os.time = time -- luacheck: ignore 122
    assert.equal(42, seen)
    assert.equal(stub, after)
  end)

  it("are Lua's own to who kept a function of the sim's", function()
    local kept = inside(function() return os.time end)
    assert.is_true(math.abs(kept() - time()) <= 1)
  end)

  it("cross to workers by name, though a local has Lua's own", function()
    assert.equal(EPOCH, inside(function() return lub.spawn(function() return time() end):join() end))
  end)
end)


