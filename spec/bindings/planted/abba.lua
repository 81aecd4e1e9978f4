-- ABBA deadlock: two locks, taken in two orders.
local lub = require "lubdub"

return function()
  local a, b = lub.chan(1, "a"), lub.chan(1, "b")
  local function transfer(from, to)
    from:send "taken"
    to:send "taken"
    to:recv()
    from:recv()
  end
  local one, two = lub.go(transfer, a, b), lub.go(transfer, b, a)
  one:join()
  two:join()
end
