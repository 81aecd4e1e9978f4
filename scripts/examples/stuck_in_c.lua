-- A ward inside a C call cannot be interrupted by anybody. Its steward fences it (nothing it does reaches a channel any
-- more), counts it as a zombie, and has a successor at work long before the call returns.
local lub = require "lubdub"

local began = lub.now()
local s = lub.steward {
  name = "caller", pulse = 0.1, grace = 0.1, restart = { backoff = "none" },
  start = function(ward)
    ward:beat()
    if ward.attempt == 1 then
      os.execute "sleep 2"
      ward:send "from the one that was stuck: nobody sees this"
    end
    ward:send("from attempt " .. ward.attempt .. "; the one before: " .. tostring(ward.reason))
  end,
}

for v in s:results() do print(("%.1f s: result %s"):format(lub.now() - began, v)) end
for e in s:events() do print(("attempt %d: %s%s"):format(e.attempt, e.event, e.reason and ": " .. e.reason or "")) end
print(("%d zombie, still inside its C call"):format(s:stats().zombies))
while s:stats().zombies > 0 and lub.now() - began < 5 do
  lub.sleep(0.1)
  local living = 0
  for _, w in ipairs(lub.workers()) do living = living + (w:name() == "caller" and 1 or 0) end
  if living == 0 then break end
end
print(("%.1f s: the call has returned, the zombie is gone"):format(lub.now() - began))
