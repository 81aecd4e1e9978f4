-- The goroutine that stops after two pulses and closes nothing, from the text behind "Heartbeats in
-- Golang": its silence is noticed, and nobody hangs.
local lub = require "lubdub"

local function do_work(done, pulse_interval)
  local heartbeat, results = lub.chan(0, "heartbeat"), lub.chan(0, "results")
  lub.go(function()
    local pulse = lub.tick(pulse_interval)
    for _ = 1, 2 do
      if lub.select(done, pulse) == done then return end
      lub.select(heartbeat << true, 0)
    end
  end)
  return heartbeat, results
end

local done = lub.chan(0, "done")
local timeout = tonumber(arg and arg[1]) or 2
local heartbeat, results = do_work(done, timeout / 2)
while true do
  local from, v = lub.select(heartbeat, results, timeout)
  if not from then
    print("worker goroutine is not healthy!")
    break
  end
  print(from == heartbeat and "pulse" or "results " .. v)
end
done:close()
