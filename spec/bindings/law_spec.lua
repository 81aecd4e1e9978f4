-- The laws as DESIGN.md counts them. What is of carriers, signals and C calls is tried on real threads, in real time;
-- no spec sleeps there until something has probably happened.
local lub = require "lubdub"
require "lubdub.sim"
local support = require "spec.support"
local same, eventually, refused = support.same, support.eventually, support.refused
local everywhere, in_fibers, in_worker = support.words(it)

describe("law 1: a worker runs on one carrier at a time", function()
  in_worker("so plain increments of its fibers are never lost, however many carriers there are", function()
    local workers = {}
    for w = 1, 8 do
      workers[w] = lub.spawn(function()
        local n, fibers = 0, {}
        for i = 1, 20 do
          fibers[i] = lub.go(function()
            for _ = 1, 200 do
              local seen = n
              n = seen + 1
              lub.yield()
            end
          end)
        end
        for i = 1, 20 do fibers[i]:join() end
        return n
      end)
    end
    for w = 1, 8 do same({ 4000 }, { workers[w]:join() }) end
  end, { carriers = 8 })

  in_worker("and a wake that arrives while it goes idle is not lost", function()
    local ping, pong, n = lub.chan(), lub.chan(), 20000
    local w = lub.spawn(function(i, o)
      for v in i do o:send(v) end
    end, ping, pong)
    for k = 1, n do
      ping:send(k)
      assert(pong:recv(10) == k)
    end
    ping:close()
    same(0, select("#", w:join()))
  end, { carriers = 4, timeout = 60 })
end)

describe("law 2: fibers are coroutines", function()
  everywhere("about 1 KiB each", function()
    local gate, n = lub.chan(), 20000
    collectgarbage()
    local before = collectgarbage "count"
    for _ = 1, n do lub.go(function() gate:recv() end) end
    lub.yield()
    collectgarbage()
    local each = (collectgarbage "count" - before) / n
    assert(each < 3, each .. " KiB")
    gate:close()
  end)
end)

describe("law 3: blocking works", function()
  everywhere("in nested coroutines and under pcall", function()
    local ch = lub.chan()
    lub.go(function() for i = 1, 3 do ch:send(i) end end)
    same(1, ch:recv())
    same({ true, 2 }, { pcall(ch.recv, ch) })
    same(3, coroutine.wrap(function() return (ch:recv()) end)())
  end)

  everywhere("in a sort comparator", function()
    local ch, t = lub.chan(), {}
    for i = 1, 50 do t[i] = (i * 37) % 51 end
    lub.go(function() while ch:send(true) do end end)
    table.sort(t, function(a, b) return ch:recv() and a < b end)
    for i = 2, 50 do assert(t[i - 1] <= t[i]) end
  end)

  everywhere("in a gsub callback", function()
    local ch = lub.chan()
    lub.go(function() for i = 1, 3 do ch:send(i) end end)
    same("1-2-3", (("a-b-c"):gsub("%a", function() return tostring(ch:recv()) end)))
  end)

  everywhere("in a chunk that is required, preloaded or from a file", function()
    local ch = lub.chan()
    lub.go(function() ch:send "preloaded" ch:send "from a file" end)
    package.preload["spec.preloaded"] = function() return { v = ch:recv() } end
    same("preloaded", require "spec.preloaded".v)
    local path = support.file "return { v = CH:recv() }"
    table.insert(package.searchers, 2, function(name)
      if name == "spec.from_file" then return loadfile(path), path end
    end)
    _G.CH = ch
    same("from a file", require "spec.from_file".v)
    os.remove(path)
  end)

  everywhere("in a dofile, and in a load reader", function()
    local ch = lub.chan()
    lub.go(function() for _, part in ipairs { "return ", "1 +", " 2" } do ch:send(part) end ch:close() end)
    same(3, load(function() return (ch:recv()) end)())
    local path = support.file "return (CH:recv(60))"
    _G.CH = lub.chan()
    lub.go(function() _G.CH:send "done" end)
    same("done", dofile(path))
    os.remove(path)
  end)

  everywhere("in metamethods", function()
    local ch = lub.chan()
    lub.go(function() while true do ch:send(7) end end)
    local mt = {
      __index = function() return (ch:recv()) end,
      __lt = function() return ch:recv() == 7 end,
      __le = function() return ch:recv() == 7 end,
      __eq = function() return ch:recv() == 7 end,
      __concat = function() return "c" .. ch:recv() end,
      __add = function() return (ch:recv()) end,
      __len = function() return (ch:recv()) end,
      __call = function() return (ch:recv()) end,
      __tostring = function() return "s" .. ch:recv() end,
      __name = "thing",
    }
    local a, b = setmetatable({}, mt), setmetatable({}, mt)
    same({ 7, true, true, true }, { a.x, a < b, a <= b, a == b })
    same({ "c7", 7, 7, 7 }, { a .. b, a + b, #a, a() })
    same("<s7>", ("<%s>"):format(a))
    same("s7", tostring(b))
    same("7,7,7", table.concat(setmetatable({}, { __index = mt.__index, __len = function() return 3 end }), ","))
  end)

  everywhere("in iterators, close handlers, and close handlers during an error", function()
    local ch, log = lub.chan(), {}
    lub.go(function() for i = 1, 6 do ch:send(i) end end)
    for v in function() return (ch:recv()) end do
      log[#log + 1] = v
      if v == 3 then break end
    end
    local function guard()
      return setmetatable({}, { __close = function() log[#log + 1] = (ch:recv()) end })
    end
    do local _ <close> = guard() end
    pcall(function()
      local g <close> = guard()
      error(g)
    end)
    coroutine.wrap(function() local _ <close> = guard() end)()
    same({ 1, 2, 3, 4, 5, 6 }, log)
  end)

  everywhere("in a message handler of xpcall", function()
    local ch = lub.chan()
    lub.go(function() ch:send "handled" end)
    same({ false, "handled" }, { xpcall(error, function() return (ch:recv()) end, "x") })
  end)

  everywhere("for sleep, select, join and send as for receive", function()
    local ch = lub.chan()
    local f = lub.go(function()
      lub.yield()
      return 5
    end)
    lub.go(function() ch:recv() end)
    local got = {}
    local steps = {
      function() return lub.sleep(0.001) end,
      function() return (f:join()) end,
      function() return ch:send(1) end,
      function() return (select(2, lub.select(ch, 0.001))) end,
    }
    ("abcd"):gsub(".", function() got[#got + 1] = steps[#got + 1]() end)
    same(5, got[2])
    same(true, got[3])
    same("timeout", got[4])
  end)

  in_fibers("in two fibers at once, whichever ends first", function()
    for _, first in ipairs { "a", "b" } do
      local chans, ends = { a = lub.chan(), b = lub.chan() }, {}
      local a = lub.go(function()
        table.sort({ 2, 1 }, function(x, y) return chans.a:recv() == "a" and x < y end)
        ends[#ends + 1] = "a"
      end)
      local b = lub.go(function()
        assert(("x"):gsub(".", function() return (chans.b:recv()) end) == "b")
        ends[#ends + 1] = "b"
      end)
      lub.yield()
      local second = first == "a" and "b" or "a"
      lub.go(function()
        chans[first]:send(first)
        chans[second]:send(second)
      end)
      a:join()
      b:join()
      table.sort(ends)
      same({ "a", "b" }, ends)
    end
  end)

  in_fibers("in ten fibers at once, woken in every order", function()
    for _, order in ipairs { { 1, 2, 3, 4, 5 }, { 5, 4, 3, 2, 1 }, { 3, 1, 5, 2, 4 } } do
      local chans, fibers = {}, {}
      for i = 1, 5 do
        chans[i] = lub.chan(1)
        fibers[i] = lub.go(function()
          return ((("x"):gsub(".", function() return tostring(chans[i]:recv()) end)))
        end)
      end
      lub.yield()
      for _, i in ipairs(order) do chans[i]:send(i) end
      for i = 1, 5 do same(tostring(i), (fibers[i]:join())) end
    end
  end)

  it("or says deadlock, where one that waits inside a C call needs one that waits below it", function()
    for _, host in ipairs { "lua", "lubdub" } do
      local code, text = support.run(function()
        local a, b = lub.chan(), lub.chan()
        local above
        lub.go(function()
          table.sort({ 2, 1 }, function(x, y) return a:recv() == 1 and x < y end)
          b:send(2)
        end)
        above = lub.go(function() return (("x"):gsub(".", function() return (b:recv()) end)) end)
        lub.yield()
        lub.go(function() a:send(1) end)
        print("above", pcall(above.join, above))
      end, { host = host, timeout = 10, carriers = 1 })
      assert.is_true(code ~= 124 and code ~= 137, "it hangs")
      assert.is_true(text:find("above%s+true%s+2") ~= nil or text:find("deadlock", 1, true) ~= nil, text)
    end
  end)

  everywhere("to a bound on how deep they sit inside each other, and then it says so", function()
    local ch, told, n = lub.chan(), nil, 0
    local function dive()
      n = n + 1
      if n > 300 then return 1 end
      local ok, why = pcall(string.gsub, "x", ".", function()
        local f = lub.go(dive)
        local deeper, cause = f:join()
        if deeper == nil and cause then error(cause, 0) end
        return "y"
      end)
      if not ok then told = told or why end
      return 1
    end
    dive()
    assert(type(told) == "string" and told:find("too many operations wait inside each other", 1, true), told)
    lub.go(function() ch:send "still alive" end)
    same("still alive", ch:recv())
  end)

  in_worker("and leaves room for who sorts without waiting", function()
    local gate, turned_down = lub.chan(), 0
    for _ = 1, 100 do
      lub.go(function()
        local ok, why = pcall(table.sort, { 3, 2, 1 }, function(a, b)
          pcall(error)
          return gate:recv() or a < b
        end)
        if not ok then
          turned_down = turned_down + 1
          assert(why:find("too many operations wait inside each other", 1, true), why)
        end
      end)
    end
    for _ = 1, 3 do lub.yield() end
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b) return tostring(a) < tostring(b) end)
    same({ 1, 2, 3 }, t)
    assert(turned_down >= 50 and turned_down <= 70, turned_down)
  end)

  everywhere("but not in a finalizer, which may poll and send where there is room", function()
    local ch, room, r = lub.chan(), lub.chan(1), nil
    do
      setmetatable({}, { __gc = function()
        r = { pcall(ch.recv, ch) }
        r.polled = { ch:recv(0) }
        r.sent = room:send "bye"
      end })
    end
    collectgarbage()
    collectgarbage()
    assert(r, "the finalizer did not run to its end")
    same(false, r[1])
    assert(tostring(r[2]):find("finalizer", 1, true), r[2])
    same({ nil, "timeout" }, r.polled)
    same(true, r.sent)
    same("bye", room:recv(0))
    lub.go(function() ch:send "still alive" end)
    same("still alive", ch:recv())
  end)
end)

describe("law 4: nothing hogs", function()
  in_worker("an endless loop leaves room for others of its worker and for other workers, on one carrier", function()
    local n = 0
    for _ = 1, 3 do lub.go(function() while true do n = n + 1 end end) end
    local others = {}
    for i = 1, 3 do others[i] = lub.spawn(function() while true do end end) end
    for _ = 1, 5 do assert(lub.sleep(0.001)) end
    assert(n > 0)
    same({ 42 }, { lub.spawn(function() return 42 end):join(10) })
    for i = 1, 3 do
      others[i]:kill()
      others[i]:join()
    end
  end, { carriers = 1 })

  in_worker("nor does one that waits inside a sort, again and again, while its sibling runs, on one carrier", function()
    local till = lub.chan()
    local w = lub.spawn(function(stop)
      lub.go(function() while not stop:closed() do lub.yield() end end)
      while not stop:closed() do
        table.sort({ 3, 1, 2 }, function(a, b)
          lub.yield()
          return a < b
        end)
      end
    end, till)
    for _ = 1, 20 do assert(lub.sleep(0.001)) end
    till:close()
    same(0, select("#", w:join(10)))
  end, { carriers = 1 })

  in_worker("not in nested coroutines, under pcall, or both, on one carrier", function()
    local loops = {
      function() coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)() end,
      function() while true do pcall(function() while true do end end) end end,
      function() while true do pcall(error, "x") end end,
      function() while true do pcall(coroutine.wrap(function() while true do end end)) end end,
      function() for _ in function() return 1 end do end end,
      function() local function f() return f() end f() end,
      function() repeat local t = setmetatable({}, { __index = function() return 1 end }) until t.x == 2 end,
      function() while true do coroutine.wrap(function() coroutine.yield() end)() end end,
    }
    for i, loop in ipairs(loops) do
      local f = lub.go(loop)
      assert(lub.sleep(0.001))
      same({ i, "runnable" }, { i, f:state() })
      f:kill()
      same({ nil, "killed" }, { f:join(10) })
    end
  end, { carriers = 1 })

  -- the signal comes somewhere in a round, mostly while debug.sethook or coroutine.wrap is entered: the hook that it
  -- arms must not be lost there, nor count as armed once it is
  in_worker("not where the hook that stops a loop is replaced, or armed on a coroutine that goes on in another",
    function()
    local all = {}
    for i = 1, 200 do all[i] = i end
    local loops = {
      function() while true do debug.sethook() end end,
      function() while true do debug.sethook(function() end, "", 1000) end end,
      function() while true do coroutine.wrap(function() coroutine.yield() end)(table.unpack(all)) end end,
      function() -- one signal of two finds the hook's owner deeper by one coroutine
        local function deeper(n)
          if n > 150 then return end
          local stop = lub.now() + 0.0005
          while lub.now() < stop do end
          coroutine.wrap(deeper)(n + 1)
        end
        while true do deeper(1) end
      end,
    }
    for i, loop in ipairs(loops) do
      local f = lub.go(loop)
      for _ = 1, 3 do assert(lub.sleep(0.001)) end
      f:kill()
      same({ i, nil, "killed" }, { i, f:join(10) })
    end
  end, { carriers = 1 })

  in_worker("not in a close handler that coroutine.close runs, or the end of a wrapped coroutine", function()
    local looping = lub.chan(1)
    local function loop()
      looping:send(true)
      while true do end
    end
    local function closes()
      local co = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = loop })
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end
    local function fails()
      coroutine.wrap(function()
        local _ <close> = setmetatable({}, { __close = loop })
        error "x"
      end)()
    end
    for _, body in ipairs { closes, fails } do
      local w = lub.spawn(body)
      assert(looping:recv())
      w:kill()
      same({ nil, "killed" }, { w:join(10) })
      eventually(function() return w:state() == "dead" end)
    end
  end, { carriers = 1 })

  -- Its coroutine served the next fiber, in which no hook ran any more.
  in_worker("not one that comes after an error of a hook", function()
    lub.go(function()
      debug.sethook(function() error "limit" end, "", 1000)
      while true do end
    end):join()
    local hog = lub.go(function() while true do end end)
    assert(lub.sleep(0.001))
    hog:kill()
    same({ nil, "killed" }, { hog:join(10) })
  end, { carriers = 1 })

  -- Who was woken from outside came after the hogs, whenever it was their turn: never.
  in_worker("not two that talk beside an endless loop, for who sleeps, on one carrier", function()
    local ping, pong = lub.chan(), lub.chan()
    local all = {
      lub.spawn(function() while true do end end),
      lub.spawn(function(from, to) for v in from do to:send(v) end end, ping, pong),
      lub.spawn(function(to, from)
        for i = 1, math.huge do
          to:send(i)
          from:recv()
        end
      end, ping, pong),
    }
    for _ = 1, 50 do assert(lub.sleep(0.001)) end
    for i, w in ipairs(all) do
      w:kill()
      same({ i, nil, "killed" }, { i, w:join(10) })
    end
  end, { carriers = 1 })

  in_worker("not a loop over C calls that block, for the others of its worker, on one carrier", function()
    local over = false
    local f = lub.go(function() while not over do os.execute "sleep 0.02" end end)
    for _ = 1, 3 do assert(lub.sleep(0.001)) end
    same("runnable", f:state())
    over = true
    same({}, { f:join(10) })
  end, { carriers = 1 })

  in_worker("and who has had his 10 ms and goes on makes way at once for those that wake, on one carrier", function()
    local loops, least = {}, math.huge
    for i = 1, 3 do loops[i] = lub.spawn(function() while true do end end) end
    for _ = 1, 20 do -- of CPU, which a busy machine gives late, not more of: a slice for each would be 0.2 s
      local start = os.clock()
      for _ = 1, 20 do lub.sleep(0.001) end
      least = math.min(least, os.clock() - start)
      if least < 0.1 then break end
    end
    assert(least < 0.1, "20 sleeps beside loops that used " .. least .. " s")
    for i = 1, 3 do loops[i]:kill() end
  end, { carriers = 1 })

  -- 10 ms for each that runs first, and as much again for a machine that does other things
  for loops, bound in pairs { [1] = 0.06, [4] = 0.1 } do
    it(("a sleep beside %d endless loops is late by %g s at most, on one carrier"):format(loops, bound), function()
      local code, text = support.run(function()
        local late = {}
        for i = 1, tonumber(arg[1]) do
          lub.spawn({ name = "loop " .. i }, function() while true do pcall(error) end end)
        end
        for i = 1, 7 do
          local start = lub.now()
          lub.sleep(0.02)
          late[i] = lub.now() - start - 0.02
        end
        table.sort(late)
        assert(late[4] < tonumber(arg[2]), "late by " .. late[4])
        for _, w in ipairs(lub.workers()) do
          if w:name():find "loop" then w:kill() end
        end
      end, { carriers = 1, args = loops .. " " .. bound })
      assert.equals("fine\n", text)
      assert.equals(0, code)
    end)
  end

  local in_order = { compute = 1e5, strategy = "first" }

  it("in virtual time endless loops of one worker have turns of 10 ms, and in the end as much each",
    lub.sim(in_order, function()
    local rounds, fibers = { 0, 0, 0, 0 }, {}
    for i = 1, 4 do fibers[i] = lub.go(function() while true do rounds[i] = rounds[i] + 1 end end) end
    lub.sleep(0.995) -- a turn begun is played out
    same(1.0, lub.now())
    for i = 1, 4 do
      assert(rounds[i] > 1000)
      same(rounds[1], rounds[i])
      fibers[i]:kill()
    end
  end))

  for loops = 1, 4 do
    it(("in virtual time a sleep beside %d endless loops is late by a turn of each at most"):format(loops),
      lub.sim(in_order, function()
      local workers = {}
      for i = 1, loops do workers[i] = lub.spawn(function() while true do pcall(error) end end) end
      for _ = 1, 10 do
        local due = lub.now() + 0.015
        lub.sleep(0.015)
        assert(lub.now() - due <= loops * 0.01, lub.now() - due)
      end
      for _, w in ipairs(workers) do w:kill() end
    end))
  end

  in_worker("a healthy worker has no hook, nor has one that was made to yield", function()
    same(nil, (debug.gethook()))
    local ch = lub.chan()
    for _ = 1, 100 do
      lub.go(function() ch:send((debug.gethook()) == nil) end)
      same(true, ch:recv())
    end
    local hog = lub.spawn(function()
      local turns = 0
      lub.go(function() for i = 1, 3 do turns = i lub.yield() end end)
      while turns < 3 do end -- the others of its worker had them when it was made to yield
      return debug.gethook() == nil
    end)
    same({ true }, { hog:join() })
  end, { carriers = 1 })

  in_worker("a hook that the user set outlives it, with mask and count, and goes on counting", function()
    local other = lub.spawn(function() while true do end end)
    local w = lub.spawn(function()
      local hits, turns = 0, 0
      local function hook() hits = hits + 1 end
      debug.sethook(hook, "", 1000)
      lub.go(function() for i = 1, 3 do turns = i lub.yield() end end)
      while turns < 3 do end
      local before = hits
      for _ = 1, 100000 do math.abs(1) end
      local h, mask, count = debug.gethook()
      return h == hook, mask, count, before > 0, hits > before
    end)
    same({ true, "", 1000, true, true }, { w:join(10) })
    other:kill()
  end, { carriers = 1 })

  in_worker("hidden from the program: sums of preempted loops are right", function()
    local workers = {}
    for i = 1, 4 do
      workers[i] = lub.spawn(function()
        local sum = 0
        local co = coroutine.wrap(function() for k = 1, 1000000 do if k % 1000 == 0 then coroutine.yield(k) end end end)
        for v in co do sum = sum + v end
        local parts = {}
        for k = 1, 20000 do parts[#parts + 1] = ("%d"):format(k) end
        return sum, #table.concat(parts)
      end)
    end
    for i = 1, 4 do same({ 500500000, 88894 }, { workers[i]:join(60) }) end
  end, { carriers = 1, timeout = 60 })

  in_worker("C calls that block do not stop the others, on one carrier", function()
    local stuck, lets_go = {}, {}
    for i = 1, 4 do
      local line, let_go = support.blocking_call()
      stuck[i], lets_go[i] = lub.spawn(function() return os.execute(line) end), let_go
    end
    for i = 1, 4 do eventually(function() return stuck[i]:state() == "in_c" end) end -- not one after the other
    for i = 1, 20 do same({ i }, { lub.spawn(function() return i end):join() }) end
    for i = 1, 4 do same("in_c", stuck[i]:state()) end
    for i = 1, 4 do lets_go[i]() end
    for i = 1, 4 do same(true, (stuck[i]:join())) end
  end, { carriers = 1 })
end)

describe("law 5: a kill cannot be swallowed", function()
  for name, carriers in pairs { one = 1, several = 4 } do
    in_worker("by any loop of a worker, on " .. name .. (carriers > 1 and " carriers" or " carrier"), function()
      local loops = {
        function() while true do end end,
        function() while true do pcall(error) end end,
        function() while true do pcall(function() while true do end end) end end,
        function() while true do pcall(require"lubdub".sleep, 60) end end,
        function() while true do xpcall(error, function() while true do end end) end end,
        function() table.sort({ 3, 2, 1 }, function() while true do pcall(error) end end) end,
        function() ("x"):gsub(".", function() while true do pcall(error) end end) end,
        function() while true do coroutine.resume(coroutine.create(function() while true do end end)) end end,
        function()
          local g <close> = setmetatable({}, { __close = function() while true do pcall(error) end end })
          return g
        end,
        function() load(function() while true do pcall(error) end end) end,
        function() while true do pcall(string.rep, "x", 100000) end end,
        function() local _ = setmetatable({}, { __index = function() while true do pcall(error) end end }).x end,
      }
      local workers, looping = {}, lub.chan(#loops)
      for i, loop in ipairs(loops) do
        workers[i] = lub.spawn(function()
          looping:send(true)
          loop()
        end)
      end
      for _ in ipairs(loops) do looping:recv() end
      for _, w in ipairs(workers) do w:kill() end
      for i, w in ipairs(workers) do
        local ok, why = w:join(10)
        same({ i, nil, "killed" }, { i, ok, why })
      end
      for _, w in ipairs(workers) do
        eventually(function() return w:state() == "dead" end)
      end
    end, { carriers = carriers, timeout = 60 })
  end

  it("and a stock Lua that ends meanwhile does not unload the code that it returns to", function()
    local code, text = support.run(function() -- luacheck: ignore
      local gate = lub.chan(1)
      lub.spawn(function(ch)
        ch:send(true)
        os.execute "exec sleep 4 >/dev/null 2>&1" -- longer than a closing state waits, and nobody waits for it
      end, gate)
      gate:recv()
      _G.much = {} -- is freed after the module: its threads run meanwhile
      for i = 1, 1000000 do _G.much[i] = {} end
    end, { host = "lua" })
    assert(code == 0, text)
  end)

  in_worker("and what is inside a C call is a zombie until the call returns, then dead", function()
    local ch, line, let_go = lub.chan(1), support.blocking_call()
    local w = lub.spawn(function(out)
      os.execute(line)
      out:send "from the grave"
    end, ch)
    eventually(function() return w:state() == "in_c" end)
    w:kill()
    same({ nil, "killed" }, { w:join() })
    same("zombie", w:state())
    let_go()
    eventually(function() return w:state() == "dead" end)
    same({ nil, "timeout" }, { ch:recv(0) })
    same({ nil, "killed" }, { w:join() })
  end)
end)

describe("law 7: silence has a reason", function()
  in_worker("a worker is idle, blocked_send, busy, in_c or dead, as the case may be", function()
    local ch, line, let_go = lub.chan(), support.blocking_call()
    local idle = lub.spawn(function(c) c:recv() end, ch)
    local blocked = lub.spawn(function() lub.chan():send(1) end)
    local busy = lub.spawn(function() while true do end end)
    local in_c = lub.spawn(function() os.execute(line) end)
    local dead = lub.spawn(function() end)
    eventually(function() return idle:state() == "idle" end)
    eventually(function() return blocked:state() == "blocked_send" end)
    eventually(function() return busy:state() == "busy" end)
    eventually(function() return in_c:state() == "in_c" end)
    eventually(function() return dead:state() == "dead" end)
    let_go()
    for _, w in ipairs { idle, blocked, busy } do w:kill() end
  end, { carriers = 4 })
end)

describe("law 9: values are copied, channels are shared", function()
  everywhere("between two fibers as between two workers", function()
    local ch, t = lub.chan(1), { list = { 1 } }
    ch:send(t)
    t.list[1] = 2
    local got = ch:recv()
    assert(got ~= t and got.list ~= t.list)
    same({ list = { 1 } }, got)
    local w = lub.spawn(function(x, c)
      x.list[1] = 99
      c:send(x)
      return x
    end, t, ch)
    same({ list = { 99 } }, (w:join()))
    same({ list = { 99 } }, ch:recv())
    same({ list = { 2 } }, t)
  end)

  everywhere("at the moment of the send, also when the receiver comes later", function()
    local ch, t = lub.chan(), { 1 }
    local f = lub.go(function() return ch:send(t) end)
    lub.yield()
    t[1] = 2
    same({ 1 }, ch:recv())
    f:join()
  end)

  everywhere("handles of channels and workers travel as themselves", function()
    local ch = lub.chan(2)
    local w = lub.spawn(function() end)
    ch:send { ch, w }
    local got = ch:recv()
    assert(got[1] == ch and got[2] == w)
    w:join()
  end)
end)

describe("law 10: the engine", function()
  it("leaves the exit code, the output and the signal handlers of a stock Lua alone", function()
    local code, text = support.run(function()
      local w = lub.spawn(function() error "nobody joins" end)
      eventually(function() return w:state() == "dead" end)
      io.stdout:write "out\n"
      os.exit(7, true)
    end, { host = "lua" })
    assert.equals(7, code)
    assert.matches("out\n", text)
  end)

  it("lets a stock Lua end while workers run, sleep and hog", function()
    local code, text = support.run(function()
      local begun = lub.chan(9)
      local bodies = {
        function() while true do end end,
        function() lub.sleep(60) end,
        function() lub.chan():recv() end,
      }
      for i = 1, 9 do
        lub.spawn(function()
          begun:send(true)
          bodies[i % 3 + 1]()
        end)
      end
      for _ = 1, 9 do begun:recv() end
    end, { host = "lua", timeout = 15 })
    assert.equals("fine\n", text)
    assert.equals(0, code)
  end)

  it("raises deadlock on a stock Lua's main thread", function()
    local code, text = support.run(function()
      refused("deadlock", function() lub.chan(0, "never"):recv() end)
      refused("deadlock", function() lub.chan():send(1) end)
      refused("deadlock", function() lub.select(nil) end)
      local ch = lub.chan(1)
      ch:send(1)
      same(1, ch:recv())
    end, { host = "lua" })
    assert.equals("fine\n", text)
    assert.equals(0, code)
  end)
end)
