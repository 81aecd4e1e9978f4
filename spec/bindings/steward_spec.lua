local lub = require "lubdub"
local steward = require "lubdub.steward"
local helper = require "spec.bindings.helper"
local support = require "spec.support"

-- In virtual time, in which loops compute; and under several schedules, where who comes first matters.
local it_sims = helper.in_sim(it, { compute = 1e6 })
local function it_explores(sentence, fn) return it(sentence, lub.explore({ runs = 20, compute = 1e6 }, fn)) end

--- All results. In a sim, a stream that does not end is a deadlock, or stalls.
local function all(s)
  local list = {}
  for v in s:results() do list[#list + 1] = v end
  return list
end

--- The next event of this name, after any others.
local function await(s, name)
  while true do
    local e, why = s:events():recv()
    assert(e, ("no event '%s': %s"):format(name, tostring(why)))
    if e.event == name then return e end
  end
end

--- The names of the events so far, after the end.
local function told(s)
  local names = {}
  for e in s:events() do names[#names + 1] = e.event end
  return table.concat(names, " ")
end

local at_once = { backoff = "none" }

local function fast(o)
  o.pulse, o.limit, o.grace = o.pulse or 0.05, o.limit or 0.2, o.grace or 0.05
  o.restart = o.restart or at_once
  return steward(o)
end

--- The living workers of this name.
local function workers(name)
  local found = {}
  for _, w in ipairs(lub.workers()) do
    if w:name() == name then found[#found + 1] = w end
  end
  return found
end

describe("a steward's stream", function()
  it_sims("has the result of each unit, in order, then ends, and so does the steward", function()
    local s = steward { generator = { 1, 2, 3 }, work = function(u) return u * 10 end }
    assert.same({ 10, 20, 30 }, all(s))
    assert.same({ true }, { s:join() })
    assert.equals("started stopped", told(s))
    assert.equals(3, s:stats().units)
  end)

  it_sims("takes units from a function, a script, a channel", function()
    local function upto(opts)
      return coroutine.wrap(function() for i = 1, opts.n do coroutine.yield(i) end end)
    end
    local function work(u) return u end
    assert.same({ 1, 2, 3 }, all(steward { generator = upto, generator_opts = { n = 3 }, work = work }))
    local path = helper.file [[return function(o)
      local i = 0
      return function() i = i + 1 if i <= o.n then return i end end
    end]]
    local script = helper.file "return function(u, ward) return u + 1 end"
    assert.same({ 2, 3 }, all(steward { generator = path, generator_opts = { n = 2 }, work = script }))
    os.remove(path)
    os.remove(script)
    local ch = lub.chan(2)
    ch:send "a"
    ch:send "b"
    ch:close()
    assert.same({ "a", "b" }, all(steward { generator = ch, work = work }))
  end)

  it_explores("goes on where it stopped over 1, 2, -1, 3, 4, 5: nothing is lost, nothing doubled", function()
    local function work(u, ward)
      if u == -1 and ward.attempt == 1 then error "negative" end
      return { u, ward.attempt, ward.unit_in_flight }
    end
    local s = fast { generator = { 1, 2, -1, 3, 4, 5 }, work = work }
    assert.same({ { 1, 1 }, { 2, 1 }, { -1, 2, -1 }, { 3, 2 }, { 4, 2 }, { 5, 2 } }, all(s))
    assert.equals(1, s:stats().restarts)
  end)

  it_sims("goes on from the progress that was sent with the last result", function()
    local list = { 1, 2, -1, 3, 4, 5 }
    local s = fast { start = function(ward)
      for i = (ward.last or 0) + 1, #list do
        if list[i] == -1 and ward.attempt < 3 then error(ward.reason or "first") end
        ward:send(list[i], i)
      end
      return "over", nil, ward.attempt
    end }
    assert.same(list, all(s))
    assert.same({ "over", nil, 3 }, { s:join() })
  end)

  it_explores("goes on from the last beat's progress, if that came after the last result", function()
    local s = fast { start = function(ward)
      if ward.attempt == 1 then
        ward:send("a", 1)
        ward:beat(2)
        ward:unit "u"
        error "now"
      end
      ward:send { ward.last, ward.unit_in_flight, ward.attempt }
    end }
    assert.same({ "a", { 2, "u", 2 } }, all(s))
  end)

  it_sims("skips a unit that killed its ward three times, and says so", function()
    local s = fast { generator = { 1, 2, -1, 3, 4, 5 }, work = function(u)
      if u < 0 then error "negative" end
      return u
    end }
    assert.same({ 1, 2, 3, 4, 5 }, all(s))
    local poison = await(s, "poison")
    assert.equals(-1, poison.unit)
    assert.equals(3, poison.tries)
    assert.matches("negative", poison.reason)
    assert.equals(1, s:stats().poisoned)
  end)

  it_explores("has all results of a unit or none", function()
    local s = fast { generator = { 1, 2 }, work = function(u, ward)
      ward:send(u .. "a")
      if u == 2 and ward.attempt < 3 then error "between" end
      ward:send(u .. "b")
    end }
    assert.same({ "1a", "1b", "2a", "2b" }, all(s))
  end)

  it_explores("is whole when the ward is killed again and again from outside", function()
    local s = fast { name = "victim", tries = 1, restart = { backoff = "none", max = 1000, within = 0.001 },
      generator = function() local i = 0 return function() i = i + 1 return i <= 20 and i or nil end end,
      work = function(u)
        lub.sleep(0.01)
        return u
      end }
    local expected, killer = {}, lub.go(function()
      while true do
        lub.sleep(math.random() * 0.03)
        for _, w in ipairs(workers "victim") do w:kill "by chance" end
      end
    end)
    for i = 1, 20 do expected[i] = i end
    assert.same(expected, all(s))
    killer:kill()
    assert.same({ true }, { s:join() })
    assert(s:stats().restarts > 3)
  end)

  it_explores("does not take what a cancelled function gave for a result", function()
    local s = fast { generator = { 1 }, work = function(_, ward)
      if ward.attempt > 1 then return "whole" end
      ward:fail "give me another"
      ward.done:recv()
      return "cut short"
    end }
    assert.same({ "whole" }, all(s))
  end)

  it_explores("is held up by a slow reader, healing is not", function()
    local s = fast { generator = { 1, 2, 3 }, work = function(u, ward)
      if u == 2 and ward.attempt < 3 then error "again" end
      return u
    end }
    repeat local e = await(s, "started") until e.attempt == 3 -- nobody has received yet
    assert.same({ 1, 2, 3 }, all(s))
  end)

  it_sims("fails upward when the generator does", function()
    local s = fast { generator = function() return function() error "the well is dry" end end,
      work = function(u) return u end }
    assert.same({}, all(s))
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("the well is dry", why)
  end)
end)

--- A ward whose first incarnation goes wrong in `start`; the second sends what it was told.
local function replaced(o, wrong)
  o.start = function(ward)
    if ward.attempt == 1 then return wrong(ward) end
    ward:send { attempt = ward.attempt, reason = ward.reason }
  end
  local s = fast(o)
  local list = all(s)
  assert.equals(1, #list)
  assert.equals(2, list[1].attempt)
  return list[1].reason, s
end

describe("a steward notices a ward that", function()
  it_explores("closes its heart: one restart, not a spin (T1)", function()
    local reason, s = replaced({}, function(ward)
      ward:beat()
      ward.heart:close()
      ward.done:recv()
    end)
    assert.matches("closed its heart", reason)
    assert.equals(1, s:stats().restarts)
  end)

  it_sims("is silent, which is another matter than a closed heart (T9)", function()
    local reason, s = replaced({}, function(ward)
      ward:beat()
      while true do end
    end)
    assert.matches("^dead", reason)
    local told_of = await(s, "verdict")
    assert.equals("dead", told_of.verdict)
    assert.near(0.2, told_of.time, 0.1) -- its limit, and what the judge waited for its turn
    assert.equals("dead", await(s, "restarting").how)
  end)

  it_sims("returns, if it is permanent", function()
    local reason = replaced({ restart = { type = "permanent", backoff = "none", max = 1 } }, function() end)
    assert.matches("returned", reason)
  end)

  it_sims("raises, and keeps the error and where", function()
    local reason, s = replaced({}, function() error "boom" end)
    assert.matches("steward_spec.lua:%d+: boom", reason)
    assert.matches("stack traceback", await(s, "restarting").traceback)
  end)

  it_explores("is killed", function()
    local reason = replaced({ name = "shot" }, function(ward)
      ward:beat()
      for _, w in ipairs(lub.workers()) do
        if w:name() == "shot" then w:kill() end
      end
    end)
    assert.matches("killed", reason)
  end)

  it_sims("fails by its own account", function()
    assert.matches("no disk", (replaced({}, function(ward)
      ward:fail "no disk"
      ward.done:recv()
    end)))
    assert.matches("no disk", (replaced({}, function(ward) ward:fail "no disk" end)))
  end)

  it_sims("stops beating in an endless loop under pcall", function()
    assert.matches("^dead", (replaced({}, function(ward)
      ward:beat()
      while true do pcall(function() while true do end end) end
    end)))
  end)

  it_sims("never starts", function()
    local reason, s = replaced({ startup = 0.2, limit = 20 }, function(ward) ward.done:recv() end)
    assert.matches("^dead", reason)
    assert.near(0.2, await(s, "stopped").time, 0.02)
    local path = helper.file "return function(ward) if ward.attempt == 1 then while true do end end ward:send 'x' end"
    assert.same({ "x" }, all(fast { start = path, startup = 0.2 }))
    os.remove(path)
  end)

  it_sims("hangs in a C call: it is a zombie, fenced, and its successor works meanwhile (T2)", function()
    local s = fast { name = "hung", start = function(ward)
      ward:beat()
      if ward.attempt > 1 then return ward:send "new" end
      require "lubdub.fault".slow_call(function() end, 2)
      ward:send "old"
    end }
    assert.same({ "new" }, all(s))
    local zombie = await(s, "zombie")
    assert.equals(1, zombie.zombies)
    assert.equals(1, zombie.attempt)
    assert.same({ true }, { s:join() })
    lub.pass(2)
    assert.equals(0, #workers "hung")
  end)

  it_sims("is at a C call too often: more zombies than are borne are a failure", function()
    local s = fast { zombies = 1, restart = { backoff = "none", max = 100 }, start = function(ward)
      ward:beat()
      require "lubdub.fault".slow_call(function() end, 2)
    end }
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("2 zombies", why)
  end)
end)

describe("a steward's limits", function()
  it_sims("end it with the last reason, and close the stream", function()
    local s = fast { restart = { backoff = "none", max = 2, within = 30 }, start = function() error "always" end }
    assert.same({}, all(s))
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("^shutdown: 2 restarts within 30 s; last: .*always", why)
    assert.equals("started stopped restarting started stopped restarting started stopped exhausted", told(s))
    assert.equals(2, s:stats().restarts)
  end)

  it_sims("do not count the time of stopping: a ward that needs long to stop is no excuse", function()
    -- each stop takes far longer than the window; the clock of the limit stands still meanwhile
    local s = fast { grace = 1.2, limit = 0.05, restart = { backoff = "none", max = 2, within = 2 },
      start = function(ward)
        ward:beat()
        while true do end
      end }
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("^shutdown: 2 restarts", why)
    assert(lub.now() > 3 * 1.2)
  end)

  it_sims("make a temporary ward's first death the last", function()
    local s = fast { restart = "temporary", start = function() error "once" end }
    assert.same({}, all(s))
    assert.equals("started stopped", told(s))
  end)

  it_sims("back off as told, and begin anew after a healthy time", function()
    local s = fast { restart = { backoff = "exponential", base = 0.001, cap = 1, max = 10, reset = 0.1 },
      start = function(ward)
        if ward.attempt == 4 then lub.sleep(0.2) end
        if ward.attempt < 7 then error "ill" end
      end }
    local delays = {}
    for e in s:events() do
      if e.event == "restarting" then delays[#delays + 1] = e.delay end
    end
    assert.same({ 0.001, 0.002, 0.004, 0.001, 0.002, 0.004 }, delays)
  end)
end)

describe("stewards nest:", function()
  it_sims("the one above sees the failure of the one below, and heals it", function()
    local s = steward { name = "outer", restart = at_once, ward = {
      name = "inner", restart = { backoff = "none", max = 1 }, start = function(ward)
        if ward.attempt < 4 then error("attempt " .. ward.attempt) end
        ward:send(ward.attempt)
      end } }
    assert.same({ 4 }, all(s)) -- 1, 2: the inner one gives up; 3: in a new inner one
    assert.matches("attempt 2", await(s, "exhausted").reason)
    local e
    repeat e = await(s, "restarting") until e.steward
    assert.equals("inner", e.name)
    assert.matches("shutdown: 1 restart within", e.reason)
  end)

  it_explores("failure climbs two levels, and names the cause", function()
    local once = { backoff = "none", max = 1 }
    local s = steward { name = "top", restart = once, ward = { name = "middle", restart = once, ward = {
      name = "bottom", restart = once, start = function() error "root cause" end } } }
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("shutdown: .*shutdown: .*shutdown: .*root cause", why)
    local lives = 0
    for e in s:events() do
      if e.event == "started" and not e.steward then lives = lives + 1 end
    end
    assert.equals(2 * 2 * 2, lives)
  end)

  it_explores("a stream is whole across the restart of a steward in the middle", function()
    local s = steward { name = "outer", restart = at_once, ward = { name = "inner",
      restart = { backoff = "none", max = 1 }, generator = { 1, 2, 3, 4 }, tries = 10, work = function(u, ward)
        if u == 3 and ward.attempt < 4 then error "not yet" end
        return u
      end } }
    assert.same({ 1, 2, 3, 4 }, all(s))
    await(s, "exhausted")
  end)
end)

describe("a steward's end:", function()
  local function idle(ward)
    ward:send "up"
    ward.done:recv()
  end

  it_explores("stop cancels the ward, and is no failure; twice is once", function()
    local s = fast { start = idle }
    assert.equals("up", s:results():recv())
    assert.same({ true }, { s:stop() })
    assert.same({ true }, { s:stop() })
    assert.same({ nil, "it was stopped" }, { s:join() })
    assert.same({}, all(s))
    assert.equals("started stopped", told(s))
  end)

  it_sims("stop kills what does not heed a cancel", function()
    local s = fast { limit = 20, grace = 20, start = function(ward)
      ward:send "up"
      while true do end
    end }
    s:results():recv()
    assert.same({ true }, { s:stop(0.01) })
  end)

  it_sims("stop names what did not stop", function()
    local s = fast { name = "deaf", limit = 20, start = function(ward)
      ward:send "up"
      require "lubdub.fault".slow_call(function() end, 3)
    end }
    s:results():recv()
    local ok, why = s:stop(0)
    assert.is_nil(ok)
    assert.equals("did not stop: deaf", why)
  end)

  it_sims("stop does not wait for a backoff, nor for a reader who is gone", function()
    local s = fast { restart = { backoff = "constant", base = 1000, cap = 1000 }, start = function() error "x" end }
    await(s, "restarting")
    assert.same({ true }, { s:stop() })
    s = fast { generator = { 1, 2 }, work = function(u) return u end }
    await(s, "started")
    assert.same({ true }, { s:stop() })
  end)

  it_sims("stop after a failure gives true, at once", function()
    local s = fast { restart = { max = 1, backoff = "none" }, start = function() error "x" end }
    s:join()
    assert.same({ true }, { s:stop() })
  end)

  it_explores("its maker's end is its own", function()
    local up = lub.chan()
    local maker = lub.spawn(function(ch)
      local inner = require "lubdub.steward" -- luacheck: ignore
      local s = inner { name = "orphan", grace = 0.05, start = function(ward)
        ward:beat()
        ward.done:recv()
      end }
      s:events():recv()
      ch:send(true)
      lub.chan():recv()
    end, up)
    up:recv()
    lub.settle()
    assert.equals(1, #workers "orphan")
    maker:kill()
    lub.pass(0.05) -- its grace
    assert.equals(0, #workers "orphan" + #workers "orphan.steward")
  end)

  it_explores("its worker killed, nothing of it lives on", function()
    local s = fast { name = "beheaded", start = idle }
    s:results():recv()
    workers "beheaded.steward"[1]:kill()
    lub.pass(0.05)
    assert.equals(0, #workers "beheaded")
    local ok = s:join()
    assert.is_nil(ok)
    assert.same({ true }, { s:stop() })
  end)
end)

describe("a steward tells", function()
  it_sims("its newest events to a slow reader, and how many were lost", function()
    local s = fast { events = 3, restart = { backoff = "none", max = 20 }, start = function() error "x" end }
    s:join()
    local list = {}
    for e in s:events() do list[#list + 1] = e end
    assert.equals(3, #list)
    assert.equals("exhausted", list[3].event)
    assert.equals(21 + 21 + 20 + 1 - 3, list[3].lost)
    assert.equals(list[3].lost, s:stats().lost)
  end)

  it_sims("by its heartbeat that it is alive, while the ward is not", function()
    local s = fast { restart = { backoff = "constant", base = 1000, cap = 1000 }, start = function() error "x" end }
    await(s, "restarting")
    assert(s:heartbeat():recv())
    s:stop()
  end)

  it_sims("what it did", function()
    local s = fast { name = "counter", start = function(ward)
      ward:send("a", "half")
      ward.done:recv()
    end }
    s:results():recv()
    lub.settle()
    local t = s:stats()
    assert.equals(1, t.results)
    assert.equals("up", t.status)
    assert.is_true(t.ready)
    assert.equals("half", t.last)
    assert.equals("counter", t.name)
    s:stop()
  end)

  it_sims("everything through a handle that was sent to another worker", function()
    local s = fast { generator = { 7 }, work = function(u) return u end }
    local ch = lub.chan(1)
    ch:send(s)
    assert.same({ 7, true }, { lub.spawn(function(inbox)
      require "lubdub.steward"
      local x = inbox:recv()
      return x:results():recv(), x:join()
    end, ch):join() })
  end)
end)

describe("a steward refuses", function()
  local function refused(text, o) helper.raises("steward: " .. text, function() return (steward(o)) end) end
  local function start() end

  it("numbers that make no sense, and names them", function()
    for _, bad in ipairs { 0, -1, math.huge, -math.huge, helper.nan, "1", {} } do
      for _, name in ipairs { "limit", "startup", "estimate", "window", "memory", "tries", "zombies", "events" } do
        refused(name .. ": expected", { start = start, [name] = bad })
      end
      for _, name in ipairs { "max", "within", "base", "cap", "reset" } do
        refused("restart: " .. name .. ": expected", { start = start, restart = { [name] = bad } })
      end
      if type(bad) == "number" then refused("pulse: expected", { start = start, pulse = bad }) end
    end
    for _, bad in ipairs { -1, math.huge, helper.nan } do
      refused("grace: expected a finite number from 0, got ", { start = start, grace = bad })
    end
    for _, name in ipairs { "pulse", "limit", "startup", "estimate" } do
      refused(name .. ": expected seconds above 0, at most 3e8, got 1e+308", { start = start, [name] = 1e308 })
    end
    refused("window: expected a whole number from 1 to 1048576", { start = start, window = 1 << 21 })
    refused("capacity: expected a whole number from 0 to 2147483648", { start = start, capacity = -1 })
    refused("capacity: expected a whole number from 0 to 2147483648", { start = start, capacity = 1 << 32 })
    refused("events: expected a whole number from 1 to 2147483648", { start = start, events = 1 << 32 })
    refused("pulse: expected seconds above 0, at most 3e8, got -1", { ward = { start = start }, pulse = -1 })
    refused("restart: type: expected one of permanent, transient, temporary, got 'always'",
      { start = start, restart = "always" })
    refused("restart: backoff: expected one of", { start = start, restart = { backoff = "linear" } })
  end)

  it("options it does not know, and none or two kinds of ward", function()
    refused("unknown option 'wrok'", { wrok = start })
    refused("expected one of start, work, ward", {})
    refused("expected one of start, work, ward", { start = start, work = start, generator = {} })
    refused("unknown option 'start'", { start = start, ward = { start = start } })
    refused("work and generator go together", { work = start })
    refused("work and generator go together", { start = start, generator = {} })
    refused("options: expected a table, got nil")
    refused("restart: unknown option 'maximum'", { start = start, restart = { maximum = 1 } })
  end)

  it("scripts that are missing, do not parse or give no function, where the steward is made", function()
    local broken, number = helper.file "x =", helper.file "return 1"
    for _, name in ipairs { "start", "policy", "pulse", "work", "generator" } do
      local function with(path)
        local o = { [name] = path }
        if name == "work" then o.generator = {} elseif name == "generator" then o.work = start
        elseif name ~= "start" then o.start = start
        end
        return o
      end
      refused(name .. ": cannot open /nonexistent/x.lua", with "/nonexistent/x.lua")
      refused(name .. ": " .. broken .. ":1:", with(broken))
      refused(name .. ": script '" .. number .. "': expected a function", with(number))
      helper.raises("steward_spec.lua:", function() return (steward(with "/nonexistent/x.lua")) end)
    end
    os.remove(broken)
    os.remove(number)
  end)

  it("options that its policy or pulse refuses, where the steward is made", function()
    local picky = helper.file [[
      return function(o) if o.n ~= 7 then error("n: expected 7, got " .. o.n) end return o.n end]]
    for _, name in ipairs { "policy", "pulse" } do
      local function with(n) return { start = start, [name] = picky, [name .. "_opts"] = { n = n } } end
      refused(name .. ": " .. picky .. ":1: n: expected 7, got 8", with(8))
      refused(name .. ": expected '" .. picky .. "' to make a function, got 7", with(7))
    end
    os.remove(picky)
  end)

  it("them at the line of its caller, also as lub.steward", function()
    local co = coroutine.create(print)
    for _, make in ipairs { steward, lub.steward } do
      helper.raises("steward_spec.lua:", function() return (make { start = start, pulse = -1 }) end)
      helper.raises("steward_spec.lua:", function() return (make { start = function() return co end }) end)
    end
    helper.raises("steward_spec.lua:", function() return (lub.supervisor { children = 7 }) end)
  end)

  it("what cannot cross, with the path", function()
    local co = coroutine.create(print)
    refused("cannot send a coroutine", { start = function() return co end })
  end)

  it_sims("later what cannot cross either, at places its author knows", function()
    local function cannot(where, what)
      what.restart = { max = 1, backoff = "none" }
      local s = steward(what)
      all(s)
      local why = select(2, s:join())
      assert.matches(where, why:match "[^\n]*")
      assert.is_nil(why:match "[^\n]*":find("lubdub.", 1, true))
    end
    cannot("steward_spec.lua:%d+: cannot send a coroutine %(at argument 1%)$",
      { start = function(ward) ward:send(coroutine.create(print)) end })
    cannot("steward_spec.lua:%d+: cannot send a coroutine %(at argument 1 %.jobs%[2%]%)$",
      { start = function(ward) ward:send { jobs = { 1, coroutine.create(print) } } end })
    cannot("steward_spec.lua:%d+: cannot send a coroutine %(at argument 2 %.at%)$",
      { start = function(ward) ward:send(1, { at = coroutine.create(print) }) end })
    cannot("cannot send a coroutine %(at result 2 %.co%)$",
      { start = function() return 1, { co = coroutine.create(print) } end })
    cannot("cannot send a coroutine %(at result 2 of a unit %.co%)$",
      { generator = { 1 }, work = function(_, ward)
        ward:send(1)
        return { co = coroutine.create(print) }
      end })
    cannot("^cannot send a coroutine %(at a unit of the generator %.co%)$",
      { generator = function() return function() return { co = coroutine.create(print) } end end,
        work = function() end })
  end)

  it("a grace that is none", function()
    local s = fast { start = function() end }
    for _, bad in ipairs { -1, math.huge, helper.nan, "1" } do helper.refuses("stop", 1, bad, s.stop, s, bad) end
    s:join()
  end)

  it("to be joined for what is no time", function()
    local s = fast { start = function() end }
    helper.refuses_waits("join", 1, function(wait) s:join(wait) end)
    helper.raises("join: argument 1: expected seconds (a number), got userdata", s.join, s, lub.chan())
    helper.raises("steward_spec.lua:", function() return (s:join "x") end)
    assert.is_true(s:join(math.huge))
  end)
end)

-- On threads: carriers that compute, one that sits in a C call, a process that ends.
describe("in real time a steward", function()
  it("replaces a ward that loops", function()
    local reason, s = replaced({}, function(ward)
      ward:beat()
      while true do pcall(function() while true do end end) end
    end)
    assert.matches("^dead", reason)
    assert.same({ true }, { s:join(helper.long) })
  end)

  it("goes on beside a ward in a C call: it is a zombie, fenced, until the call returns", function()
    local path = helper.file() -- the call lasts until somebody writes to it
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local s = fast { name = "hung", start = function(ward)
      ward:beat()
      if ward.attempt > 1 then return ward:send "new" end
      io.open(path):close()
      ward:send "old"
    end }
    assert.same({ "new" }, all(s))
    assert.equals(1, await(s, "zombie").attempt)
    assert.same({ true }, { s:join(helper.long) })
    assert.equals(1, #workers "hung")
    io.open(path, "w"):close()
    os.remove(path)
    helper.eventually(function() return #workers "hung" == 0 end)
  end)

  it("leaves alone who is starved", function()
    local code, text = support.run(function() -- luacheck: ignore
      local steward = require "lubdub.steward" -- luacheck: ignore
      local hogs = {}
      for i = 1, 6 do hogs[i] = lub.spawn(function() while true do end end) end
      local s = steward { generator = { 1, 2, 3, 4, 5 }, pulse = 0.005, limit = 0.015, work = function(u)
        lub.yield()
        return u
      end }
      local n = 0
      for _ in s:results() do n = n + 1 end
      assert(n == 5)
      assert(s:stats().restarts == 0)
      for i = 1, 6 do hogs[i]:kill() end
    end, { carriers = 1, timeout = 60 })
    assert(code == 0, text)
  end)

  it("whose limits are reached lets the command end with 3, unless a steward above heals it", function()
    local function exit_code(text)
      local path = helper.file("local lub = require 'lubdub' " .. text)
      local code, _, err = helper.run("run " .. path)
      os.remove(path)
      return code, err
    end
    local dying = "{ name = 'x', restart = { max = 1, backoff = 'none' }, start = function() error 'hopeless' end }"
    local code, err = exit_code("lub.steward" .. dying .. ":join()")
    assert.equals(3, code)
    assert.matches("heart 'x' died: .*hopeless", err)
    assert.is_nil(err:find("for 0.0 s", 1, true)) -- the silence of one whose fiber has ended
    code, err = exit_code([[
      local s = lub.steward { name = 'above', restart = { backoff = 'none' }, ward = {
        name = 'below', restart = { max = 1, backoff = 'none' }, start = function(ward)
          if ward.attempt < 4 then error 'not yet' end
        end } }
      print(s:join())]])
    assert.equals(0, code, err)
  end)
end)
