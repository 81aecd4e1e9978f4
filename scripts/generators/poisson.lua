-- Units that arrive independently of each other, as calls and customers do: 1, 2, 3, … with random gaps
-- (exponential, 1 / rate seconds on average). Arrivals do not wait for the consumer: those that it missed while it
-- was busy come at once.
--   rate    units a second on average, more than 0
--   count   ends after so many units (default: never)
--   seed    a whole number: the same seed gives the same gaps (default: another one each time)
local lub = require "lubdub"
local options = require "lubdub.options"
local random_source = require "lubdub.random"

return function(opts)
  local o = options("poisson", opts, {
    rate = options.required(options.positive()), count = options.count(math.huge), seed = options.integer(),
  })
  local random, due, unit = random_source(o.seed), lub.now(), 0
  return function()
    if unit >= o.count then return nil end
    due = due - math.log(1 - random()) / o.rate
    if not lub.sleep(due - lub.now()) then return nil end -- cancelled
    unit = unit + 1
    return unit
  end
end
