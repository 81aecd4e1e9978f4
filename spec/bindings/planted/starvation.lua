-- Starvation: a queue without turns; one who takes from it may get nothing, again and again.
local lub = require "lubdub"

return function()
  local jobs, got, fibers = lub.chan(24), { 0, 0, 0 }, {}
  for n = 1, 24 do jobs:send(n) end
  jobs:close()
  for i = 1, 3 do
    fibers[i] = lub.go(function()
      for _ in jobs do
        got[i] = got[i] + 1
        lub.yield()
      end
    end)
  end
  for i = 1, 3 do fibers[i]:join() end
  for i = 1, 3 do assert(got[i] > 0, "somebody is starved") end
end
