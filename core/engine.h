/* engine.h - one runtime instance: its carriers, timers, names, and who sleeps. No state lives outside it.
 *
 * ORDER LOCKS: timers.lock, then chan.lock (two channels by address), then engine.lock, then place.lock or chans_lock.
 * Wakes happen with no channel locked; only a timer's fire wakes under timers.lock.
 *
 * Every thread that may act is counted in `awake`: carriers that look for work or run it, pinned workers whose
 * thread is not asleep, the watcher while it fires timers; `holds` counts the host's promises to act. When both
 * are 0 and no timer could wake anybody, everything is parked for ever: a deadlock.
 * Floor 3. Uses timer, worker. */
#ifndef LUB_ENGINE_H
#define LUB_ENGINE_H

#include "carrier.h"
#include "gate.h"
#include "random.h"
#include "turns.h"
#include "watcher.h"
#include "worker.h"

/* What a judge (floor 5) does for the engine: asks C policies after timers have run, on the thread that ran them; hears
 * that the watcher, due at due_ns, came at now_ns, and what becomes of fibers with a heart. */
typedef struct lub_judging {
  void (*ask)(lub_engine *e);
  void (*late)(lub_engine *e, int64_t due_ns, int64_t now_ns);
  void (*starved)(lub_engine *e, const lub_worker *w,
                  int64_t ns); /* it ran, and was given no CPU; may have ended */
  void (*moved)(lub_life *l, lub_state before, lub_state state,
                int64_t now_ns); /* only if hearts are recorded, or in a hurry */
  void (*ended)(lub_life *l);    /* its fiber has ended */
  void (*close)(lub_engine *e);  /* closes the hearts that are open */
  const char *(*free)(
      lub_engine *e); /* ... and the name of one that is still referenced: the judge stays; or NULL */
} lub_judging;

typedef struct lub_name {
  struct lub_name *next;
  lub_value value;
  char name[];
} lub_name;

struct lub_engine {
  lub_allocator mem;
  lub_options opts;
  lub_timers timers;
  atomic_llong gather_ns; /* no sleeper wakes for timers before */
  bool real_clock;
  atomic_ullong chan_ids, worker_ids, fiber_ids;
  atomic_int waiting;    /* workers in `queue` and `preempted`: read without lock as a hint */
  atomic_int woken;      /* those of `queue`, likewise; not where each step is chosen */
  atomic_int hogs;       /* carriers whose slice is lent; see carrier.h */
  atomic_int idle;       /* carriers in `idlers`: pairs with the queues' lengths (carrier.c, IDLE) */
  atomic_int searching;  /* carriers that look for work */
  atomic_bool watching;  /* the watcher sleeps and wants to be told of a slice */
  atomic_bool crowded;   /* more carriers than CPUs use all of these, as far as the watcher knows */
  atomic_llong tick_ns;  /* when the watcher, which is awake, looked last; 0: it sleeps */
  atomic_llong watch_ns; /* when it will look at the timers and at who waits for hogs; 0: it is about to */
  atomic_bool stopping;
  atomic_int failures;                /* errors of workers that nobody joined */
  const lub_judging *_Atomic judging; /* NULL until there is a heart */
  struct lub_judge *judge;
  atomic_bool judge_is_due; /* a C policy is to be asked */
  atomic_bool hurries; /* the limit of a heart ends before its pulse: the judge wants to know when it works */
  lub_turns turns;     /* the stepping thread's, if each step is chosen */
  struct lub_sim *sim; /* whose engine this is, or NULL */
  lub_gate *gate;      /* the sim's, or NULL: any thread may act */
  lub_place *places;   /* [nplaces] */
  int nplaces, cpus;   /* cpus: that this process may use */
  lub_lock chans_lock;
  lub_list chans; /* lub_chan.link: all but those that have a timer, which lub_tick_next finds; chans_lock */

  pthread_mutex_t lock; /* guards everything below */
  pthread_cond_t watch; /* for the watcher */
  pthread_cond_t gone;  /* a worker has ended */
  lub_list queue;       /* lub_worker.link: what was woken by no carrier, oldest first */
  lub_list preempted;   /* the same: what had its slice and wants another */
  lub_list workers;     /* lub_worker.all */
  lub_list pinned;      /* lub_worker.pin: those with a thread of their own */
  lub_list sleepers;    /* lub_sleeper.link: host threads and pinned workers that wait */
  lub_list idlers;      /* lub_sleeper.link: carriers with a place and nothing to do, newest last */
  lub_list complaints;  /* lub_worker.complains, oldest first */
  lub_list spares;      /* lub_sleeper.link: carriers without a place */
  int64_t keeper_ns; /* what the sleeper that waits for the next timer waits for; LUB_NEVER: there is none */
  int64_t shared_ns; /* when it was last seen whether it is crowded; the watcher's */
  bool full;         /* ... then as many carriers ran as there are CPUs */
  lub_name *names;
  int awake, holds;
  uint32_t changes;         /* counts threads that went to sleep */
  int threads, max_threads; /* started; bound */
  int zombies;
  int ending; /* calls of lub_workers_end under way: workers that open meanwhile are born killed */
  bool bound_told, watcher_runs;
  pthread_t watcher;
  lub_carrier *carriers; /* [max_threads] */
};

/* Around an operation that any of the host's threads may ask for. LUB_FOREIGN: not this one. One that is let in waits for
 * nothing inside. */
static inline bool lub_is_foreign(const lub_engine *e) {
  return e->gate && !pthread_equal(e->gate->owner, pthread_self());
}
static inline lub_status lub_gate_enter(lub_engine *e, double *wait) {
  if (!lub_is_foreign(e)) return LUB_OK;
  if (wait) *wait = 0;
  return lub_gate_enter_slow(e);
}
static inline void lub_gate_leave(lub_engine *e) {
  if (lub_is_foreign(e)) lub_gate_leave_slow(e->gate);
}

/* Waits for a signal on c, at most until the deadline; with engine.lock. */
void lub_engine_wait_locked(lub_engine *e, pthread_cond_t *c, int64_t deadline_ns);
void lub_sleeper_init(lub_sleeper *s, lub_wait *wait);
void lub_sleeper_close(lub_sleeper *s);
/* With engine.lock. Sleeps until woken, or until a timer is due that this sleeper was to keep (the caller then
 * runs timers), or until `until_ns`. */
void lub_sleep_locked(lub_engine *e, lub_sleeper *s, int64_t until_ns);
/* Sees to it that a sleeper other than `self` keeps the next timer; with engine.lock. */
void lub_engine_stir_locked(lub_engine *e, const lub_sleeper *self);
static inline void lub_sleeper_wake_locked(lub_sleeper *s) {
  s->woken = true;
  pthread_cond_signal(&s->wakeup);
}

typedef struct lub_host_wait {
  lub_wait wait;
  lub_sleeper sleeper;
  lub_engine *engine;
} lub_host_wait;

void lub_host_wait_init(lub_host_wait *h, lub_engine *e);
/* Blocks until woken; returns the outcome. */
lub_status lub_host_wait_block(lub_host_wait *h);
void lub_host_wait_close(lub_host_wait *h);
void lub_host_wait_wake(lub_host_wait *h);

/* What a clock of the system says; LUB_NEVER: it is that of a thread which has ended. */
int64_t lub_clock_ns(clockid_t clock);
int64_t lub_engine_now_ns(lub_engine *e);
/* The same within some milliseconds, for a fraction of the price: as of the last look of the watcher, or, while it sleeps,
 * of the last tick of the kernel. */
int64_t lub_engine_kernel_tick_ns(lub_engine *e);
static inline int64_t lub_engine_coarse_ns(lub_engine *e) {
  int64_t tick_ns = atomic_load_explicit(&e->tick_ns, memory_order_relaxed);
  return tick_ns ? tick_ns : lub_engine_kernel_tick_ns(e);
}
/* A span of seconds > 0, at most 285 years: never nothing, or who waits for what is left of a span, which may be less than
 * a nanosecond, would wait for ever on a clock that stands meanwhile. */
static inline int64_t lub_span_ns(double seconds) {
  int64_t ns = (int64_t)(seconds * 1e9 + 0.5);
  return ns > 0 ? ns : 1;
}
/* The deadline of a wait of so many seconds from now; 0 for none at all, LUB_NEVER for ever. */
int64_t lub_engine_deadline(lub_engine *e, double wait);
/* After timers have run: the judge asks C policies. */
void lub_engine_ask_judge(lub_engine *e);
/* The fiber of a heart enters a state. */
void lub_engine_enter(lub_engine *e, lub_life *l, lub_state state);
/* Starts t, and sees to it that somebody awake or sleeping will fire it. Returns whether it was running. */
bool lub_engine_start_timer(lub_engine *e, lub_timer *t, int64_t when_ns);
/* The same of one that has no room yet. LUB_NOMEM. */
lub_status lub_engine_begin_timer(lub_engine *e, lub_timer *t, const lub_timer_kind *kind, int64_t when_ns);
/* Fires what is due; returns how many. The calling thread counts as awake. */
uint32_t lub_engine_run_timers(lub_engine *e);
/* The same for a thread that does not sleep next, and looks again soon: it does not wait for another that fires them. */
void lub_engine_look_at_timers(lub_engine *e);
/* When a sleeper is to wake for the next, LUB_NEVER without one: where there are many, later than it is due, so that each
 * time several are fired. */
int64_t lub_engine_next_timer(lub_engine *e);

/* Logs the errors that nobody has joined and whose time has come; `all`: every one. Returns when to call it again. */
int64_t lub_engine_complain(lub_engine *e, bool all);
/* Whether workers wait for a carrier, or the calling one must wait for a place; woken: not counting those that had their
 * slice. Async-signal-safe. */
bool lub_engine_others_wait(lub_engine *e, bool woken);

/* A thread is about to sleep, or has come back; with `lock` held. asleep finds out whether everything is parked,
 * and if so fails with LUB_DEADLOCK the host's threads, or, without any, the oldest sleeper; it may release the lock
 * meanwhile. */
void lub_engine_asleep_locked(lub_engine *e);
static inline void lub_engine_awake_locked(lub_engine *e) { e->awake++; }

#endif
