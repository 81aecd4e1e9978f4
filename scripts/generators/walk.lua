-- A random walk, without waiting: the start, then each time a step up or down, by the toss of a coin.
--   start   the first value (default 0)
--   step    how far it goes each time, more than 0 (default 1)
--   count   ends after so many values (default: never)
--   seed    a whole number: the same seed walks the same way (default: another one each time)
local options = require "lubdub.options"
local random_source = require "lubdub.random"

return function(opts)
  local o = options("walk", opts, {
    start = options.number(0), step = options.positive(1), count = options.count(math.huge), seed = options.integer(),
  })
  local random = random_source(o.seed)
  local n, at = 0, 0 -- at: in steps from the start, so that fractions do not add up errors
  return function()
    if n >= o.count then return nil end
    if n > 0 then at = at + (random() < 0.5 and -1 or 1) end
    n = n + 1
    return o.start + at * o.step
  end
end
