-- Values from several senders to several receivers through one channel of capacity 1024. `start`: lub.go or lub.spawn.
local lub = require "lubdub"

local function give(ch, count)
  for i = 1, count do ch:send(i) end
end

local function take(ch)
  local count = 0
  for _ in ch do count = count + 1 end
  return count
end

return function(start, senders, receivers)
  return function(n)
    local ch, from, to, count = lub.chan(1024), {}, {}, 0
    local begin = lub.now()
    for i = 1, receivers do to[i] = start(take, ch) end
    for i = 1, senders do from[i] = start(give, ch, n // senders) end
    for i = 1, senders do from[i]:join() end
    ch:close()
    for i = 1, receivers do count = count + to[i]:join() end
    local seconds = lub.now() - begin
    assert(count == n // senders * senders, "values were lost")
    return seconds, count
  end
end
