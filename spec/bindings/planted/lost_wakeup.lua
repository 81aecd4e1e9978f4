-- Lost wake-up: who finds nothing waits to be woken, but was woken before it waited.
local lub = require "lubdub"

return function()
  local items, wake, log = {}, lub.chan(), lub.chan(8)
  local consumer = lub.go(function()
    for n = 1, 2 do
      while #items == 0 do
        log:send "empty"
        wake:recv()
      end
      table.remove(items)
      log:send(n)
    end
  end)
  for n = 1, 2 do
    items[#items + 1] = n
    lub.select(wake << true, 0) -- if anybody waits
    lub.yield()
  end
  consumer:join()
end
