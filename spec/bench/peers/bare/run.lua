-- The workloads on bare.c: `bare run.lua NAME N`, and `bare run.lua list`. The files in work/ run unchanged.
local bench = arg[0]:match("^(.*)/") .. "/../../"
local names = {
  "round_trip_fibers", "one_way_fibers", "one_way_string_fibers", "one_way_table_fibers", "buffered_one",
  "buffered_fibers", "fan_in_fibers", "four_to_four_fibers", "select_2", "select_8", "select_16", "select_default",
  "ring", "jobs", "sieve", "spawn_fiber", "spawn_worker", "timer", "parked_fiber_bytes", "parked_fiber_time",
  "parked_worker_bytes", "tickers",
}
if arg[1] == "list" then
  print(table.concat(names, "\n"))
else
  assert(loadfile(bench .. "one.lua", "t", setmetatable({
    arg = { [0] = bench .. "one.lua", "work/" .. arg[1], arg[2] },
  }, { __index = _G })))()
end
