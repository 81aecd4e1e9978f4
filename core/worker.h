/* worker.h - the unit of scheduling: a queue of ready fibers, run on one carrier at a time.
 *
 * The state word settles the one race there is, a worker going idle while a wake arrives:
 *   IDLE -> QUEUED     by the wake that finds it idle, which queues it
 *   QUEUED -> RUNNING  by the carrier that takes it
 *   RUNNING -> NOTIFIED by a wake meanwhile; the worker will look at its inbox again
 *   RUNNING -> IDLE    by its carrier, with nothing ready; fails when NOTIFIED, and it is queued again
 *   RUNNING -> ASLEEP  by the thread of a pinned worker; a wake makes it RUNNING and signals the thread
 * A worker is idle only with empty queues, so no wake is lost.
 * Floor 3. Uses waiter. The binding gives `run`, which runs ready fibers until lub_worker_next says NULL. */
#ifndef LUB_WORKER_H
#define LUB_WORKER_H

#include "waiter.h"

typedef struct lub_sleeper lub_sleeper;

typedef struct lub_fiber {
  lub_wait wait;    /* first. What the fiber waits for */
  lub_waiter one;   /* for a wait on a single channel */
  lub_worker *worker;
  struct lub_fiber *ready_next; /* in the inbox or the ready queue */
  lub_link link;    /* in worker->fibers */
} lub_fiber;

enum { LUB_IDLE, LUB_QUEUED, LUB_RUNNING, LUB_NOTIFIED, LUB_ASLEEP };

struct lub_worker {
  lub_object obj; /* first: values carry it. Being alive holds one reference */
  lub_engine *engine;
  uint64_t id;
  char *name;     /* owned */
  void (*run)(lub_worker *w);       /* one slice; on return the worker may run elsewhere */
  void (*free_data)(lub_worker *w); /* gives back what `data` holds, at the last drop */
  void (*interrupt)(lub_worker *w); /* in the running thread, inside a signal handler: yield soon */
  void *data;
  bool pinned;

  atomic_int state;
  atomic_bool ended;
  atomic_bool preempt;   /* leave the slice at the next fiber switch */
  atomic_bool requested; /* cancel or kill or report asked for: run must look */
  atomic_bool cancelled, killed, report;
  atomic_uint steps;     /* fibers resumed, as the watcher's clock of progress */
  _Atomic(lub_fiber *) inbox; /* fibers made ready by other threads, newest first */
  lub_link link;         /* in engine->queue; engine->lock */
  lub_link all, pin;     /* in engine->workers, engine->pinned; engine->lock */
  lub_chan *done;        /* closes when the worker has ended */
  char why[64];          /* of the cancel or kill; engine->lock */

  /* the running thread's */
  lub_fiber *ready, *ready_last; /* oldest first */
  lub_list fibers;
  uint32_t pops;
  atomic_bool driven;   /* pinned: its thread runs fibers now */
  pthread_t thread;     /* ... which is this one; engine->lock */
  uint32_t seen_steps, ticks; /* the watcher's; engine->lock */
  struct lub_sleeper *asleep;  /* pinned: the thread that sleeps; engine->lock */
};

/* Makes a worker that nobody runs yet. The engine's list holds one reference until lub_worker_end,
 * the caller gets another. LUB_NOMEM. */
lub_status lub_worker_open(lub_engine *e, const char *name, bool pinned, lub_worker **out);
/* Asks every worker to tell the host what its fibers do, at its next safe point. */
void lub_workers_report(lub_engine *e);
/* Kills what still runs and waits for it, each for `wait` seconds at most. False: one did not end. */
bool lub_workers_end(lub_engine *e, double wait);
/* Queues a new worker for its first slice. */
void lub_worker_start(lub_worker *w);
/* From run, after the last fiber: the worker will not run again. Closes `done`. */
void lub_worker_end(lub_worker *w);

/* The next ready fiber, or NULL: leave the slice. The running thread's. */
lub_fiber *lub_worker_next(lub_worker *w);
/* Whether the slice should end at once. */
bool lub_worker_must_leave(lub_worker *w);
/* Whether another fiber of w is ready. */
bool lub_worker_has_ready(lub_worker *w);
/* The thread that runs w sleeps until w is woken (pinned workers, and fibers that cannot yield). */
void lub_worker_sleep(lub_worker *w, lub_wait *root);

lub_status lub_fiber_init(lub_fiber *f, lub_worker *w);
/* Takes a fiber out of its worker; it must not be parked. */
void lub_fiber_close(lub_fiber *f);
/* A claimed fiber joins the inbox of a worker that is asleep; engine->lock is held, no wake follows. */
void lub_fiber_inbox(lub_fiber *f);
/* Puts a fiber at the end of the ready queue. Any thread, if nobody else does. */
void lub_fiber_ready(lub_fiber *f);

/* The calling thread runs fibers of a pinned worker from here on, or no longer. */
void lub_worker_drive(lub_worker *w, bool begin);
/* The worker that the calling thread runs, or NULL; set by carriers and by threads of pinned workers. */
lub_worker *lub_worker_current(void);
void lub_worker_set_current(lub_worker *w);

#endif
