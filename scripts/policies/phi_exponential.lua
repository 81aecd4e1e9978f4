-- phi_exponential: phi for beats that come at random (a Poisson stream): the silence in means, no deviation needed.
-- Dead when phi = age / mean / ln 10 exceeds the threshold: by default after 18.4 means. Score: phi.
--   threshold   default 8                 window   how many intervals are looked back on; default 1000
--   estimate    seconds; first guess of the mean interval, default 2 intervals of the heart
-- Source: Cassandra's FailureDetector and its ArrivalWindow.
local options = require "lubdub.options"

local LN10 = math.log(10)

return function(opts)
  local o = options("policy 'phi_exponential'", opts,
    { threshold = options.positive(8), window = options.count(1000), estimate = options.positive() })

  return function(h)
    local mean = h.samples > 0 and h.mean or o.estimate or 2 * h.interval
    local limit = o.threshold * LN10 * mean
    local phi = mean > 0 and h.age / mean / LN10 or 0
    if h.age <= limit then return "alive", limit - h.age, phi end
    return "dead", nil, phi
  end, { window = o.window, estimate = o.estimate }
end
