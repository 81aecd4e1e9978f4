/* ring.c - see ring.h. */
#include "ring.h"

#include <sched.h>
#include <time.h>

#define SHUT 1ull
enum {
  LOOKS = 64, /* with a pause before each: 1 us */
  FEW_LOOKS = 2,
  TRUST = 8,
  DISTRUST = -64,
};
/* Looks before whoever is waited for is given the CPU; and before that is not enough. */
enum { PAUSES = 100, YIELDS = 100 };

size_t lub_ring_size(uint32_t cap) { return sizeof(lub_ring) + cap * sizeof(atomic_uint) + LUB_CACHE_LINE; }

lub_ring *lub_ring_init(void *memory, lub_value *slots, uint32_t cap) {
  uintptr_t past = (uintptr_t)memory % LUB_CACHE_LINE;
  lub_ring *r = (lub_ring *)(void *)((char *)memory + (past ? LUB_CACHE_LINE - past : 0));
  r->slots = slots;
  r->cap = cap;
  r->lap = 0;
  atomic_init(&r->tail.at, SHUT);
  atomic_init(&r->head.at, SHUT);
  atomic_init(&r->tail.trust, TRUST);
  atomic_init(&r->head.trust, TRUST);
  return r;
}

void lub_ring_mark(lub_ring *r, uint32_t head, uint32_t len) {
  for (uint32_t n = 0; n < r->cap; n++) {
    uint32_t left = r->cap - head, i = n < left ? head + n : n - left;
    atomic_store_explicit(&r->stamps[i], (r->lap + (n >= left)) * 2 + (n < len), memory_order_relaxed);
  }
}

static uint32_t index_of(uint64_t position) { return (uint32_t)(position >> 1); }
static uint32_t stamp_of(uint64_t position) { return (uint32_t)(position >> 33) * 2; }
static uint64_t next_to(const lub_ring *r, uint64_t position) {
  return index_of(position) + 1 < r->cap ? position + 2 : ((position >> 33) + 1) << 33;
}

static uint64_t position_of(uint32_t lap, uint32_t index) {
  return (uint64_t)lap << 33 | (uint64_t)index << 1;
}

void lub_ring_shut(lub_ring *r, uint32_t *head, uint32_t *len) {
  uint64_t tail = atomic_fetch_or_explicit(&r->tail.at, SHUT, memory_order_acq_rel);
  uint64_t first = atomic_fetch_or_explicit(&r->head.at, SHUT, memory_order_acq_rel);
  r->lap = (uint32_t)(first >> 33);
  *head = index_of(first);
  *len = index_of(tail) - *head + (tail >> 33 == r->lap ? 0 : r->cap);
}

void lub_ring_open(lub_ring *r, uint32_t head, uint32_t len) {
  uint32_t left = r->cap - head;
  uint64_t tail = len < left ? position_of(r->lap, head + len) : position_of(r->lap + 1, len - left);
  atomic_store_explicit(&r->head.at, position_of(r->lap, head), memory_order_release);
  atomic_store_explicit(&r->tail.at, tail, memory_order_release);
}

/* Whoever has drawn the slot may be between two instructions, or have lost its CPU there: to us, if we go first. */
static void await(const lub_ring *r, uint32_t i, uint32_t stamp) {
  const struct timespec while_it_runs = {.tv_nsec = 50000};
  for (int n = 0; atomic_load_explicit(&r->stamps[i], memory_order_acquire) != stamp; n++) {
    if (n < PAUSES) lub_pause();
    else if (n < PAUSES + YIELDS) (void)sched_yield();
    else (void)nanosleep(&while_it_runs, NULL);
  }
}

/* Both hand the slot on. */
static void fill(lub_ring *r, uint32_t i, uint32_t stamp, const lub_value *v) {
  lub_value_move(&r->slots[i], v);
  atomic_store_explicit(&r->stamps[i], stamp + 1, memory_order_release);
}

static void empty(lub_ring *r, uint32_t i, uint32_t stamp, lub_value *out) {
  *out = r->slots[i];
  atomic_store_explicit(&r->stamps[i], stamp + 2, memory_order_release);
}

void lub_ring_put(lub_ring *r, uint32_t i, bool wraps, const lub_value *v) {
  uint32_t stamp = (r->lap + wraps) * 2;
  await(r, i, stamp);
  fill(r, i, stamp, v);
}

void lub_ring_get(lub_ring *r, uint32_t i, lub_value *out) {
  uint32_t stamp = r->lap * 2;
  await(r, i, stamp + 1);
  empty(r, i, stamp, out);
  r->lap += i + 1 == r->cap;
}

/* Draws the position at `end` whose stamp is `plus` more than for its lap. False: it is shut; or no slot is, as yet. */
static bool draw(const lub_ring *r, lub_ring_end *end, uint32_t plus, uint64_t *position) {
  uint64_t at = atomic_load_explicit(&end->at, memory_order_relaxed);
  for (;;) {
    if (at & SHUT) return false;
    uint32_t stamp = atomic_load_explicit(&r->stamps[index_of(at)], memory_order_acquire);
    if (stamp == stamp_of(at) + plus) {
      *position = at;
      if (atomic_compare_exchange_weak_explicit(&end->at, &at, next_to(r, at), memory_order_relaxed,
                                                memory_order_relaxed))
        return true;
    } else {
      uint64_t now = atomic_load_explicit(&end->at, memory_order_relaxed);
      if (now == at) return false;
      at = now;
    }
  }
}

bool lub_ring_send(lub_ring *r, lub_value *v) {
  uint64_t at;
  if (!draw(r, &r->tail, 0, &at)) return false;
  fill(r, index_of(at), stamp_of(at), v);
  v->type = LUB_NIL;
  return true;
}

bool lub_ring_recv(lub_ring *r, lub_value *out) {
  uint64_t at;
  if (!draw(r, &r->head, 1, &at)) return false;
  empty(r, index_of(at), stamp_of(at), out);
  return true;
}

static bool is_shut(const lub_ring_end *end) {
  return atomic_load_explicit(&end->at, memory_order_relaxed) & SHUT;
}

/* Several may count at once, and a count be lost. */
static void count(lub_ring_end *end, int trust) {
  atomic_store_explicit(&end->trust, trust, memory_order_relaxed);
}

static bool look_on(lub_ring *r, lub_ring_end *end, bool (*move)(lub_ring *r, lub_value *v), lub_value *v,
                    bool briefly) {
  int trust = atomic_load_explicit(&end->trust, memory_order_relaxed);
  int looks = trust <= 0 ? 0 : briefly ? FEW_LOOKS : LOOKS;
  if (is_shut(end)) return false;
  for (; looks > 0 && !is_shut(end); looks--) {
    lub_pause();
    if (!move(r, v)) continue;
    count(end, TRUST);
    return true;
  }
  count(end, trust > DISTRUST ? trust - 1 : 1);
  return false;
}

bool lub_ring_send_soon(lub_ring *r, lub_value *v, bool briefly) {
  return look_on(r, &r->tail, lub_ring_send, v, briefly);
}

bool lub_ring_recv_soon(lub_ring *r, lub_value *out, bool briefly) {
  return look_on(r, &r->head, lub_ring_recv, out, briefly);
}
