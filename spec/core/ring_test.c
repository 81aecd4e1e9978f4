/* ring_test.c - the way through a channel without its lock: what was sent comes once, each sender's values in order, never more
 * than there is room for, whoever stops the others meanwhile to look, to select, to wait or to close. */
#include "ring.h"

#include <pthread.h>
#include <sched.h>

#include "chan.h"
#include "test.h"

enum { SENDERS = 3, RECEIVERS = 3, EACH = 2000, BATCH = 5, ROUNDS = 20 };

static lub_engine *e;

/* ---- one thread ---------------------------------------------------------------------------------------- */

static bool sends(lub_ring *r, int64_t i) {
  lub_value v = lub_int(i);
  return lub_ring_send(r, &v) && v.type == LUB_NIL;
}

static bool receives(lub_ring *r, int64_t i) {
  lub_value v;
  return lub_ring_recv(r, &v) && v.type == LUB_INT && v.as.i == i;
}

/* Each lap begins elsewhere; now and then it is shut, and goes on as it was. */
static void laps(uint32_t cap) {
  lub_value *slots = calloc(cap, sizeof *slots), v;
  void *memory = malloc(lub_ring_size(cap));
  lub_ring *r = lub_ring_init(memory, slots, cap);
  uint32_t head = cap - 1, len = 0, wrong = 0;
  int64_t in = 0, out = 0;
  lub_ring_mark(r, head, 0);
  CHECK("it begins shut", !sends(r, 0) && !lub_ring_recv(r, &v));
  lub_ring_open(r, head, 0);
  for (uint32_t step = 0; step < 50 * cap; step++) {
    for (uint32_t n = step % (cap + 3); n > 0; n--) {
      bool full = in - out == cap, sent = sends(r, in);
      wrong += sent == full;
      in += sent;
    }
    lub_ring_shut(r, &head, &len);
    wrong += len != in - out;
    if (len < cap) {
      uint32_t end = head + len++;
      v = lub_int(in++);
      lub_ring_put(r, end % cap, end >= cap, &v);
    }
    if (step % 3 == 0) {
      lub_ring_get(r, head, &v);
      wrong += v.as.i != out++;
      head = head + 1 == cap ? 0 : head + 1;
      len--;
    }
    lub_ring_open(r, head, len);
    for (uint32_t n = step % (cap + 1); n > 0 && out < in; n--) wrong += !receives(r, out++);
    wrong += out == in && lub_ring_recv(r, &v);
  }
  CHECK("lap after lap nothing is lost, doubled or late", wrong == 0 && in > 50 * (int64_t)cap);
  free(memory);
  free(slots);
}

/* ---- two, each of whom looks on for the other ---------------------------------------------------------------- */

static void *send_soon(void *arg) {
  lub_ring *r = arg;
  for (int64_t i = 0; i < EACH; i++) {
    lub_value v = lub_int(i);
    while (!lub_ring_send_soon(r, &v, false)) sched_yield();
  }
  return NULL;
}

static void looking_on(uint32_t cap) {
  lub_value *slots = calloc(cap, sizeof *slots), v;
  void *memory = malloc(lub_ring_size(cap));
  lub_ring *r = lub_ring_init(memory, slots, cap);
  pthread_t sender;
  int64_t wrong = 0;
  lub_ring_mark(r, 0, 0);
  CHECK("nobody looks on where it is shut", !lub_ring_recv_soon(r, &v, false));
  lub_ring_open(r, 0, 0);
  for (int i = 0; i < 200; i++) wrong += lub_ring_recv_soon(r, &v, false);
  CHECK("nothing comes where nobody sends", wrong == 0);
  pthread_create(&sender, NULL, send_soon, r);
  for (int64_t i = 0; i < EACH; i++) {
    while (!lub_ring_recv_soon(r, &v, false)) sched_yield();
    wrong += v.as.i != i;
  }
  pthread_join(sender, NULL);
  CHECK("what comes while one looks on is the next", wrong == 0 && !lub_ring_recv(r, &v));
  free(memory);
  free(slots);
}

/* ---- many ----------------------------------------------------------------------------------------------- */

typedef struct crowd {
  lub_chan *ch;
  atomic_int senders, receivers;
  atomic_llong sent, received, disorder, excess;
} crowd;

static void *send_each(void *arg) {
  crowd *c = arg;
  int64_t who = atomic_fetch_add(&c->senders, 1);
  for (int64_t i = 0; i < EACH;) {
    lub_value v[BATCH];
    size_t n = who ? 1 : BATCH, sent; /* the first sends many at once */
    for (size_t k = 0; k < n; k++) v[k] = lub_int(who * EACH + i++);
    lub_status status = lub_chan_send_many(c->ch, v, n, LUB_FOREVER, &sent);
    atomic_fetch_add(&c->sent, (int)sent);
    if (status != LUB_OK) break;
  }
  return NULL;
}

/* One of them selects, one takes many at once. */
static lub_status receive(lub_chan *ch, int number, lub_value *v, size_t *n) {
  lub_case one = {.ch = ch};
  size_t at;
  *n = 1;
  if (number == 0) return lub_chan_recv(ch, v, LUB_FOREVER);
  if (number == 1) return lub_chan_recv_many(ch, v, BATCH, LUB_FOREVER, n);
  lub_status status = lub_select(e, &one, 1, false, LUB_FOREVER, &at);
  *v = one.value;
  return status;
}

static void *receive_each(void *arg) {
  crowd *c = arg;
  int64_t last[SENDERS] = {-1, -1, -1};
  int number = atomic_fetch_add(&c->receivers, 1);
  lub_value v[BATCH];
  for (size_t n; receive(c->ch, number, v, &n) == LUB_OK;) {
    for (size_t k = 0; k < n; k++) {
      int64_t who = v[k].as.i / EACH;
      atomic_fetch_add(&c->disorder, v[k].as.i <= last[who]);
      last[who] = v[k].as.i;
    }
    atomic_fetch_add(&c->received, (int)n);
  }
  return NULL;
}

static void *look(void *arg) {
  crowd *c = arg;
  while (!lub_chan_closed(c->ch)) {
    atomic_fetch_add(&c->excess, lub_chan_len(c->ch) > lub_chan_capacity(c->ch));
    sched_yield();
  }
  return NULL;
}

/* `early`: it is closed in the midst of it, each time at another moment. */
static void crowded(size_t capacity, int early) {
  pthread_t s[SENDERS], r[RECEIVERS], looker;
  crowd c = {.senders = 0};
  if (lub_chan_open(e, capacity, NULL, &c.ch)) abort();
  for (int i = 0; i < SENDERS; i++) pthread_create(&s[i], NULL, send_each, &c);
  for (int i = 0; i < RECEIVERS; i++) pthread_create(&r[i], NULL, receive_each, &c);
  pthread_create(&looker, NULL, look, &c);
  for (volatile int i = 0; i < early * 100; i++) continue;
  if (early) lub_chan_close(c.ch);
  for (int i = 0; i < SENDERS; i++) pthread_join(s[i], NULL);
  if (!early) lub_chan_close(c.ch);
  for (int i = 0; i < RECEIVERS; i++) pthread_join(r[i], NULL);
  pthread_join(looker, NULL);
  bool all = atomic_load(&c.received) == atomic_load(&c.sent);
  CHECK("what was sent is received, once", all && (early || atomic_load(&c.sent) == SENDERS * EACH));
  CHECK("each sender's values come in order", atomic_load(&c.disorder) == 0);
  CHECK("there are never more than there is room for", atomic_load(&c.excess) == 0);
  lub_chan_drop(c.ch);
}

static void closing(void) {
  lub_chan *ch;
  lub_value v = lub_int(0);
  if (lub_chan_open(e, LUB_RING_LEAST, NULL, &ch)) abort();
  for (int i = 0; i < 3; i++, v = lub_int(i)) CHECK("there is room", lub_chan_send(ch, &v, 0) == LUB_OK);
  CHECK("one value goes", lub_chan_recv(ch, &v, 0) == LUB_OK && v.as.i == 0);
  lub_chan_close(ch);
  CHECK("closed for senders, though there is room", lub_chan_send(ch, &v, 0) == LUB_CLOSED && v.as.i == 0);
  for (int i = 1; i < 3; i++)
    CHECK("what was sent drains", lub_chan_recv(ch, &v, 0) == LUB_OK && v.as.i == i);
  CHECK("then it is closed for receivers", lub_chan_recv(ch, &v, 0) == LUB_CLOSED);
  lub_chan_drop(ch);
}

int main(void) {
  lub_options o = {.carriers = 1};
  if (lub_engine_open(&o, &e)) return 2;
  for (uint32_t cap = LUB_RING_LEAST; cap < 70; cap += 13) laps(cap);
  looking_on(LUB_RING_LEAST);
  closing();
  for (size_t capacity = LUB_RING_LEAST; capacity < 2000; capacity *= 5) crowded(capacity, 0);
  crowded(LUB_RING_MOST + 1, 0);
  for (int i = 1; i <= ROUNDS; i++) crowded(LUB_RING_LEAST + (size_t)i, i);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  return TEST_END();
}
