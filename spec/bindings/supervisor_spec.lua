local lub = require "lubdub"
local supervisor = require "lubdub.supervisor"
local helper = require "spec.bindings.helper"
local long = helper.long

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
    local e, why = s:events():recv(long)
    assert(e, ("no event '%s': %s"):format(event, tostring(why)))
    if e.event == event and (not name or e.name == name) then return e end
  end
end

--- Three services a, b, c under a strategy; b can be told to die. { supervisor, kill b, what was logged }
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
  helper.eventually(function() return s:stats().children[3].ready end)
  return s, orders, words
end

describe("a supervisor", function()
  it("starts in order, each when the one before is ready, and stops in reverse", function()
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
    helper.eventually(function() return s:stats().children[3].ready end)
    assert.same({ true }, { s:stop() })
    assert.equals("+slow ready +next +last -last -next -slow", words())
    assert.same({ nil, "it was stopped" }, { s:join(long) })
  end)

  it("takes a unit, or a result, for ready too", function()
    local log, words = journal()
    local s = supervisor { children = {
      { name = "a", start = function(ward) ward:unit() ward.done:recv() end },
      { name = "b", start = function(ward) ward:send(true) ward.done:recv() end },
      { name = "c", start = service(log, "c") },
    } }
    assert.is_true(s:results "b":recv(long))
    await(s, "started", "c")
    s:stop()
    assert.matches("%+c", words())
  end)

  it("treats a child that is never ready as one that never starts, and says why", function()
    local s = supervisor { restart = { max = 1 }, grace = 0.05, children = {
      { name = "mute", startup = 0.2, grace = 0.05, restart = { backoff = "none" },
        start = function(ward) ward.done:recv() end },
      { name = "never", start = function() end },
    } }
    local ok, why = s:join(long)
    assert.is_nil(ok)
    assert.matches("^shutdown: 1 restart", why)
    for e in s:events() do assert(e.name ~= "never", "a dependent started") end
  end)

  it("one_for_one: starts again what died, and nothing else", function()
    local s, orders, words = three "one_for_one"
    orders:send "die"
    await(s, "started", "b")
    helper.eventually(function() return s:stats().children[2].ready end)
    assert.same({ true }, { s:stop() })
    assert.equals("+a +b +c +b -c -b -a", words())
  end)

  it("one_for_all: stops the others in reverse, and starts all in order", function()
    local s, orders, words = three "one_for_all"
    orders:send "die"
    await(s, "started", "c")
    helper.eventually(function() return s:stats().children[3].ready end)
    s:stop()
    assert.equals("+a +b +c -c -a +a +b +c -c -b -a", words())
  end)

  it("rest_for_one: stops those that started later, and starts them again", function()
    local s, orders, words = three "rest_for_one"
    orders:send "die"
    await(s, "started", "c")
    helper.eventually(function() return s:stats().children[3].ready end)
    s:stop()
    assert.equals("+a +b +c -c +b +c -c -b -a", words())
  end)

  it("starts a permanent child again when it returns; not a transient one; a temporary one never", function()
    local s, orders, words = three("one_for_one", { b = "permanent" })
    orders:close() -- b returns, again and again
    local _, why = s:join(long)
    assert.matches("^shutdown: 100 restarts", why)
    assert.matches("%+b %-b .*%+b %-b .*%+b %-b", words())

    s, orders = three("one_for_one", { b = "transient" })
    orders:close()
    await(s, "stopped", "b")
    assert.equals("over", s:stats().children[2].status)
    assert.equals(0, s:stats().restarts)
    s:stop()

    s, orders = three("one_for_all", { b = "temporary" })
    orders:send "die"
    await(s, "stopped", "b")
    assert.equals("over", s:stats().children[2].status)
    assert.equals(0, s:stats().restarts)
    s:stop()
  end)

  it("does not start a temporary child again for its siblings' sake", function()
    local s, orders, words = three("one_for_all", { a = "temporary" })
    orders:send "die"
    await(s, "started", "c")
    helper.eventually(function() return s:stats().children[3].ready end)
    s:stop()
    assert.equals("+a +b +c -c -a +b +c -c -b", words())
  end)

  it("counts the restarts of all children together", function()
    local s = supervisor { restart = { max = 3, within = 30 }, children = {
      { name = "a", restart = { backoff = "none" }, start = function(ward) ward:beat() error "a died" end },
      { name = "b", restart = { backoff = "none" }, start = function(ward) ward:beat() error "b died" end },
    } }
    local ok, why = s:join(long)
    assert.is_nil(ok)
    assert.matches("^shutdown: 3 restarts within 30 s; last: .*died", why)
    assert.equals(3, s:stats().restarts)
  end)

  it("ends when no child is left", function()
    local s = supervisor { children = {
      { restart = "transient", start = function(ward) ward:beat() end },
      { restart = "temporary", start = function() error "once" end },
    } }
    assert.same({ true }, { s:join(long) })
  end)

  it("ends with a significant child, or with the last of them", function()
    local function tree(auto)
      local log = journal()
      local gate = lub.chan()
      return supervisor { auto_shutdown = auto, children = {
        { name = "rest", start = service(log, "rest") },
        { name = "one", significant = true, restart = "transient", start = function(ward) ward:beat() end },
        { name = "two", significant = true, restart = "transient", start = function(ward) ward:beat() gate:recv() end },
      } }, gate
    end
    assert.same({ true }, { tree "any_significant":join(long) })
    local s, gate = tree "all_significant"
    await(s, "stopped", "one")
    helper.eventually(function() return s:stats().children[3].ready end)
    gate:close()
    assert.same({ true }, { s:join(long) })
  end)

  it("may be a child: failure climbs, order holds, the ready beat is that of all its children", function()
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
    helper.eventually(function() return s:stats().children[3].ready end)
    orders:send "one"
    await(s, "started", "leaf2")
    orders:send "two, which is one too many for the branch"
    assert.matches("one too many", await(s, "exhausted").reason)
    await(s, "started", "last")
    helper.eventually(function() return s:stats().children[3].ready end)
    assert.same({ true }, { s:stop() })
    assert.equals("+first +leaf1 +leaf2 +last +leaf2 -leaf1 -last +leaf1 +leaf2 +last -last -leaf2 -leaf1 -first",
      words())
  end)

  it("holds stewards' streams, by the name of the child", function()
    local function work(u) return u * 2 end
    local s = supervisor { children = {
      { name = "x", generator = { 1, 2 }, work = work },
      { name = "y", generator = { 10, 20 }, work = work },
    } }
    assert.same({ 2, 4, nil }, { s:results "x":recv(long), s:results "x":recv(long), (s:results "x":recv(long)) })
    assert.same({ 20, 40, nil }, { s:results "y":recv(long), s:results "y":recv(long), (s:results "y":recv(long)) })
    assert.same({ true }, { s:join(long) })
    helper.raises("results: no child is named 'z'", s.results, s, "z")
  end)

  it("names what did not stop, however deep", function()
    local deaf = { name = "deaf", limit = long, start = function(ward)
      ward:beat()
      os.execute "sleep 4"
    end }
    local s = supervisor { children = { { name = "branch", children = { deaf } } } }
    repeat local e = await(s, "started") until e.name == "deaf"
    helper.eventually(function() return s:stats().children[1].ready end)
    local ok, why = s:stop(0)
    assert.is_nil(ok)
    assert.equals("did not stop: deaf", why)
  end)

  it("refuses what makes no sense, and names it", function()
    local function refused(text, o) helper.raises("supervisor: " .. text, function() return (supervisor(o)) end) end
    local function f() end
    refused("children: expected at least one", {})
    refused("children[2]: limit: expected", { children = { f, { start = f, limit = -1 } } })
    refused("children[1]: restart: unknown option 'max'", { children = { { start = f, restart = { max = 1 } } } })
    local a = { name = "a", start = f }
    refused("children[2]: the name 'a' is taken", { children = { a, a } })
    refused("children[1]: start: cannot open /nonexistent/x.lua", { children = { "/nonexistent/x.lua" } })
    refused("strategy: expected one of one_for_one, one_for_all, rest_for_one", { strategy = "all", children = { f } })
    refused("children[1]: significant: a permanent", { children = { { start = f, significant = true } } })
    refused("children[1]: children: expected at least one", { children = { { children = {} } } })
    refused("restart: max: expected", { children = { f }, restart = { max = 0 } })
    helper.raises("supervisor_spec.lua:", function() return (supervisor {}) end)
  end)
end)
