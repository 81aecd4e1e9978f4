-- Plain coroutines on the workloads of spec/bench: `lua5.4 run.lua NAME N`, and `lua5.4 run.lua list`. The files in
-- work/ run unchanged, on sched.lua in the place of the engine. CPU time is wall time here: one thread, nothing waits.
local here = arg[0]:match("^(.*)/")
local bench = here .. "/../../"
package.path = here .. "/?.lua;" .. bench .. "?.lua;" .. package.path

local sched = require "sched"
local names = {
  "round_trip_fibers", "one_way_fibers", "one_way_string_fibers", "one_way_table_fibers", "buffered_one",
  "buffered_fibers", "string_fibers", "table_fibers", "fan_in_fibers", "four_to_four_fibers", "ring", "jobs", "sieve",
  "spawn_fiber", "parked_fiber_bytes", "parked_fiber_time",
}
if arg[1] == "list" then
  print(table.concat(names, "\n"))
  return
end

local function go(fn, ...)
  local done, ended, result
  local arguments = table.pack(...)
  sched.go(function()
    result = fn(table.unpack(arguments, 1, arguments.n))
    ended = true
    if done then done:close() end
  end)
  local function join()
    if not ended then
      done = done or sched.chan()
      done:recv()
    end
    return result
  end
  return { join = join }
end

package.loaded.lubdub = { chan = sched.chan, go = go, yield = sched.yield, now = os.clock }

local work = dofile(bench .. "work/" .. arg[1] .. ".lua")
local n = math.tointeger(tonumber(arg[2]))
print(("result %.9g %.9g"):format(sched.run(function()
  if not work.cold then work.run(math.max(1, n // 10)) end
  return work.run(n)
end)))
