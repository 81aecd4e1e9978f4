%% Many processes.
-module(tasks).
-export([ring/1, jobs/1, primes/1, parallel/1, spawn_join/1, park/1, parked_bytes/1, parked_time/1, idle/1,
         resident/0]).

%% A token goes round 1,000 processes until it has made N hops.
ring(N) ->
    First = self(),
    Next = lists:foldl(fun(_, To) -> spawn(fun() -> pass(To) end) end, First, lists:seq(2, 1000)),
    hop(Next, 1, N),
    Next ! stop,
    receive stop -> ok end.

pass(To) ->
    receive
        stop -> To ! stop;
        V -> To ! V + 1, pass(To)
    end.

hop(_, Token, N) when Token > N -> ok;
hop(Next, Token, N) ->
    Next ! Token,
    receive V -> hop(Next, V + 1, N) end.

%% N jobs, given to 8 processes in turn.
jobs(N) ->
    Self = self(),
    Pids = list_to_tuple([spawn_link(fun() -> work(Self, 0) end) || _ <- lists:seq(1, 8)]),
    give(Pids, N),
    [Pid ! stop || Pid <- tuple_to_list(Pids)],
    Sums = [receive {sum, Sum} -> Sum end || _ <- lists:seq(1, 8)],
    true = lists:sum(Sums) =:= N * (N + 1) div 2.

give(_, 0) -> ok;
give(Pids, N) ->
    element(N rem 8 + 1, Pids) ! {job, N},
    give(Pids, N - 1).

work(Boss, Sum) ->
    receive
        {job, N} -> work(Boss, Sum + N);
        stop -> Boss ! {sum, Sum}
    end.

%% Mailboxes hold nobody back, so the count ends where the Nth prime is sure to have come.
primes(N) ->
    Self = self(),
    {clocks:seconds(fun() ->
        Last = ceil(N * (math:log(N + 1) + math:log(math:log(N + 2)) + 1)),
        spawn(fun() -> count(spawn(fun() -> filter(Self) end), 2, Last) end),
        Primes = [receive {prime, Prime} -> Prime end || _ <- lists:seq(1, N)],
        true = N =/= 2000 orelse lists:last(Primes) =:= 17389
    end), 1}.

count(_, I, Last) when I > Last -> ok;
count(To, I, Last) ->
    To ! I,
    count(To, I + 1, Last).

filter(Boss) ->
    receive
        Prime ->
            Boss ! {prime, Prime},
            filter(Prime, spawn(fun() -> filter(Boss) end))
    end.

filter(Prime, To) ->
    receive
        V when V rem Prime =/= 0 -> To ! V;
        _ -> ok
    end,
    filter(Prime, To).

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).

compute(Jobs, Tasks) ->
    Run = fun() -> [196418 = fib(27) || _ <- lists:seq(1, Jobs div Tasks)] end,
    clocks:seconds(fun() -> join([spawn_monitor(Run) || _ <- lists:seq(1, Tasks)]) end).

join(Tasks) -> [receive {'DOWN', Ref, _, _, normal} -> ok end || {_, Ref} <- Tasks].

parallel(N) ->
    Alone = compute(N, 1),
    [{compute(N, 2) / Alone, 1}].

spawn_join(0) -> ok;
spawn_join(N) ->
    join([spawn_monitor(fun() -> ok end)]),
    spawn_join(N - 1).

%% Starts N processes that wait to be told the end.
park(N) ->
    Self = self(),
    Pids = [spawn(fun() -> Self ! parked, receive stop -> ok end end) || _ <- lists:seq(1, N)],
    [receive parked -> ok end || _ <- Pids],
    Pids.

parked_time(N) -> {clocks:seconds(fun() -> park(N) end), N}.

parked_bytes(N) ->
    Before = resident(),
    park(N),
    {resident() - Before, N}.

%% The memory of this process in bytes (Linux).
resident() ->
    erlang:garbage_collect(),
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Status, "VmRSS:\\s*(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb) * 1024.

idle(N) ->
    park(N),
    timer:sleep(200),
    [{clocks:cpu_share(1000), 1}].
