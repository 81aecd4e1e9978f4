/* carrier.h - the threads that run workers, after Go's runtime/proc.go: a carrier is an M, a place (place.h) a P.
 *
 * A place is the right to run, with a queue; there are as many as CPUs. A carrier without a place is a spare. What a
 * carrier wakes goes to its own place, the latest first (`next`), so that two workers that talk stay on one CPU; an idle
 * carrier steals from others' queues, but not their `next`, unless the watcher finds that it has waited for a tick.
 * Workers that only talk are not worth a theft: see talk.h. Nor, where the carriers are more than the CPUs, and use all of
 * these, is who was woken on one of them, for its first ticks.
 * A carrier that is inside a C call for 10 ms loses its place to a spare. A slice is 10 ms; but who has used up one, and goes
 * on computing, runs only while nobody else wants to: whoever is woken then need not wait for the slice's end.
 * Floor 3. Uses worker, watcher. Part of engine. */
#ifndef LUB_CARRIER_H
#define LUB_CARRIER_H

#include "alarm.h"
#include "talk.h"

enum { LUB_CARRIERS_MAX = 4096, LUB_THREADS_MAX = 65536 };

typedef struct lub_carrier {
  pthread_t thread;
  long tid;      /* the kernel's number of the thread; engine.lock */
  clockid_t cpu; /* of what it has used; likewise. That of a thread that has ended tells nothing, safely */
  atomic_uint slices; /* counts slices; the watcher tells a long one by its not moving */
  lub_engine *engine;
  lub_place *_Atomic place;            /* NULL: a spare. Taken away by the watcher, under engine.lock */
  lub_worker *_Atomic current;         /* NULL between slices */
  atomic_int over;                     /* whether the slice is to end: LUB_SLICE_GOES_ON, ... */
  lub_clock clock;                     /* its own */
  atomic_uint over_steps;              /* ... LUB_SLICE_IS_OVER: that was when its clock had made so many */
  atomic_llong began_ns;               /* its hog went on when its thread had used so much CPU */
  atomic_llong asked_ns, asked_cpu_ns; /* whether it computes: when, and what its thread had used then */
  lub_alarm alarm;                     /* for that, should the watcher be late */
  lub_sleeper sleeper;                 /* it stays when the thread has ended */
  lub_scales scales;                   /* its own */
  uint32_t turns;                      /* likewise */
  uint32_t seen_slices, seen_steps, ticks; /* the watcher's */
  int64_t seen_cpu_ns, used_ns;            /* of CPU: at the last look; since looked_ns */
  int64_t shared_cpu_ns;                   /* ... when it was last seen who shares the CPUs */
  int64_t ran_ns;                          /* what the fiber has run that runs, as far as was seen */
  int64_t told_ns;                         /* ... when it was told to leave; 0: it was not */
  int64_t looked_ns;                       /* whether it had CPU; 0: not in this slice */
  int64_t starved_ns;                      /* without any, and not told yet */
  atomic_bool hogs;     /* its fiber was preempted, and has not parked since; counted in engine.hogs */
  atomic_bool computes; /* its thread had used half of the time, or more, when that was last asked */
  bool lives;           /* its thread does; engine.lock */
  bool starves;         /* at the last look; the watcher's */
  bool blocked;         /* the slice is long, and its thread has used next to no CPU of late; the watcher's */
  bool moved;           /* ... it has used some since it was last signalled; the watcher's */
  bool signalled;       /* at the last look; the watcher's */
} lub_carrier;

/* The kernel's number of the calling thread, 0 where there is none. */
long lub_thread_id(void);
/* From now on the calling thread's sleeps end to the point. */
void lub_thread_prompt(void);
/* The clock of the CPU that the calling thread uses, for others to read (lub_clock_ns). */
clockid_t lub_cpu_clock(void);
/* CPUs that this process may use; at least 1. */
int lub_cpus(void);
/* Starts the carriers and the watcher. On failure those that run are stopped. LUB_NOMEM, LUB_THREAD. */
lub_status lub_carriers_open(lub_engine *e);
/* Stops them all at the end of their slices and frees the places. */
void lub_carriers_close(lub_engine *e);

/* Queues a worker that has just become ready; `again`: it was running, and goes behind those that wait. Any thread. */
void lub_carriers_queue(lub_engine *e, lub_worker *w, bool again);
/* Runs one queued worker for one slice on the calling thread, which holds the only place of a host-run engine.
 * False: there was none. */
bool lub_carriers_step(lub_engine *e);
/* Runs w, which is in no queue, for one slice; then it is queued again, idle, or has ended. */
void lub_carriers_run_slice(lub_worker *w);
/* Gives c's place to a spare; c becomes one when its slice ends. Not at the bound on threads. */
void lub_carriers_replace_locked(lub_engine *e, lub_carrier *c);
/* Workers that were woken at p and wait behind a slice that goes on: others may take them from now on. */
void lub_carriers_offer_locked(lub_engine *e, lub_place *p);
/* The watcher has seen whether the carriers use all CPUs. */
void lub_carriers_crowd_locked(lub_engine *e, bool crowded);
/* A tick of the watcher: if p has kept its workers for long enough, others may take them. */
void lub_carriers_tick_locked(lub_engine *e, lub_place *p);
/* The calling carrier is about to sleep in the midst of a slice: a spare gets its place. */
void lub_carriers_leave_place_locked(lub_engine *e);
/* Whether another carrier than the calling one runs, or looks for work. A hint. */
bool lub_carriers_run_beside(const lub_engine *e);
/* Whether any queue holds a worker; with engine.lock. */
bool lub_carriers_have_work_locked(lub_engine *e);
/* Interrupts whoever runs w, which looks at its requests then. Any thread. */
void lub_carriers_interrupt(lub_engine *e, lub_worker *w);
/* Whether the calling thread's slice is to end: not yet; now, its fiber having computed for 10 ms before, and not parked
 * since (if that is for a timer, it is to fire it: lub_carriers_lend does); at the next switch, having lasted for 10 ms; or now, the fiber having had these alone. In a signal handler. */
enum { LUB_SLICE_GOES_ON, LUB_SLICE_IS_LENT, LUB_SLICE_ENDS, LUB_SLICE_IS_OVER };
int lub_carriers_slice(void);
/* ... and it does not, since nobody waits. In a signal handler. */
void lub_carriers_stay(void);
/* Whether a timer is due that the calling thread's hog keeps from being fired. In a signal handler. */
bool lub_carriers_keep_a_timer(void);
/* Should the watcher not have come at when_ns, c's hog hears of it soon after. Not one that does not compute now, and may be
 * inside a call, which a signal would break: false. The watcher, with engine.lock, or c's own thread. */
bool lub_carriers_set_alarm(lub_carrier *c, int64_t when_ns);
/* The calling thread is about to run a fiber that was preempted; or another, or none, and fires what came due meanwhile. */
void lub_carriers_lend(bool lent);

#endif
