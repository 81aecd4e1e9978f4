-- The workloads in the order of the table. Each is work/NAME.lua and returns
--   name      what one operation is, for a reader
--   unit      ns, us, ms or s (of an amount in seconds), bytes, % (of a share)
--   n         how much one run does; `big` replaces it under --big; `fixed` keeps it under --quick
--   cold      true: no warm-up run before the measured one
--   carriers  the numbers of carriers to run it on, each in a process of its own
--   floor     the entry of floor.lua measured beside it, if one is comparable
--   target    per number of carriers: { value = in the unit, floor = ratio, go = ratio }, each an upper bound
--   kernel    true: it waits for the kernel's clock, so threads in C show the floor
--   serial    true: one thread shows the floor for any number of carriers
--   mailbox   true: in Erlang a message into an unbounded mailbox, which need not be beaten
--   run(n)    -> amount, operations
--   program   true: not run(n), but the C program NAME.c beside this file, which prints what peers print
--   figures   a list of { key, name, unit, target } where one run tells several: run(n) -> amount, operations, amount…
--   of_commands  true: run(n, command), which is told what each side does to begin and end
return {
  "round_trip_fibers", "round_trip_workers", "one_way_fibers", "one_way_workers",
  "one_way_string_fibers", "one_way_string_workers", "one_way_table_fibers", "one_way_table_workers",
  "buffered_one", "buffered_fibers", "buffered_workers", "buffered_many_fibers", "buffered_many_workers",
  "string_fibers", "string_workers", "table_fibers", "table_workers",
  "fan_in_fibers", "fan_in_workers", "four_to_four_fibers", "four_to_four_workers",
  "select_2", "select_8", "select_16", "select_default",
  "ring", "jobs", "jobs_workers", "sieve", "parallel",
  "spawn_fiber", "spawn_worker", "timer",
  "parked_fiber_bytes", "parked_fiber_time", "parked_worker_bytes",
  "sleep", "sleep_beside_hogs", "ticker", "tickers", "idle_cpu", "start",
  "beat_lua", "beat_c", "hearts_cpu", "hearts_cpu_script", "heart_bytes", "heart_time",
  "detect", "detect_busy", "detect_beside_hogs",
}
