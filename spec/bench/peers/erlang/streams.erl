%% One process tells another.
-module(streams).
-export([round_trip/1, acknowledged/1, mailbox/1, to_itself/1, crowd/2, selection/1, select_default/1]).

value(integer) -> 1;
value(text) -> <<"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef">>;
value(row) -> #{id => 1, name => <<"x">>, v => [1, 2, 3]}.

round_trip(N) ->
    Echo = spawn_link(fun echo/0),
    trips(Echo, N),
    Echo ! stop.

echo() ->
    receive
        {From, V} -> From ! V, echo();
        stop -> ok
    end.

trips(_, 0) -> ok;
trips(Echo, N) ->
    Echo ! {self(), N},
    receive N -> trips(Echo, N - 1) end.

%% The sender waits until its value was taken.
acknowledged(Kind) ->
    fun(N) ->
        Self = self(),
        spawn_link(fun() -> send_acknowledged(Self, Kind, N) end),
        take_acknowledged(N)
    end.

send_acknowledged(_, _, 0) -> ok;
send_acknowledged(To, Kind, N) ->
    To ! {self(), value(Kind)},
    receive taken -> send_acknowledged(To, Kind, N - 1) end.

take_acknowledged(0) -> ok;
take_acknowledged(N) ->
    receive {From, _} -> From ! taken end,
    take_acknowledged(N - 1).

mailbox(Kind) ->
    fun(N) ->
        Self = self(),
        spawn_link(fun() -> send(Self, Kind, N) end),
        take(N)
    end.

send(_, _, 0) -> ok;
send(To, Kind, N) ->
    To ! {value, value(Kind)},
    send(To, Kind, N - 1).

take(0) -> ok;
take(N) ->
    receive {value, _} -> take(N - 1) end.

to_itself(0) -> ok;
to_itself(N) ->
    self() ! {value, N},
    receive {value, N} -> to_itself(N - 1) end.

%% Each sender gives the receivers its values in turn.
crowd(Senders, Receivers) ->
    fun(N) ->
        Each = N div Senders,
        Share = Senders * Each div Receivers,
        To = [spawn_monitor(fun() -> take(Share) end) || _ <- lists:seq(1, Receivers)],
        Pids = list_to_tuple([Pid || {Pid, _} <- To]),
        [spawn_link(fun() -> send_round(Pids, 0, Share * Receivers div Senders) end) || _ <- lists:seq(1, Senders)],
        [receive {'DOWN', Ref, _, _, normal} -> ok end || {_, Ref} <- To]
    end.

send_round(_, _, 0) -> ok;
send_round(Pids, At, N) ->
    element(At + 1, Pids) ! {value, N},
    send_round(Pids, (At + 1) rem tuple_size(Pids), N - 1).

%% A receive over the messages of Width senders, each of which waits until its value was taken.
selection(Width) ->
    fun(N) ->
        Self = self(),
        Senders = [spawn_link(fun() -> send_for_ever(Self, I) end) || I <- lists:seq(1, Width)],
        take_acknowledged(N),
        [begin unlink(Pid), exit(Pid, kill) end || Pid <- Senders],
        flush()
    end.

send_for_ever(To, V) ->
    To ! {self(), V},
    receive taken -> send_for_ever(To, V) end.

flush() ->
    receive _ -> flush() after 0 -> ok end.

select_default(0) -> ok;
select_default(N) ->
    receive {value, _} -> error(a_value_from_nobody) after 0 -> ok end,
    select_default(N - 1).
