-- A heart that beats at the beginning of each unit of work, from "Heartbeats in Golang":
-- a pulse before every result. Its channel has room for one pulse, so the first is never lost.
local lub = require "lubdub"

local function do_work(done)
  local heartbeat, results = lub.chan(1, "heartbeat"), lub.chan(0, "results")
  lub.go(function()
    for _ = 1, 10 do
      lub.select(heartbeat << true, 0)
      if lub.select(done, results << math.random(0, 9)) == done then break end
    end
    heartbeat:close()
    results:close()
  end)
  return heartbeat, results
end

local done = lub.chan(0, "done")
local heartbeat, results = do_work(done)
while true do
  local from, v = lub.prefer(heartbeat, results) -- the pulse, then its result
  if v == nil then break end
  print(from == heartbeat and "pulse" or "results " .. v)
end
done:close()
