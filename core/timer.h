/* timer.h - deadlines of one engine in a 4-ary heap (after Go's runtime/time.go), and who fires them.
 * Room in the heap is reserved once for each timer, so that starting one can never fail.
 * A timer's `fire` runs under the timers' lock, on the thread that found it due. It may take channel and
 * scheduler locks (ORDER LOCKS in engine.h), and may start its own timer again with lub_timer_again.
 * Floor 2. Uses lock. Used by waits (their longest wait), after and tick. */
#ifndef LUB_TIMER_H
#define LUB_TIMER_H

#include <stdbool.h>

#include "base.h"
#include "lock.h"
#include "lubdub.h"

typedef struct lub_timer lub_timer;

typedef struct lub_timer_kind {
  void (*fire)(lub_timer *t, int64_t due_ns, int64_t now_ns);
  bool (*could_wake)(lub_timer *t); /* whether firing may wake anybody; NULL: it always may */
  size_t before, after;             /* bytes around the timer that `fire` reads: they are fetched ahead */
} lub_timer_kind;

struct lub_timer {
  uint32_t id; /* of the room that is reserved for it; 0: none is */
};

typedef struct lub_slot {
  int64_t when_ns;
  uint32_t id;
} lub_slot;

typedef struct lub_room {
  lub_timer *timer;
  const lub_timer_kind *kind;
} lub_room;

/* What moves in the heap is found by number: 100,000 timers lie scattered in memory, their places close together. */
typedef struct lub_timers {
  lub_lock lock;    /* guards the heap and every timer in it */
  lub_slot *heap;   /* [capacity], of which `count` run */
  lub_room *rooms;  /* [capacity + 1], by id */
  uint32_t *places; /* by id: index in the heap + 1, or 0; of one that is free: the next free one, or 0 */
  uint32_t count, capacity;
  uint32_t free;        /* the first id that is not reserved, or 0 */
  uint32_t sure;        /* of those that run: may always wake somebody */
  int64_t weak_ns;      /* all that wake nobody were run at this time; see lub_timers_run_weak */
  atomic_llong next_ns; /* the earliest deadline, LUB_NEVER without one; read without lock as a hint */
  const lub_allocator *mem;
} lub_timers;

void lub_timers_init(lub_timers *ts, const lub_allocator *mem);
void lub_timers_close(lub_timers *ts);

/* Makes room for one more timer; before its first start. LUB_NOMEM. */
lub_status lub_timer_reserve(lub_timers *ts, lub_timer *t, const lub_timer_kind *kind);
static inline bool lub_timer_has_room(const lub_timer *t) { return t->id != 0; }
/* Both at once: makes room for t, which has none, and starts it. LUB_NOMEM. */
lub_status lub_timer_begin(lub_timers *ts, lub_timer *t, const lub_timer_kind *kind, int64_t when_ns,
                           bool *earliest);
/* Stops t if it runs and gives its room back. */
void lub_timer_forget(lub_timers *ts, lub_timer *t);
/* Starts or moves t. Returns whether it was running; *earliest tells that it is the next to fire now. */
bool lub_timer_start(lub_timers *ts, lub_timer *t, int64_t when_ns, bool *earliest);
/* Returns whether it was running. When it returns, `fire` is not running and will not run. */
bool lub_timer_stop(lub_timers *ts, lub_timer *t);
/* From inside fire. */
void lub_timer_again(lub_timers *ts, lub_timer *t, int64_t when_ns);
/* Fires what is due at now_ns. Returns how many fired. */
uint32_t lub_timers_run(lub_timers *ts, int64_t now_ns);
/* The same, but waits for no other thread that is about it: what that does not fire is left. */
uint32_t lub_timers_try(lub_timers *ts, int64_t now_ns);
/* For who chooses what fires first (turns.h), of those that are due: all that wake nobody, and how many those are; how
 * many may wake somebody, of which no more than LUB_DUE_MAX are looked at; the k-th of these, from 0. */
enum { LUB_DUE_MAX = 16 };
uint32_t lub_timers_run_weak(lub_timers *ts, int64_t now_ns);
uint32_t lub_timers_due(lub_timers *ts, int64_t now_ns);
void lub_timers_run_one(lub_timers *ts, int64_t now_ns, uint32_t k);
/* Of the timers of this kind, running or not, the first whose id is more than *id, which it becomes; or NULL. */
lub_timer *lub_timers_next_of(lub_timers *ts, const lub_timer_kind *kind, uint32_t *id);
/* Whether any running timer could wake somebody. */
bool lub_timers_could_wake(lub_timers *ts);

static inline int64_t lub_timers_next(lub_timers *ts) {
  return atomic_load_explicit(&ts->next_ns, memory_order_relaxed);
}

#endif
