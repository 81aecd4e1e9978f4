-- Lost update: what was read is written back after a wait, in which another has written.
local lub = require "lubdub"

return function()
  local balance, audit = 0, lub.chan(8)
  local function pay(amount)
    local was = balance
    audit:send(amount)
    balance = was + amount
  end
  local a, b, c = lub.go(pay, 1), lub.go(pay, 2), lub.go(pay, 4)
  a:join()
  b:join()
  c:join()
  assert(balance == 7, "an update is lost")
end
