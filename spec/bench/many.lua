-- As stream.lua, integers in batches of 64: the sender fills one table anew, the receiver looks at each value.
local lub = require "lubdub"

local BATCH = 64

local function produce(ch, n)
  local t = {}
  for first = 1, n, BATCH do
    for k = 1, BATCH do t[k] = first + k - 1 end
    ch:send_many(t)
  end
  ch:close()
end

--- `start` is lub.go or lub.spawn. n is made a multiple of the batch.
return function(start)
  return function(n)
    n = (n + BATCH - 1) // BATCH * BATCH
    local ch, count = lub.chan(1024), -BATCH
    start(produce, ch, n + BATCH)
    count = count + #ch:recv_many(BATCH)
    local from, sum = lub.now(), 0
    for t in function() return ch:recv_many(BATCH) end do
      for i = 1, #t do sum = sum + t[i] end
      count = count + #t
    end
    local seconds = lub.now() - from
    assert(count == n, "values were lost")
    return seconds, n
  end
end
