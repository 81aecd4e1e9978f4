/* lock.h - a lock of one word, for what is held over some instructions. Taken when it is free, as it nearly always is,
 * it costs half of a pthread mutex. Whoever finds it held looks again for a while, then sleeps. Not recursive.
 * Floor 1. Used by timer, chan, engine. */
#ifndef LUB_LOCK_H
#define LUB_LOCK_H

#include <stdbool.h>

#include "base.h"

enum { LUB_FREE, LUB_HELD, LUB_CONTENDED }; /* contended: held, and somebody may sleep */

typedef struct lub_lock {
  atomic_int state;
} lub_lock;

static inline void lub_lock_init(lub_lock *l) { atomic_init(&l->state, LUB_FREE); }

/* For lub_lock_take and lub_lock_give, when it is contended. */
void lub_lock_wait(lub_lock *l);
void lub_lock_wake(lub_lock *l);

/* Takes it if it is free. */
static inline bool lub_lock_try(lub_lock *l) {
  int state = LUB_FREE; /* acquire: sees what the one before did; pairs with the release below */
  return atomic_compare_exchange_strong_explicit(&l->state, &state, LUB_HELD, memory_order_acquire,
                                                 memory_order_relaxed);
}

static inline void lub_lock_take(lub_lock *l) {
  if (!lub_lock_try(l)) lub_lock_wait(l);
}

/* Afterwards l may be gone: another thread may have taken it, and freed what it guards. */
static inline void lub_lock_give(lub_lock *l) {
  if (atomic_exchange_explicit(&l->state, LUB_FREE, memory_order_release) == LUB_CONTENDED) lub_lock_wake(l);
}

#endif
