-- Whatever comes from a channel, until it is closed and drained.
--   from     the channel, or its receiving view
--   count    ends after so many (default: never)
local options = require "lubdub.options"

local function receives(ch)
  local ok, recv = pcall(function() return ch.recv end)
  return ok and type(recv) == "function"
end

return function(opts)
  local o = options("channel", opts, { from = options.required(options.any()), count = options.count(math.huge) })
  if not receives(o.from) then options.refuse("channel", "from", "a channel", o.from) end
  local n = 0
  return function()
    if n >= o.count then return nil end
    n = n + 1
    return (o.from:recv())
  end
end
