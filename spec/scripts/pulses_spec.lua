local helper = require "spec.bindings.helper"

local function path_of(name) return "scripts/pulses/" .. name .. ".lua" end
local function script(name) return dofile(path_of(name)) end

local function refuses(name, opts, option, expected, got)
  local text = ("%s: option '%s': expected %s, got %s"):format(name, option, expected, got)
  local ok, why = pcall(function() script(name)(opts) end)
  assert.is_false(ok, text .. ": it was accepted")
  assert.truthy(tostring(why):find(text, 1, true), "expected: " .. text .. "\ngot: " .. tostring(why))
  assert.matches("pulses_spec%.lua:%d+: ", why)
end

--- A snapshot of a busy heart that beats every second, to the letter, with these differences.
local function snapshot(changes)
  local h = { state = "busy", age = 0.5, interval = 1, samples = 10, mean = 1, sd = 0, misses = 0 }
  for k, v in pairs(changes or {}) do h[k] = v end
  return h
end

describe("every pulse", function()
  local complete = { fixed = { every = 1 }, jittered = { every = 1 }, adaptive = { min = 1, max = 2 } }
  for name, opts in pairs(complete) do
    it(name .. " says what it is for, and names its options, at its top", function()
      assert.matches("^%-%- %u.-\n%-%-   %l", helper.read(path_of(name)))
    end)

    it(name .. " is a function of a snapshot that gives seconds", function()
      local s = script(name)(opts)(snapshot())
      assert.is_true(s > 0 and s < math.huge)
    end)

    it(name .. " refuses options that it does not know, and what is no table", function()
      helper.raises(name .. ": option \"evry\" is unknown; it has: ", script(name), { evry = 1 })
      helper.raises(name .. ": expected a table of options, got 1", script(name), 1)
    end)

    it(name .. " refuses intervals that are no positive, finite numbers, or missing", function()
      for option in pairs(opts) do
        local rest = {}
        for k, v in pairs(opts) do rest[k] = v end
        for bad, got in pairs { [0] = "0", [-1] = "-1", [math.huge] = "inf", x = '"x"' } do
          rest[option] = bad
          refuses(name, rest, option, "a number > 0", got)
        end
        rest[option] = helper.nan
        refuses(name, rest, option, "a number > 0", "nan")
        rest[option] = nil
        refuses(name, rest, option, "a number > 0", "nothing")
      end
    end)
  end
end)

describe("fixed", function()
  it("always gives the same", function()
    local pulse = script "fixed" { every = 0.25 }
    for _, state in ipairs { "idle", "busy", "starting" } do
      assert.equals(0.25, pulse(snapshot { state = state, age = 100 }))
    end
  end)
end)

describe("jittered", function()
  --- Smallest, largest and mean of many intervals.
  local function range(opts)
    local pulse, low, high, sum = script "jittered"(opts), math.huge, 0, 0
    for _ = 1, 10000 do
      local s = pulse {}
      low, high, sum = math.min(low, s), math.max(high, s), sum + s
    end
    return low, high, sum / 10000
  end

  it("is uniform around its interval, a quarter of it to each side", function()
    local low, high, mean = range { every = 4, seed = 1 }
    assert.is_true(low >= 3 and low < 3.01)
    assert.is_true(high <= 5 and high > 4.99)
    assert.is_true(math.abs(mean - 4) < 0.03)
  end)

  it("goes as far as told", function()
    local low, high = range { every = 1, jitter = 0.01, seed = 1 }
    assert.is_true(low >= 0.99 and high <= 1.01)
    low, high = range { every = 1, jitter = 0 }
    assert.same({ 1, 1 }, { low, high })
    low, high = range { every = 1, jitter = 1, seed = 1 }
    assert.is_true(low > 0 and high <= 2)
  end)

  it("is repeated by its seed; without one, no two are alike", function()
    local function run(seed)
      local pulse, list = script "jittered" { every = 1, seed = seed }, {}
      for i = 1, 20 do list[i] = pulse {} end
      return list
    end
    assert.same(run(3), run(3))
    assert.not_same(run(3), run(4))
    assert.not_same(run(nil), run(nil))
  end)

  it("with a seed leaves math.random alone", function()
    math.randomseed(8)
    local expected = math.random()
    math.randomseed(8)
    script "jittered" { every = 1, seed = 3 } {}
    assert.equals(expected, math.random())
  end)

  it("refuses a jitter that is no part, and a seed that is no whole number", function()
    refuses("jittered", { every = 1, jitter = 1.01 }, "jitter", "a number from 0 to 1", "1.01")
    refuses("jittered", { every = 1, jitter = -0.1 }, "jitter", "a number >= 0", "-0.1")
    refuses("jittered", { every = 1, jitter = helper.nan }, "jitter", "a number >= 0", "nan")
    refuses("jittered", { every = 1, seed = 1.5 }, "seed", "an integer", "1.5")
  end)
end)

describe("adaptive", function()
  local function adaptive(changes, opts)
    local all = { min = 0.1, max = 10 }
    for k, v in pairs(opts or {}) do all[k] = v end
    return script "adaptive"(all)(snapshot(changes))
  end

  it("beats as fast as a steady heart does", function()
    assert.equals(1, adaptive())
    assert.equals(3, adaptive { mean = 3 })
  end)

  it("is faster the more the intervals vary", function()
    assert.equals(0.5, adaptive { sd = 1 })
    assert.equals(0.25, adaptive { sd = 3 })
    assert.equals(0.25, adaptive({ sd = 1 }, { caution = 3 }))
    assert.equals(1, adaptive({ sd = 1 }, { caution = 0 }))
  end)

  it("is fastest when the heart is silent, missed, or has never beaten", function()
    assert.equals(0.1, adaptive { age = 1.01 })
    assert.equals(0.1, adaptive { age = 1.6, sd = 0.25 })
    assert.equals(0.8, adaptive { age = 1.4, sd = 0.25 })
    assert.equals(0.1, adaptive { misses = 1 })
    assert.equals(0.1, adaptive { mean = 0, sd = 0, age = 0 })
    assert.equals(0.1, adaptive { samples = 0, mean = 0, age = 0, state = "starting" })
  end)

  it("slows down step by step while parked", function()
    for _, state in ipairs { "idle", "blocked_send", "paused" } do
      local h, seen = { state = state, age = 0 }, {}
      for i = 1, 8 do
        h.interval = adaptive(h)
        seen[i] = h.interval
      end
      assert.same({ 2, 4, 8, 10, 10, 10, 10, 10 }, seen)
    end
    assert.equals(3, adaptive({ state = "idle" }, { slower = 3 }))
    assert.equals(0.2, adaptive { state = "idle", interval = 0 })
  end)

  it("stays between min and max, whatever it is told", function()
    for _, mean in ipairs { 0, 1e-9, 1e9 } do
      for _, sd in ipairs { 0, 1e-9, 1e9 } do
        for _, age in ipairs { 0, 1e12 } do
          local s = adaptive { mean = mean, sd = sd, age = age }
          assert.is_true(s >= 0.1 and s <= 10)
        end
      end
    end
  end)

  it("is a pure function: the same snapshot gives the same", function()
    local pulse = script "adaptive" { min = 0.1, max = 10 }
    local h = setmetatable({}, { __index = snapshot { sd = 1 }, __newindex = function() error "read-only" end })
    local first = pulse(h)
    pulse(snapshot { state = "idle" })
    assert.equals(first, pulse(h))
  end)

  it("refuses limits that contradict each other", function()
    refuses("adaptive", { min = 2, max = 1 }, "max", "a number >= min", "1")
    refuses("adaptive", { min = 1, max = 2, slower = 0.5 }, "slower", "a number >= 1", "0.5")
    refuses("adaptive", { min = 1, max = 2, caution = -1 }, "caution", "a number >= 0", "-1")
  end)
end)

describe("the example of pulses", function()
  it("shows both kinds in time", function()
    local code, out, err = helper.run "sim scripts/examples/pulses.lua"
    assert.equals("", err)
    assert.equals(0, code)
    local all_at_once = ("  %d%.%d%d s ##########\n"):rep(6) -- ten fibers in one moment
    assert.matches("^fixed\n" .. all_at_once .. "jittered\n  0%.%d+ s #+\n", out)
  end)
end)
