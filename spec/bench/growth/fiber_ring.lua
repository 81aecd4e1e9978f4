local lub = require "lubdub"

-- A token goes round a ring of fibers, each with a channel of its own; the first round only gets them going.
local function run(n, size)
  local first = lub.chan()
  local from = first
  for _ = 2, size do
    local left, right = from, lub.chan()
    lub.go(function()
      for v in left do right:send(v) end
    end)
    from = right
  end
  local function round()
    first:send(true)
    from:recv()
  end
  round()
  local rounds = math.max(1, n // size)
  local start = lub.now()
  for _ = 1, rounds do round() end
  return lub.now() - start, rounds * size
end

return { name = "a hop in a ring of fibers", unit = "ns", n = 1000000, cold = true, run = run }
