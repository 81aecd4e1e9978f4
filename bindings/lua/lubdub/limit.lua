--- A limit of restarts: `max` within `within` seconds are borne, one more is too many. As in OTP the window includes
--- both its ends; unlike there, time is counted in whole nanoseconds, so that 5.999 s are not 5 s.
local check = require "lubdub.check"

local limit = {}

local Limit = {}
Limit.__index = Limit

local function ns(seconds) return math.floor(seconds * 1e9 + 0.5) end

--- Counts a restart that begins at `now`. False: it is one too many.
---@param now number  seconds on a clock that stands still while something is being stopped; never goes back
function Limit:restart(now)
  local at = ns(now)
  local oldest = self.times[self.next] -- of the last `max` restarts
  self.times[self.next] = at
  self.next = self.next % self.max + 1
  return not oldest or at - oldest > self.within
end

function limit.check(options)
  return { max = check.count(options.max, "max", 5), within = check.positive(options.within, "within", 30) }
end

function limit.from(checked)
  return setmetatable({ max = checked.max, within = ns(checked.within), times = {}, next = 1 }, Limit)
end

--- limit.new{ max = 5, within = 30 }
function limit.new(options)
  options = options or {}
  return limit.from(check.call("limit", 2, function()
    check.type(options, "options", "table")
    check.names(options, "", "max within")
    return limit.check(options)
  end))
end

return limit
