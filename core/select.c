/* select.c - see select.h. All channels are locked in order of address while the cases are looked at, so
 * that the choice is made at one moment; unless their worker alone has them. */
#include "select.h"

#include <string.h>

#include "engine.h"

static bool before(const lub_waiter *ws, uint32_t a, uint32_t b) {
  return (uintptr_t)ws[a].ch < (uintptr_t)ws[b].ch;
}

/* Heap sort: no recursion, no memory, the same for 2 cases and for 100,000. */
static void sort_by_address(const lub_waiter *ws, uint32_t *order, uint32_t n) {
  for (uint32_t built = n / 2, end = n; end > 1;) {
    uint32_t hole, moved;
    if (built > 0) {
      hole = --built;
      moved = order[hole];
    } else {
      moved = order[--end];
      order[end] = order[0];
      hole = 0;
    }
    for (uint32_t child; (child = 2 * hole + 1) < end; hole = child) {
      if (child + 1 < end && before(ws, order[child], order[child + 1])) child++;
      if (!before(ws, moved, order[child])) break;
      order[hole] = order[child];
    }
    order[hole] = moved;
  }
}

static bool is_sorted(const lub_waiter *ws, const uint32_t *order, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    if (before(ws, order[i], order[i - 1])) return false;
  return true;
}

static void lock_all(const lub_waiter *ws, uint32_t *order, uint32_t n) {
  if (!is_sorted(ws, order, n)) sort_by_address(ws, order, n);
  lub_chan *last = NULL; /* one channel may have several cases */
  for (uint32_t i = 0; i < n; i++) {
    lub_chan *ch = ws[order[i]].ch;
    if (ch && ch != last) lub_chan_lock(ch);
    last = ch;
  }
}

static void unlock_all(const lub_waiter *ws, const uint32_t *order, uint32_t n) {
  lub_chan *last = NULL;
  for (uint32_t i = 0; i < n; i++) {
    lub_chan *ch = ws[order[i]].ch;
    if (ch && ch != last) lub_chan_unlock(ch);
    last = ch;
  }
}

static lub_status try_case(lub_waiter *one, lub_wait **woken) {
  return one->send ? lub_chan_try_send_locked(one->ch, &one->value, woken)
                   : lub_chan_try_recv_locked(one->ch, &one->value, woken);
}

/* The i-th case to be looked at: of those that were not, any; without r, the next. */
static uint32_t draw(uint32_t *looks, uint32_t i, uint32_t n, lub_random *r) {
  if (!r) return i;
  uint32_t k = i + (n - i > 1 ? lub_random_below(r, n - i) : 0), drawn = looks[k];
  looks[k] = looks[i];
  return looks[i] = drawn;
}

/* The first that is ready of all, looked at in a random order, is any of those that are ready.
 * LUB_PARK: nothing is done, since nothing is locked and a channel was met that other workers may use too: *from tells where
 * to go on, once all are. Those before are not ready, and only this thread could make them so. */
static lub_status try_any(lub_waiter *ws, uint32_t n, bool locked, uint32_t *from, uint32_t *looks,
                          lub_random *r, uint32_t *index, lub_wait **woken) {
  for (uint32_t i = *from; i < n; i++) {
    uint32_t k = lub_unlikely(locked && r && i == *from) ? looks[i] : draw(looks, i, n, r);
    const lub_chan *ch = ws[k].ch;
    if (lub_unlikely(!ch)) continue;
    if (!locked && !lub_chan_is_kept(ch)) {
      *from = i;
      return LUB_PARK;
    }
    if (!lub_chan_is_ready_locked(ch, ws[k].send)) continue;
    lub_status status = try_case(&ws[k], woken);
    *index = k;
    if (lub_likely(status != LUB_TIMEOUT))
      return status; /* else who waited there has been woken by something else */
  }
  return LUB_TIMEOUT;
}

/* The same where a sim chooses, of those that are ready, in their order. */
static lub_status try_chosen(lub_engine *e, lub_waiter *ws, uint32_t n, uint32_t *ready, uint32_t *index,
                             lub_wait **woken) {
  lub_status status = LUB_TIMEOUT;
  for (uint32_t nready = 1; status == LUB_TIMEOUT;) {
    nready = 0;
    for (uint32_t i = 0; i < n; i++)
      if (ws[i].ch && lub_chan_is_ready_locked(ws[i].ch, ws[i].send)) ready[nready++] = i;
    if (!nready) break;
    *index = ready[nready > 1 ? lub_engine_choose(e, LUB_CHOOSE_CASE, nready, NULL) : 0];
    status = try_case(&ws[*index], woken);
  }
  return status;
}

static void queue_all(lub_wait *w, lub_waiter *ws, uint32_t n, bool kept) {
  lub_wait_tell(w, LUB_STATE_IDLE, LUB_TO_SELECT, NULL);
  lub_wait_open(w, kept);
  for (uint32_t i = 0; i < n; i++) {
    ws[i].wait = w;
    if (ws[i].ch) lub_list_push(ws[i].send ? &ws[i].ch->sendq : &ws[i].ch->recvq, &ws[i].link);
  }
}

lub_status lub_wait_select(lub_wait *w, lub_waiter *ws, uint32_t n, uint32_t *order, lub_random *r,
                           int64_t deadline, uint32_t *index) {
  lub_engine *e = lub_wait_engine(w);
  lub_wait *woken = NULL;
  lub_status status;
  uint32_t from = 0;
  bool chosen = lub_unlikely(r && e->opts.choose), locked = chosen;
  if (deadline && lub_wait_begin(w, ws, n, deadline)) return LUB_NOMEM;
  for (;; locked = true) {
    if (locked) lock_all(ws, order, n);
    status = lub_unlikely(chosen) ? try_chosen(e, ws, n, order + n, index, &woken)
                                  : try_any(ws, n, locked, &from, order + n, r, index, &woken);
    if (status != LUB_PARK) break;
  }
  if (locked) lub_wait_talk(w, 1);
  bool park = status == LUB_TIMEOUT && deadline;
  if (park) queue_all(w, ws, n, !locked && deadline == LUB_NEVER);
  if (locked) unlock_all(ws, order, n);
  if (park && deadline != LUB_NEVER) lub_wait_arm(w, deadline);
  if (woken) lub_wait_wake(woken);
  return park ? LUB_PARK : status;
}

lub_status lub_select(lub_engine *e, lub_case *cases, size_t ncases, bool ordered, double wait,
                      size_t *index) {
  if (isnan(wait) || ncases > UINT32_MAX / 2) return LUB_INVALID;
  uint32_t n = (uint32_t)ncases, chosen = 0;
  lub_status status = lub_gate_enter(e, &wait);
  if (status != LUB_OK) return status;
  lub_waiter *ws = lub_alloc(&e->mem, (n + 1) * sizeof *ws);
  uint32_t *order = lub_alloc(&e->mem, (2 * n + 1) * sizeof *order);
  status = LUB_NOMEM;
  if (!ws || !order) goto out;
  for (uint32_t i = 0; i < n; i++)
    ws[i] = (lub_waiter){.ch = cases[i].ch, .send = cases[i].send, .value = cases[i].value};
  for (uint32_t i = 0; i < n; i++) order[i] = order[n + i] = i;
  lub_random r;
  lub_random_seed(&r, (uint64_t)lub_engine_now_ns(e) ^ (uintptr_t)ws);
  lub_host_wait h;
  lub_host_wait_init(&h, e);
  status = lub_wait_select(&h.wait, ws, n, order, ordered ? NULL : &r, lub_engine_deadline(e, wait), &chosen);
  if (status == LUB_PARK) {
    status = lub_host_wait_block(&h);
    chosen = h.wait.index;
  }
  lub_host_wait_close(&h);
  for (uint32_t i = 0; i < n; i++) cases[i].value = ws[i].value;
  if (status == LUB_OK || status == LUB_CLOSED) *index = chosen;
out:
  lub_free(&e->mem, ws);
  lub_free(&e->mem, order);
  lub_gate_leave(e);
  return status;
}
