-- n values one way through a channel: from a fiber, or from another worker, to the caller. Timed from the first
-- value's arrival, so that the start of a worker is not in it.
local lub = require "lubdub"
local stream = {}

local function measure(ch, n)
  ch:recv()
  local start, count = lub.now(), 0
  for _ in ch do count = count + 1 end
  local seconds = lub.now() - start
  assert(count == n, "values were lost")
  return seconds, n
end

--- `make(i)` gives the value to send.
function stream.fibers(capacity, make)
  return function(n)
    local ch = lub.chan(capacity)
    lub.go(function()
      for i = 0, n do ch:send(make(i)) end
      ch:close()
    end)
    return measure(ch, n)
  end
end

function stream.workers(capacity, make)
  return function(n)
    local ch = lub.chan(capacity)
    lub.spawn(function(to, count, value)
      for i = 0, count do to:send(value(i)) end
      to:close()
    end, ch, n, make)
    return measure(ch, n)
  end
end

function stream.integer(i) return i end

function stream.text() return "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" end

function stream.row() return { id = 1, name = "x", v = { 1, 2, 3 } } end

return stream
