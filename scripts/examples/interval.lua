-- A heart that beats at an interval, from "Heartbeats in Golang": two pulses for each result,
-- because the worker makes one result in the time of two pulses, and waits while it does.
local lub = require "lubdub"

local function do_work(done, pulse_interval)
  local heartbeat, results = lub.chan(0, "heartbeat"), lub.chan(0, "results")
  lub.go(function()
    local pulse, work = lub.tick(pulse_interval), lub.tick(2 * pulse_interval)

    local function send_pulse()
      lub.select(heartbeat << true, 0) -- if anybody listens
    end

    local function send_result(r)
      while true do
        local from = lub.select(done, pulse, results << r)
        if from == done or from == results then return end
        send_pulse()
      end
    end

    while true do
      local from = lub.select(done, pulse, work)
      if from == done then break end
      if from == pulse then send_pulse() else send_result(os.time()) end
    end
    heartbeat:close()
    results:close()
  end)
  return heartbeat, results
end

local done = lub.chan(0, "done")
lub.after(tonumber(arg and arg[1]) or 10, done.close, done)

local timeout = (tonumber(arg and arg[1]) or 10) / 5
local heartbeat, results = do_work(done, timeout / 2)
while true do
  local from, v = lub.select(heartbeat, results, timeout)
  if not from then
    print("worker goroutine is not healthy!")
    break
  end
  if v == nil then break end -- closed
  print(from == heartbeat and "pulse" or "results " .. os.date("%S", v))
end
