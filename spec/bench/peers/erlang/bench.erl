%% The workloads of spec/bench in plain Erlang: `bench:main [NAME, N]` prints "result AMOUNT OPERATIONS" for each
%% figure, in seconds, bytes or a share; `list` prints the names. A channel is a mailbox; where a channel has no room,
%% the sender waits for an answer.
-module(bench).
-export([main/1]).

main(["list"]) ->
    [io:format("~s~n", [Name]) || Name <- maps:keys(workloads())],
    halt();
main(["nothing"]) ->
    halt();
main([Name, Count]) ->
    N = list_to_integer(Count),
    {Warm, Run} = maps:get(list_to_atom(Name), workloads()),
    Warm =:= timed andalso Run(N div 10 + 1),
    [io:format("result ~.9g ~b~n", [float(Amount), Ops]) || {Amount, Ops} <- Run(N)],
    halt().

%% timed: after a run for nothing; cold: without.
workloads() ->
    #{round_trip_fibers => timed(fun streams:round_trip/1),
      round_trip_workers => timed(fun streams:round_trip/1),
      one_way_fibers => timed(streams:acknowledged(integer)),
      one_way_workers => timed(streams:acknowledged(integer)),
      one_way_string_fibers => timed(streams:acknowledged(text)),
      one_way_string_workers => timed(streams:acknowledged(text)),
      one_way_table_fibers => timed(streams:acknowledged(row)),
      one_way_table_workers => timed(streams:acknowledged(row)),
      buffered_one => timed(fun streams:to_itself/1),
      buffered_fibers => timed(streams:mailbox(integer)),
      buffered_workers => timed(streams:mailbox(integer)),
      string_fibers => timed(streams:mailbox(text)),
      string_workers => timed(streams:mailbox(text)),
      table_fibers => timed(streams:mailbox(row)),
      table_workers => timed(streams:mailbox(row)),
      fan_in_fibers => timed(streams:crowd(8, 1)),
      fan_in_workers => timed(streams:crowd(8, 1)),
      four_to_four_fibers => timed(streams:crowd(4, 4)),
      four_to_four_workers => timed(streams:crowd(4, 4)),
      select_2 => timed(streams:selection(2)),
      select_8 => timed(streams:selection(8)),
      select_16 => timed(streams:selection(16)),
      select_default => timed(fun streams:select_default/1),
      ring => timed(fun tasks:ring/1),
      jobs => timed(fun tasks:jobs/1),
      jobs_workers => timed(fun tasks:jobs/1),
      sieve => {cold, each(fun tasks:primes/1)},
      parallel => {cold, fun tasks:parallel/1},
      spawn_fiber => timed(fun tasks:spawn_join/1),
      spawn_worker => timed(fun tasks:spawn_join/1),
      timer => timed(fun clocks:timer/1),
      parked_fiber_bytes => {cold, each(fun tasks:parked_bytes/1)},
      parked_worker_bytes => {cold, each(fun tasks:parked_bytes/1)},
      parked_fiber_time => {cold, each(fun tasks:parked_time/1)},
      sleep => {cold, fun clocks:sleep/1},
      sleep_beside_hogs => {cold, fun clocks:sleep_beside_hogs/1},
      ticker => {cold, fun clocks:ticker/1},
      tickers => {cold, fun clocks:tickers/1},
      idle_cpu => {cold, fun tasks:idle/1},
      beat_lua => timed(fun hearts:beat/1),
      hearts_cpu => {cold, fun hearts:cpu/1},
      hearts_cpu_script => {cold, fun hearts:cpu/1},
      heart_bytes => {cold, each(fun hearts:bytes/1)},
      heart_time => {cold, each(fun hearts:time/1)},
      detect => {cold, hearts:detect(0, [0.50, 0.99])},
      detect_busy => {cold, hearts:detect(2, [0.99])},
      detect_beside_hogs => {cold, hearts:detect(4, [0.99])}}.

timed(Run) -> {timed, each(fun(N) -> {clocks:seconds(fun() -> Run(N) end), N} end)}.

each(Run) -> fun(N) -> [Run(N)] end.
