local lub = require "lubdub"

local function run(n)
  local ch = lub.chan(1024)
  local start = lub.now()
  for i = 1, n do
    ch:send(i)
    assert(ch:recv() == i)
  end
  return lub.now() - start, n
end

return {
  name = "buffered send and receive, one fiber", unit = "ns", n = 2000000, carriers = { 1 }, floor = "buffer",
  target = { { value = 150 } },
  run = run,
}
