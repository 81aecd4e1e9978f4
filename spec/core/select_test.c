/* select_test.c - one operation of several, between plain threads. */
#include "select.h"
#include "test.h"
#include "threads.h"

enum { CHANS = 4, EACH = 5000, MANY = 100000 };

static lub_engine *e;
static lub_chan *a, *b;

static void put(lub_chan *ch, int64_t i) {
  lub_value v = lub_int(i);
  if (lub_chan_send(ch, &v, 0)) abort();
}

static int64_t take(lub_chan *ch) {
  lub_value v;
  return lub_chan_recv(ch, &v, 0) == LUB_OK ? v.as.i : -1;
}

static lub_status choose(lub_case *cases, size_t n, bool ordered, double wait, size_t *at) {
  return lub_select(e, cases, n, ordered, wait, at);
}

static void none_ready(void) {
  size_t at = 99;
  lub_case cases[] = {{.ch = a}, {.ch = b}, {.ch = NULL}};
  CHECK("none is ready: timeout", choose(cases, 3, false, 0, &at) == LUB_TIMEOUT);
  CHECK("also after a while", choose(cases, 3, false, 0.001, &at) == LUB_TIMEOUT);
  CHECK("no case at all: the longest wait", choose(NULL, 0, false, 0.001, &at) == LUB_TIMEOUT);
  CHECK("only cases that are never ready: the same", choose(cases + 2, 1, true, 0.001, &at) == LUB_TIMEOUT);
  CHECK("the index is not written", at == 99);
  CHECK("no number is no wait", choose(cases, 3, false, NAN, &at) == LUB_INVALID);
  CHECK("nobody stays in the queues", waiters(a) == 0 && waiters(b) == 0);
}

static void one_ready(void) {
  size_t at;
  lub_case cases[] = {{.ch = NULL}, {.ch = a}, {.ch = b, .send = true, .value = lub_int(2)}};
  put(b, 1); /* so that b is full */
  put(a, 7);
  CHECK("the ready case is taken", choose(cases, 3, false, LUB_FOREVER, &at) == LUB_OK && at == 1);
  CHECK("its value has arrived", cases[1].value.as.i == 7);
  CHECK("a send that was not chosen keeps its value", cases[2].value.type == LUB_INT);
  CHECK("b is as it was", take(b) == 1 && lub_chan_len(b) == 0);
  CHECK("a send can be chosen", choose(cases, 3, false, LUB_FOREVER, &at) == LUB_OK && at == 2);
  CHECK("its value is taken", cases[2].value.type == LUB_NIL && take(b) == 2);
}

static void of_several(void) {
  size_t at, from_a = 0, first = 0;
  for (int i = 0; i < 1000; i++) {
    put(a, i);
    put(b, i);
    lub_case cases[] = {{.ch = a}, {.ch = b}};
    (void)choose(cases, 2, false, 0, &at);
    from_a += at == 0;
    (void)take(at == 0 ? b : a);
    put(a, i);
    put(b, i);
    (void)choose(cases, 2, true, 0, &at);
    first += at == 0;
    (void)take(b);
  }
  CHECK("of two ready cases each is taken about half the time", from_a > 400 && from_a < 600);
  CHECK("in order, the first of them is", first == 1000);
}

static void same_channel(void) {
  size_t at;
  lub_case twice[] = {{.ch = a}, {.ch = a, .send = true, .value = lub_int(7)}, {.ch = a}};
  CHECK("a channel may stand in many cases", choose(twice, 3, false, 0, &at) == LUB_OK && at == 1);
  CHECK("in both directions", choose(twice, 3, false, 0, &at) == LUB_OK && at != 1);
  lub_chan *meet;
  lub_chan_open(e, 0, "meet", &meet);
  lub_case alone[] = {{.ch = meet}, {.ch = meet, .send = true, .value = lub_int(1)}};
  CHECK("a select does not meet itself", choose(alone, 2, false, 0.001, &at) == LUB_TIMEOUT);
  CHECK("its value is kept, the queues are empty", alone[1].value.as.i == 1 && waiters(meet) == 0);
  lub_chan_drop(meet);
}

static void closed_channels(void) {
  size_t at;
  lub_chan *shut;
  lub_chan_open(e, 1, "shut", &shut);
  put(shut, 5);
  lub_chan_close(shut);
  lub_case cases[] = {{.ch = a}, {.ch = shut}};
  CHECK("what a closed channel holds comes first", choose(cases, 2, false, 1, &at) == LUB_OK && at == 1);
  CHECK("then it tells that it is closed", choose(cases, 2, false, 1, &at) == LUB_CLOSED && at == 1);
  lub_case sending[] = {{.ch = a}, {.ch = shut, .send = true, .value = lub_int(1)}};
  CHECK("a send to it is told too", choose(sending, 2, false, 1, &at) == LUB_CLOSED && at == 1);
  CHECK("and keeps its value", sending[1].value.as.i == 1);
  lub_chan_drop(shut);
}

typedef struct selecting {
  pthread_t thread;
  lub_case cases[2];
  size_t at;
  lub_status status;
} selecting;

static void *do_select(void *arg) {
  selecting *s = arg;
  s->status = lub_select(e, s->cases, 2, false, LUB_FOREVER, &s->at);
  return NULL;
}

static void waiting(void) {
  lub_chan *c, *d;
  lub_chan_open(e, 0, "c", &c);
  lub_chan_open(e, 0, "d", &d);
  selecting s = {.cases = {{.ch = c}, {.ch = d, .send = true, .value = lub_int(3)}}};
  pthread_create(&s.thread, NULL, do_select, &s);
  until_parked(d, 1);
  CHECK("a select that waits sends to who comes", take(d) == 3);
  pthread_join(s.thread, NULL);
  CHECK("and says so", s.status == LUB_OK && s.at == 1 && s.cases[1].value.type == LUB_NIL);
  lub_value v = lub_int(1);
  CHECK("it waits nowhere any more", lub_chan_send(c, &v, 0) == LUB_TIMEOUT && waiters(c) == 0);
  s = (selecting){.cases = {{.ch = c}, {.ch = d}}};
  pthread_create(&s.thread, NULL, do_select, &s);
  until_parked(d, 1);
  lub_chan_close(c);
  pthread_join(s.thread, NULL);
  CHECK("a close wakes it", s.status == LUB_CLOSED && s.at == 0);
  lub_chan_drop(c);
  lub_chan_drop(d);
}

static void very_many(void) {
  size_t at = 0;
  lub_case *cases = calloc(MANY, sizeof *cases);
  if (!cases) abort();
  for (size_t i = 0; i < MANY; i++) cases[i].ch = i % 2 ? a : NULL;
  cases[MANY - 1].ch = b;
  put(b, 1);
  CHECK("100,000 cases, the last is ready", choose(cases, MANY, false, 1, &at) == LUB_OK && at == MANY - 1);
  CHECK("none is ready", choose(cases, MANY, false, 0.001, &at) == LUB_TIMEOUT && waiters(a) == 0);
  free(cases);
}

/* ---- many threads: each both sends and receives, over all channels -------------------------------------- */

static lub_chan *chans[CHANS], *stop;
static atomic_llong sent, received;

static void *mix(void *arg) {
  lub_random r;
  lub_random_seed(&r, (uintptr_t)arg);
  for (int done = 0; done < EACH;) {
    lub_case cases[3] = {{.ch = chans[lub_random_below(&r, CHANS)]},
                         {.ch = chans[lub_random_below(&r, CHANS)], .send = true, .value = lub_int(done + 1)},
                         {.ch = stop}};
    size_t at;
    lub_status status = lub_select(e, cases, 3, done % 2, done % 3 ? LUB_FOREVER : 1e-5, &at);
    if (status == LUB_CLOSED) break;
    if (status != LUB_OK) continue;
    if (at == 1) atomic_fetch_add(&sent, ++done);
    else atomic_fetch_add(&received, cases[0].value.as.i);
  }
  return NULL;
}

static void *drain(void *arg) {
  (void)arg;
  for (;;) {
    lub_case cases[CHANS + 1] = {{.ch = NULL}};
    size_t at;
    for (int i = 0; i < CHANS; i++) cases[i].ch = chans[i];
    cases[CHANS].ch = stop;
    if (lub_select(e, cases, CHANS + 1, true, LUB_FOREVER, &at) != LUB_OK) return NULL;
    atomic_fetch_add(&received, cases[at].value.as.i);
  }
}

static void crowd(size_t capacity) {
  pthread_t mixers[4], drainer;
  atomic_store(&sent, 0);
  atomic_store(&received, 0);
  for (int i = 0; i < CHANS; i++) lub_chan_open(e, capacity, "", &chans[i]);
  lub_chan_open(e, 0, "stop", &stop);
  pthread_create(&drainer, NULL, drain, NULL);
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&mixers[i], NULL, mix, (void *)(i + 1));
  for (int i = 0; i < 4; i++) pthread_join(mixers[i], NULL);
  lub_chan_close(stop); /* `ordered`: the drainer takes everything else first */
  pthread_join(drainer, NULL);
  CHECK("what was sent was received, once", atomic_load(&sent) == atomic_load(&received));
  CHECK("all of it", atomic_load(&sent) == 4LL * EACH * (EACH + 1) / 2);
  for (int i = 0; i < CHANS; i++) {
    CHECK("nobody is left in a queue", waiters(chans[i]) == 0);
    lub_chan_drop(chans[i]);
  }
  lub_chan_drop(stop);
}

int main(void) {
  if (lub_engine_open(NULL, &e) || lub_chan_open(e, 1, "a", &a) || lub_chan_open(e, 1, "b", &b)) return 2;
  none_ready();
  one_ready();
  of_several();
  same_channel();
  closed_channels();
  waiting();
  very_many();
  crowd(0);
  crowd(1);
  crowd(64);
  lub_chan_drop(a);
  lub_chan_drop(b);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  return TEST_END();
}
