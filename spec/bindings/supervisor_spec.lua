local lub = require "lubdub"
local supervisor = require "lubdub.supervisor"
local helper = require "spec.bindings.helper"

-- In virtual time; and under several schedules, where who comes first matters.
local it_sims = helper.in_sim(it)
local function it_explores(sentence, fn) return it(sentence, lub.explore({ runs = 20 }, fn)) end

--- A log that wards write into, and the words in it so far.
local function journal()
  local ch = lub.chan(1000)
  return ch, function()
    local words = {}
    for word in function() return (ch:recv(0)) end do words[#words + 1] = word end
    return table.concat(words, " ")
  end
end

--- A ward that says when it starts and stops, and dies when it is told so.
local function service(log, name, orders)
  return function(ward)
    log:send("+" .. name)
    ward:beat()
    local order
    if orders then order = orders:recv() else ward.done:recv() end
    if order then error(order) end
    log:send("-" .. name)
  end
end

local at_once = { backoff = "none", max = 100 }

local function await(s, event, name)
  while true do
    local e, why = s:events():recv()
    assert(e, ("no event '%s': %s"):format(event, tostring(why)))
    if e.event == event and (not name or e.name == name) then return e end
  end
end

--- Three services a, b, c under a strategy; b can be told to die. { supervisor, kill b, what was logged, the log }
local function three(strategy, types)
  local log, words = journal()
  local orders = lub.chan(0)
  types = types or {}
  local s = supervisor { strategy = strategy, restart = at_once, children = {
    { name = "a", restart = { type = types.a, backoff = "none" }, start = service(log, "a") },
    { name = "b", restart = { type = types.b, backoff = "none" }, start = service(log, "b", orders) },
    { name = "c", restart = { type = types.c, backoff = "none" }, start = service(log, "c") },
  } }
  await(s, "started", "c")
  return s, orders, words, log
end

describe("a supervisor", function()
  it_explores("starts in order, each when the one before is ready, and stops in reverse", function()
    local log, words = journal()
    local gate = lub.chan()
    local s = supervisor { children = {
      { name = "slow", start = function(ward)
        log:send "+slow"
        gate:recv() -- started, but not ready
        log:send "ready"
        ward:beat()
        ward.done:recv()
        log:send "-slow"
      end },
      { name = "next", start = service(log, "next") },
      { name = "last", start = service(log, "last") },
    } }
    await(s, "started", "slow")
    assert.equals("up", s:stats().children[1].status)
    assert.equals("waiting", s:stats().children[2].status)
    gate:close()
    await(s, "started", "last")
    lub.settle()
    assert.same({ true }, { s:stop() })
    assert.equals("+slow ready +next +last -last -next -slow", words())
    assert.same({ nil, "it was stopped" }, { s:join() })
  end)

  it_sims("takes a unit, or a result, for ready too", function()
    local log, words = journal()
    local s = supervisor { children = {
      { name = "a", start = function(ward) ward:unit() ward.done:recv() end },
      { name = "b", start = function(ward) ward:send(true) ward.done:recv() end },
      { name = "c", start = service(log, "c") },
    } }
    assert.is_true(s:results "b":recv())
    await(s, "started", "c")
    s:stop()
    assert.matches("%+c", words())
  end)

  it_sims("treats a child that is never ready as one that never starts, and says why", function()
    local s = supervisor { restart = { max = 1 }, grace = 0.05, children = {
      { name = "mute", startup = 0.2, grace = 0.05, restart = { backoff = "none" },
        start = function(ward) ward.done:recv() end },
      { name = "never", start = function() end },
    } }
    assert.near(0.2, await(s, "stopped", "mute").time, 1e-3)
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("^shutdown: 1 restart", why)
    for e in s:events() do assert(e.name ~= "never", "a dependent started") end
  end)

  it_explores("one_for_one: starts again what died, and nothing else", function()
    local s, orders, words = three "one_for_one"
    lub.settle()
    orders:send "die"
    await(s, "started", "b")
    lub.settle()
    assert.same({ true }, { s:stop() })
    assert.equals("+a +b +c +b -c -b -a", words())
  end)

  it_explores("one_for_all: stops the others in reverse, and starts all in order", function()
    local s, orders, words = three "one_for_all"
    lub.settle()
    orders:send "die"
    await(s, "started", "c")
    lub.settle()
    s:stop()
    assert.equals("+a +b +c -c -a +a +b +c -c -b -a", words())
  end)

  it_explores("rest_for_one: stops those that started later, and starts them again", function()
    local s, orders, words = three "rest_for_one"
    lub.settle()
    orders:send "die"
    await(s, "started", "c")
    lub.settle()
    s:stop()
    assert.equals("+a +b +c -c +b +c -c -b -a", words())
  end)

  it_sims("starts a permanent child again when it returns; not a transient one; a temporary one never", function()
    local s, orders, words = three("one_for_one", { b = "permanent" })
    lub.settle()
    orders:close() -- b returns, again and again
    local _, why = s:join()
    assert.matches("^shutdown: 100 restarts", why)
    assert.matches("%+b %-b .*%+b %-b .*%+b %-b", words())

    s, orders = three("one_for_one", { b = "transient" })
    lub.settle()
    orders:close()
    await(s, "stopped", "b")
    assert.equals("over", s:stats().children[2].status)
    assert.equals(0, s:stats().restarts)
    s:stop()

    s, orders = three("one_for_all", { b = "temporary" })
    lub.settle()
    orders:send "die"
    await(s, "stopped", "b")
    assert.equals("over", s:stats().children[2].status)
    assert.equals(0, s:stats().restarts)
    s:stop()
  end)

  it_explores("does not start a temporary child again for its siblings' sake", function()
    local s, orders, words = three("one_for_all", { a = "temporary" })
    lub.settle()
    orders:send "die"
    await(s, "started", "c")
    lub.settle()
    s:stop()
    assert.equals("+a +b +c -c -a +b +c -c -b", words())
  end)

  it_sims("counts the restarts of all children together", function()
    local s = supervisor { restart = { max = 3, within = 30 }, children = {
      { name = "a", restart = { backoff = "none" }, start = function(ward) ward:beat() error "a died" end },
      { name = "b", restart = { backoff = "none" }, start = function(ward) ward:beat() error "b died" end },
    } }
    local ok, why = s:join()
    assert.is_nil(ok)
    assert.matches("^shutdown: 3 restarts within 30 s; last: .*died", why)
    assert.equals(3, s:stats().restarts)
  end)

  it_explores("counts children that die together as one restart, if all are started again", function()
    local log, words = journal()
    local gate = lub.chan()
    local function dying(ward)
      log:send("+" .. ward.attempt)
      ward:beat()
      if ward.attempt == 1 then gate:recv() error "together" end
      ward.done:recv()
    end
    local s = supervisor { strategy = "one_for_all", restart = { max = 1 }, children = {
      { restart = { backoff = "none" }, start = dying }, { restart = { backoff = "none" }, start = dying },
      { restart = { backoff = "none" }, start = dying },
    } }
    lub.settle()
    gate:close()
    lub.settle()
    assert.equals("+1 +1 +1 +2 +2 +2", words())
    assert.equals(1, s:stats().restarts)
    s:stop()
  end)

  it_sims("ends when no child is left", function()
    local s = supervisor { children = {
      { restart = "transient", start = function(ward) ward:beat() end },
      { restart = "temporary", start = function() error "once" end },
    } }
    assert.same({ true }, { s:join() })
  end)

  it_explores("ends with a significant child, or with the last of them", function()
    local function tree(auto)
      local log = journal()
      local gate = lub.chan()
      return supervisor { auto_shutdown = auto, children = {
        { name = "rest", start = service(log, "rest") },
        { name = "one", significant = true, restart = "transient", start = function(ward) ward:beat() end },
        { name = "two", significant = true, restart = "transient", start = function(ward) ward:beat() gate:recv() end },
      } }, gate
    end
    assert.same({ true }, { tree "any_significant":join() })
    local s, gate = tree "all_significant"
    await(s, "stopped", "one")
    lub.settle()
    gate:close()
    assert.same({ true }, { s:join() })
  end)

  it_explores("may be a child: failure climbs, order holds, the ready beat is that of all its children", function()
    local log, words = journal()
    local orders = lub.chan(0)
    local s = supervisor { name = "root", strategy = "rest_for_one", restart = at_once, children = {
      { name = "first", start = service(log, "first") },
      { name = "branch", restart = { backoff = "none", max = 1 }, children = {
        { name = "leaf1", start = service(log, "leaf1") },
        { name = "leaf2", restart = { backoff = "none" }, start = service(log, "leaf2", orders) },
      } },
      { name = "last", start = service(log, "last") },
    } }
    await(s, "started", "last")
    lub.settle()
    orders:send "one"
    await(s, "started", "leaf2")
    orders:send "two, which is one too many for the branch"
    assert.matches("one too many", await(s, "exhausted").reason)
    await(s, "started", "last")
    lub.settle()
    assert.same({ true }, { s:stop() })
    assert.equals("+first +leaf1 +leaf2 +last +leaf2 -leaf1 -last +leaf1 +leaf2 +last -last -leaf2 -leaf1 -first",
      words())
  end)

  it_sims("holds stewards' streams, by the name of the child", function()
    local function work(u) return u * 2 end
    local s = supervisor { children = {
      { name = "x", generator = { 1, 2 }, work = work },
      { name = "y", generator = { 10, 20 }, work = work },
    } }
    assert.same({ 2, 4, nil }, { s:results "x":recv(), s:results "x":recv(), (s:results "x":recv()) })
    assert.same({ 20, 40, nil }, { s:results "y":recv(), s:results "y":recv(), (s:results "y":recv()) })
    assert.same({ true }, { s:join() })
    helper.raises("results: no child is named 'z'", s.results, s, "z")
  end)

  it_sims("names what did not stop, however deep", function()
    local deaf = { name = "deaf", limit = 20, start = function(ward)
      ward:beat()
      require "lubdub.fault".slow_call(function() end, 4)
    end }
    local s = supervisor { children = { { name = "branch", children = { deaf } } } }
    repeat local e = await(s, "started") until e.name == "deaf"
    lub.settle()
    local ok, why = s:stop(0)
    assert.is_nil(ok)
    assert.equals("did not stop: deaf", why)
  end)

  it("refuses what makes no sense, and names it", function()
    local function refused(text, o) helper.raises("supervisor: " .. text, function() return (supervisor(o)) end) end
    local function f() end
    refused("children: expected at least one", {})
    refused("children: expected a list without holes, got one with [3]", { children = { f, nil, f } })
    refused("children: expected a list without holes, got one with [a]", { children = { f, a = f } })
    refused("children[2]: limit: expected", { children = { f, { start = f, limit = -1 } } })
    refused("children[1]: restart: unknown option 'max'", { children = { { start = f, restart = { max = 1 } } } })
    local a = { name = "a", start = f }
    refused("children[2]: the name 'a' is taken", { children = { a, a } })
    refused("children[1]: start: cannot open /nonexistent/x.lua", { children = { "/nonexistent/x.lua" } })
    refused("strategy: expected one of one_for_one, one_for_all, rest_for_one", { strategy = "all", children = { f } })
    refused("children[1]: significant: a permanent", { children = { { start = f, significant = true } } })
    refused("children[1]: children: expected at least one", { children = { { children = {} } } })
    refused("restart: max: expected", { children = { f }, restart = { max = 0 } })
    refused("restart: type: expected", { children = { f }, restart = "zzz" })
    refused("restart: backoff: expected", { children = { f }, restart = { backoff = "nonsense" } })
    helper.raises("supervisor_spec.lua:", function() return (supervisor {}) end)
  end)
end)

-- On threads: each child, the supervisor and the judge may run at the same time.
describe("in real time a supervisor", function()
  it("stops those that started later, and starts them again", function()
    local s, orders, _, log = three "rest_for_one"
    local function says(...)
      for _, word in ipairs { ... } do assert.equals(word, log:recv(helper.long)) end
    end
    says("+a", "+b", "+c")
    orders:send("die", helper.long)
    says("-c", "+b", "+c")
    assert.same({ true }, { s:stop() })
    says("-c", "-b", "-a")
    assert.same({ nil, "it was stopped" }, { s:join(helper.long) })
  end)
end)
