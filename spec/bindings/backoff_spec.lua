require "lubdub"
local backoff, limit = require "lubdub.backoff", require "lubdub.limit"
local helper = require "spec.bindings.helper"

--- The first n waits.
local function waits(n, options)
  local b, list = backoff.new(options), {}
  for i = 1, n do list[i] = b:next() end
  return list
end

--- A random source that always gives r.
local function always(r) return function() return r end end

local function near(expected, got)
  for i, v in ipairs(expected) do
    assert(math.abs(v - got[i]) <= 1e-6 * v, ("wait %d: expected %s, got %s"):format(i, v, got[i]))
  end
end

describe("backoff", function()
  it("none and constant do what they say", function()
    near({ 0, 0, 0 }, waits(3, { backoff = "none" }))
    near({ 7, 7, 7 }, waits(3, { backoff = "constant", base = 7 }))
  end)

  it("exponential doubles up to the cap", function()
    near({ 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 },
      waits(9, { backoff = "exponential", base = 100, cap = 10000 }))
    near({ 500, 750, 1125, 1687.5, 2531.25, 3796.875, 5695.3125, 8542.96875, 12814.453125, 19221.679687,
      28832.519531, 43248.779297, 60000, 60000 },
      waits(14, { backoff = "exponential", base = 500, cap = 60000, factor = 1.5 }))
    near({ 500, 1000, 2000, 4000, 5000, 5000 }, waits(6, { backoff = "exponential", base = 500, cap = 5000 }))
  end)

  it("geometric goes from base to cap in equal ratios", function()
    near({ 0.1, 0.316228, 1, 3.162278, 10, 10 },
      waits(6, { backoff = "geometric", base = 0.1, cap = 10, steps = 4 }))
    near({ 1, 2.267933, 5.143521, 11.665161, 26.455806, 60, 60 },
      waits(7, { backoff = "geometric", base = 1, cap = 60, steps = 5 }))
  end)

  it("jitter stays in its bounds, which the random source reaches", function()
    local v = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 }
    local half = {}
    for i, x in ipairs(v) do half[i] = x / 2 end
    local function with(kind, r) return { backoff = kind, base = 100, cap = 10000, random = always(r) } end
    near({ 0, 0, 0 }, waits(3, with("full_jitter", 0)))
    near(v, waits(9, with("full_jitter", 1)))
    near(half, waits(9, with("full_jitter", 0.5))) -- the mean
    near(half, waits(9, with("equal_jitter", 0)))
    near(v, waits(9, with("equal_jitter", 1)))
    near({ 100, 100, 100 }, waits(3, with("decorrelated_jitter", 0)))
    near({ 300, 900, 2700, 8100, 10000, 10000 }, waits(6, with("decorrelated_jitter", 1)))
  end)

  it("decorrelated grows from what it gave last, not from what it could have given", function()
    local rolls, at = { 1, 0, 1 }, 0
    local function random()
      at = at + 1
      return rolls[at]
    end
    near({ 300, 100, 300 },
      waits(3, { backoff = "decorrelated_jitter", base = 100, cap = 10000, random = random }))
  end)

  it("takes a function of the attempt, bound by the cap", function()
    near({ 1, 4, 9, 10 }, waits(4, { backoff = function(n) return n * n end, cap = 10 }))
    local b = backoff.new { backoff = function() return -1 end }
    helper.raises("got -1", b.next, b)
  end)

  it("never overflows, however often it is asked", function()
    local b = backoff.new { backoff = "exponential", base = 1e300, cap = 1e308, factor = 1e5 }
    for _ = 1, 3000 do
      local v = b:next()
      assert(v > 0 and v <= 1e308)
    end
  end)

  it("begins again after a reset", function()
    local b = backoff.new { backoff = "exponential", base = 1 }
    near({ 1, 2, 4 }, { b:next(), b:next(), b:next() })
    b:reset()
    near({ 1, 2 }, { b:next(), b:next() })
  end)

  it("with the same seed gives the same waits", function()
    local function run()
      math.randomseed(7)
      return waits(20, { backoff = "full_jitter", random = math.random })
    end
    assert.same(run(), run())
  end)

  it("refuses what makes no sense, and names it", function()
    for _, option in ipairs { "base", "cap", "factor" } do
      for _, bad in ipairs { 0, -1, math.huge, helper.nan, "1" } do
        helper.raises("backoff: " .. option .. ": expected", backoff.new, { backoff = "exponential", [option] = bad })
      end
    end
    helper.raises("backoff: steps: expected", backoff.new, { backoff = "geometric", steps = 1.5 })
    helper.raises("backoff: backoff: expected one of none,", backoff.new, { backoff = "fibonacci" })
    helper.raises("backoff: base: expected at most the cap, 30, got 31", backoff.new, { base = 31 })
    helper.raises("backoff: unknown option 'jitter'", backoff.new, { jitter = true })
    helper.raises("backoff_spec.lua:", function() return (backoff.new { base = 0 }) end)
  end)
end)

describe("a limit of restarts", function()
  --- The time at which the restarts became too many, or nil.
  local function trips(max, within, times)
    local l = limit.new { max = max, within = within }
    for _, t in ipairs(times) do
      if not l:restart(t) then return t end
    end
  end

  local function every(step, n)
    local times = {}
    for i = 1, n do times[i] = (i - 1) * step end
    return times
  end

  it("counts this restart too, in a window that includes its ends, to the nanosecond", function()
    assert.equals(5, trips(1, 5, { 0, 5 }))
    assert.is_nil(trips(1, 5, { 0, 5.999 }))
    assert.is_nil(trips(1, 5, { 0.999, 6.0 }))
    assert.is_nil(trips(1, 5, { 0, 6 }))
    assert.is_nil(trips(1, 5, { 0, 5.000000001 }))
    assert.equals(5.1, trips(1, 5, { 0.1, 5.1 }))
    assert.equals(0, trips(5, 30, every(0, 6)))
    assert.is_nil(trips(5, 30, every(0, 5)))
    assert.equals(30, trips(5, 30, { 0, 6, 12, 18, 24, 30 }))
    assert.is_nil(trips(5, 30, { 0, 6, 12, 18, 24, 31 }))
    assert.is_nil(trips(5, 30, every(6.3, 1000)))
    assert.equals(0, trips(10, 1, every(0, 11)))
  end)

  it("is exact far from zero, where a machine has been up for years", function()
    local up = 3 * 365 * 86400
    assert.equals(up + 5, trips(1, 5, { up, up + 5 }))
    assert.is_nil(trips(1, 5, { up, up + 5.000001 }))
  end)

  it("refuses what makes no sense, and names it", function()
    for _, bad in ipairs { 0, -1, math.huge, helper.nan, 1.5 } do
      helper.raises("limit: max: expected", limit.new, { max = bad })
    end
    for _, bad in ipairs { 0, -1, math.huge, helper.nan } do
      helper.raises("limit: within: expected", limit.new, { within = bad })
    end
  end)
end)
