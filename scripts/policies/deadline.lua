-- deadline: a beat is due every interval; `pause` more is forgiven, and no more.
--   interval   seconds between beats; default: the heart's interval
--   pause      seconds of silence beyond it that are accepted; default: 3 intervals
-- Source: Akka's DeadlineFailureDetector (interval + acceptable pause).
local options = require "lubdub.options"

return function(opts)
  local o = options("policy 'deadline'", opts, { interval = options.positive(), pause = options.seconds() })
  return function(h)
    local interval = o.interval or h.interval
    local limit = interval + (o.pause or 3 * interval)
    if h.age <= limit then return "alive", limit - h.age end
    return "dead"
  end
end
