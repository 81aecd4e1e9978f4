-- unit_deadline: a unit of work may take `limit`, however often its heart beats meanwhile.
-- Between units nothing is due.
--   limit   seconds from heart:unit() to the next unit or rest; default 30
-- Source: scopes of Chromium's HangWatcher; start-to-close of Temporal's activities.
local options = require "lubdub.options"

return function(opts)
  local limit = options("policy 'unit_deadline'", opts, { limit = options.positive(30) }).limit
  return function(h)
    if h.unit == nil then return "alive", limit end -- one that begins this moment is not due sooner
    if h.unit_age <= limit then return "alive", limit - h.unit_age end
    return "dead"
  end
end
