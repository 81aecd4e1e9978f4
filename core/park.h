/* park.h - the life of a wait: begin, open, arm its deadline, finish; or abort. Floor 4. Uses waiter, engine.
 * Used by chan, select, the bindings. All are for the wait's owner: its worker's thread, or the host's. */
#ifndef LUB_PARK_H
#define LUB_PARK_H

#include "engine.h"
#include "waiter.h"

static inline lub_engine *lub_wait_engine(lub_wait *w) {
  return w->id ? lub_container(w, lub_fiber, wait)->worker->engine
               : lub_container(w, lub_host_wait, wait)->engine;
}
/* w's fiber, if it is one's, uses a channel that is not its worker's alone, for n values. */
static inline void lub_wait_talk(lub_wait *w, uint32_t n) {
  if (lub_likely(w->id)) lub_worker_talk(lub_container(w, lub_fiber, wait)->worker, n);
}
/* Whether others would run on this CPU while w waits: fibers of its worker, or other workers. */
static inline bool lub_wait_holds_up(lub_wait *w) {
  return (w->id && lub_worker_has_ready(lub_container(w, lub_fiber, wait)->worker)) ||
         lub_engine_others_wait(lub_wait_engine(w), false);
}
/* After a claim, with no channel locked. w may be gone then. */
static inline void lub_wait_wake(lub_wait *w) {
  if (w->id) lub_fiber_ready(lub_container(w, lub_fiber, wait));
  else lub_host_wait_wake(lub_container(w, lub_host_wait, wait));
}
/* Makes room for w's timer. LUB_NOMEM. */
lub_status lub_wait_reserve(lub_wait *w);
/* Prepares w for waiting; LUB_NOMEM when its timer finds no room. */
static inline lub_status lub_wait_begin(lub_wait *w, lub_waiter *waiters, uint32_t count, int64_t deadline) {
  if (lub_unlikely(deadline != LUB_NEVER) && !lub_timer_has_room(&w->timer) && lub_wait_reserve(w))
    return LUB_NOMEM;
  w->waiters = waiters;
  w->count = count;
  return LUB_OK;
}
/* Tells the heart, before lub_wait_open, if there is one: the state it waits in, what for, and the channel's name or
 * NULL. */
void lub_wait_tell(lub_wait *w, lub_state state, lub_wish wish, const char *name);
/* From here on w may be claimed; kept: by the owner's thread alone. Before it is queued anywhere, or with the channels
 * locked. */
static inline void lub_wait_open(lub_wait *w, bool kept) {
  w->parked = true;
  w->since_ns = lub_engine_coarse_ns(lub_wait_engine(w));
  /* release: pairs with the acquire in lub_wait_claim */
  atomic_store_explicit(&w->open, kept ? LUB_KEPT : LUB_OPEN, memory_order_release);
}
/* Others may claim w, too, if anybody still may. From its owner's thread. */
static inline void lub_wait_share(lub_wait *w) {
  if (atomic_load_explicit(&w->open, memory_order_relaxed) == LUB_KEPT)
    atomic_store_explicit(&w->open, LUB_OPEN, memory_order_relaxed);
}
/* Starts the deadline of a wait that has been queued; not LUB_NEVER. */
void lub_wait_arm(lub_wait *w, int64_t deadline);
/* Queues w for nothing but its deadline. LUB_PARK | LUB_NOMEM. */
lub_status lub_wait_sleep(lub_wait *w, int64_t deadline);
/* Queues w, a fiber's, for the end of another of the same worker, `whose`, which then calls lub_wake_joiners.
 * LUB_PARK (outcome: LUB_CLOSED) | LUB_NOMEM. */
lub_status lub_wait_join(lub_wait *w, lub_waiter *one, lub_list *joiners, uint64_t whose, int64_t deadline);
void lub_wake_joiners(lub_list *joiners);
/* Steps of lub_wait_finish. */
void lub_wait_disarm(lub_wait *w);
void lub_wait_leave_queues(lub_wait *w);
/* After the wake: takes what is left of w out of queues and the heap, returns its outcome. */
static inline lub_status lub_wait_finish(lub_wait *w) {
  /* the one who came through the only waiter took it out of its queue */
  bool one_done = w->count == 1 && (w->status == LUB_OK || w->status == LUB_CLOSED);
  if (lub_unlikely(w->armed)) lub_wait_disarm(w);
  if (lub_unlikely(!one_done)) lub_wait_leave_queues(w);
  w->parked = false;
  return (lub_status)w->status;
}
/* Ends a parked wait from its owner's thread (cancel, kill). True: it will be woken with `status`. */
bool lub_wait_abort(lub_wait *w, lub_status status);

#endif
