--- How long to wait before the next attempt. Grows step by step and stops at the cap, so nothing ever overflows.
---
---   none                0
---   constant            base
---   exponential         base, base * factor, base * factor^2, …; the cap binds it, as it does all that follow
---   geometric           from base to cap in `steps` equal ratios (systemd's RestartSteps)
---   full_jitter         between 0 and the exponential: spreads a crowd best
---   equal_jitter        between half of it and all of it: never too soon
---   decorrelated_jitter between base and three times the wait before
local check = require "lubdub.check"

local backoff = {}
backoff.kinds = {
  "none", "constant", "exponential", "geometric", "full_jitter", "equal_jitter", "decorrelated_jitter",
}

local Backoff = {}
Backoff.__index = Backoff

--- Seconds to wait before the next attempt.
function Backoff:next()
  if self.kind == "function" then return self:_asked() end
  if self.kind == "none" then return 0 end
  if self.kind == "decorrelated_jitter" then
    self.value = math.min(self.cap, self.base + self.random() * (3 * self.value - self.base))
    return self.value
  end
  local v = self.value
  self.value = math.min(self.cap, v * self.factor)
  if self.kind == "full_jitter" then return v * self.random() end
  if self.kind == "equal_jitter" then return v / 2 + v / 2 * self.random() end
  return v
end

function Backoff:_asked()
  self.n = self.n + 1
  local v = self.kind_of(self.n)
  if type(v) ~= "number" or not (v >= 0 and v < math.huge) then
    error(("backoff: expected the function to give seconds, got %s"):format(tostring(v)), 0)
  end
  return math.min(v, self.cap)
end

--- The next wait is a first one again: what was ill has been healthy for long enough.
function Backoff:reset()
  self.value, self.n = self.base, 0
end

local function factor_of(o)
  if o.kind == "constant" then return 1 end
  if o.kind ~= "geometric" then return check.positive(o.factor, "factor", 2) end
  return (o.cap / o.base) ^ (1 / check.count(o.steps, "steps", 5))
end

--- Checks options, which stay plain data. Raises as `check` does.
---@param options {backoff: string|function, base: number, cap: number, factor: number, steps: integer}
function backoff.check(options)
  local o = { base = check.positive(options.base, "base", 0.1), cap = check.positive(options.cap, "cap", 30) }
  local kind = options.backoff
  if type(kind) == "function" then
    o.kind, o.kind_of = "function", kind
  else
    o.kind = check.word(kind, "backoff", backoff.kinds, "full_jitter")
  end
  if o.base > o.cap then check.refuse("base", ("at most the cap, %s"):format(o.cap), o.base) end
  o.factor, o.steps = options.factor, options.steps
  o.factor = factor_of(o)
  if o.factor < 1 then check.refuse("factor", "a number from 1", o.factor) end
  return o
end

--- A backoff from checked options.
---@param random (fun(): number)?  in [0, 1); a seed replays the waits
function backoff.from(checked, random)
  local self = setmetatable({ random = random or math.random }, Backoff)
  for k, v in pairs(checked) do self[k] = v end
  self:reset()
  return self
end

--- backoff.new{ backoff = "full_jitter", base = 0.1, cap = 30, factor = 2, random = math.random }
--- `backoff` may be a function of the attempt (1, 2, …) that gives seconds.
function backoff.new(options)
  options = options or {}
  return backoff.from(check.call("backoff", 2, function()
    check.type(options, "options", "table")
    check.names(options, "", "backoff base cap factor steps random")
    check.type(options.random, "random", "function")
    return backoff.check(options)
  end), options.random)
end

return backoff
