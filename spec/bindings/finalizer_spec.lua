-- Lua code that runs where no fiber does: finalizers, at any allocation and when a state closes, and the __tostring of
-- an error that ends its fiber. Each script runs in the command and in a stock Lua.
local lub = require "lubdub"
local helper = require "spec.bindings.helper"

-- What it prints in both, with exit code 0 and nothing on stderr.
local function printed(text)
  local outputs = {}
  for i, run in ipairs { helper.script, helper.stock } do
    local code, out, err = run(text)
    assert.same({ 0, "" }, { code, err })
    outputs[i] = out
  end
  assert.equals(outputs[2], outputs[1])
  return outputs[1]
end

describe("a finalizer", function()
  it("is refused a wait, and what it was about to send is dropped", function() -- an address sanitizer sees a leak
    local ch, why = lub.chan(0, "c"), nil
    setmetatable({}, { __gc = function() why = select(2, pcall(ch.send, ch, ("x"):rep(1000))) end })
    collectgarbage()
    assert.matches("finalizer", why)
  end)

  it("called by a script, with what it is not meant for, does nothing", function()
    for _, handle in ipairs { lub.heart { name = "h" }, lub.spawn(function() end), lub.chan() } do
      local mt = debug.getmetatable(handle)
      assert.is_string(getmetatable(handle))
      for _, odd in ipairs { 1, {}, "", io.stdout, lub.chan(), lub.self() } do mt.__gc(odd) end
      mt.__gc()
      mt.__gc(handle)
      mt.__gc(handle)
    end
  end)
end)

describe("a handle that a finalizer sends while the collector takes it", function()
  local function sent_by_finalizer(make, use)
    local out = lub.chan(1)
    do
      local handle = make()
      setmetatable({}, { __gc = function() out:send(handle) end })
    end
    collectgarbage()
    return use(out:recv(0))
  end

  it("arrives as one that works: a channel", function()
    assert.equals("a", sent_by_finalizer(function() return lub.chan(0, "a") end, function(ch) return ch:name() end))
  end)

  it("arrives as one that works: a view of a channel", function()
    local ch = lub.chan(1, "a")
    assert.is_true(sent_by_finalizer(function() return ch:sender() end, function(view) return view:send(1) end))
    assert.equals(1, ch:recv(0))
  end)

  it("arrives as one that works: a heart", function()
    local function make()
      local heart
      lub.go(function() heart = lub.heart { name = "h", interval = 60 } end):join()
      return heart
    end
    assert.equals("h", sent_by_finalizer(make, function(heart) return heart:name() end))
  end)
end)

describe("a finalizer", function()
  it("runs when the results of a fiber are gathered, and belongs to that fiber", function()
    local seen = 0
    local function body()
      for _ = 1, 10 do
        setmetatable({}, { __gc = function()
          seen = seen + (lub.self():state() == "busy" and not lub.yield() and 1 or 0)
        end })
      end
      return 1, {}, {}, {}
    end
    for _ = 1, 300 do assert.equals(1, (lub.go(body):join())) end
    collectgarbage()
    assert.is_true(seen > 2000)
  end)

  it("may start a fiber in the midst of the start of another", function()
    local gate, ran, n = lub.chan(), 0, 3000
    local function body()
      gate:recv()
      ran = ran + 1
    end
    for _ = 1, n do
      setmetatable({}, { __gc = function() lub.go(body) end })
      lub.go(body)
    end
    collectgarbage()
    lub.yield()
    collectgarbage()
    gate:close()
    helper.eventually(function() return ran == 2 * n end)
  end)

  it("may make handles and use the engine when the state closes", function()
    assert.equals("chan 'c' (1/1)\nclosed\n5\ntrue\n", printed [[
      local lub = require "lubdub"
      local kept = {}
      setmetatable({}, { __gc = function()
        kept.ch, kept.timer, kept.worker = lub.chan(1, "c"), lub.after(60), lub.workers()[1]
        kept.view = kept.ch:receiver()
        kept.ch:send(5)
        print(kept.ch)
        kept.done = kept.fiber:done()
        print(select(2, kept.done:recv(0)))
        print(kept.view:recv(0))
        local made, why = pcall(lub.heart, { interval = 60 })
        print(made or why:find "the worker ends" ~= nil)
      end })
      kept.fiber = lub.go(function() end)
      kept.fiber:join()
    ]])
  end)

  it("may end a fiber while its :done() is being made, which closes all the same", function()
    assert.equals("0\n", printed [[
      local lub = require "lubdub"
      local open = 0
      collectgarbage("incremental", 10, 1000)
      for _ = 1, 3000 do
        setmetatable({}, { __gc = function() pcall(coroutine.wrap(function() lub.yield() lub.yield() end)) end })
        local f = lub.go(function() end)
        local done = f:done()
        f:join()
        if select(2, done:recv(0)) ~= "closed" then open = open + 1 end
      end
      print(open)
    ]])
  end)

  it("that is older than the engine is refused when the engine is gone", function()
    local code, out, err = helper.stock [[
      local made = {}
      setmetatable(made, { __gc = function(t)
        for _, use in ipairs {
          function() return t.lub.chan() end, function() return t.lub.now() end, function() return t.lub.go(print) end,
          function() return t.ch:send(1) end, function() return t.ch:recv(0) end, function() return t.ch << 1 end,
          function() return t.fiber:done() end, function() return t.fiber:state() end,
          function() return t.fiber:join() end, function() return t.fiber:kill() end,
          function() return t.heart:beat() end, function() return t.worker:join() end,
          function() return t.lub.select(t.ch) end, function() return t.lub.heart {} end,
          function() return t.lub.self() end, function() return t.lub.workers() end,
        } do
          local ok, why = pcall(use)
          print(ok, (tostring(why):gsub("^.-:%d+: ", "")))
        end
        -- what Lua itself can do goes on
        print(select(2, coroutine.resume(coroutine.create(function() return coroutine.isyieldable() end))))
      end })
      made.lub = require "lubdub"
      made.ch, made.fiber = made.lub.chan(), made.lub.go(function() end)
      made.heart, made.worker = made.lub.heart { interval = 60 }, made.lub.spawn(function() end)
      made.worker:join()
    ]]
    assert.same({ 0, "" }, { code, err })
    local refused = 0
    for line in out:gmatch "false\t([^\n]+)" do
      assert(line:find "closed its engine" or line:find "expected an? %a+", line)
      refused = refused + 1
    end
    assert.equals(16, refused, out)
  end)
end)

describe("the __tostring of an error that ends its fiber", function()
  local function fails_with(tostring_of)
    local fiber = lub.go(function() error(setmetatable({}, { __tostring = tostring_of })) end)
    local ok, why = fiber:join(helper.long)
    assert.is_nil(ok)
    return why
  end

  it("belongs to the fiber", function()
    local name
    fails_with(function()
      name = name or lub.self():name()
      return "x"
    end)
    assert.not_equals("main", name)
  end)

  it("may wait, while others run", function()
    local ch, got = lub.chan(), nil
    lub.go(function() ch:send(5) end)
    fails_with(function()
      got = got or ch:recv()
      return "x"
    end)
    assert.equals(5, got)
  end)

  for what, tostring_of in pairs {
    ["raises"] = function() error "in __tostring" end,
    ["gives no string"] = function() return {} end,
    ["kills its own fiber"] = function() lub.self():kill() end,
    ["yields"] = function() coroutine.yield() end,
    ["joins its own fiber"] = function() lub.self():join() end,
    ["starts a fiber that fails"] = function() error(lub.go(error, "another"):join()) end,
  } do
    it("ends the fiber all the same when it " .. what, function()
      assert.is_table(fails_with(tostring_of))
      lub.yield()
    end)
  end

  it("is told in a sim's report, or that it failed", function()
    local function body(tostring_of)
      return pcall(lub.sim({}, function() error(setmetatable({}, { __tostring = tostring_of })) end))
    end
    assert.is_false(body(function() return "as text" end))
    assert.is_false(body(function() error "in __tostring" end))
  end)
end)

describe("os.exit(code, true) in a fiber, while the main fiber", function()
  local waits = {
    ["receives"] = "ch:recv()", ["sends"] = "ch:send(('x'):rep(100))", ["sleeps"] = "lub.sleep(60)",
    ["selects"] = "lub.select(ch << ('x'):rep(100), ch, 60)", ["sends many"] = "ch:send_many { ('x'):rep(100), 2 }",
    ["joins a fiber"] = "lub.go(lub.sleep, 60):join()", ["joins a worker"] = "worker:join()",
    ["receives inside a sort"] = "table.sort({ 1, 2, 3 }, function() ch:recv() return false end)",
    ["waits for one that waits inside a sort"] =
      "lub.go(function() table.sort({ 1, 2, 3 }, function() ch:recv() return false end) end):join()",
    ["waits for one that has come back inside a sort"] = [[
      lub.go(function() table.sort({ 1, 2, 3 }, function() ch:recv() return false end) end)
      lub.go(function() table.sort({ 1, 2, 3 }, function() ch:send(1) lub.yield() return false end) end):join()]],
  }
  for what, wait in pairs(waits) do
    it(what .. ", closes the state", function()
      local text = ([[
        local lub = require "lubdub"
        local ch, worker = lub.chan(), lub.spawn(function() require "lubdub".sleep(60) end)
        setmetatable({}, { __gc = function() print "closed" end })
        lub.go(function()
          local last <close> = setmetatable({}, { __close = function() print "no handler runs below os.exit" end })
          lub.yield()
          lub.yield()
          os.exit(0, true)
        end)
        WAIT
        ch:recv()
      ]]):gsub("WAIT", function() return wait end)
      assert.equals("closed\n", printed(text))
    end)
  end

  it("waits inside a callback, leaves it without results for a handler that joins it", function()
    for _, start in ipairs { "lub.go(inside, 1, 2) lub.go(joins) lub.sleep(60)", "lub.go(joins) inside()" } do
      local code, out, err = helper.script(([[
        local lub = require "lubdub"
        local waiting
        local function inside()
          waiting = lub.self();
          ("x"):gsub(".", function() lub.yield() lub.yield() end)
          os.exit(0, true)
        end
        local function joins()
          local last <close> = setmetatable({}, { __close = function() print(select("#", waiting:join())) end })
          lub.sleep(60)
        end
        START
      ]]):gsub("START", start), "a b c")
      assert.same({ 0, "0\n", "" }, { code, out, err })
    end
  end)
end)
