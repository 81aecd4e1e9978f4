-- Policies against the numbers of those who invented them. Times are in the unit of each source: a policy knows none.
require "lubdub"
local trial = require "lubdub.trial"

local function script(name) return assert(loadfile("scripts/policies/" .. name .. ".lua"))() end
local function policy(name, opts) return (script(name)(opts)) end

--- a and b differ by at most tolerance.
local function near(expected, got, tolerance, what)
  if expected == got then return end
  local apart = math.abs(expected - got)
  assert(apart <= tolerance, ("%s: expected %.9g ± %g, got %.9g"):format(what or "value", expected, tolerance, got))
end

--- A snapshot of a busy heart, with these fields.
local function heart(fields)
  local h = { name = "x", state = "busy", age = 0, state_age = 0, unit_age = 0, units = 0, beats = 1, interval = 1000,
    limit = 2000, misses = 0, mean = 0, sd = 0, min = 0, max = 0, samples = 2, verdict = "alive", startup = false,
    now = 0 }
  for k, v in pairs(fields) do h[k] = v end
  return h
end

--- Follows a policy from a snapshot on, as if nothing happened: { {age, verdict}, ... } of what it says anew.
local function follow(ask, h, most)
  local said, last = {}, nil
  for _ = 1, 1000 do
    local verdict, wait = ask(h)
    if verdict ~= last then said[#said + 1] = { h.age, verdict } end
    last = verdict
    if not wait or h.age + wait > most then return said end
    local step = math.max(wait, h.age * 1e-15, 1e-9)
    for _, field in ipairs { "age", "state_age", "unit_age", "now" } do h[field] = h[field] + step end
  end
  error "it is asked for ever"
end

local function says(expected, got)
  assert.equals(#expected, #got)
  for i, e in ipairs(expected) do
    near(e[1], got[i][1], 1e-3, e[2])
    assert.equals(e[2], got[i][2])
  end
end

local function raises(text, fn, ...)
  local ok, why = pcall(fn, ...)
  assert(not ok, "no error, expected: " .. text)
  assert(tostring(why):find(text, 1, true), "expected: " .. text .. "\ngot: " .. tostring(why))
end

describe("fixed", function()
  it("lives up to its limit, that included, and asks for the moment when it is over", function()
    local ask = policy("fixed", { limit = 100 })
    assert.same({ "alive", 60 }, { ask(heart { age = 40 }) })
    assert.equals("alive", (ask(heart { age = 100 })))
    assert.same({ "dead" }, { ask(heart { age = 100.001 }) })
  end)

  it("takes the heart's limit without one of its own", function()
    assert.same({ "alive", 1000 }, { policy "fixed"(heart { age = 1000 }) })
    assert.equals("dead", (policy "fixed"(heart { age = 2001 })))
  end)
end)

describe("deadline", function()
  it("adds the pause to the interval", function()
    local ask = policy("deadline", { pause = 4000 })
    says({ { 0, "alive" }, { 5000, "dead" } }, follow(ask, heart {}, 1e9))
    says({ { 0, "alive" }, { 4000, "dead" } }, follow(policy "deadline", heart {}, 1e9))
    says({ { 0, "alive" }, { 7, "dead" } }, follow(policy("deadline", { interval = 7, pause = 0 }), heart {}, 1e9))
  end)
end)

-- Akka's suites read a clock once a call: h beats, p is phi, a whether it is available.
local function scenario(ask, options, increments, calls)
  local t, now, answers = trial.new(options), 0, {}
  local i = 0
  for call in calls:gmatch "%a" do
    i = i + 1
    now = now + increments[i]
    if call == "h" then
      local h = t:look(now)
      local verdict = ask(h)
      if verdict ~= "alive" then t:suspect(verdict) end
      t:beat(now)
    else
      local verdict, _, phi = ask(t:look(now))
      answers[#answers + 1] = call == "p" and phi or verdict == "alive"
    end
  end
  return answers, t:look(now)
end

local function seconds(ms)
  local s = {}
  for i, n in ipairs(ms) do s[i] = n / 1000 end
  return s
end

describe("Akka's deadline detector", function()
  -- "dead", "recover", "accept", "fail after"
  local cases = {
    { { 0, 1000, 100, 100, 7000 }, "hhhaa", { true, false } },
    { { 0, 1000, 1000, 1000, 4000, 1000, 1000 }, "hhhhaha", { true, true } },
  }
  it("is available while less than interval and pause has passed", function()
    for _, case in ipairs(cases) do
      local ask = policy("deadline", { interval = 1, pause = 4 })
      assert.same(case[3], (scenario(ask, { interval = 1 }, seconds(case[1]), case[2])))
    end
  end)
end)

describe("phi", function()
  local function phi(t, mean, sd, exact)
    local ask = policy("phi", { pause = 0, min_sd = 1e-9, exact = exact })
    return select(3, ask(heart { age = t, mean = mean, sd = sd }))
  end
  local function cdf(p) return 1 - 10 ^ -p end

  -- t, the source's cdf, its tolerance, cdf, phi, phi of the normal distribution itself; mean 0, deviation 10
  local close = {
    { 0, 0.5, .001, 0.500000, 0.301030, 0.301030 },
    { 6, 0.7257, .001, 0.725877, 0.562054, 0.561848 },
    { 15, 0.9332, .001, 0.933053, 1.174269, 1.175177 },
    { 20, 0.97725, .001, 0.977240, 1.642828, 1.643016 },
    { 25, 0.99379, .001, 0.993920, 2.216071, 2.206932 },
    { 40, 0.99997, .0001, 0.999982, 4.736695, 4.499335 },
  }
  for _, row in ipairs(close) do
    local t, source, tolerance, expected, logistic, normal = table.unpack(row)
    it(("is Akka's at %d, and the normal distribution's when exact"):format(t), function()
      near(source, cdf(phi(t, 0, 10)), tolerance, "Akka's cdf")
      near(expected, cdf(phi(t, 0, 10)), 1e-6, "cdf")
      near(logistic, phi(t, 0, 10), 1e-6, "phi")
      near(normal, phi(t, 0, 10, true), 1e-6, "exact phi")
    end)
  end

  it("rises with the silence", function()
    for _, exact in ipairs { false, true } do
      for t = 0, 400 do assert(phi(t, 0, 10, exact) < phi(t + 1, 0, 10, exact), t) end
    end
    near(0.7475, cdf(phi(22, 20, 3)), .001)
    near(0.747623, cdf(phi(22, 20, 3)), 1e-6)
  end)

  it("stays finite and right where the naive form overflows", function()
    near(38, phi(10, 0, 1), 1)
    near(37.584713, phi(10, 0, 1), 1e-6)
    near(23.118053, phi(10, 0, 1, true), 1e-6)
    near(341.587362, phi(22, 0, 1), 1e-6)
    near(496.196103, phi(25, 0, 1), 1e-6)
    assert.equals(0, phi(-25, 0, 1))
    assert(phi(-25, 0, 1, true) < 1e-100)
    for _, exact in ipairs { false, true } do assert(phi(1e9, 0, 1, exact) < math.huge) end
  end)

  it("agrees with the normal distribution from its middle to its far tail", function()
    -- -log10 of the upper tail
    local tail = { [-3] = 0.00058664931379, [-1] = 0.0750260129578, [0.1] = 0.337079656727, [2.9] = 2.7291318154,
      [2.999] = 2.86827340612, [3] = 2.86969903593, [3.001] = 2.87112506939, [5] = 6.54264567239,
      [20] = 88.5600953431, [38] = 315.539789704, [100] = 2173.87154287 }
    for y, expected in pairs(tail) do near(expected, phi(y, 0, 1, true), 1e-11 * math.max(1, expected), y) end
  end)

  it("is Akka's for a mean of 1000 and a deviation of 100", function()
    local rows = { { 0, 0, 0, 0 }, { 500, 0.1, 0, 0 }, { 1000, 0.3, 0.301030, 0.301030 },
      { 1200, 1.6, 1.642828, 1.643016 }, { 1400, 4.7, 4.736695, 4.499335 } }
    for _, row in ipairs(rows) do
      local t, source, logistic, normal = table.unpack(row)
      near(source, phi(t, 1000, 100), .1)
      near(logistic, phi(t, 1000, 100), 1e-6)
      near(normal, phi(t, 1000, 100, true), 1e-6)
    end
    near(0.376074, phi(1100, 1000, 500), 1e-6)
    near(0.799508, phi(1100, 1000, 100), 1e-6)
  end)

  describe("names the moment of death in closed form", function()
    local columns = { { sd = 100, pause = 0 }, { sd = 200, pause = 0 }, { sd = 100, pause = 3000 },
      { sd = 250, pause = 3000 }, { sd = 100, pause = 0, exact = true } }
    local rows = {
      [1] = { 1128.222, 1256.443, 4128.222, 4320.554, 1128.155 },
      [2] = { 1232.275, 1464.549, 4232.275, 4580.686, 1232.635 },
      [3] = { 1305.894, 1611.788, 4305.894, 4764.734, 1309.023 },
      [5] = { 1411.919, 1823.838, 4411.919, 5029.798, 1426.489 },
      [8] = { 1522.599, 2045.197, 4522.599, 5306.497, 1561.200 },
    }
    for threshold, row in pairs(rows) do
      it("for a threshold of " .. threshold, function()
        for i, c in ipairs(columns) do
          local ask = policy("phi", { threshold = threshold, pause = c.pause, min_sd = 1, exact = c.exact })
          local h = { mean = 1000, sd = c.sd }
          local verdict, wait, score = ask(heart(h))
          assert.equals("alive", verdict)
          near(row[i], wait, 1e-3)
          assert(score < threshold)
          says({ { 0, "alive" }, { wait, "dead" } }, follow(ask, heart(h), 1e9))
          h.age = wait
          near(threshold, select(3, ask(heart(h))), 1e-9, "phi at the limit")
        end
      end)
    end

    it("in standard deviations", function()
      local of = { [1] = { 1.282215, 1.281552 }, [3] = { 3.058938, 3.090232 }, [8] = { 5.225987, 5.612001 },
        [12] = { 6.292124, 7.034484 } }
      for threshold, y in pairs(of) do
        for i, exact in ipairs { false, true } do
          local ask = policy("phi", { threshold = threshold, pause = 0, min_sd = 1, exact = exact })
          near(y[i], select(2, ask(heart { mean = 0, sd = 1 })), 1e-6, threshold)
        end
      end
    end)

    it("for any threshold", function()
      for _, exact in ipairs { false, true } do
        for _, threshold in ipairs { 0.01, 0.1, 0.3, 0.30103, 0.5, 1, 30, 300, 1000 } do
          local ask = policy("phi", { threshold = threshold, pause = 0, min_sd = 1, exact = exact })
          local _, wait = ask(heart { age = -1e6, mean = 0, sd = 1 })
          near(threshold, select(3, ask(heart { age = wait - 1e6, mean = 0, sd = 1 })), 1e-7 * threshold + 1e-9)
        end
      end
    end)
  end)

  it("takes its defaults from the heart's interval", function()
    local y = 5.225987
    local function dead_after(fields) return select(2, policy "phi"(heart(fields))) end
    near(4000 + y * 100, dead_after { mean = 1000, sd = 3 }, 1e-3, "a tenth of the interval, three for the pause")
    near(4000 + y * 250, dead_after { samples = 0 }, 1e-3, "without samples the interval, a quarter deviation")
    near(0.4 + y * 0.1, dead_after { interval = 0.1, mean = 0.1 }, 1e-6, "at least 0.1")
    near(3200 + y * 100, select(2, policy("phi", { estimate = 200 })(heart { samples = 0 })), 1e-3, "the estimate")
  end)

  it("has no suspicion of what is still starting", function()
    assert.same({ "alive", nil, 0 }, { policy "phi"(heart { startup = true, age = 1e9, samples = 0 }) })
  end)

  it("tells the heart what to look back on", function()
    local _, wants = script "phi" { window = 7, estimate = 3 }
    assert.same({ window = 7, estimate = 3 }, wants)
    assert.same({ window = 1000 }, select(2, script "phi"()))
  end)

  describe("in Akka's scenarios", function()
    local function run(increments, calls, opts)
      local o = { threshold = 8, pause = 0, min_sd = 0.1, estimate = 1 }
      for k, v in pairs(opts or {}) do o[k] = v end
      local ask, wants = script "phi"(o)
      local heart_options = { interval = 1, window = wants.window, estimate = wants.estimate }
      return scenario(ask, heart_options, seconds(increments), calls)
    end

    it("has a mean and a deviation after one beat", function()
      local p, h = run({ 0, 1000, 1000, 1000 }, "hppp")
      near(0.3, p[1], .2)
      near(0.301030, p[1], 1e-6)
      near(4.5, p[2], .3)
      near(4.736695, p[2], 1e-6)
      assert(p[3] > 15)
      near(21.241600, p[3], 1e-6)
      near(1, h.mean, 1e-9)
      near(.25, h.sd, 1e-9)
    end)

    it("has them after two beats", function()
      local p, h = run({ 0, 100, 100, 100 }, "hphp")
      near(5.130e-5, p[1], 1e-8)
      near(0.031512, p[2], 1e-6)
      near(.733333, h.mean, 1e-6)
      near(.428823, h.sd, 1e-6)
    end)

    it("is available while beats come", function()
      local a, h = run({ 0, 1000, 100, 100 }, "hhha")
      assert.same({ true }, a)
      near(.775, h.mean, 1e-6)
      near(.427931, h.sd, 1e-6)
    end)

    it("is not when they do not", function()
      local increments = { 0, 1000, 100, 100, 7000 }
      assert.same({ true, false }, (run(increments, "hhhaa", { threshold = 3 })))
      local p = run(increments, "hhhpp", { threshold = 3 })
      near(0.025714, p[1], 1e-6)
      near(109.210582, p[2], 1e-6)
    end)

    it("accepts a pause", function()
      local increments = { 0, 1000, 1000, 1000, 4000, 1000, 1000 }
      assert.same({ true, true }, (run(increments, "hhhhaha", { pause = 3 })))
      near(0.301030, run(increments, "hhhhpha", { pause = 3 })[1], 1e-6)
    end)

    it("does not learn from a silence that it called dead", function()
      local _, h = run({ 0, 1000, 1000, 60000, 1000 }, "hhhhh", { threshold = 3 })
      near(1, h.mean, 1e-9)
      assert.equals(5, h.samples) -- two of the estimate, three of its own
    end)
  end)
end)

-- Akka's tests of its history of intervals, which is the heart's here
describe("the statistics of a heart", function()
  local function after(window, gaps)
    local t, now = trial.new { interval = 0.1, window = window }, 0
    t:beat(0)
    for _, gap in ipairs(gaps) do
      now = now + gap / 1000
      t:beat(now)
    end
    local h = t:look(now)
    return h.mean * 1e3, h.sd * h.sd * 1e6, h
  end

  it("have the population's variance", function()
    local mean, variance = after(20, { 100, 200, 125, 340, 130 })
    near(179, mean, 1e-4)
    near(7584, variance, 1e-2)
    local one, none = after(20, { 1000 })
    near(1000, one, 1e-4)
    near(0, none, 1e-4)
  end)

  it("forget what has left the window", function()
    local rows = { { { 100, 110, 90 }, 100, 66.6666667 }, { { 100, 110, 90, 140 }, 113.333333, 422.222222 },
      { { 100, 110, 90, 140, 80 }, 103.333333, 688.88888889 } }
    for _, row in ipairs(rows) do
      local mean, variance, h = after(3, row[1])
      near(row[2], mean, 1e-4)
      near(row[3], variance, 1e-2)
      assert.equals(3, h.samples)
      assert.equals(3, #h.window)
      for i = 1, 3 do near(row[1][#row[1] - 3 + i] / 1000, h.window[i], 1e-6) end
    end
  end)
end)

describe("phi_exponential", function()
  it("is the silence in means, as Cassandra's arrival window", function()
    local ask, wants = script "phi_exponential" { window = 4, estimate = 2 }
    local t = trial.new { interval = 1, window = wants.window, estimate = wants.estimate }
    for _, at in ipairs { .111, .222, .333, .444, .555 } do t:beat(at) end
    local _, _, phi = ask(t:look(.666))
    near(0.4342, phi, .01)
    near(0.434294, phi, 1e-5)
    near(1.0, phi * math.log(10), 1e-5)
  end)

  it("convicts after 18.42 means at its threshold of 8, 27.63 at 12", function()
    local function dead_after(opts, fields)
      return select(2, policy("phi_exponential", opts)(heart(fields)))
    end
    near(18420.681, dead_after({}, { mean = 1000 }), 1e-3)
    near(27631, dead_after({ threshold = 12 }, { mean = 1000 }), 1)
    near(36841.361, dead_after({}, { samples = 0 }), 1e-3) -- its first guess: two intervals
    says({ { 0, "alive" }, { 18420.681, "dead" } }, follow(policy "phi_exponential", heart { mean = 1000 }, 1e9))
  end)

  it("says dead at once, and no phi of nan, when all beats came at one moment", function()
    local verdict, _, phi = policy "phi_exponential"(heart { mean = 0, age = 1 })
    assert.same({ "dead", 0 }, { verdict, phi })
  end)
end)

describe("chen", function()
  local window = { 98, 104, 94, 103 } -- arrivals at 103, 201, 305, 399, 502

  it("expects the next beat where all the last ones say", function()
    local ask = policy("chen", { alpha = 50, interval = 100 })
    local _, wait = ask(heart { window = window, now = 502 })
    near(652, 502 + wait, 1e-9)
    near(602, 502 + select(2, policy("chen", { alpha = 0 })(heart { window = window, interval = 100 })), 1e-9)
    says({ { 0, "alive" }, { 150, "dead" } }, follow(ask, heart { window = window }, 1e9))
  end)

  it("is not moved by a single late beat as a deadline after the last beat is", function()
    local ask = policy("chen", { alpha = 50, interval = 100 })
    local _, wait = ask(heart { window = { 100, 100, 100, 100, 100, 100, 100, 100, 140 } })
    near(114, wait, 1e-9) -- the beat that was due 40 ago, a tenth of that lateness, and alpha
  end)

  it("counts the periods that passed without a beat", function()
    local ask = policy("chen", { alpha = 50, interval = 100 })
    near(150, select(2, ask(heart { window = { 100, 300, 100, 200 } })), 1e-9)
  end)

  it("grants alpha to any beat that came, one interval by default", function()
    local ask = policy("chen", { alpha = 50, interval = 100 })
    near(50, select(2, ask(heart { window = { 149, 149, 149, 149, 149, 149 } })), 1e-9)
    near(2000, select(2, policy "chen"(heart { window = {} })), 1e-9)
  end)
end)

describe("ladder", function()
  it("steps from late to missed to dead by the interval", function()
    local expected = { { 0, "alive" }, { 1000, "late" }, { 2000, "missed" }, { 10000, "dead" } }
    says(expected, follow(policy "ladder", heart {}, 1e9))
    says({ { 0, "alive" }, { 3, "late" }, { 6, "missed" }, { 30, "dead" } },
      follow(policy("ladder", { late = 3 }), heart {}, 1e9))
  end)

  it("judges by what the heart does", function()
    local ask = policy "ladder"
    local parked = { { 0, "alive" }, { 0.5, "late" }, { 1, "missed" }, { 5, "dead" } }
    says(parked, follow(ask, heart { state = "blocked_send" }, 1e9))
    says(parked, follow(ask, heart { state = "in_c" }, 1e9))
    says({ { 0, "alive" }, { 0.25, "starved" } }, follow(ask, heart { state = "runnable" }, 1e9))
    says({ { 0, "alive" } }, follow(ask, heart { state = "idle" }, 1e9))
    says({ { 0, "alive" }, { 1, "late" }, { 2, "missed" }, { 10, "dead" } },
      follow(policy("ladder", { idle = 10 }), heart { state = "idle" }, 1e9))
    for _, state in ipairs { "paused", "stopping" } do
      assert.same({ "alive" }, { ask(heart { state = state, age = 1e9, state_age = 1e9 }) })
    end
    for _, state in ipairs { "zombie", "dead" } do assert.equals("dead", (ask(heart { state = state }))) end
  end)

  -- A busy fiber was missed, alive again and missed again, for each moment that it had to wait for a carrier.
  it("takes nothing back when a silent heart enters a C call or waits for its turn", function()
    local ask = policy "ladder"
    for _, age in ipairs { 500, 1500, 2500, 10500 } do
      local busy = ask(heart { age = age })
      assert.same({ busy, 0.25 }, { ask(heart { state = "runnable", age = age }) })
      assert.equals(busy, (ask(heart { state = "in_c", age = age })))
      assert.equals("dead", (ask(heart { state = "in_c", age = age + 6, state_age = 6 })))
    end
    assert.equals("alive", (ask(heart { state = "in_c", age = 1000.4, state_age = 0.45 })))
  end)

  -- Envoy's guarddog: miss and megamiss are late and missed here
  local envoy = { late = 500, missed = 1000, dead = math.huge }

  local function at(ask, age) return (ask(heart { age = age })) end

  it("misses as Envoy's guarddog", function()
    local ask = policy("ladder", envoy)
    assert.equals("alive", at(ask, 300))
    assert.equals("late", at(ask, 550))
    assert.equals("alive", at(ask, 500)) -- strictly more
  end)

  it("megamisses as Envoy's guarddog", function()
    local ask = policy("ladder", { late = 500, missed = 500, dead = math.huge })
    assert.equals("alive", at(ask, 499))
    assert.equals("missed", at(ask, 501))
    ask = policy("ladder", envoy)
    assert.equals("late", at(ask, 1000))
    assert.equals("missed", at(ask, 1500))
  end)

  it("counts each step once in a silence, as Envoy's guarddog", function()
    local ask = policy("ladder", envoy)
    for _ = 1, 2 do
      assert.equals("alive", at(ask, 499))
      assert.equals("alive", at(ask, 499))
      assert.equals("late", at(ask, 501))
      assert.same({ "late", 499 }, { ask(heart { age = 501 }) }) -- the next question is the next step's
    end
    says({ { 0, "alive" }, { 500, "late" }, { 1000, "missed" } }, follow(ask, heart {}, 1e9))
  end)

  it("kills as Envoy's guarddog", function()
    local ask = policy("fixed", { limit = 100 })
    assert.equals("alive", at(ask, 99))
    assert.equals("dead", at(ask, 500))
  end)
end)

describe("k_of_n", function()
  it("is late at each miss and dead at the third in a row", function()
    says({ { 0, "alive" }, { 2000, "late" }, { 6000, "dead" } }, follow(policy "k_of_n", heart { window = {} }, 1e9))
    says({ { 0, "alive" }, { 10, "dead" } },
      follow(policy("k_of_n", { k = 1, limit = 10 }), heart { window = {} }, 1e9))
  end)

  it("counts the misses among the last n expected beats", function()
    local function answer(n, age, ...)
      return { policy("k_of_n", { k = 3, n = n, limit = 10 })(heart { age = age, window = { ... } }) }
    end
    assert.same({ "alive", 5, 0 }, answer(5, 5, 9, 9, 9, 9))
    -- newest first, x for a miss: .x..x
    assert.same({ "alive", 5, 2 }, answer(5, 5, 9, 15, 9, 15))
    -- x.x.. and then another x
    assert.same({ "late", 5, 2 }, answer(5, 15, 9, 15, 9, 15))
    assert.same({ "dead", nil, 3 }, answer(6, 15, 9, 15, 9, 15))
    -- .xxxx, of a gap of five limits and more
    assert.same({ "alive", 9, 4 }, answer(5, 1, 9, 99))
  end)

  it("wants to see as many intervals as it counts", function()
    assert.same({ window = 9 }, select(2, script "k_of_n" { n = 9 }))
  end)
end)

describe("unit_deadline", function()
  local ask = policy("unit_deadline", { limit = 30 })

  it("is about the unit, whatever the heart beats meanwhile", function()
    assert.same({ "alive", 10 }, { ask(heart { unit = 7, unit_age = 20, age = 0 }) })
    assert.equals("alive", (ask(heart { unit = 7, unit_age = 30 })))
    assert.equals("dead", (ask(heart { unit = false, unit_age = 31, age = 0 })))
  end)

  it("asks again between units, in time for one that begins at once", function()
    assert.same({ "alive", 30 }, { ask(heart { age = 1e9 }) })
  end)
end)

describe("quorum", function()
  local function group(...)
    local members = {}
    for i, verdict in ipairs { ... } do members[i] = { verdict = verdict, state = "busy" } end
    return heart { members = members }
  end
  local function answer(opts, ...) return (policy("quorum", opts)(group(...))) end

  it("lives with more than half of its members", function()
    assert.equals("alive", answer(nil, "alive", "late", "dead"))
    assert.equals("dead", answer(nil, "alive", "missed", "dead"))
    assert.equals("dead", answer(nil, "alive", "dead")) -- half is not more than half
    assert.same({ "alive", nil, .25 }, { policy "quorum"(group("alive", "unknown", "dead", "late")) })
  end)

  it("takes what is needed as a count or a share", function()
    assert.equals("alive", answer({ need = 1 }, "alive", "dead", "dead"))
    assert.equals("dead", answer({ need = 4 }, "alive", "alive", "alive"))
    assert.equals("alive", answer({ share = 0.6 }, "alive", "alive", "alive", "dead", "dead"))
    assert.equals("dead", answer({ share = 1 }, "alive", "dead"))
  end)

  it("goes by the state of who has no verdict yet, and holds nothing against a pause", function()
    local h = heart { members = { { verdict = "alive", state = "zombie" }, { verdict = "dead", state = "paused" } } }
    assert.equals("alive", (policy("quorum", { need = 1 })(h)))
    assert.equals("dead", (policy("quorum", { need = 2 })(h)))
  end)

  it("kills as multikill of Envoy's guarddog: five, of which 60 % may not be silent", function()
    local silent = math.max(2, math.ceil(5 * 0.6))
    local opts = { need = 5 - silent + 1 }
    assert.equals("dead", answer(opts, "alive", "alive", "dead", "dead", "dead"))
    assert.equals("alive", answer(opts, "alive", "alive", "alive", "dead", "dead"))
  end)

  it("is refused by a heart without members", function()
    raises("policy 'quorum': the heart has no members", policy "quorum", heart {})
  end)
end)

describe("a policy refuses", function()
  local cases = {
    fixed = { limit = { 0, -1, "1", 0 / 0, math.huge } },
    deadline = { interval = { 0 }, pause = { -1 } },
    k_of_n = { k = { 0, 1.5, 6 }, n = { 0 }, limit = { -1 } },
    ladder = { late = { 0 }, missed = { "x" }, dead = { -1 }, idle = { 0 }, runnable = { 0 / 0 }, in_c = { true } },
    phi = { threshold = { 0, -8, math.huge }, window = { 0, 2.5 }, min_sd = { 0 }, pause = { -1 }, estimate = { 0 },
      exact = { 1 } },
    phi_exponential = { threshold = { 0 }, window = { 0 }, estimate = { -1 } },
    chen = { alpha = { -1 }, interval = { 0 }, window = { 0 } },
    unit_deadline = { limit = { 0 } },
    quorum = { need = { 0, 1.5 }, share = { 0, 1.1 } },
  }
  for name, options in pairs(cases) do
    it(("what is no value of an option of %s, and what is none of its options"):format(name), function()
      for option, values in pairs(options) do
        for _, value in ipairs(values) do
          local shown = value ~= value and "nan" or tostring(value)
          if type(value) == "string" then shown = ("%q"):format(value) end
          local ok, why = pcall(script(name), { [option] = value })
          assert(not ok, ("%s=%s was accepted"):format(option, shown))
          local told = ("policy '%s': option '%s': expected "):format(name, option)
          assert(why:find(told, 1, true) and why:find("got " .. shown, 1, true), why)
          assert(why:find("_spec.lua:%d+: ") or why:find "%.lua:%d+: ", why)
        end
      end
      raises(("policy '%s': option \"treshold\" is unknown"):format(name), script(name), { treshold = 1 })
    end)
  end

  it("two ways to say how many are needed", function()
    raises("policy 'quorum': option 'share'", script "quorum", { need = 1, share = 1 })
  end)
end)
