/* chan.c - see chan.h. A blocked send is woken in lub_chan_try_recv_locked. */
#include "chan.h"

#include <string.h>

#include "engine.h"
#include "tick.h"

/* ---- life -------------------------------------------------------------------------------------------- */

static void free_chan(lub_object *o) {
  lub_chan *ch = lub_container(o, lub_chan, obj);
  lub_engine *e = ch->engine;
  lub_assert(lub_list_empty(&ch->recvq) && lub_list_empty(&ch->sendq));
  if (ch->tick) {
    lub_tick_forget(ch);
  } else {
    lub_lock_take(&e->chans_lock);
    lub_list_remove(&ch->link);
    lub_lock_give(&e->chans_lock);
  }
  if (ch->open) lub_chan_shut_ring(ch);
  for (uint32_t i = 0; i < ch->len; i++) lub_value_drop(&ch->slots[(ch->head + i) % ch->cap]);
  lub_free(&e->mem, ch);
}

lub_status lub_chan_open_unlisted(lub_engine *e, size_t capacity, const char *name, size_t extra,
                                  lub_chan **out) {
  /* all of it is made now, so that a capacity beyond memory is refused here and a send cannot fail */
  size_t n = name && *name ? strlen(name) + 1 : 0, fixed = sizeof(lub_chan) + extra + n;
  if (capacity > LUB_CHAN_MAX) return LUB_INVALID;
  uint32_t cap = (uint32_t)capacity;
  if (capacity > (SIZE_MAX - fixed) / sizeof(lub_value)) return LUB_NOMEM;
  size_t without = fixed + capacity * sizeof(lub_value);
  bool has_ring = capacity >= LUB_RING_LEAST && capacity <= LUB_RING_MOST;
  lub_chan *ch = lub_alloc(&e->mem, without + (has_ring ? lub_ring_size(cap) : 0));
  if (!ch) return LUB_NOMEM;
  *ch = (lub_chan){.cap = cap, .engine = e, .name = ""};
  ch->slots = (lub_value *)(void *)((char *)(ch + 1) + extra);
  if (n) ch->name = memcpy(ch->slots + capacity, name, n);
  if (has_ring) {
    ch->ring = lub_ring_init((char *)ch + without, ch->slots, cap);
    lub_ring_mark(ch->ring, 0, 0);
  }
  atomic_init(&ch->obj.refs, 1);
  ch->obj.free = free_chan;
  lub_lock_init(&ch->lock);
  lub_list_init(&ch->recvq);
  lub_list_init(&ch->sendq);
  ch->id = atomic_fetch_add_explicit(&e->chan_ids, 1, memory_order_relaxed) + 1;
  *out = ch;
  return LUB_OK;
}

lub_status lub_chan_open(lub_engine *e, size_t capacity, const char *name, lub_chan **out) {
  lub_status status = lub_chan_open_unlisted(e, capacity, name, 0, out);
  if (status != LUB_OK) return status;
  lub_lock_take(&e->chans_lock);
  lub_list_push(&e->chans, &(*out)->link);
  lub_lock_give(&e->chans_lock);
  return LUB_OK;
}

void lub_chan_ref(lub_chan *ch) { lub_object_ref(&ch->obj); }
void lub_chan_drop(lub_chan *ch) { lub_object_drop(&ch->obj); }
size_t lub_chan_capacity(const lub_chan *ch) { return ch->cap; }
const char *lub_chan_name(const lub_chan *ch) { return ch->name; }

void lub_chan_share(lub_chan *ch) {
  if (!ch->local) return;
  ch->local = false;
  if (ch->ring) lub_ring_mark(ch->ring, ch->head, ch->len);
  for (lub_list *q = &ch->recvq; q; q = q == &ch->recvq ? &ch->sendq : NULL)
    for (lub_link *k = lub_list_first(q); k; k = lub_list_next(q, k))
      lub_wait_share(lub_container(k, lub_waiter, link)->wait);
}

lub_value lub_of_chan(lub_chan *ch) { return lub_of_object(&ch->obj, 0); }

lub_chan *lub_to_chan(const lub_value *v) {
  if (v->type != LUB_OBJECT) return NULL;
  lub_object *o = v->as.p;
  return o->free == free_chan ? lub_container(o, lub_chan, obj) : NULL;
}

size_t lub_chan_len(lub_chan *ch) {
  lub_chan_lock(ch);
  size_t len = ch->len;
  lub_chan_unlock(ch);
  return len;
}

bool lub_chan_closed(lub_chan *ch) {
  lub_chan_lock(ch);
  bool closed = ch->closed;
  lub_chan_unlock(ch);
  return closed;
}

void lub_chan_shut_ring(lub_chan *ch) {
  ch->open = false;
  lub_ring_shut(ch->ring, &ch->head, &ch->len);
}

/* With a value and with room, nobody waits at it. */
void lub_chan_open_ring(lub_chan *ch) {
  if (ch->closed || ch->len == 0 || ch->len == ch->cap) return;
  lub_ring_open(ch->ring, ch->head, ch->len);
  ch->open = true;
}

/* ---- the steps ---------------------------------------------------------------------------------------- */

static bool is_several(const lub_waiter *sender) { return sender->value.type == LUB_SEVERAL; }

static void take_value(lub_waiter *sender, lub_value *out) {
  lub_value *v = is_several(sender) ? sender->several.at : &sender->value;
  lub_value_move(out, v);
  v->type = LUB_NIL;
  if (lub_likely(v == &sender->value)) return;
  sender->several.at++;
  sender->several.left--;
}

/* The value of the oldest blocked send; false: there is none. One that has more to send stays where it is, unclaimed: its
 * owner leaves the queue, under the lock, before it looks at what is left. *over: the send that is done. */
static bool take_sent(lub_chan *ch, lub_value *out, lub_wait **over) {
  lub_link *k;
  while ((k = lub_list_pop(&ch->sendq))) {
    lub_waiter *sender = lub_container(k, lub_waiter, link);
    bool more = is_several(sender) && sender->several.left > 1;
    if (lub_unlikely(more) ? !atomic_load(&sender->wait->open) : !lub_wait_claim(sender->wait))
      continue; /* stale */
    if (lub_unlikely(more)) lub_list_push_first(&ch->sendq, k);
    else *over = lub_waiter_settle(sender, LUB_OK);
    take_value(sender, out);
    return true;
  }
  return false;
}

/* The stamps of its ring are kept, too. */
static bool is_stamped(const lub_chan *ch) { return !ch->local && ch->ring; }

static void put(lub_chan *ch, const lub_value *v) {
  uint32_t i = ch->head + ch->len++;
  bool wraps = i >= ch->cap;
  if (wraps) i -= ch->cap;
  if (is_stamped(ch)) lub_ring_put(ch->ring, i, wraps, v);
  else lub_value_move(&ch->slots[i], v);
}

static void get(lub_chan *ch, lub_value *out) {
  if (is_stamped(ch)) lub_ring_get(ch->ring, ch->head, out);
  else *out = ch->slots[ch->head];
  ch->head = ch->head + 1 == ch->cap ? 0 : ch->head + 1;
  ch->len--;
}

lub_status lub_chan_try_send_locked(lub_chan *ch, lub_value *v, lub_wait **woken) {
  *woken = NULL;
  if (lub_unlikely(ch->closed)) return LUB_CLOSED;
  lub_waiter *receiver = lub_waiter_take(&ch->recvq);
  if (receiver) {
    lub_value_move(&receiver->value, v);
    *woken = lub_waiter_settle(receiver, LUB_OK);
  } else if (ch->len < ch->cap) {
    put(ch, v);
  } else {
    return LUB_TIMEOUT;
  }
  v->type = LUB_NIL;
  return LUB_OK;
}

lub_status lub_chan_try_recv_locked(lub_chan *ch, lub_value *out, lub_wait **woken) {
  *woken = NULL;
  if (ch->len > 0) {
    get(ch, out);
    lub_value next; /* the oldest blocked send fills the room */
    if (take_sent(ch, &next, woken)) put(ch, &next);
  } else if (ch->closed) {
    return LUB_CLOSED;
  } else if (!take_sent(ch, out, woken)) {
    return LUB_TIMEOUT;
  }
  return LUB_OK;
}

void lub_chan_replace(lub_chan *ch, lub_value *v) {
  lub_value old = {0};
  lub_wait *woken, *none;
  lub_chan_lock(ch);
  lub_status status = lub_chan_try_send_locked(ch, v, &woken);
  if (status == LUB_TIMEOUT && lub_chan_try_recv_locked(ch, &old, &none) == LUB_OK)
    (void)lub_chan_try_send_locked(ch, v, &woken);
  lub_chan_unlock(ch);
  if (woken) lub_wait_wake(woken);
  lub_value_drop(&old);
  lub_value_drop(v);
}

void lub_chan_drain(lub_chan *ch) {
  lub_value v;
  lub_wait *woken;
  lub_status status;
  do {
    lub_chan_lock(ch);
    status = lub_chan_try_recv_locked(ch, &v, &woken);
    lub_chan_unlock(ch);
    if (woken) lub_wait_wake(woken);
    if (status == LUB_OK) lub_value_drop(&v);
  } while (status == LUB_OK);
}

/* ---- waiting ------------------------------------------------------------------------------------------ */

static void queue_waiter(lub_list *q, lub_wait *w, lub_waiter *one, lub_chan *ch, bool send) {
  one->wait = w;
  one->ch = ch;
  one->send = send;
  lub_list_push(q, &one->link);
}

static void tell(lub_wait *w, const lub_chan *ch, bool send) {
  lub_wish wish = ch->whose || ch->of_worker ? LUB_TO_JOIN : send ? LUB_TO_SEND : LUB_TO_RECV;
  lub_wait_tell(w, send ? LUB_STATE_BLOCKED_SEND : LUB_STATE_IDLE, wish, ch->name);
}

static inline lub_status queue_one(lub_wait *w, lub_waiter *one, lub_chan *ch, int64_t deadline, bool send) {
  if (!send) one->value.type = LUB_NIL;
  if (lub_unlikely(w->life)) tell(w, ch, send);
  lub_wait_open(w, ch->local && deadline == LUB_NEVER);
  queue_waiter(send ? &ch->sendq : &ch->recvq, w, one, ch, send);
  lub_chan_unlock(ch);
  if (lub_unlikely(deadline != LUB_NEVER)) lub_wait_arm(w, deadline);
  return LUB_PARK;
}

static lub_status done(lub_chan *ch, lub_status status, lub_wait *woken) {
  lub_chan_unlock(ch);
  if (woken) lub_wait_wake(woken);
  return status;
}

static bool send_by_ring(lub_wait *w, lub_chan *ch, lub_value *v, int64_t deadline) {
  if (lub_likely(lub_ring_send(ch->ring, v))) return true;
  return deadline && lub_carriers_run_beside(ch->engine) &&
         lub_ring_send_soon(ch->ring, v, lub_wait_holds_up(w));
}

static bool recv_by_ring(lub_wait *w, lub_chan *ch, lub_value *out, int64_t deadline) {
  if (lub_likely(lub_ring_recv(ch->ring, out))) return true;
  return deadline && lub_carriers_run_beside(ch->engine) &&
         lub_ring_recv_soon(ch->ring, out, lub_wait_holds_up(w));
}

lub_status lub_wait_send(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *v, int64_t deadline) {
  lub_wait *woken;
  if (!ch->local) lub_wait_talk(w, 1);
  if (is_stamped(ch) && send_by_ring(w, ch, v, deadline)) return LUB_OK;
  if (deadline && lub_wait_begin(w, one, 1, deadline)) return LUB_NOMEM;
  lub_chan_lock(ch);
  lub_status status = lub_chan_try_send_locked(ch, v, &woken);
  if (status != LUB_TIMEOUT || deadline == 0) return done(ch, status, woken);
  lub_value_move(&one->value, v);
  v->type = LUB_NIL;
  return queue_one(w, one, ch, deadline, true);
}

static void push_woken(lub_list *woken, lub_wait *w) {
  if (w) lub_list_push(woken, &w->waiters[w->index].link); /* the channel has let go of it */
}

static void wake_all(lub_list *woken) {
  lub_link *k;
  while ((k = lub_list_pop(woken))) {
    lub_wait *w = lub_container(k, lub_waiter, link)->wait;
    lub_wait_wake(w);
  }
}

/* Nobody waits to receive: what has room goes into it. */
static void fill_room(lub_chan *ch, lub_waiter *sender) {
  uint32_t room = ch->cap - ch->len, left = sender->several.left, n = left < room ? left : room;
  lub_value *v = sender->several.at, *end = v + n;
  for (; v < end; v++) {
    put(ch, v);
    v->type = LUB_NIL;
  }
  sender->several.at = end;
  sender->several.left = left - n;
}

lub_status lub_wait_send_many(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *v, uint32_t n,
                              int64_t deadline) {
  lub_list woken;
  lub_wait *receiver;
  lub_status status = LUB_OK;
  one->several.type = LUB_SEVERAL;
  one->several.at = v;
  one->several.left = n;
  if (!ch->local) lub_wait_talk(w, n);
  if (deadline && lub_wait_begin(w, one, 1, deadline)) return LUB_NOMEM;
  lub_list_init(&woken);
  lub_chan_lock(ch);
  while (one->several.left) {
    status = lub_chan_try_send_locked(ch, one->several.at, &receiver);
    if (status != LUB_OK) break;
    push_woken(&woken, receiver);
    one->several.at++;
    one->several.left--;
    if (!receiver) fill_room(ch, one);
  }
  if (status == LUB_TIMEOUT && deadline) status = queue_one(w, one, ch, deadline, true);
  else lub_chan_unlock(ch);
  wake_all(&woken);
  return status;
}

lub_status lub_wait_recv(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *out, int64_t deadline) {
  lub_wait *woken;
  if (!ch->local) lub_wait_talk(w, 1);
  if (is_stamped(ch) && recv_by_ring(w, ch, out, deadline)) return LUB_OK;
  if (deadline && lub_wait_begin(w, one, 1, deadline)) return LUB_NOMEM;
  lub_chan_lock(ch);
  lub_status status = lub_chan_try_recv_locked(ch, out, &woken);
  if (status != LUB_TIMEOUT || deadline == 0) return done(ch, status, woken);
  return queue_one(w, one, ch, deadline, false);
}

/* Nobody waits to send: takes from the ring alone. */
static size_t empty_ring(lub_chan *ch, lub_value *out, size_t n) {
  if (n > ch->len) n = ch->len;
  for (size_t i = 0; i < n; i++) get(ch, &out[i]);
  return n;
}

size_t lub_chan_take(lub_chan *ch, lub_value *out, size_t n) {
  lub_list woken;
  lub_wait *sender;
  size_t got = 0;
  lub_list_init(&woken);
  lub_chan_lock(ch);
  while (got < n && lub_chan_try_recv_locked(ch, &out[got], &sender) == LUB_OK) {
    got++;
    push_woken(&woken, sender);
    if (lub_list_empty(&ch->sendq)) got += empty_ring(ch, out + got, n - got);
  }
  lub_chan_unlock(ch);
  wake_all(&woken);
  lub_worker *w = lub_worker_current();
  if (w && !ch->local) lub_worker_talk(w, (uint32_t)got);
  return got;
}

size_t lub_chan_there(lub_chan *ch, size_t most) {
  lub_chan_lock(ch);
  size_t n = ch->len;
  for (lub_link *k = lub_list_first(&ch->sendq); k && n < most; k = lub_list_next(&ch->sendq, k)) {
    const lub_waiter *sender = lub_container(k, lub_waiter, link);
    n += is_several(sender) ? sender->several.left : 1;
  }
  lub_chan_unlock(ch);
  return n < most ? n : most;
}

static lub_status close_chan(lub_chan *ch) {
  lub_list woken;
  lub_list_init(&woken);
  lub_chan_lock(ch);
  if (ch->closed) {
    lub_chan_unlock(ch);
    return LUB_CLOSED;
  }
  ch->closed = true;
  for (lub_list *q = &ch->recvq; q; q = q == &ch->recvq ? &ch->sendq : NULL) {
    lub_waiter *one;
    while ((one = lub_waiter_take(q))) {
      lub_waiter_settle(one, LUB_CLOSED);
      lub_list_push(&woken, &one->link);
    }
  }
  lub_chan_unlock(ch);
  wake_all(&woken);
  return LUB_OK;
}

lub_status lub_chan_close(lub_chan *ch) {
  lub_status status = lub_gate_enter(ch->engine, NULL);
  if (status != LUB_OK) return status;
  status = close_chan(ch);
  lub_gate_leave(ch->engine);
  return status;
}

/* ---- host threads -------------------------------------------------------------------------------------- */

lub_status lub_chan_send(lub_chan *ch, lub_value *v, double wait) {
  if (v->type == LUB_NIL || isnan(wait)) return LUB_INVALID;
  lub_host_wait h;
  lub_waiter one = {0};
  lub_status status = lub_gate_enter(ch->engine, &wait);
  if (status != LUB_OK) return status;
  lub_host_wait_init(&h, ch->engine);
  status = lub_wait_send(&h.wait, &one, ch, v, lub_engine_deadline(ch->engine, wait));
  if (status == LUB_PARK) {
    status = lub_host_wait_block(&h);
    if (status != LUB_OK) *v = one.value;
  }
  lub_host_wait_close(&h);
  lub_gate_leave(ch->engine);
  return status;
}

lub_status lub_chan_recv(lub_chan *ch, lub_value *out, double wait) {
  size_t got;
  return lub_chan_recv_many(ch, out, 1, wait, &got);
}

lub_status lub_chan_send_many(lub_chan *ch, lub_value *v, size_t n, double wait, size_t *sent) {
  *sent = 0;
  if (n > UINT32_MAX || isnan(wait)) return LUB_INVALID;
  for (size_t i = 0; i < n; i++)
    if (v[i].type == LUB_NIL) return LUB_INVALID;
  lub_host_wait h;
  lub_waiter one = {0};
  lub_status status = lub_gate_enter(ch->engine, &wait);
  if (status != LUB_OK) return status;
  lub_host_wait_init(&h, ch->engine);
  status = lub_wait_send_many(&h.wait, &one, ch, v, (uint32_t)n, lub_engine_deadline(ch->engine, wait));
  if (status == LUB_PARK) status = lub_host_wait_block(&h);
  *sent = n - one.several.left;
  lub_host_wait_close(&h);
  lub_gate_leave(ch->engine);
  return status;
}

lub_status lub_chan_recv_many(lub_chan *ch, lub_value *out, size_t n, double wait, size_t *got) {
  if (!n || isnan(wait)) return LUB_INVALID;
  lub_host_wait h;
  lub_waiter one = {0};
  lub_status status = lub_gate_enter(ch->engine, &wait);
  if (status != LUB_OK) return status;
  lub_host_wait_init(&h, ch->engine);
  status = lub_wait_recv(&h.wait, &one, ch, out, lub_engine_deadline(ch->engine, wait));
  if (status == LUB_PARK && (status = lub_host_wait_block(&h)) == LUB_OK) *out = one.value;
  lub_host_wait_close(&h);
  if (status == LUB_OK) *got = n > 1 ? 1 + lub_chan_take(ch, out + 1, n - 1) : 1;
  lub_gate_leave(ch->engine);
  return status;
}
