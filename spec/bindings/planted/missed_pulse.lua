-- Missed pulse: a heart beats only for who listens; the monitor is between its check and its wait.
local lub = require "lubdub"

return function()
  local pulse, report = lub.chan(), lub.chan(8)
  local heart = lub.go(function()
    for _ = 1, 5 do
      lub.sleep(1)
      lub.select(pulse << true, 0)
    end
  end)
  local last = lub.now()
  for _ = 1, 5 do
    local from = lub.select(pulse, 1.5)
    assert(from == pulse, "a living heart is called silent")
    report:send(lub.now() - last)
    last = lub.now()
    lub.sleep(1)                 -- looks once a second, as often as it beats
  end
  heart:join()
end
