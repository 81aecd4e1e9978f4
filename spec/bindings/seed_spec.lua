-- "Heartbeats in Golang": its programs print what its text shows, and its remedy for tests that guess how long
-- a start takes.
local helper = require "spec.bindings.helper"
local lub = require "lubdub"

local in_sim, in_any_order = helper.in_sim(it), helper.in_sim(it, { runs = 20 })
local seeds = 10

local function example(name, args, command)
  return helper.run(("%s scripts/examples/%s.lua %s"):format(command or "run", name, args or ""))
end

--- check(stdout) for the example in virtual time, under several schedules.
local function in_sims(name, args, check)
  for seed = 1, seeds do
    local code, out, err = example(name, args, "sim --seed " .. seed)
    assert.same({ seed, 0, "" }, { seed, code, err })
    check(out)
  end
end

--- The pulses, and the seconds of each result, of interval.lua.
local function heard(out)
  local pulses, results = 0, {}
  for line in out:gmatch "[^\n]+" do
    local seconds = line:match "^results (%d%d)$"
    if seconds then results[#results + 1] = seconds
    elseif line == "pulse" then pulses = pulses + 1
    else error("the seed prints no such line: " .. line) end
  end
  return pulses, results
end

describe("scripts/examples/interval.lua", function()
  it("prints two pulses for each result, every two seconds", function()
    in_sims("interval", "", function(out)
      local pulses, results = heard(out)
      -- What falls on one instant comes in any order: the end and the fifth result; the result and a pulse, which is
      -- lost when nobody listens just then.
      if results[5] then assert.equals("10", table.remove(results)) end
      assert.same({ "02", "04", "06", "08" }, results)
      assert.matches("^pulse\n", out)
      assert.is_true(pulses >= 5 and pulses <= 10)
    end)
  end)

  it("prints pulses and results in real time too", function()
    local code, out, err = example("interval", "2")
    assert.equals(0, code)
    assert.equals("", err)
    local pulses, results = heard(out)
    assert.is_true(pulses > 0 and #results > 0)
  end)
end)

describe("scripts/examples/unit.lua", function()
  local function check(out)
    local rest, n = out:gsub("pulse\nresults %d\n", "")
    assert.equals("", rest)
    assert.equals(10, n)
  end

  it("prints a pulse before every result", function()
    local code, out, err = example "unit"
    assert.equals(0, code)
    assert.equals("", err)
    check(out)
  end)

  it("does so in any order of its fibers", function() in_sims("unit", "", check) end)

  it("does so each time, also with one carrier", function()
    for _ = 1, 5 do
      local _, out = helper.shell("LUBDUB_CARRIERS=1 " .. helper.command .. " run scripts/examples/unit.lua")
      check(out)
    end
  end)
end)

describe("scripts/examples/unhealthy.lua", function()
  local function check(out) assert.equals("pulse\npulse\nworker goroutine is not healthy!\n", out) end

  it("notices the goroutine that stopped, and is no deadlock", function() in_sims("unhealthy", "", check) end)

  it("does so in real time too", function()
    local code, out, err = example("unhealthy", "0.5")
    assert.equals(0, code)
    assert.equals("", err)
    check(out)
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
  in_sim("fails the bad test: it guesses how long the start takes, and a healthy worker looks dead", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local _, results = do_work(done, start, numbers)
    local from, why = lub.select(results, 1) -- the guess; no guess is long enough for every machine
    assert.is_nil(from)
    assert.equals("timeout", why)
    start:close() -- nothing was wrong:
    for _, expected in ipairs(numbers) do assert.equals(expected, results:recv()) end
    done:close()
  end)

  in_any_order("passes the good test: it waits for the first pulse, however long it takes", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work(done, start, numbers)
    lub.go(function()
      lub.sleep(600) -- as slow as it likes
      start:close()
    end)
    assert.is_true((heartbeat:recv())) -- it has begun: from here on each result is due
    for _, expected in ipairs(numbers) do assert.equals(expected, results:recv()) end
    assert.same({ nil, "closed" }, { results:recv() })
    done:close()
  end)

  in_any_order("passes the good test of an interval: each pulse renews the patience", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work_at_interval(done, start, numbers, 1)
    lub.go(function()
      lub.sleep(600)
      start:close()
    end)
    local got = {}
    while #got < #numbers do
      local from, v = lub.select(results, heartbeat, #got == 0 and 601 or 2)
      assert.is_not_nil(from)
      if from == results then got[#got + 1] = v end
    end
    assert.same(numbers, got)
    done:close()
  end)

  in_any_order("that is told to stop before it begins closes its channels", function()
    local done, start = lub.chan(0, "done"), lub.chan(0, "start")
    local heartbeat, results = do_work(done, start, numbers)
    done:close()
    for _ in results do error "it worked" end
    heartbeat:recv()
    assert.is_true(heartbeat:closed())
  end)
end)
