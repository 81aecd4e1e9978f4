/* engine_test.c - the core without Lua: channels, select and timers between plain pthreads. */
#include <pthread.h>
#include <string.h>

#include "lubdub.h"
#include "test.h"
#include "tick.h"

enum { ITEMS = 20000, PRODUCERS = 4, CONSUMERS = 3 };

static lub_engine *e;
static lub_chan *numbers, *sums;

static void *produce(void *arg) {
  (void)arg;
  for (int i = 1; i <= ITEMS; i++) {
    lub_value v = lub_int(i);
    if (lub_chan_send(numbers, &v, LUB_FOREVER) != LUB_OK) return "send failed";
  }
  return NULL;
}

static void *consume(void *arg) {
  (void)arg;
  int64_t sum = 0;
  for (;;) {
    lub_case cases[2] = {{.ch = numbers}, {.ch = NULL}};
    size_t at;
    if (lub_select(e, cases, 2, false, LUB_FOREVER, &at) != LUB_OK) break;
    sum += cases[at].value.as.i;
  }
  lub_value v = lub_int(sum);
  return lub_chan_send(sums, &v, LUB_FOREVER) == LUB_OK ? NULL : "no sum";
}

static void many_to_many(size_t capacity) {
  pthread_t p[PRODUCERS], c[CONSUMERS];
  int64_t total = 0;
  lub_chan_open(e, capacity, "numbers", &numbers);
  lub_chan_open(e, CONSUMERS, "sums", &sums);
  for (int i = 0; i < PRODUCERS; i++) pthread_create(&p[i], NULL, produce, NULL);
  for (int i = 0; i < CONSUMERS; i++) pthread_create(&c[i], NULL, consume, NULL);
  for (int i = 0; i < PRODUCERS; i++) pthread_join(p[i], NULL);
  CHECK("a channel closes once", lub_chan_close(numbers) == LUB_OK);
  CHECK("a second close is told", lub_chan_close(numbers) == LUB_CLOSED);
  for (int i = 0; i < CONSUMERS; i++) pthread_join(c[i], NULL);
  for (int i = 0; i < CONSUMERS; i++) {
    lub_value v;
    if (lub_chan_recv(sums, &v, 0) == LUB_OK) total += v.as.i;
  }
  CHECK("every number arrives once", total == (int64_t)PRODUCERS * ITEMS * (ITEMS + 1) / 2);
  lub_chan_drop(numbers);
  lub_chan_drop(sums);
}

static void results(void) {
  lub_chan *ch;
  lub_value v = lub_int(1), got;
  CHECK("too large a capacity is refused", lub_chan_open(e, LUB_CHAN_MAX + 1, NULL, &ch) == LUB_INVALID);
  CHECK("a channel opens", lub_chan_open(e, 1, "one", &ch) == LUB_OK);
  CHECK("nobody there, no time: timeout", lub_chan_recv(ch, &got, 0) == LUB_TIMEOUT);
  CHECK("a short wait ends", lub_chan_recv(ch, &got, 0.001) == LUB_TIMEOUT);
  CHECK("room takes a value", lub_chan_send(ch, &v, 0) == LUB_OK);
  v = lub_int(2);
  CHECK("full: timeout", lub_chan_send(ch, &v, 0) == LUB_TIMEOUT);
  CHECK("the value is kept", v.type == LUB_INT);
  lub_value nil = {0};
  CHECK("nil is no value", lub_chan_send(ch, &nil, 0) == LUB_INVALID);
  lub_chan_close(ch);
  CHECK("closed for senders", lub_chan_send(ch, &v, 0) == LUB_CLOSED);
  CHECK("what is buffered drains", lub_chan_recv(ch, &got, 0) == LUB_OK && got.as.i == 1);
  CHECK("then it is closed", lub_chan_recv(ch, &got, 0) == LUB_CLOSED);
  lub_chan_drop(ch);
}

static void selecting(void) {
  lub_chan *a, *b;
  size_t at, from_a = 0;
  lub_chan_open(e, 1, "a", &a);
  lub_chan_open(e, 1, "b", &b);
  lub_case empty[2] = {{.ch = a}, {.ch = b}};
  CHECK("none ready: timeout", lub_select(e, empty, 2, false, 0, &at) == LUB_TIMEOUT);
  for (int i = 0; i < 1000; i++) {
    lub_value v = lub_int(i), w = lub_int(i), rest;
    lub_chan_send(a, &v, 0);
    lub_chan_send(b, &w, 0);
    lub_case cases[2] = {{.ch = a}, {.ch = b}};
    lub_select(e, cases, 2, false, 0, &at);
    from_a += at == 0;
    lub_chan_recv(at == 0 ? b : a, &rest, 0);
  }
  CHECK("of two ready cases each is taken about half the time", from_a > 400 && from_a < 600);
  lub_case twice[3] = {{.ch = a}, {.ch = a, .send = true, .value = lub_int(7)}, {.ch = a}};
  CHECK("a channel may stand in many cases", lub_select(e, twice, 3, false, 0, &at) == LUB_OK && at == 1);
  lub_chan_drop(a);
  lub_chan_drop(b);
}

static void ticking(void) {
  lub_chan *tick;
  lub_value v;
  CHECK("tick opens", lub_tick_open(e, "tick", 1000000, 1000000, &tick) == LUB_OK);
  for (int i = 0; i < 5; i++) CHECK("it ticks", lub_chan_recv(tick, &v, 5) == LUB_OK);
  CHECK("stop says that it ran", lub_tick_stop(tick));
  CHECK("no stale tick after stop", lub_chan_recv(tick, &v, 0) == LUB_TIMEOUT);
  CHECK("stop again says that it did not", !lub_tick_stop(tick));
  lub_chan_drop(tick);
}

static void *fail_after(void *ud, void *block, size_t nbytes) {
  int *left = ud;
  if (nbytes && (*left)-- <= 0) return NULL;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

/* Allocation n fails, n = 0, 1, 2, ... until the scenario passes whole. */
static void out_of_memory(void) {
  int n = 0;
  for (bool whole = false; !whole; n++) {
    int left = n;
    lub_options o = {.carriers = -1, .realloc = fail_after, .ud = &left};
    lub_engine *small;
    lub_chan *ch = NULL;
    lub_value v = {0};
    if (lub_engine_open(&o, &small) != LUB_OK) continue;
    whole = lub_chan_open(small, 4, "named", &ch) == LUB_OK &&
            lub_string(small, "a string that needs a block", 27, &v) == LUB_OK &&
            lub_engine_publish(small, "name", &v) == LUB_OK;
    lub_value_drop(&v);
    if (ch) lub_chan_drop(ch);
    lub_engine_close(small);
  }
  CHECK("every failed allocation is told and nothing leaks", n > 4 && n < 20);
}

static void deadlock(void) {
  lub_options o = {.carriers = 1};
  lub_engine *d;
  lub_chan *ch;
  lub_value v;
  lub_engine_open(&o, &d);
  lub_chan_open(d, 0, "never", &ch);
  lub_engine_release(d); /* the host will not act again */
  CHECK("a wait that nothing can end is a deadlock", lub_chan_recv(ch, &v, LUB_FOREVER) == LUB_DEADLOCK);
  CHECK("but a timer could end this one", lub_chan_recv(ch, &v, 0.01) == LUB_TIMEOUT);
  lub_chan_drop(ch);
  lub_engine_close(d);
}

int main(void) {
  CHECK("the engine opens", lub_engine_open(NULL, &e) == LUB_OK);
  for (size_t capacity = 0; capacity <= 64; capacity = capacity ? capacity * 8 : 1) many_to_many(capacity);
  results();
  selecting();
  ticking();
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  out_of_memory();
  deadlock();
  return TEST_END();
}
