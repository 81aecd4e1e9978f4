-- Hearts of parked fibers that beat at 1 Hz.
local lub = require "lubdub"
local park = require "parked"
local hearts = {}

local here = arg[0]:match("^(.*)/") or "."
function hearts.policy(name) return here .. "/../../scripts/policies/" .. name .. ".lua" end

--- Opens n, so that their beats are spread over the second; `policy`: a script, or nil for the built-in `fixed`.
function hearts.spread(n, policy)
  local parts = 100
  for _ = 1, parts do
    park(n // parts, { interval = 1, policy = policy })
    lub.sleep(1 / parts)
  end
end

--- The share of a core that n of them cost.
function hearts.cpu(n, policy)
  hearts.spread(n, policy)
  lub.sleep(2)
  local start, cpu = lub.now(), os.clock()
  lub.sleep(5)
  return (os.clock() - cpu) / (lub.now() - start), 1
end

return hearts
