/* waiter.h - who is parked, on what, and how it is woken.
 * A wait is one parked fiber or host thread; it has one waiter for each channel that it waits on (none for
 * a sleep). Whoever wants to wake it must claim it first: exactly one claim succeeds, its owner writes the
 * outcome and calls lub_wait_wake (park.h), once. A waiter whose wait has been claimed by somebody else is stale: it is
 * skipped by channels and taken out by lub_wait_finish (park.h).
 * Waits live in fibers and waiters beside them, never on a stack that a yield leaves. Floor 2. */
#ifndef LUB_WAITER_H
#define LUB_WAITER_H

#include "life.h"
#include "list.h"
#include "timer.h"
#include "value.h"

typedef struct lub_wait lub_wait;

typedef struct lub_waiter {
  lub_link
      link; /* in ch->recvq or ch->sendq, guarded by ch->lock; or in a list of its own worker's (lub_wait_join) */
  lub_wait *wait;
  lub_chan *ch; /* NULL: a case that is never ready. No reference: the fiber's stack holds one */
  bool send;
  union {
    lub_value
        value; /* a send's, until it is taken; a receive's, when it has come; a join's: the fiber's id */
    struct {
      uint8_t type;  /* the value's, LUB_SEVERAL: it stands for these */
      uint32_t left; /* those that are not sent yet */
      lub_value *at; /* ... the first of them; the sender's until they are taken */
    } several;
  };
} lub_waiter;

enum { LUB_SEVERAL = 255 }; /* beside the types of values */

/* Kept: only its owner's thread may claim it, since it has no deadline and nobody else has its channels. */
enum { LUB_SHUT, LUB_OPEN, LUB_KEPT };

struct lub_wait {
  lub_timer timer;   /* the longest wait */
  atomic_uchar open; /* LUB_SHUT: it cannot be claimed */
  uint8_t status;    /* lub_status; the outcome, written by the one who claimed */
  bool parked;       /* between park and finish; the owner's */
  bool armed;        /* the timer was started for this wait; the owner's */
  uint32_t index;    /* which waiter it came through */
  uint32_t count;    /* waiters */
  lub_waiter *waiters;
  lub_life *life;   /* of a fiber that has a heart; or NULL */
  uint64_t id;      /* of the fiber it lies in (worker.h); 0: it lies in a lub_host_wait (engine.h) */
  int64_t since_ns; /* when it parked, within some milliseconds */
};

/* True for one caller, who must then set status and index and wake it. */
static inline bool lub_wait_claim(lub_wait *w) {
  unsigned char open = atomic_load_explicit(&w->open, memory_order_relaxed);
  if (open == LUB_SHUT) return false;
  /* acquire: sees the waiters as the owner wrote them before it opened the wait */
  if (open == LUB_OPEN) return atomic_exchange_explicit(&w->open, LUB_SHUT, memory_order_acq_rel);
  /* an exchange would hold the CPU up until all its stores are done: for long, among 100,000 fibers */
  atomic_store_explicit(&w->open, LUB_SHUT, memory_order_relaxed);
  return true;
}

/* The oldest waiter whose wait could be claimed, or NULL; it leaves the queue, and stale ones with it. */
static inline lub_waiter *lub_waiter_take(lub_list *q) {
  lub_link *k;
  while ((k = lub_list_pop(q))) {
    lub_waiter *one = lub_container(k, lub_waiter, link);
    if (lub_wait_claim(one->wait)) return one;
  }
  return NULL;
}

/* Writes the outcome of a claimed wait, which is to be woken then. */
static inline lub_wait *lub_waiter_settle(lub_waiter *one, lub_status status) {
  one->wait->status = (uint8_t)status;
  one->wait->index = (uint32_t)(one - one->wait->waiters);
  return one->wait;
}

#endif
