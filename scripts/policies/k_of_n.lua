-- k_of_n: dead when k of the last n expected beats were missed. Each whole `limit` of silence is one miss and each
-- beat that came is none, so k = n asks for n misses in a row; with k < n a heart that comes and goes is found out.
--   k       misses that are too many; default 3
--   n       how many expected beats are looked at; default 5
--   limit   seconds of silence that count as a miss; default: the heart's own limit
-- One miss is "late", a verdict that lets the heart learn the gap: the history is what is counted here.
-- Score: the misses among the last n. Source: failureThreshold of Kubernetes' probes, made to slide.
local options = require "lubdub.options"

--- How often limit was exceeded in a silence; at exactly the limit it was not yet.
local function misses(silence, limit) return math.max(math.ceil(silence / limit) - 1, 0) end

--- Misses among the last n expected beats: those of the silence now, then back through the gaps.
local function count(h, n, limit, now)
  local seen, missed = now, now
  local window = h.window or {}
  for i = #window, 1, -1 do
    if seen >= n then break end
    local m = math.min(misses(window[i], limit), math.max(n - seen - 1, 0)) -- its beat came: one place, no miss
    seen, missed = seen + 1 + m, missed + m
  end
  return math.min(missed, n)
end

return function(opts)
  local o = options("policy 'k_of_n'", opts,
    { k = options.count(3), n = options.count(5), limit = options.positive() })
  if o.k > o.n then options.refuse("policy 'k_of_n'", "k", "at most n = " .. o.n, o.k) end
  return function(h)
    local limit = o.limit or h.limit
    local now = misses(h.age, limit)
    local missed = count(h, o.n, limit, now)
    if now == 0 then return "alive", limit - h.age, missed end
    if missed >= o.k then return "dead", nil, missed end
    return "late", (now + 1) * limit - h.age, missed
  end, { window = o.n }
end
