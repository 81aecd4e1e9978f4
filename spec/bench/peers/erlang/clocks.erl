%% Time, timers and the CPU.
-module(clocks).
-export([clock/0, seconds/1, cpu_share/1, percentile/2, timer/1, sleep/1, sleep_beside_hogs/1, ticker/1, tickers/1]).

%% Seconds.
clock() -> erlang:monotonic_time(nanosecond) / 1.0e9.

seconds(Run) ->
    Start = clock(),
    Run(),
    clock() - Start.

%% The share of a core that the process takes for Ms.
cpu_share(Ms) ->
    {Cpu, _} = statistics(runtime),
    Start = clock(),
    timer:sleep(Ms),
    {After, _} = statistics(runtime),
    (After - Cpu) / 1000 / (clock() - Start).

%% The value of a sorted list below which a share P of it lies.
percentile(Sorted, P) -> lists:nth(max(1, ceil(length(Sorted) * P)), Sorted).

timer(0) -> ok;
timer(N) ->
    Left = erlang:cancel_timer(erlang:start_timer(60000, self(), due)),
    true = is_integer(Left),
    timer(N - 1).

%% How late a sleeper wakes, the least late first.
lateness(N, Ms) -> lists:sort([seconds(fun() -> timer:sleep(Ms) end) - Ms / 1000 || _ <- lists:seq(1, N)]).

sleep(N) ->
    Late = lateness(N, 1),
    [{percentile(Late, 0.50), 1}, {percentile(Late, 0.99), 1}].

sleep_beside_hogs(N) ->
    [spawn(fun hog/0) || _ <- lists:seq(1, 4)],
    timer:sleep(50),
    [{lists:last(lateness(N, 100)), 1}].

hog() -> hog().

%% A message at each multiple of Ms after Start; the next is asked for when one has come.
tick(Start, Ms, K) -> erlang:start_timer(Start + K * Ms, self(), {tick, K}, [{abs, true}]).

%% How long after the last multiple of the period since Start it is, and how many there were.
since(Start, Ms) ->
    Passed = clock() - Start / 1000,
    {Passed - Ms / 1000 * floor(Passed * 1000 / Ms), floor(Passed * 1000 / Ms)}.

%% Timers count whole milliseconds, so a period begins at one.
ticker(N) ->
    Start = erlang:monotonic_time(millisecond),
    Late = lists:sort(ticks(Start, 1, N, [])),
    [{percentile(Late, 0.50), 1}, {max(0, N - length(Late)), N}].

ticks(Start, K, N, Late) when K =< N ->
    tick(Start, 1, K),
    receive {timeout, _, {tick, K}} -> ok end,
    {After, Passed} = since(Start, 1),
    ticks(Start, max(K, Passed) + 1, N, [After | Late]);
ticks(_, _, _, Late) -> Late.

%% N tickers of 1 s, a process for each, spread over the second; measured for 5 s.
tickers(N) ->
    Parts = 100,
    Pids = lists:append([begin
        timer:sleep(1000 div Parts),
        [spawn(fun() -> listen(erlang:monotonic_time(millisecond), 1, []) end) || _ <- lists:seq(1, N div Parts)]
    end || _ <- lists:seq(1, Parts)]),
    timer:sleep(2000),
    [Pid ! measure || Pid <- Pids],
    Share = cpu_share(5000),
    [Pid ! {tell, self()} || Pid <- Pids],
    Late = lists:sort(lists:append([receive {late, L} -> L end || _ <- Pids])),
    [{Share, 1}, {percentile(Late, 0.50), 1}, {percentile(Late, 0.99), 1}, {lists:last(Late), 1}].

listen(Start, K, Late) ->
    tick(Start, 1000, K),
    receive
        {timeout, _, {tick, K}} ->
            {After, Passed} = since(Start, 1000),
            listen(Start, max(K, Passed) + 1, [After | Late]);
        measure ->
            listen(Start, K + 1, []);
        {tell, To} ->
            To ! {late, Late}
    end.
