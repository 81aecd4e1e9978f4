/* engine.h - one runtime instance: carriers, their queues, timers, names. No state lives outside it.
 *
 * ORDER LOCKS: timers.lock, then chan.lock (two channels by address), then engine.lock.
 * Wakes happen with no channel locked; only a timer's fire wakes under timers.lock.
 * Floor 3. Uses timer, worker. */
#ifndef LUB_ENGINE_H
#define LUB_ENGINE_H

#include "random.h"
#include "worker.h"

typedef struct lub_carrier {
  pthread_t thread;
  lub_engine *engine;
  atomic_uint slices;  /* counts slices; the watcher tells a long one by its not moving */
  lub_worker *_Atomic current; /* NULL between slices */
  atomic_bool stuck;   /* its place was given to a spare; it retires when its slice ends */
  uint32_t seen_slices, ticks; /* the watcher's */
  int64_t seen_cpu_ns;
} lub_carrier;

typedef struct lub_name {
  struct lub_name *next;
  lub_value value;
  char name[];
} lub_name;

struct lub_engine {
  lub_allocator mem;
  lub_options opts;
  lub_timers timers;
  atomic_ullong chan_ids, worker_ids, fiber_ids;
  atomic_int waiting; /* workers in the queue: a hint that others wait */

  pthread_mutex_t lock; /* guards everything below */
  pthread_cond_t work;  /* a worker was queued, a timer became the earliest, or the engine stops */
  pthread_cond_t watch; /* a carrier began to run */
  lub_list queue;       /* lub_worker.link: workers ready to run, oldest first */
  lub_list workers;     /* lub_worker.all */
  lub_list pinned;      /* lub_worker.pin: those with a thread of their own */
  lub_list sleepers;    /* lub_sleeper.link: host threads and pinned workers that wait */
  lub_name *names;
  int sleeping;         /* carriers that wait for work */
  int awake;            /* threads that may act: running carriers, pinned workers that are not asleep */
  int holds;            /* the host's promises to act */
  int threads, places, max_threads; /* started; wanted in place; bound */
  int stuck;            /* threads whose place was given away and that have not come back */
  bool keeper;          /* one sleeping carrier waits for the next timer */
  bool stopping, watching, bound_told;
  pthread_t watcher;
  lub_carrier *carriers; /* [max_threads] */
};

/* A host thread (or the thread of a pinned worker) that waits for one wait to be woken. */
struct lub_sleeper {
  lub_link link;
  lub_wait *wait;
  pthread_cond_t wakeup;
  bool woken;
};

typedef struct lub_host_wait {
  lub_wait wait; /* first */
  lub_sleeper sleeper;
} lub_host_wait;

void lub_host_wait_init(lub_host_wait *h, lub_engine *e);
/* Blocks until woken; returns the outcome. */
lub_status lub_host_wait_block(lub_host_wait *h);
void lub_host_wait_close(lub_host_wait *h);

int64_t lub_engine_now_ns(lub_engine *e);
/* The deadline of a wait of so many seconds from now; 0 for none at all, LUB_NEVER for ever. */
int64_t lub_engine_deadline(lub_engine *e, double wait);
/* Starts t, and sees to it that somebody awake or sleeping will fire it. */
bool lub_engine_start_timer(lub_engine *e, lub_timer *t, int64_t when_ns);
/* Queues a worker that has just become ready. Any thread. */
void lub_engine_queue(lub_engine *e, lub_worker *w);

/* A thread is about to sleep outside the carriers' loop, or has come back. With `lock` held.
 * sleep: finds out whether everything is parked, and if so fails the oldest sleeper with LUB_DEADLOCK. */
void lub_engine_asleep_locked(lub_engine *e);
void lub_engine_awake_locked(lub_engine *e);

#endif
