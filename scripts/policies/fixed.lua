-- fixed: a silence longer than `limit` is death.
--   limit   seconds; default: the heart's own limit, which is twice its interval
-- Source: the timeout of two pulse intervals in "Concurrency in Go" (K. Cox-Buday), Heartbeats.
local options = require "lubdub.options"

return function(opts)
  local given = options("policy 'fixed'", opts, { limit = options.positive() }).limit
  return function(h)
    local limit = given or h.limit
    if h.age <= limit then return "alive", limit - h.age end
    return "dead"
  end
end
