-- chen: when is the next beat expected, going by all the last ones? Dead `alpha` after that. For beats that are meant
-- to come at a known period: a late one does not move the next, as it does where only the last beat counts.
--   alpha      seconds of grace after the expected arrival; default: one interval
--   interval   the period at which beats are sent, in seconds; default: the heart's interval
--   window     how many intervals are looked back on; default 32
-- A heart that is slower than `interval` by nature is dead to this policy: use phi for it.
-- Source: Chen, Toueg, Aguilera, "On the quality of service of failure detectors" (IEEE ToC 51(5), 2002), NFD-E.
local options = require "lubdub.options"

--- From the last beat to the next expected one: EA = mean(A_i - eta s_i) + eta (s + 1), seen from the last arrival.
--- Beats carry no number, so each is given the one that its distance in periods speaks for.
local function expected(window, eta)
  local since, periods, lead = 0, 0, 0
  for i = #window, 1, -1 do
    since = since + window[i]
    periods = periods + (window[i] / eta + 0.5) // 1
    lead = lead + periods * eta - since
  end
  return math.max(eta + lead / (#window + 1), 0) -- a beat that came is worth `alpha`, however late it was
end

return function(opts)
  local o = options("policy 'chen'", opts,
    { alpha = options.seconds(), interval = options.positive(), window = options.count(32) })

  return function(h)
    local eta = o.interval or h.interval
    local limit = expected(h.window or {}, eta) + (o.alpha or eta)
    if h.age <= limit then return "alive", limit - h.age end
    return "dead"
  end, { window = o.window }
end
