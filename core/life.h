/* life.h - what the scheduler knows of a fiber that has a heart: its state, since when, and how long it was in each.
 * Written by whoever moves the fiber, one thread at a time (its own, or the one that has claimed its wait); read by any.
 *
 * `sign_ns` is the last sign of life: a beat, or the end of a wait, for who waits is proven alive without a beat. What
 * is spent runnable moves it on: that is not the fiber's fault. So `now - sign_ns` is the time in which a busy fiber
 * could have beaten and did not.
 * Floor 2. Uses base. Used by waits and workers, which write it, and by hearts, which read it. */
#ifndef LUB_LIFE_H
#define LUB_LIFE_H

#include <stdbool.h>
#include <string.h>

#include "base.h"
#include "lubdub.h"

enum { LUB_STATES = LUB_STATE_IN_C + 1, LUB_WHAT = 2, LUB_WHAT_TEXT = 32 };

typedef enum lub_wish {
  LUB_TO_RUN,
  LUB_TO_SLEEP,
  LUB_TO_SELECT,
  LUB_TO_RECV,
  LUB_TO_SEND,
  LUB_TO_JOIN
} lub_wish;

typedef struct lub_life {
  atomic_int state;  /* lub_state: IDLE, BLOCKED_SEND, BUSY or RUNNABLE */
  atomic_uint signs; /* of life, counted: tells one silence from the next */
  atomic_llong sign_ns, since_ns;
  atomic_llong in_c_ns;              /* since when it was seen inside a C call; 0: it was not */
  atomic_llong spent_ns[LUB_STATES]; /* in spans that are over */
  atomic_ullong what[LUB_WHAT];      /* a byte: its wish; the beginning of the name of what it waits for */
} lub_life;

static inline bool lub_state_is_parked(lub_state s) {
  return s == LUB_STATE_IDLE || s == LUB_STATE_BLOCKED_SEND;
}

static inline void lub_life_init(lub_life *l, lub_state state, int64_t now_ns) {
  memset(l, 0, sizeof *l);
  atomic_init(&l->state, (int)state);
  atomic_init(&l->sign_ns, now_ns);
  atomic_init(&l->since_ns, now_ns);
}

static inline void lub_life_add(atomic_llong *to, int64_t ns) {
  atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + ns, memory_order_relaxed);
}

/* A sign of life: one thread at a time. */
static inline void lub_life_sign(lub_life *l, int64_t now_ns) {
  atomic_store_explicit(&l->signs, atomic_load_explicit(&l->signs, memory_order_relaxed) + 1,
                        memory_order_relaxed);
  atomic_store_explicit(&l->sign_ns, now_ns, memory_order_release);
}

static inline void lub_life_enter(lub_life *l, lub_state state, int64_t now_ns) {
  lub_state before = (lub_state)atomic_load_explicit(&l->state, memory_order_relaxed);
  int64_t since = atomic_load_explicit(&l->since_ns, memory_order_relaxed);
  int64_t in_c = atomic_load_explicit(&l->in_c_ns, memory_order_relaxed);
  if (before == state) return;
  if (since > now_ns) since = now_ns; /* it was excused */
  if (in_c) {
    lub_life_add(&l->spent_ns[LUB_STATE_IN_C], now_ns - in_c);
    lub_life_add(&l->spent_ns[before], in_c - since);
    atomic_store_explicit(&l->in_c_ns, 0, memory_order_relaxed);
  } else {
    lub_life_add(&l->spent_ns[before], now_ns - since);
  }
  if (lub_state_is_parked(before)) {
    lub_life_sign(l, now_ns);
  } else if (before == LUB_STATE_RUNNABLE) {
    int64_t sign = atomic_load_explicit(&l->sign_ns, memory_order_relaxed);
    atomic_store_explicit(&l->sign_ns, sign + now_ns - since, memory_order_relaxed);
  }
  /* release, and in this order: see lub_life_look */
  atomic_store_explicit(&l->since_ns, now_ns, memory_order_release);
  atomic_store_explicit(&l->state, (int)state, memory_order_release);
}

/* What a fiber is about to wait for, and its name or NULL; before lub_life_enter. */
void lub_life_wait_for(lub_life *l, lub_wish wish, const char *name);
/* The text of that, zero-terminated, e.g. "recv 'jobs'". Any thread. */
void lub_life_what(lub_life *l, char text[LUB_WHAT_TEXT]);

typedef struct lub_look { /* of one instant */
  lub_state state;
  int64_t age_ns,
      state_ns; /* since the last sign of life, not counting what was not its fault; in this state */
  uint32_t signs;
} lub_look;

lub_look lub_life_look(lub_life *l, int64_t now_ns);

/* What it has spent wanting to run, and could not, until now. Any thread. */
int64_t lub_life_runnable(lub_life *l, int64_t now_ns);

/* Moves the last sign of life on by more_ns. Any thread. */
void lub_life_extend(lub_life *l, int64_t more_ns);
/* Moves the last sign of life and the state's beginning on by what was nobody's fault between from_ns and to_ns,
 * and grace_ns more. Any thread. */
void lub_life_excuse(lub_life *l, int64_t from_ns, int64_t to_ns, int64_t grace_ns);

#endif
