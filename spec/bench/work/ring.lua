local lub = require "lubdub"
local size = 1000

-- A token goes round a ring of fibers until it has made n hops.
local function run(n)
  local first = lub.chan()
  local from = first
  for _ = 2, size do
    local left, right = from, lub.chan()
    lub.go(function()
      for v in left do right:send(v + 1) end
    end)
    from = right
  end
  local token = 1
  local start = lub.now()
  while token <= n do
    first:send(token)
    token = from:recv() + 1
  end
  return lub.now() - start, token - 1
end

return {
  name = "ring of 1,000 fibers, a hop", unit = "ns", n = 1000000, carriers = { 1 }, floor = "switch",
  target = { { go = 1.1 } },
  run = run,
}
