/* chan.h - a FIFO between fibers (after Go's runtime/chan.go). A send hands its value straight to a waiting receiver.
 * Under lock, stale waiters aside: recvq or sendq is empty; len > 0 => recvq is empty; len < cap => sendq is empty.
 * Between workers, one with some room that is neither empty nor full needs no lock (ring.h): then its ring is open, and has
 * what len and head say otherwise. Floor 4. Uses lock, park, ring, value. Used by select, tick, the bindings. */
#ifndef LUB_CHAN_H
#define LUB_CHAN_H

#include "lock.h"
#include "park.h"
#include "ring.h"

struct lub_tick;

struct lub_chan {
  lub_object obj; /* first: values carry it */
  lub_lock lock;  /* guards what follows up to slots, but cap. ORDER LOCKS; two channels by address */
  bool closed;
  bool local;       /* see lub_chan_keep; its worker's, until it is false */
  bool open;        /* its ring is: len and head tell nothing */
  uint32_t cap;     /* slots; written once by open, then read without lock */
  uint32_t len;     /* 0 <= len <= cap */
  lub_list recvq;   /* lub_waiter.link, oldest first */
  lub_list sendq;   /* same, of senders that found no room */
  uint32_t head;    /* what a rendezvous touches lies before it, together */
  lub_value *slots; /* [cap], behind the channel: a ring from head; owned while queued */
  lub_ring *ring;   /* behind them; NULL: there is little room, or very much */

  lub_engine *engine;    /* this, and what follows, is written once, before the channel is shared */
  lub_link link;         /* in engine->chans, unless it has a tick; engine.chans_lock */
  uint64_t id;           /* number in the engine */
  uint64_t whose;        /* the fiber whose end closes it, 0: none */
  bool of_worker;        /* it closes when a worker ends */
  struct lub_tick *tick; /* the timer that feeds this channel, behind it in memory, or NULL */
  const char *name;      /* behind the slots; "" without one */
};

/* lub_chan_open for who keeps account of the channel himself, by what lies behind it: room for `extra` bytes, for words. */
lub_status lub_chan_open_unlisted(lub_engine *e, size_t capacity, const char *name, size_t extra,
                                  lub_chan **out);

/* Of a channel that nobody but the caller has: until lub_chan_share, all that use it are fibers of one worker, one at a
 * time, and it takes no lock, nor do waits without a deadline. (A timer may end the others meanwhile: it claims the wait, and
 * leaves the channel alone.) */
static inline void lub_chan_keep(lub_chan *ch) { ch->local = true; }
static inline bool lub_chan_is_kept(const lub_chan *ch) { return ch->local; }
/* Before others get it. From that worker. */
void lub_chan_share(lub_chan *ch);

/* Sends *v, or queues w to send it.
 *   v         taken on LUB_OK and LUB_PARK (into the wait), left with the caller otherwise
 *   deadline  ns; LUB_NEVER waits for ever, 0 never waits
 *   returns   LUB_OK | LUB_PARK queued: yield now, then lub_wait_finish | LUB_CLOSED | LUB_TIMEOUT | LUB_NOMEM
 *   threads   w's owner; takes ch->lock; wakes at most one wait, after unlock */
lub_status lub_wait_send(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *v, int64_t deadline);
/* Sends v[0..n), in order, or queues w to send those that find no room: they stay together, nobody's values come between.
 *   v         the caller's: must stay until w is finished. What was sent is nil then; one->several.left says how many were not
 *   returns   LUB_OK all sent | LUB_PARK | LUB_CLOSED | LUB_TIMEOUT | LUB_NOMEM none sent
 *   threads   as above; wakes each receiver that it serves, after unlock */
lub_status lub_wait_send_many(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *v, uint32_t n,
                              int64_t deadline);
/* Receives into *out, or queues w to receive. LUB_CLOSED: closed and drained. Otherwise as above. */
lub_status lub_wait_recv(lub_wait *w, lub_waiter *one, lub_chan *ch, lub_value *out, int64_t deadline);
/* Receives as many as can be had without waiting, at most n; returns how many. Takes ch->lock once. */
size_t lub_chan_take(lub_chan *ch, lub_value *out, size_t n);
/* How many that would be, as things are; waits that are over may be counted too. */
size_t lub_chan_there(lub_chan *ch, size_t most);

/* Sends *v, which is taken; where there is no room, the oldest value makes it. For channels to which nobody sends
 * otherwise. */
void lub_chan_replace(lub_chan *ch, lub_value *v);
/* Drops what is buffered. */
void lub_chan_drain(lub_chan *ch);

/* The steps that select shares. The channel is locked; *woken is to be woken after unlock, NULL: nobody.
 * Each does the operation at once, or returns LUB_TIMEOUT without effect. */
static inline bool lub_chan_has_waiter_locked(const lub_list *q) {
  for (lub_link *k = q->root.next; k != &q->root; k = k->next)
    if (atomic_load_explicit(&lub_container(k, lub_waiter, link)->wait->open, memory_order_relaxed))
      return true;
  return false;
}
/* Whether a try would not be LUB_TIMEOUT, unless who waits is woken meanwhile by something else. */
static inline bool lub_chan_is_ready_locked(const lub_chan *ch, bool send) {
  if (ch->closed) return true;
  if (send) return ch->len < ch->cap || lub_chan_has_waiter_locked(&ch->recvq);
  return ch->len > 0 || lub_chan_has_waiter_locked(&ch->sendq);
}
lub_status lub_chan_try_send_locked(lub_chan *ch, lub_value *v, lub_wait **woken);
lub_status lub_chan_try_recv_locked(lub_chan *ch, lub_value *out, lub_wait **woken);

/* For lub_chan_lock and lub_chan_unlock, which opens it if it may be. */
void lub_chan_shut_ring(lub_chan *ch);
void lub_chan_open_ring(lub_chan *ch);
static inline void lub_chan_lock(lub_chan *ch) {
  if (ch->local) return;
  lub_lock_take(&ch->lock);
  if (ch->open) lub_chan_shut_ring(ch);
}
static inline void lub_chan_unlock(lub_chan *ch) {
  if (ch->local) return;
  if (ch->ring) lub_chan_open_ring(ch);
  lub_lock_give(&ch->lock);
}

#endif
