-- Two wards are silent. One is stuck; the other only waits for a CPU, since sixteen greedy workers want them too. The
-- scheduler knows the difference, so the policy does: the first is replaced, the second is left alone.
local lub = require "lubdub"

local function policy(h)
  if h.state == "runnable" and h.state_age > 0.05 then return "starved", 0.05 end
  if h.age > 0.3 then return "dead" end -- age stands still while it is runnable
  return "alive", h.state == "runnable" and 0.05 or 0.3 - h.age
end

local function steward(name, work)
  return lub.steward { name = name, generator = { 1, 2, 3, 4, 5 }, work = work, policy = policy, pulse = 0.1,
    grace = 0.1, restart = { backoff = "none" } }
end

local hogs = {}
for i = 1, 16 do hogs[i] = lub.spawn(function() while true do end end) end
local wards = {
  steward("starving", function(n)
    for _ = 1, 1e7 do n = n + 0 end -- longer than its turn, so that it stands in line again
    return n
  end),
  steward("stuck", function(n, ward)
    if n == 3 and ward.attempt == 1 then while true do end end
    return n
  end),
}
for _, s in ipairs(wards) do
  local results, verdicts = 0, { starved = 0, dead = 0, alive = 0 }
  for _ in s:results() do results = results + 1 end
  for e in s:events() do
    if e.event == "verdict" then verdicts[e.verdict] = verdicts[e.verdict] + 1 end
  end
  print(("%-8s  %d results, %d times starved, %d times dead, %d restarts"):format(s:name(), results,
    verdicts.starved, verdicts.dead, s:stats().restarts))
end
for _, w in ipairs(hogs) do w:kill() end
