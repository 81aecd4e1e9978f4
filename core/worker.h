/* worker.h - the unit of scheduling: queues of ready fibers, run on one carrier at a time.
 *
 * The state word settles the one race there is, a worker going idle while a wake arrives:
 *   RUNNING -> QUEUED  by lub_worker_start: until then it is its opener's
 *   IDLE -> QUEUED     by the wake that finds it idle, which queues it; until then it is the waker's
 *   QUEUED -> RUNNING  by the carrier that takes it
 *   RUNNING -> NOTIFIED by a wake meanwhile; the worker will look at its inbox again
 *   RUNNING -> IDLE    by its carrier, with nothing ready; fails when NOTIFIED, and it is queued again
 *   RUNNING -> ASLEEP  by the thread of a pinned worker; a wake makes it RUNNING and signals the thread
 * A worker is idle only with empty queues, so no wake is lost.
 *
 * Its fate is decided once, by whoever changes it from ALIVE: its own end, or a kill that finds it inside a C call (then
 * it is a zombie until that call returns). What it did is published before (release), and read after (acquire).
 * Floor 3. Uses waiter. The binding gives `run`, which runs ready fibers until lub_worker_next says NULL. */
#ifndef LUB_WORKER_H
#define LUB_WORKER_H

#include "waiter.h"

/* A thread that sleeps until somebody sets `woken`. */
typedef struct lub_sleeper {
  lub_link link;
  lub_wait *wait; /* what may be failed with LUB_DEADLOCK; NULL for carriers */
  pthread_cond_t wakeup;
  bool woken;
} lub_sleeper;

typedef struct lub_fiber {
  lub_link link;  /* in worker->fibers. What every switch touches lies together behind it */
  lub_wait wait;  /* what the fiber waits for */
  lub_waiter one; /* for a wait on a single channel */
  lub_worker *worker;
  struct lub_fiber *ready_next; /* in the inbox or a ready queue */
} lub_fiber;

typedef struct lub_fifo { /* of ready fibers, oldest first */
  lub_fiber *first, *last;
} lub_fifo;

typedef struct lub_ask { /* somebody wants to know what a worker's fibers do */
  lub_link link;         /* in worker->asks */
  lub_object *about;     /* NULL: all of them; or what only one of them has, with a reference */
  lub_chan *to;          /* for the text; a reference */
} lub_ask;

typedef struct lub_clock { /* of progress; its thread writes it, but for `called` */
  atomic_uint steps;       /* fibers resumed */
  atomic_uint talks;       /* values to and from channels that other workers may use, or tries of it */
  atomic_bool siblings;    /* others of the worker that runs are ready */
  atomic_bool called; /* ... or were woken from outside, or it was asked something, since its last switch */
} lub_clock;

enum { LUB_IDLE, LUB_QUEUED, LUB_RUNNING, LUB_NOTIFIED, LUB_ASLEEP };
enum { LUB_ALIVE, LUB_ENDED, LUB_FATE_KILLED };

struct lub_worker {
  lub_object obj; /* first: values carry it. Being alive holds one reference */
  lub_engine *engine;
  uint64_t id;
  char *name;                       /* owned */
  void (*run)(lub_worker *w);       /* one slice; on return the worker may run elsewhere */
  void (*free_data)(lub_worker *w); /* gives back what `data` holds, at the last drop */
  void (*interrupt)(lub_worker *w); /* in the running thread, inside a signal handler: yield soon */
  void *data;
  bool pinned;

  atomic_int state, fate;
  atomic_bool preempt;   /* leave the slice at the next fiber switch */
  atomic_bool requested; /* cancel or kill or report asked for: run must look */
  atomic_bool cancelled, killed;
  atomic_bool blocked;        /* its main fiber waits to send; written at the end of a slice */
  atomic_bool closing;        /* it runs its close handlers: no zombie */
  atomic_bool joined;         /* somebody asked for its end: its error is told there */
  lub_clock own;              /* its steps, wherever it ran; and what has no other clock */
  atomic_uint over_steps;     /* pinned: when its fiber had run for 10 ms, it had resumed so many */
  lub_clock *_Atomic clock;   /* the carrier's, or, of a pinned one, `own` */
  _Atomic(lub_fiber *) inbox; /* fibers made ready by other threads, newest first */
  lub_link link;              /* in a queue; that queue's lock */
  lub_link all, pin;          /* in engine->workers, engine->pinned; engine->lock */
  lub_chan *done;             /* closes when its fate is decided */
  lub_list asks;              /* lub_ask.link, oldest first; engine->lock */
  lub_timer grace;            /* of a kill, before it makes a zombie */
  uint8_t graces;             /* of a kill, that it has had; the timers' lock */
  bool zombie;                /* engine->lock */
  char *complaint; /* the error that nobody has joined, to be logged at complain_ns; engine->lock */
  int64_t complain_ns;
  lub_link complains; /* in engine->complaints, with a reference; engine->lock */
  char why[64];       /* of the cancel or kill; engine->lock */

  /* the running thread's */
  bool ended;
  lub_fiber *chosen; /* to run in this slice, alone: see turns.h */
  int64_t thaw_ns;   /* until when it is frozen, if it is: see turns.h */
  bool in_call;      /* ... in a C call */
  lub_timer thaw;
  lub_fifo ready, preempted; /* those that were preempted run when no other is ready, or it is their turn */
  int64_t lent_ns;           /* when one of these had run last */
  lub_list fibers;
  bool hog;                    /* the fiber that ran last was preempted, and had not parked since */
  atomic_bool driven;          /* pinned: its thread runs fibers now */
  pthread_t thread;            /* ... which is this one; engine->lock */
  long tid;                    /* the kernel's number of it */
  clockid_t cpu;               /* the CPU that it has used */
  uint32_t seen_steps;         /* the watcher's, as the next two; engine->lock */
  int64_t seen_cpu_ns, ran_ns; /* of CPU, at the last look; what the fiber has run that runs */
  lub_sleeper *asleep;         /* pinned: the thread that sleeps; engine->lock */
};

/* Makes a worker that nobody runs yet. Being alive holds one reference, see lub_worker_end;
 * the caller gets another. LUB_NOMEM. */
lub_status lub_worker_open(lub_engine *e, const char *name, bool pinned, lub_worker **out);
/* Queues a new worker for its first slice. */
void lub_worker_start(lub_worker *w);
/* Decides w's fate, if it is open, and closes `done`. True: it was. */
bool lub_worker_decide(lub_worker *w, int fate);
/* From run, after the last fiber: the worker will not run again. Its carrier gives back the reference of being alive; who
 * calls this otherwise does so himself. */
void lub_worker_end(lub_worker *w);
/* The engine logs `text` in a second, unless somebody joins w meanwhile: a parent may yet ask. From run, before
 * lub_worker_end. Without memory it is logged at once. */
void lub_worker_complain(lub_worker *w, const char *text);
/* Kills what still runs and waits `wait` seconds at most. False: some have not ended; after 0.2 s when those are all
 * zombies. */
bool lub_workers_end(lub_engine *e, double wait);
size_t lub_workers_count(lub_engine *e);
/* Calls f for each worker, with a reference held and no lock; also without memory, if more slowly. */
void lub_workers_each(lub_engine *e, void (*f)(lub_worker *w, void *ud), void *ud);
/* Asks every worker for its part of a report: strings on a new channel, of which the caller gets the reference; the
 * number asked goes to *asked. LUB_NOMEM. */
lub_status lub_workers_report(lub_engine *e, lub_chan **out, size_t *asked);
/* The same of one worker, or (`about`: see lub_ask) of one of its fibers; a closed channel if it has ended. LUB_NOMEM. */
lub_status lub_worker_ask(lub_worker *w, lub_object *about, lub_chan **out);
/* Takes what was asked first, or asked about `about` alone, if that is not NULL; NULL: nothing. */
lub_ask *lub_worker_asked(lub_worker *w, const lub_object *about);
/* Gives an ask back. */
void lub_ask_drop(lub_worker *w, lub_ask *ask);

/* The next ready fiber, or NULL: leave the slice. The running thread's. */
lub_fiber *lub_worker_next(lub_worker *w);
/* Whether the slice should end at once. */
static inline bool lub_worker_must_leave(lub_worker *w) {
  return atomic_load_explicit(&w->preempt, memory_order_relaxed) ||
         atomic_load_explicit(&w->killed, memory_order_relaxed);
}
/* Whether another fiber of w is ready. */
bool lub_worker_has_ready(lub_worker *w);
/* The thread that runs w sleeps until w is woken (pinned workers, and fibers that cannot yield). */
void lub_worker_sleep(lub_worker *w, lub_wait *root);

/* That of the thread which runs w. */
static inline lub_clock *lub_worker_clock(const lub_worker *w) {
  return atomic_load_explicit(&w->clock, memory_order_relaxed);
}
/* Whether somebody of its own waits for the worker that runs by this clock: only that can end its slice then. */
static inline bool lub_clock_is_waited_for(lub_clock *c) {
  return atomic_load(&c->siblings) || atomic_load(&c->called);
}

/* w, which runs, has n values more with channels that other workers may use. */
static inline void lub_worker_talk(lub_worker *w, uint32_t n) {
  atomic_uint *talks = &lub_worker_clock(w)->talks;
  atomic_store_explicit(talks, atomic_load_explicit(talks, memory_order_relaxed) + n, memory_order_relaxed);
}

void lub_fiber_init(lub_fiber *f, lub_worker *w);
/* Takes a fiber out of its worker; it must not be parked. */
void lub_fiber_close(lub_fiber *f);
/* The same of one that may be parked, for ever: its worker's state closes. Nothing wakes it any more. */
void lub_fiber_leave(lub_fiber *f);
/* A claimed fiber joins the inbox of a worker that is asleep; engine->lock is held, no wake follows. */
void lub_fiber_inbox(lub_fiber *f);
/* Puts a fiber at the end of the ready queue. Any thread, if nobody else does. */
void lub_fiber_ready(lub_fiber *f);
/* The same for one that was preempted; the running thread's. */
void lub_fiber_preempted(lub_fiber *f);
/* The same for one that is inside a C call, and runs when its worker is frozen no longer. */
void lub_fiber_held(lub_fiber *f);

/* All waits of w's parked fibers, n of them, are claimed: returns when each wake has come, after which nobody else touches
 * the fibers. w's thread. */
void lub_worker_await_wakes(lub_worker *w, size_t n);
/* Takes back a wait that has been queued: f waits for nothing then. False: it is being woken already. f's worker's
 * thread. What its waiters own stays with them. */
bool lub_fiber_withdraw(lub_fiber *f);
/* Empties the ready queues and the inbox: their fibers are about to be closed. */
void lub_worker_forget_ready(lub_worker *w);

/* The calling thread runs fibers of a pinned worker from here on, or no longer. */
void lub_worker_drive(lub_worker *w, bool begin);
/* The worker that the calling thread runs, or NULL; set by carriers and by threads of pinned workers. */
extern LUB_THREAD_LOCAL lub_worker *lub_worker_here;
static inline lub_worker *lub_worker_current(void) { return lub_worker_here; }
static inline void lub_worker_set_current(lub_worker *w) { lub_worker_here = w; }

#endif
