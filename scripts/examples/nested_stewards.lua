-- Stewards nest. The inner one heals its ward twice, then gives up; the outer one replaces the inner one, whose ward
-- goes on where the last one stopped: progress outlives wards and stewards alike.
local lub = require "lubdub"

local s = lub.steward {
  name = "outer", restart = { backoff = "none", max = 3, within = 30 },
  ward = {
    name = "inner", restart = { backoff = "none", max = 2, within = 30 },
    start = function(ward)
      for step = (ward.last or 0) + 1, 10 do
        if step == 3 * ward.attempt then error("stumbled over step " .. step) end
        ward:send(step, step) -- the result, and with it the progress
      end
    end,
  },
}

local steps = {}
for step in s:results() do steps[#steps + 1] = step end
for e in s:events() do
  if e.event ~= "stopped" then
    print(("%-8s %-10s %s"):format(e.steward and "steward" or "  ward", e.event, e.reason or ""))
  end
end
print("steps: " .. table.concat(steps, " "))
