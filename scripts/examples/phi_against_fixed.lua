-- One jittery heart, judged by `fixed` with three limits and by `phi`, in virtual time: how often is it wrongly taken
-- for dead, and how soon is its real death noticed? A fixed limit is right for one heart; phi learns each one's rhythm.
local random, trial = require "lubdub.random"(1), require "lubdub.trial"

local policies = (arg[0]:match "^(.*)examples/" or "scripts/") .. "policies/"

local function beats(jitter)
  local list = {}
  for i = 1, 3000 do
    local gauss = math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
    list[i] = (list[i - 1] or 0) + math.max(0.05, 1 + jitter * gauss)
  end
  return list
end

--- When the policy says "dead" in the silence from `now` on, if no beat comes before `last`; nil: it does not.
local function suspects(policy, heart, now, last)
  while now < last do
    local verdict, again = policy(heart:look(now))
    if verdict == "dead" then return now end
    now = now + math.max(again or math.huge, 1e-6)
  end
end

print "policy             jitter  wrongly dead  noticed after"
for _, jitter in ipairs { 0.05, 0.4 } do
  local times = beats(jitter)
  for _, limit in ipairs { 1.5, 2, 4, false } do
    local name = limit and "fixed" or "phi"
    local policy = dofile(policies .. name .. ".lua")(limit and { limit = limit } or { threshold = 8, pause = 0 })
    local heart, wrong, last = trial.new { interval = 1, window = 1000, estimate = 1 }, 0, times[#times]
    for i, at in ipairs(times) do
      if suspects(policy, heart, times[i - 1] or 0, at) then wrong = wrong + 1 heart:suspect "dead" end
      heart:beat(at)
    end
    print(("%-5s %-12s %4.2f s  %7d      %8.2f s"):format(name, limit and limit .. " s" or "8", jitter, wrong,
      suspects(policy, heart, last, math.huge) - last))
  end
end
