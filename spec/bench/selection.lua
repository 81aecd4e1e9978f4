-- n selects over `width` channels, each with a sender of its own that always has something to send.
local lub = require "lubdub"

return function(width)
  return function(n)
    local chans = {}
    for i = 1, width do
      chans[i] = lub.chan()
      lub.go(function() while true do chans[i]:send(i) end end)
    end
    local start = lub.now()
    for _ = 1, n do
      local _, v, at = lub.select(table.unpack(chans))
      assert(v == at)
    end
    return lub.now() - start, n
  end
end
