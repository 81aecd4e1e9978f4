%% A process that tells a monitor of its own that it lives; the monitor waits no longer than a limit for that.
-module(hearts).
-export([beat/1, cpu/1, bytes/1, time/1, detect/2]).

%% Beats at each multiple of a second after Start.
live(Monitor, Start, K) ->
    erlang:start_timer(Start + K * 1000, self(), beat, [{abs, true}]),
    receive
        {timeout, _, beat} -> Monitor ! beat, live(Monitor, Start, K + 1);
        stop -> ok
    end.

watch(Limit, Silent) ->
    receive
        beat -> watch(Limit, Silent);
        stop -> ok
    after Limit -> Silent()
    end.

open(N) ->
    [begin
        Monitor = spawn(fun() -> watch(30000, fun() -> error(a_healthy_heart_is_called_silent) end) end),
        spawn(fun() -> live(Monitor, erlang:monotonic_time(millisecond), 1) end)
    end || _ <- lists:seq(1, N)].

%% Opens N so that their beats are spread over the second.
spread(N) -> [begin open(N div 100), timer:sleep(10) end || _ <- lists:seq(1, 100)].

beat(N) ->
    Monitor = spawn(fun() -> watch(30000, fun() -> ok end) end),
    [Monitor ! beat || _ <- lists:seq(1, N)],
    Monitor ! stop.

cpu(N) ->
    spread(N),
    timer:sleep(2000),
    [{clocks:cpu_share(5000), 1}].

%% What it takes beyond a process that is parked without it.
bytes(N) ->
    Before = tasks:resident(),
    tasks:park(N),
    Between = tasks:resident(),
    open(N),
    timer:sleep(2000),
    {tasks:resident() - Between - (Between - Before), N}.

time(N) -> {clocks:seconds(fun() -> open(N) end), N}.

%% How long after its deadline a silence is told: N hearts, among 100,000 healthy ones, beat once and then never again,
%% while processes that never wait keep the CPUs busy.
detect(Hogs, Percentiles) ->
    fun(N) ->
        spread(100000),
        [spawn(fun hog/0) || _ <- lists:seq(1, Hogs)],
        timer:sleep(1000),
        Self = self(),
        [spawn(fun() -> fall_silent(500, Self) end) || _ <- lists:seq(1, N)],
        Late = lists:sort([receive {late, L} -> L end || _ <- lists:seq(1, N)]),
        [{clocks:percentile(Late, P), 1} || P <- Percentiles]
    end.

hog() -> hog().

fall_silent(Limit, To) ->
    timer:sleep(rand:uniform(3000)),
    Self = self(),
    Monitor = spawn(fun() -> watch(Limit, fun() -> Self ! {silent, clocks:clock()} end) end),
    timer:sleep(Limit div 2),
    Due = clocks:clock() + Limit / 1000,
    Monitor ! beat,
    receive {silent, At} -> To ! {late, At - Due} end.
