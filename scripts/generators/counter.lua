-- Numbers from … to …, without waiting. Ends after `to`, or where numbers end.
--   from    the first (default 1)
--   to      none is beyond it (default: no end)
--   step    from one to the next (default 1); less than 0 counts down
local options = require "lubdub.options"

return function(opts)
  local o = options("counter", opts, { from = options.number(1), to = options.number(), step = options.number(1) })
  if o.step == 0 then options.refuse("counter", "step", "a finite number, not 0", o.step) end
  local up = o.step > 0
  local to = o.to or up and math.huge or -math.huge
  local n, last = 0, nil
  return function()
    local value = o.from + n * o.step -- a product: adding up fractions would add up their errors
    if up and value > to or not up and value < to then return nil end
    if last and (value > last) ~= up then return nil end -- a number that is no longer larger, or has wrapped around
    n, last = n + 1, value
    return value
  end
end
