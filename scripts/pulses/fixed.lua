-- A pulse every so often.
--   every   seconds, more than 0
local options = require "lubdub.options"

return function(opts)
  local o = options("fixed", opts, { every = options.required(options.positive()) })
  return function() return o.every end
end
