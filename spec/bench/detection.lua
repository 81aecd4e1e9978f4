-- How long after its deadline a silence is told: n fibers, among 100,000 healthy hearts, begin a unit of work and then
-- wait for ever, while `hogs` workers never wait. Sorted, the quickest first.
local lub = require "lubdub"
local hearts = require "hearts"

local limit, spread = 0.5, 3

-- Its policy, a script, is asked for the first time within the limit.
local function fall_silent(gate, late)
  lub.sleep(math.random() * spread)
  local heart = lub.heart { interval = 0.2, policy = hearts.policy "unit_deadline", policy_opts = { limit = limit } }
  lub.go(function(verdicts, due)
    assert(verdicts:recv().verdict == "dead")
    late:send(lub.now() - due)
  end, heart:verdicts(), lub.now() + limit)
  heart:unit()
  gate:recv()
end

return function(n, hogs)
  local gate, late, sorted = lub.chan(), lub.chan(n), {}
  hearts.spread(100000)
  for _ = 1, hogs do lub.spawn(function() while true do end end) end
  lub.sleep(1)
  for _ = 1, n do lub.go(fall_silent, gate, late) end
  for i = 1, n do sorted[i] = late:recv() end
  table.sort(sorted)
  return sorted
end
