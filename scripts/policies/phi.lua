-- phi: how unlikely is a silence this long, given how this heart has beaten so far? Phi 1, 2, 3 is a chance of 10, 1,
-- 0.1 per cent that it is wrong to suspect it; dead when phi exceeds the threshold. Score: phi.
--   threshold   default 8                         window   how many intervals are looked back on; default 1000
--   min_sd      seconds; default max(0.1, a tenth of the interval): a regular heart is not held to the microsecond
--   pause       seconds of silence that are accepted on top of the mean; default 3 intervals
--   estimate    seconds; first guess of the interval, default the heart's interval
--   exact       true: the normal distribution itself; default false: Akka's logistic approximation of it, which is
--               the more suspicious one far out (phi 37.6 and 23.1 at ten standard deviations)
-- Source: Hayashibara et al., "The phi accrual failure detector" (SRDS 2004); Akka's PhiAccrualFailureDetector.
local options = require "lubdub.options"

local exp, log, max, sqrt = math.exp, math.log, math.max, math.sqrt
local LN10, LN_SQRT_2PI = log(10), log(2 * math.pi) / 2

local function log1p(x)
  local u = 1 + x
  if u == 1 then return x end
  return log(u) * x / (u - 1)
end

-- Both models: surprise(y) = -ln P(a silence exceeds its mean by y standard deviations), and its inverse.

local A, B = 1.5976, 0.070566 -- P = 1 / (1 + e^(A y + B y^3))
local logistic = {}

function logistic.surprise(y)
  local z = y * (A + B * y * y)
  if z > 0 then return z + log1p(exp(-z)) end
  return log1p(exp(z))
end

--- The one real root of the cubic, by hyperbolic functions.
function logistic.inverse(s)
  local z = s + log1p(-exp(-s))
  local p, q = A / B, math.abs(z) / B
  local x = 1.5 * q / p * sqrt(3 / p)
  local u = log(x + sqrt(x * x + 1)) / 3
  local y = sqrt(p / 3) * (exp(u) - exp(-u))
  return z < 0 and -y or y
end

local normal = {}

--- The normal hazard: density over tail, by a continued fraction; for y >= 3.
local function hazard(y)
  local f = y
  for k = 60, 1, -1 do f = y + k / f end
  return f
end

--- P(0 < Y < y), by a series.
local function middle(y)
  local term, sum, k = y, y, 1
  while term > sum * 1e-17 do
    k = k + 2
    term = term * y * y / k
    sum = sum + term
  end
  return sum * exp(-y * y / 2 - LN_SQRT_2PI)
end

function normal.surprise(y)
  if y < 0 then return -log1p(-exp(-normal.surprise(-y))) end
  if y < 3 then return -log(0.5 - middle(y)) end
  return y * y / 2 + LN_SQRT_2PI + log(hazard(y))
end

--- Newton's method from the right of the root: the function is convex and rises, so each step comes closer.
function normal.inverse(s)
  local y = sqrt(2 * s)
  for _ = 1, 100 do
    local t = normal.surprise(y)
    local step = (t - s) / exp(t - y * y / 2 - LN_SQRT_2PI)
    y = y - step
    if step < 1e-13 * max(1, math.abs(y)) then break end
  end
  return y
end

return function(opts)
  local o = options("policy 'phi'", opts, { threshold = options.positive(8), window = options.count(1000),
    min_sd = options.positive(), pause = options.seconds(), estimate = options.positive(),
    exact = options.flag(false) })
  local model = o.exact and normal or logistic
  local furthest = model.inverse(o.threshold * LN10) -- so that the deadline is mean + pause + furthest * sd

  return function(h)
    if h.startup then return "alive", nil, 0 end -- never beaten: that is the startup deadline's to judge
    local mean, sd = h.mean, h.sd
    if h.samples == 0 then
      mean = o.estimate or h.interval
      sd = mean / 4
    end
    sd = max(sd, o.min_sd or max(0.1, h.interval / 10))
    local expected = mean + (o.pause or 3 * h.interval)
    local limit = expected + furthest * sd
    local phi = model.surprise((h.age - expected) / sd) / LN10
    if h.age <= limit then return "alive", limit - h.age, phi end
    return "dead", nil, phi
  end, { window = o.window, estimate = o.estimate }
end
