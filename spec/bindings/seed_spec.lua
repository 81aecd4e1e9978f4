-- "Heartbeats in Golang": its programs print what its text shows, and its remedy for tests that guess how long
-- a start takes.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local function example(name, args)
  return helper.run(("run scripts/examples/%s.lua %s"):format(name, args or ""))
end

describe("scripts/examples/interval.lua", function()
  it("prints two pulses for each result", function()
    local code, out, err = example("interval", "2")
    assert.equals(0, code)
    assert.equals("", err)
    assert.matches("^pulse\npulse\nresults %d%d\npulse\n", out)
    local pulses, results = 0, 0
    for line in out:gmatch "[^\n]+" do
      if line == "pulse" then pulses = pulses + 1
      elseif line:find "^results %d%d$" then results = results + 1
      else error("the seed prints no such line: " .. line) end
    end
    assert.is_true(results >= 2)
    assert.is_true(pulses >= results and pulses <= 2 * results + 2)
  end)
end)

describe("scripts/examples/unit.lua", function()
  it("prints a pulse before every result", function()
    local code, out, err = example "unit"
    assert.equals(0, code)
    assert.equals("", err)
    local rest, n = out:gsub("pulse\nresults %d\n", "")
    assert.equals("", rest)
    assert.equals(10, n)
  end)

  it("does so each time, also with one carrier", function()
    for _ = 1, 5 do
      local _, out = helper.shell("LUBDUB_CARRIERS=1 " .. helper.command .. " run scripts/examples/unit.lua")
      assert.equals("", (out:gsub("pulse\nresults %d\n", "")))
    end
  end)
end)

describe("scripts/examples/unhealthy.lua", function()
  it("notices the goroutine that stopped, and is no deadlock", function()
    local code, out, err = example("unhealthy", "0.5")
    assert.equals("pulse\npulse\nworker goroutine is not healthy!\n", out)
    assert.equals("", err)
    assert.equals(0, code)
  end)
end)

--- A worker that is slow to start: it begins when `start` is closed, and pulses before each unit of work.
local function do_work(done, start, numbers)
  local heartbeat, results = lub.chan(1, "heartbeat"), lub.chan(0, "results")
  lub.go(function()
    lub.select(done, start)
    for _, n in ipairs(numbers) do
      lub.select(heartbeat << true, 0)
      if lub.prefer(done, results << n) == done then break end
    end
    heartbeat:close()
    results:close()
  end)
  return heartbeat, results
end

--- The same with the pulse at an interval, as long as it works.
local function do_work_at_interval(done, start, numbers, interval)
  local heartbeat, results = lub.chan(1, "heartbeat"), lub.chan(0, "results")
  lub.go(function()
    local pulse = lub.tick(interval)
    local function send(n)
      while true do
        local from = lub.select(done, pulse, results << n)
        if from ~= pulse then return from end
        lub.select(heartbeat << true, 0)
      end
    end
    lub.select(done, start)
    for _, n in ipairs(numbers) do
      if send(n) == done then break end
    end
    heartbeat:close()
    results:close()
  end)
  return heartbeat, results
end

local numbers = { 0, 1, 2, 3, 5 }

describe("a slow starter", function()
  it("fails the bad test: it guesses how long the start takes, and a healthy worker looks dead", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local _, results = do_work(done, start, numbers)
    local from, why = lub.select(results, 0.01) -- the guess; no guess is long enough for every machine
    assert.is_nil(from)
    assert.equals("timeout", why)
    start:close() -- nothing was wrong:
    for _, expected in ipairs(numbers) do assert.equals(expected, results:recv()) end
    done:close()
  end)

  it("passes the good test: it waits for the first pulse, and needs no time at all", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work(done, start, numbers)
    lub.go(function()
      for _ = 1, 100 do lub.yield() end -- as slow as it likes
      start:close()
    end)
    assert.is_true((heartbeat:recv())) -- it has begun: from here on each result is due
    for _, expected in ipairs(numbers) do assert.equals(expected, results:recv()) end
    assert.same({ nil, "closed" }, { results:recv() })
    done:close()
  end)

  it("passes the good test of an interval: each pulse renews the patience", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work_at_interval(done, start, numbers, 0.001)
    lub.go(function()
      for _ = 1, 100 do lub.yield() end
      start:close()
    end)
    local got = {}
    while #got < #numbers do
      local from, v = lub.select(results, heartbeat, helper.long)
      assert.is_not_nil(from)
      if from == results then got[#got + 1] = v end
    end
    assert.same(numbers, got)
    done:close()
  end)

  it("that is told to stop before it begins closes its channels", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work(done, start, numbers)
    done:close()
    for _ in results do error "it worked" end
    heartbeat:recv()
    assert.is_true(heartbeat:closed())
  end)
end)
