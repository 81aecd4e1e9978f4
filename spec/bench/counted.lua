-- The basic operations that `make bench-check` counts the instructions of. `lubdub run spec/bench/counted.lua NAME N`
-- does one of them N times between two calls of os.clock, at which callgrind starts and ends its count. No wait
-- here ends by the clock and no heart is late, so the count does not depend on how fast the machine is.
local lub = require "lubdub"
local operations = {}

local function echo(from, to)
  for v in from do to:send(v) end
end

local function round_trips(n, ping, pong)
  for i = 1, n do
    ping:send(i)
    assert(pong:recv() == i)
  end
  ping:close()
end

function operations.round_trip_fibers(n)
  local ping, pong = lub.chan(), lub.chan()
  lub.go(echo, ping, pong)
  round_trips(n, ping, pong)
end

function operations.round_trip_workers(n)
  local ping, pong = lub.chan(), lub.chan()
  local worker = lub.spawn(echo, ping, pong)
  round_trips(n, ping, pong)
  worker:join()
end

function operations.buffered(n)
  local ch = lub.chan(1024)
  for i = 1, n do
    ch:send(i)
    assert(ch:recv() == i)
  end
end

function operations.select_8(n)
  local chans, senders = {}, {}
  local function sender(ch, i)
    while ch:send(i) do end
  end
  for i = 1, 8 do
    chans[i] = lub.chan()
    senders[i] = lub.go(sender, chans[i], i)
  end
  for _ = 1, n do
    local _, v, at = lub.select(table.unpack(chans))
    assert(v == at)
  end
  for _, fiber in ipairs(senders) do
    fiber:cancel()
    fiber:join()
  end
end

function operations.spawn_fiber(n)
  local function body() return true end
  for _ = 1, n do assert(lub.go(body):join()) end
end

function operations.timer(n)
  for _ = 1, n do assert(lub.after(3600):stop()) end
end

function operations.beat(n)
  local heart = lub.heart { interval = 3600 }
  for _ = 1, n do heart:beat() end
  heart:close()
end

function operations.table_to_worker(n)
  local ch = lub.chan(1024)
  local worker = lub.spawn(function(from)
    local count = 0
    for _ in from do count = count + 1 end
    return count
  end, ch)
  for _ = 1, n do ch:send { id = 1, name = "x", v = { 1, 2, 3 } } end
  ch:close()
  assert(worker:join() == n)
end

local operation, n = operations[arg[1]], math.tointeger(tonumber(arg[2]))
operation(n // 10)
os.clock()
operation(n)
os.clock()
