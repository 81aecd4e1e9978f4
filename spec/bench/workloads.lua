-- The workloads in the order of the table. Each is work/NAME.lua and returns
--   name      what one operation is, for a reader
--   unit      ns, us, ms or s (of an amount in seconds), bytes, % (of a share)
--   n         how much one run does; `big` replaces it under --big; `fixed` keeps it under --quick
--   cold      true: no warm-up run before the measured one
--   carriers  the numbers of carriers to run it on, each in a process of its own
--   floor     the entry of floor.lua measured beside it, if one is comparable
--   target    per number of carriers: { value = in the unit, floor = ratio, go = ratio }, each an upper bound
--   run(n)    -> amount, operations
--   program   true: not run(n), but the C program NAME.c beside this file, which prints what peers print
return {
  "round_trip_fibers", "round_trip_workers", "one_way_fibers", "one_way_workers",
  "buffered_one", "buffered_fibers", "buffered_workers", "buffered_many_fibers", "buffered_many_workers",
  "string_workers", "table_workers",
  "select_2", "select_8", "select_16", "select_default",
  "ring", "jobs", "sieve",
  "spawn_fiber", "spawn_worker", "timer",
  "parked_fiber_bytes", "parked_fiber_time", "parked_worker_bytes",
  "sleep_p50", "sleep_p99", "sleep_beside_hogs", "idle_cpu",
  "beat_lua", "beat_c", "hearts_cpu", "hearts_cpu_script", "heart_bytes", "heart_time",
  "detect_p50", "detect_p99", "detect_busy", "detect_beside_hogs",
}
