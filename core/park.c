/* park.c - see park.h. */
#include "park.h"

#include <stddef.h>

#include "chan.h"
#include "engine.h"

static void deadline_passed(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  (void)due_ns;
  (void)now_ns;
  lub_wait *w = lub_container(t, lub_wait, timer);
  if (!lub_wait_claim(w)) return;
  w->status = LUB_TIMEOUT;
  lub_wait_wake(w);
}

static const lub_timer_kind deadline_kind = {
    .fire = deadline_passed, .before = offsetof(lub_fiber, wait), .after = sizeof(lub_wait)};

lub_status lub_wait_reserve(lub_wait *w) {
  return lub_timer_reserve(&lub_wait_engine(w)->timers, &w->timer, &deadline_kind);
}

void lub_wait_tell(lub_wait *w, lub_state state, lub_wish wish, const char *name) {
  if (!w->life) return;
  lub_life_wait_for(w->life, wish, name);
  lub_engine_enter(lub_wait_engine(w), w->life, state);
}

void lub_wait_arm(lub_wait *w, int64_t deadline) {
  bool earliest; /* nobody need be told: the thread that parks keeps its timers, or the watcher does */
  w->armed = true;
  (void)lub_timer_start(&lub_wait_engine(w)->timers, &w->timer, deadline, &earliest);
}

lub_status lub_wait_sleep(lub_wait *w, int64_t deadline) {
  if (lub_wait_begin(w, NULL, 0, deadline)) return LUB_NOMEM;
  lub_wait_tell(w, LUB_STATE_IDLE, LUB_TO_SLEEP, NULL);
  lub_wait_open(w, false);
  if (deadline != LUB_NEVER) lub_wait_arm(w, deadline);
  return LUB_PARK;
}

lub_status lub_wait_join(lub_wait *w, lub_waiter *one, lub_list *joiners, uint64_t whose, int64_t deadline) {
  if (lub_wait_begin(w, one, 1, deadline)) return LUB_NOMEM;
  *one = (lub_waiter){.wait = w, .value = lub_int((int64_t)whose)};
  lub_wait_tell(w, LUB_STATE_IDLE, LUB_TO_JOIN, NULL);
  lub_wait_open(w, deadline == LUB_NEVER);
  lub_list_push(joiners, &one->link);
  if (deadline != LUB_NEVER) lub_wait_arm(w, deadline);
  return LUB_PARK;
}

void lub_wake_joiners(lub_list *joiners) {
  lub_waiter *one;
  while ((one = lub_waiter_take(joiners))) {
    lub_wait *w = lub_waiter_settle(one, LUB_CLOSED);
    lub_wait_wake(w);
  }
}

void lub_wait_disarm(lub_wait *w) {
  (void)lub_timer_stop(&lub_wait_engine(w)->timers, &w->timer);
  w->armed = false;
}

void lub_wait_leave_queues(lub_wait *w) {
  for (uint32_t i = 0; i < w->count; i++) {
    lub_waiter *one = &w->waiters[i];
    if (one->ch) lub_chan_lock(one->ch);
    if (lub_link_queued(&one->link)) lub_list_remove(&one->link);
    if (one->ch) lub_chan_unlock(one->ch);
  }
}

bool lub_wait_abort(lub_wait *w, lub_status status) {
  if (!lub_wait_claim(w)) return false;
  w->status = (uint8_t)status;
  lub_wait_wake(w);
  return true;
}
