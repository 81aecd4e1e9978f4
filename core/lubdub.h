/* lubdub.h - the C face of the engine: channels, select, workers on carriers, timers.
 *
 * Units: every span of time is in seconds (double); LUB_FOREVER waits for ever, 0 and less never waits.
 * Errors: calls that can fail return a lub_status; out-pointers are written on LUB_OK only, where no comment says
 * otherwise. Nothing here prints, exits, aborts, or installs a signal handler.
 * Threads: a function may be called from any thread unless its comment says otherwise.
 * Ownership: objects are counted. lub_X_open gives the caller one reference, lub_X_ref one more, and
 * lub_X_drop gives one back. Values own what is in them until lub_value_drop. All of an engine's objects and values
 * must be dropped before lub_engine_close, which refuses as long as a channel or a worker is out. */
#ifndef LUBDUB_H
#define LUBDUB_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LUB_VERSION "0.1.0"
#define LUB_FOREVER HUGE_VAL

/* One list, from which the codes and their texts are made (lub_strerror). */
#define LUB_STATUS_MAP(X)            \
  X(OK, "ok")                        \
  X(PARK, "queued: yield now")       \
  X(CLOSED, "closed")                \
  X(TIMEOUT, "timeout")              \
  X(CANCELLED, "cancelled")          \
  X(KILLED, "killed")                \
  X(DEADLOCK, "deadlock")            \
  X(NOMEM, "not enough memory")      \
  X(INVALID, "invalid argument")     \
  X(THREAD, "cannot start a thread") \
  X(BUSY, "busy")                    \
  X(FAILED, "the script failed")     \
  X(FOREIGN, "not the sim's thread")

typedef enum lub_status {
#define LUB_STATUS_ENUM(name, text) LUB_##name,
  LUB_STATUS_MAP(LUB_STATUS_ENUM)
#undef LUB_STATUS_ENUM
} lub_status;

/* The text of a status; never NULL. */
const char *lub_strerror(lub_status status);

/* What a heart's owner does. */
#define LUB_STATE_MAP(X)                                                                 \
  X(IDLE, "idle")                 /* waits to receive, for a select, or sleeps */        \
  X(BLOCKED_SEND, "blocked_send") /* waits to send */                                    \
  X(BUSY, "busy")                 /* runs */                                             \
  X(RUNNABLE, "runnable")         /* could run, and waits for a carrier */               \
  X(IN_C, "in_c")                 /* runs, and has been in a C call for 10 ms */         \
  X(STARTING, "starting")         /* its first beat is still awaited */                  \
  X(PAUSED, "paused")             /* is not judged */                                    \
  X(STOPPING, "stopping")         /* was cancelled or killed */                          \
  X(ZOMBIE, "zombie")             /* was killed inside a C call that has not returned */ \
  X(DEAD, "dead")                 /* has ended */

typedef enum lub_state {
#define LUB_STATE_ENUM(name, text) LUB_STATE_##name,
  LUB_STATE_MAP(LUB_STATE_ENUM)
#undef LUB_STATE_ENUM
} lub_state;

/* The text of a state; never NULL. */
const char *lub_state_name(lub_state state);

typedef struct lub_engine lub_engine;
typedef struct lub_chan lub_chan;
typedef struct lub_worker lub_worker;
typedef struct lub_heart lub_heart;

/* ---- values: one message, owned by whoever holds the struct ---------------------------------------- */

typedef enum lub_type {
  LUB_NIL, /* no value: never on a channel */
  LUB_BOOL,
  LUB_INT,
  LUB_NUM,
  LUB_POINTER, /* a bare pointer, not followed */
  LUB_SHORT,   /* a string of at most LUB_SHORT_MAX bytes, kept in the value */
  LUB_STRING,  /* a longer one, in a block that the value owns */
  LUB_PACKED,  /* a structure, packed by a binding; opaque to the core */
  LUB_OBJECT,  /* a counted reference to a channel, worker, ... */
} lub_type;

#define LUB_SHORT_MAX 13

/* Zeroed, it is nil. A host reads `type` and `as` (LUB_BOOL .b, LUB_INT .i, LUB_NUM .n, LUB_POINTER .p), the rest with
 * lub_text and lub_to_chan. A copy of the struct is the same value: only one of the two may be dropped or sent. */
typedef struct lub_value {
  union {
    struct {
      uint8_t type;  /* lub_type */
      uint8_t flags; /* LUB_OBJECT: the binding's (which view of the channel) */
      union {
        bool b;
        int64_t i;
        double n;
        void *p;
      } as;
    };
    struct {
      uint8_t type; /* the same byte */
      uint8_t len;
      char text[LUB_SHORT_MAX + 1];
    } s;
  };
} lub_value;

lub_value lub_nil(void);
lub_value lub_bool(bool b);
lub_value lub_int(int64_t i);
lub_value lub_num(double n);
/* A reference to ch is taken and lives in the value. */
lub_value lub_of_chan(lub_chan *ch);
/* Copies nbytes of text (zeros allowed). LUB_NOMEM. */
lub_status lub_string(lub_engine *e, const char *text, size_t nbytes, lub_value *out);
/* The bytes of a string value, with a zero behind them, and their count (nbytes may be NULL); NULL for other types.
 * Valid while *v lives, and where it lies. */
const char *lub_text(const lub_value *v, size_t *nbytes);
/* The channel in a value, or NULL; the value keeps its reference. */
lub_chan *lub_to_chan(const lub_value *v);
/* Gives back what the value owns, and makes it nil. */
void lub_value_drop(lub_value *v);

/* ---- engine ----------------------------------------------------------------------------------------- */

typedef struct lub_verdict lub_verdict;

typedef struct lub_event { /* lives for the call only */
  double time;             /* on the engine's clock */
  const char *heart;
  uint64_t id;      /* of the heart: one for each incarnation */
  const char *what; /* "open", "beat", "unit", "rest", "park", "wake", "verdict", "close" */
  const char *text; /* of a park: the state; of a verdict: its name; otherwise "" */
  double interval;
  const lub_value *unit; /* of a unit: its id; otherwise NULL */
} lub_event;

/* What a host-run engine may do next, of n >= 2. */
typedef enum lub_choice_kind {
  LUB_CHOOSE_FIBER,  /* which of the fibers that can run */
  LUB_CHOOSE_SWITCH, /* the same at a point in the midst of one, fibers[0], which goes on if it is chosen */
  LUB_CHOOSE_TIMER,  /* which of the timers that are due fires first */
  LUB_CHOOSE_CASE,   /* which of the ready cases of a select */
  LUB_CHOOSE_OTHER,  /* the host's own: see lub_sim_choose */
  LUB_CHOOSE_FAULT   /* whether a fault fires, 1, or not, 0: see lub_sim_fault */
} lub_choice_kind;

typedef struct lub_choice {
  lub_choice_kind kind;
  uint32_t n;
  const uint64_t *fibers; /* [n]: their ids, which count up from 1; FIBER and SWITCH only */
} lub_choice;

typedef struct lub_options {
  int carriers; /* threads that run workers; 0: as many as CPUs; -1: none, the host calls lub_engine_step. There is
                   no watcher then either: a script that never waits keeps its step, until another thread kills it */
  int max_carriers; /* bound on carriers plus spares for those stuck in C calls; 0: carriers + 256 */
  /* These are called from any thread, at times with locks of the engine held: they must not call it. */
  /* realloc's contract; nbytes 0 frees, and gives NULL. NULL: libc */
  void *(*realloc)(void *ud, void *block, size_t nbytes);
  int64_t (*clock)(void *ud); /* ns, never back; NULL: CLOCK_MONOTONIC. All spans are in its time */
  /* What must not stay silent, as errors of workers that nobody joined. The message is one line or more, without a
   * newline at its end, and gone after the call. NULL: dropped */
  void (*log)(void *ud, const char *message);
  void (*wake)(
      void *ud); /* host-run: another thread has made work for lub_engine_step; NULL: nobody is told */
  /* Host-run engines: makes every choice that there is, so that a run can be repeated, and fibers run one at a time
   * from one point to the next; no other thread may use the engine then. Gives 0 to n - 1. NULL: the engine's own choices, for speed. See sim.h. */
  uint32_t (*choose)(void *ud, const lub_choice *c);
  /* Each verdict, once for a silence; by any of the engine's threads, one at a time: be quick, do not call the engine
   * but for lub_worker_cancel and _kill. NULL: deaths that nobody watches are logged. */
  void (*verdict)(void *ud, const lub_verdict *v);
  /* What becomes of hearts, for a record; called within the beat. NULL: none. */
  void (*record)(void *ud, const lub_event *event);
  void *ud;           /* given to each of the above */
  uint64_t seed;      /* of select's choices; 0: from the clock */
  int preempt_signal; /* sent to a carrier whose worker must yield; its handler, which the host or the
                         binding installs, should call lub_interrupted(). 0: none is sent */
} lub_options;

/* Starts an engine. opts may be NULL; what it points to may go afterwards. LUB_NOMEM, LUB_THREAD, LUB_INVALID. */
lub_status lub_engine_open(const lub_options *opts, lub_engine **out);

/* Kills the workers that still run and waits until they have ended (their close handlers run), logs errors that nobody
 * joined, stops and joins the carriers, and gives back all memory. A host-run engine runs its workers' ends here, in
 * the calling thread. Nobody else may use the engine meanwhile, nor anybody after LUB_OK.
 *   LUB_BUSY  called from a carrier or inside a step; a worker is inside a C call that does not return
 *             (lub_engine_zombies); or a channel or worker is still referenced, and the log says which. The engine is
 *             still there: only to be closed again, when the C call has returned or the reference was dropped */
lub_status lub_engine_close(lub_engine *e);

/* Host-run engines (carriers = -1): fires due timers, runs one worker for one slice; when there is
 * nothing to do, waits at most `wait` seconds for something: a timer, or work from another thread. LUB_OK something
 * ran; LUB_TIMEOUT nothing did; LUB_DEADLOCK nothing could ever; LUB_INVALID the engine has carriers.
 * One thread at a time. That thread must not block in lub_chan_send, lub_chan_recv, lub_select or lub_worker_join
 * (wait 0 is fine), for nobody would step meanwhile. With a clock that stands still between steps, wait 0 too. */
lub_status lub_engine_step(lub_engine *e, double wait);
/* For a host with a loop of its own: seconds until lub_engine_step has something to do, as things are: 0 now,
 * LUB_FOREVER not before another thread makes work (lub_options.wake). Host-run engines, the thread that steps. */
double lub_engine_timeout(lub_engine *e);

/* The host promises to act (hold) or not to (release): while holds are out, "everything is parked" is
 * no deadlock. An engine opens with one hold, its opener's: a host that from now on only waits for the engine's workers
 * releases it, and holds again before it acts. Of a sim: see there. */
void lub_engine_hold(lub_engine *e);
void lub_engine_release(lub_engine *e);

/* Seconds on the engine's clock. */
double lub_engine_now(lub_engine *e);
/* Carriers in place, and all threads that have been started for them. */
int lub_engine_carriers(lub_engine *e);
int lub_engine_threads(lub_engine *e);
/* Workers that were killed inside a C call which has not returned. */
int lub_engine_zombies(lub_engine *e);
/* Errors of workers that nobody joined; each was logged. */
int lub_engine_failures(lub_engine *e);
/* Kills all workers, also those that are started meanwhile, and waits until they have ended, for at most `wait`
 * seconds. LUB_TIMEOUT: some have not (after 0.2 s when those sit in C calls). LUB_BUSY: from a carrier or inside a step. */
lub_status lub_engine_end_workers(lub_engine *e, double wait);

/* Names a value for scripts (`lub.named(name)`) and hosts. The engine owns *v on LUB_OK; a nil value
 * removes the name. LUB_NOMEM. */
lub_status lub_engine_publish(lub_engine *e, const char *name, lub_value *v);
/* A copy of a published value; LUB_INVALID when there is none, LUB_NOMEM. The caller drops it. */
lub_status lub_engine_lookup(lub_engine *e, const char *name, lub_value *out);

/* To be called by the handler of preempt_signal, in the thread that got it. Async-signal-safe. */
void lub_interrupted(void);

/* ---- channels --------------------------------------------------------------------------------------- */

/* capacity 0: rendezvous. name may be NULL. LUB_INVALID beyond LUB_CHAN_MAX, LUB_NOMEM. */
#define LUB_CHAN_MAX ((size_t)1 << 31)
lub_status lub_chan_open(lub_engine *e, size_t capacity, const char *name, lub_chan **out);
void lub_chan_ref(lub_chan *ch);
void lub_chan_drop(lub_chan *ch);

/* Host threads (never a fiber): blocks the calling thread for at most `wait` seconds.
 *   send   LUB_OK: *v is taken, and nil now. On any other result *v stays the caller's.
 *   recv   LUB_OK: the caller owns *out. LUB_CLOSED (and drained).
 *   LUB_TIMEOUT; LUB_CLOSED; LUB_NOMEM, only with a wait that is neither 0 nor for ever; LUB_INVALID: a nil, or a
 *   wait that is NaN; LUB_DEADLOCK  in an engine without holds: nothing can ever wake this thread. */
lub_status lub_chan_send(lub_chan *ch, lub_value *v, double wait);
lub_status lub_chan_recv(lub_chan *ch, lub_value *out, double wait);
/* Several at once, under one lock. Threads, statuses and `wait`, which is for the whole call, as above.
 *   send   v[0..n) in order: what finds no room waits in one place of the line, so that nobody's values come between.
 *          The first *sent of them, on any result, are taken, and nil now; the others stay the caller's. A nil among
 *          them, or n beyond UINT32_MAX: LUB_INVALID, and none is sent.
 *   recv   waits for the first, and takes what else can be had without waiting, at most n in all. LUB_OK: the caller owns
 *          out[0..*got). LUB_INVALID: n is 0. */
lub_status lub_chan_send_many(lub_chan *ch, lub_value *v, size_t n, double wait, size_t *sent);
lub_status lub_chan_recv_many(lub_chan *ch, lub_value *out, size_t n, double wait, size_t *got);
/* LUB_CLOSED: it was closed before. Wakes every waiter. */
lub_status lub_chan_close(lub_chan *ch);

size_t lub_chan_len(lub_chan *ch);
size_t lub_chan_capacity(const lub_chan *ch);
bool lub_chan_closed(lub_chan *ch);
const char *lub_chan_name(const lub_chan *ch); /* never NULL; lives as long as ch */

/* One case of a select: ch NULL is never ready. `send` with the value in `value` (the caller's until the case is
 * chosen, and nil then), or a receive, whose value arrives there and is the caller's. */
typedef struct lub_case {
  lub_chan *ch;
  lub_value value;
  bool send;
} lub_case;

/* Of several ready cases takes one uniformly at random; with `ordered`, the first. *index: the case
 * taken. LUB_OK; LUB_CLOSED: the case at *index received from, or sends to, a closed channel;
 * LUB_TIMEOUT, LUB_NOMEM, LUB_DEADLOCK, LUB_INVALID (a wait that is NaN). *index is written on LUB_OK and LUB_CLOSED.
 * Host threads only. */
lub_status lub_select(lub_engine *e, lub_case *cases, size_t ncases, bool ordered, double wait,
                      size_t *index);

/* ---- hearts --------------------------------------------------------------------------------------------
 * A heart is the record of one life: a host's thread, or a fiber (see the binding). The engine's judge asks its policy
 * whether a silence means anything. A beat is for one thread at a time; the rest is for any. */

/* What a policy may look at: one heart at one instant. Spans in seconds. */
typedef struct lub_snapshot {
  const char *name;
  const char *verdict; /* the last that was announced, or "alive" */
  lub_state state;
  bool startup; /* the first beat is still awaited */
  bool in_unit; /* a unit of work is in flight */
  double now;   /* on the engine's clock */
  /* seconds, without what is excused: */
  double age; /* in which it could have beaten and did not: 0 while it waits, still while it is runnable */
  double state_age, unit_age, progress_age; /* in this state; of the unit; since the last beat */
  double interval, limit;
  uint64_t beats, units;
  uint32_t misses;           /* silences in a row with a verdict against it */
  uint32_t samples;          /* intervals between beats that were learned */
  double mean, sd, min, max; /* ... of these; population deviation */
} lub_snapshot;

/* Returns a verdict ("alive", "late", "missed", "dead", "unknown", or a name of its own; at most 64 of those an engine)
 * and sets *ask_again, which is LUB_FOREVER before, to the seconds after which it wants to be asked again. Called by one
 * of the engine's threads, one at a time; must be quick, and must not call the engine. */
typedef const char *(*lub_policy)(void *ud, const lub_snapshot *h, double *ask_again);

typedef struct lub_heart_options {
  const char *name;  /* copied; NULL: "" */
  double interval;   /* from one pulse to the next; 0: 0.5 */
  double limit;      /* what silence the built-in policy allows; 0: 2 * interval */
  double startup;    /* the first beat must come within; 0: opening it is the first sign of life */
  double estimate;   /* first guess of the interval between beats: seeds the statistics; 0: none */
  uint32_t window;   /* how many intervals the statistics look back on; 0: all */
  lub_policy policy; /* NULL: fixed, "dead" when age > limit */
  void *ud;          /* given to policy */
} lub_heart_options;

/* Opens a heart of the calling thread, or of any other of the host's. The caller owns the reference; the engine keeps one
 * until the heart is closed. LUB_INVALID: a span that is negative, infinite or NaN, a window beyond 2^20. LUB_NOMEM. */
lub_status lub_heart_open(lub_engine *e, const lub_heart_options *o, lub_heart **out);
void lub_heart_ref(lub_heart *h);
void lub_heart_drop(lub_heart *h);
/* It is watched no longer. LUB_CLOSED: it was closed before. */
lub_status lub_heart_close(lub_heart *h);

/* A sign of life. LUB_CLOSED. */
lub_status lub_beat(lub_heart *h);
/* The same with what was achieved so far: the latest is kept. *progress is taken on LUB_OK. LUB_CLOSED, LUB_NOMEM. */
lub_status lub_beat_progress(lub_heart *h, lub_value *progress);
/* A unit of work begins; *id is taken on LUB_OK. LUB_CLOSED, LUB_NOMEM. */
lub_status lub_unit(lub_heart *h, lub_value *id);
/* The unit is over. LUB_CLOSED. */
lub_status lub_rest(lub_heart *h);
/* Copies of the latest progress and of the id of the unit in flight; nil: there is none. The caller drops them.
 * LUB_NOMEM. */
lub_status lub_heart_progress(lub_heart *h, lub_value *out);
lub_status lub_heart_unit(lub_heart *h, lub_value *out);

/* It says itself that it has failed: "dead" at once. LUB_CLOSED. */
lub_status lub_heart_fail(lub_heart *h, const char *why);
/* Pauses are counted, and lapse after 10 minutes. LUB_CLOSED; resume: LUB_INVALID when it is not paused. */
lub_status lub_heart_pause(lub_heart *h, const char *why);
lub_status lub_heart_resume(lub_heart *h);
/* Excuses `seconds` more of this silence and unit, at most 10 * limit in all; *granted is what it got. LUB_CLOSED,
 * LUB_INVALID. */
lub_status lub_heart_extend(lub_heart *h, double seconds, double *granted);

const char *lub_heart_name(const lub_heart *h);
void lub_heart_look(lub_heart *h, lub_snapshot *out);

struct lub_verdict { /* lives for the call only */
  lub_heart *heart;
  const char *verdict, *reason; /* reason: "" without one */
  const char *traceback;        /* of a script: what its fiber did when it was missed; "" without one */
  double score;                 /* NaN without one */
  lub_snapshot h;
};

/* Hearts that were found dead, and neither came back nor were closed by somebody who watched them. */
int lub_engine_deaths(lub_engine *e);

/* ---- workers ---------------------------------------------------------------------------------------- */

/* Waits until w has ended, however it did. LUB_OK, LUB_TIMEOUT, LUB_DEADLOCK, LUB_NOMEM. Host threads only. */
lub_status lub_worker_join(lub_worker *w, double wait);
/* The same for a select: a channel that closes when w has ended. w's reference, lives as long as w; only to be received
 * from. Any thread. */
lub_chan *lub_worker_done(lub_worker *w);
void lub_worker_ref(lub_worker *w);
void lub_worker_drop(lub_worker *w);
/* Asks w to end: its fibers' waits return "cancelled". Level-triggered, cannot be taken back. why: up to 63 bytes are
 * kept; may be NULL. Any thread. */
void lub_worker_cancel(lub_worker *w, const char *why);
/* Ends w without asking: fenced at once, closed at its next safe point. Does not wait (lub_worker_join does), and does
 * nothing to one that has ended. Any thread. */
void lub_worker_kill(lub_worker *w, const char *why);
const char *lub_worker_name(const lub_worker *w); /* lives as long as w */
uint64_t lub_worker_id(const lub_worker *w);

/* ---- sim ----------------------------------------------------------------------------------------------
 * An engine on the calling thread, whose clock is virtual and whose every choice comes from a seed: two runs with one
 * seed are the same. The clock moves only when nobody can run, to the next timer that may wake somebody; the timers of
 * hearts alone do not move it. All calls are for one thread, the one that opens the sim.
 *
 * Other threads cannot act in a sim: when they do is not in the seed. lub_chan_send, lub_chan_recv, lub_chan_close and
 * lub_select return LUB_FOREIGN to them, lub_worker_cancel and lub_worker_kill do nothing, and the sim's steps return
 * LUB_FOREIGN from then on. What the host really must do outside (an external operation) is promised by lub_engine_hold,
 * and over with lub_engine_release: while a hold is out the clock stands, and when nobody can run, the sim waits in real
 * time, and logs every 5 s for how many operations. Then, one at a time, other threads are let in; their waits are 0. */

typedef struct lub_sim lub_sim;

typedef enum lub_strategy {
  LUB_SIM_FIRST,  /* the first of what can be chosen: no fiber is left before it waits (but see fair_after) */
  LUB_SIM_RANDOM, /* any, with equal chances */
  LUB_SIM_STICKY, /* the fiber that runs goes on with probability `sticky`; otherwise any */
  LUB_SIM_PCT,    /* priorities, of which depth - 1 change (Burckhardt et al., ASPLOS 2010) */
} lub_strategy;

typedef struct lub_sim_options {
  uint64_t seed;
  lub_strategy strategy;
  uint32_t fair_after;    /* choices, after which who has waited longest runs; 0: 10,000 */
  double sticky;          /* 0: 7/8 */
  uint32_t depth, length; /* of PCT: 0: 2; how many choices a run makes, 0: 1000 */
  const uint32_t *prefix; /* the first choices; gone after the call */
  size_t nprefix;
  bool no_faults;
  /* Its allocator, log, verdict, record and their ud; NULL: none. Carriers, clock and choose are the sim's. */
  const lub_options *engine;
} lub_sim_options;

typedef struct lub_sim_choice { /* one that was made */
  uint32_t kind, n, taken;      /* lub_choice_kind; of n, this one */
  uint64_t fiber;               /* FIBER, SWITCH: its id; otherwise of the fiber that ran last */
  int64_t now_ns;
} lub_sim_choice;

/* LUB_NOMEM, LUB_INVALID. */
lub_status lub_sim_open(const lub_sim_options *o, lub_sim **out);
/* As lub_engine_close; LUB_BUSY: something of its engine is still referenced, and the sim stays. */
lub_status lub_sim_close(lub_sim *s);
lub_engine *lub_sim_engine(lub_sim *s);
/* Runs one fiber up to its next point, fires what is due, or moves the clock. LUB_OK; LUB_TIMEOUT: the clock stands (see
 * lub_sim_stop_clock) and nobody can run; LUB_DEADLOCK: nothing can ever happen; LUB_FOREIGN. */
lub_status lub_sim_step(lub_sim *s);
/* Steps without moving the clock, until nobody can run and nothing is due. LUB_OK; LUB_INVALID: a million steps were not
 * enough; LUB_FOREIGN. */
lub_status lub_sim_settle(lub_sim *s);
/* Lets so many seconds go by, one timer after the other, and settles. LUB_OK; LUB_INVALID: no such span, or a million
 * steps at one instant were not enough, and the clock stands there; LUB_FOREIGN. */
lub_status lub_sim_pass(lub_sim *s, double seconds);
/* The name of the first thread that acted in the sim from outside, or NULL. */
const char *lub_sim_foreign(lub_sim *s);
/* Seconds since its beginning, which stands for 2000-01-01T00:00:00Z. */
double lub_sim_now(lub_sim *s);
/* The clock stands from now on, or goes on. */
void lub_sim_stop_clock(lub_sim *s, bool stop);
/* A choice of the host's own, of n >= 1: 0 to n - 1. */
uint32_t lub_sim_choose(lub_sim *s, uint32_t n);
/* Whether the fault point `name`, which is copied, fires now: a choice of the run's. In each run some points are on, each
 * at a rate of its own, of at most p. LUB_SIM_FIRST takes none but those in the prefix. */
bool lub_sim_fault(lub_sim *s, const char *name, double p);
/* From now on no fault fires, and those that last are over. */
void lub_sim_heal(lub_sim *s);
/* What was chosen so far, where there were two or more; the sim's. A choice that found no memory to be kept in is not
 * there, and the sim is spoilt: *n is 0. */
const lub_sim_choice *lub_sim_choices(lub_sim *s, size_t *n);
/* Of every choice so far, whoever it was for, and when: equal in equal runs. */
uint64_t lub_sim_hash(lub_sim *s);
uint64_t lub_sim_steps(lub_sim *s);

#ifdef __cplusplus
}
#endif
#endif
