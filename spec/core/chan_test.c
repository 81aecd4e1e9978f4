/* chan_test.c - channels between plain threads: every sentence of lubdub.h, then many threads at once. */
#include <string.h>

#include "test.h"
#include "threads.h"

enum { ITEMS = 5000, PRODUCERS = 4, CONSUMERS = 3, ROUNDS = 200 };

static lub_engine *e;
static const size_t capacities[] = {0, 1, 2, 64};

static void opening(void) {
  lub_chan *ch;
  CHECK("too large a capacity is refused", lub_chan_open(e, LUB_CHAN_MAX + 1, NULL, &ch) == LUB_INVALID);
  CHECK("a channel opens", lub_chan_open(e, 3, NULL, &ch) == LUB_OK);
  CHECK("without a name it is called nothing", strcmp(lub_chan_name(ch), "") == 0);
  CHECK("it tells its capacity", lub_chan_capacity(ch) == 3);
  CHECK("it is empty and open", lub_chan_len(ch) == 0 && !lub_chan_closed(ch));
  lub_chan_drop(ch);
  char name[] = "mine";
  lub_chan_open(e, 0, name, &ch);
  name[0] = 'x';
  CHECK("the name is copied", strcmp(lub_chan_name(ch), "mine") == 0);
  lub_chan_ref(ch);
  lub_chan_drop(ch);
  CHECK("a reference keeps it alive", strcmp(lub_chan_name(ch), "mine") == 0);
  lub_chan_drop(ch);
}

static void results(size_t capacity) {
  lub_chan *ch = open_chan(e, capacity);
  lub_value v = lub_int(-1), nil = {0}, got = {0};
  CHECK("nobody there, no time: timeout", lub_chan_recv(ch, &got, 0) == LUB_TIMEOUT);
  CHECK("less than no time is no time", lub_chan_recv(ch, &got, -1) == LUB_TIMEOUT);
  CHECK("a short wait ends", lub_chan_recv(ch, &got, 0.001) == LUB_TIMEOUT);
  CHECK("nothing was written", got.type == LUB_NIL);
  CHECK("no number is no time to wait", lub_chan_recv(ch, &got, NAN) == LUB_INVALID);
  CHECK("nor for a send", lub_chan_send(ch, &v, NAN) == LUB_INVALID && v.type == LUB_INT);
  CHECK("nil is no value", lub_chan_send(ch, &nil, 0) == LUB_INVALID);
  for (size_t i = 0; i < capacity; i++) {
    lub_value w = lub_int((int64_t)i);
    CHECK("room takes a value", lub_chan_send(ch, &w, 0) == LUB_OK);
    CHECK("a sent value is nil", w.type == LUB_NIL);
  }
  CHECK("the length is what is buffered", lub_chan_len(ch) == capacity);
  CHECK("without room: timeout", lub_chan_send(ch, &v, 0) == LUB_TIMEOUT);
  CHECK("also after a short wait", lub_chan_send(ch, &v, 0.001) == LUB_TIMEOUT);
  CHECK("what was not sent is kept", v.type == LUB_INT && v.as.i == -1);
  CHECK("a channel closes once", lub_chan_close(ch) == LUB_OK);
  CHECK("a second close is told", lub_chan_close(ch) == LUB_CLOSED);
  CHECK("it is closed before it is drained", lub_chan_closed(ch));
  CHECK("closed for senders", lub_chan_send(ch, &v, LUB_FOREVER) == LUB_CLOSED && v.as.i == -1);
  for (size_t i = 0; i < capacity; i++)
    CHECK("what is buffered drains in order",
          lub_chan_recv(ch, &got, LUB_FOREVER) == LUB_OK && got.as.i == (int64_t)i);
  CHECK("then it is closed for receivers", lub_chan_recv(ch, &got, LUB_FOREVER) == LUB_CLOSED);
  lub_chan_drop(ch);
}

static void handing_over(void) {
  lub_chan *ch = open_chan(e, 0);
  lub_value v = lub_int(7), got;
  operation receiver = {.ch = ch, .wait = LUB_FOREVER};
  start_parked(&receiver, do_recv, 1);
  CHECK("a waiting receiver takes a send at once", lub_chan_send(ch, &v, 0) == LUB_OK);
  CHECK("and has the value", ended(&receiver) == LUB_OK && receiver.value.as.i == 7);
  operation sender = {.ch = ch, .value = lub_int(8), .wait = LUB_FOREVER};
  start_parked(&sender, do_send, 1);
  CHECK("a waiting sender serves a receive at once", lub_chan_recv(ch, &got, 0) == LUB_OK && got.as.i == 8);
  CHECK("and is told", ended(&sender) == LUB_OK && sender.value.type == LUB_NIL);
  operation late = {.ch = ch, .value = lub_int(9), .wait = 0.01};
  (void)do_send(&late);
  CHECK("a sender whose time is up keeps its value", late.status == LUB_TIMEOUT && late.value.as.i == 9);
  CHECK("and has left the queue", lub_chan_recv(ch, &got, 0) == LUB_TIMEOUT);
  lub_chan_drop(ch);
}

static void first_come(size_t capacity) {
  operation senders[3], receivers[3];
  lub_chan *ch = open_chan(e, capacity);
  lub_value got;
  for (size_t i = 0; i < capacity; i++) {
    lub_value v = lub_int((int64_t)i);
    lub_chan_send(ch, &v, 0);
  }
  for (size_t i = 0; i < 3; i++) {
    senders[i] = (operation){.ch = ch, .value = lub_int((int64_t)(capacity + i)), .wait = LUB_FOREVER};
    start_parked(&senders[i], do_send, i + 1);
  }
  for (size_t i = 0; i < capacity + 3; i++)
    CHECK("values come in the order of the sends",
          lub_chan_recv(ch, &got, LUB_FOREVER) == LUB_OK && got.as.i == (int64_t)i);
  for (size_t i = 0; i < 3; i++) CHECK("each blocked send is woken", ended(&senders[i]) == LUB_OK);
  for (size_t i = 0; i < 3; i++) {
    receivers[i] = (operation){.ch = ch, .wait = LUB_FOREVER};
    start_parked(&receivers[i], do_recv, i + 1);
  }
  for (size_t i = 0; i < 3; i++) {
    lub_value v = lub_int((int64_t)i);
    lub_chan_send(ch, &v, LUB_FOREVER);
  }
  for (size_t i = 0; i < 3; i++)
    CHECK("the receiver that came first is served first",
          ended(&receivers[i]) == LUB_OK && receivers[i].value.as.i == (int64_t)i);
  lub_chan_drop(ch);
}

static void closing_wakes(size_t capacity) {
  operation ops[3];
  lub_chan *ch = open_chan(e, capacity);
  for (size_t i = 0; i < 3; i++) {
    ops[i] = (operation){.ch = ch, .wait = LUB_FOREVER};
    start_parked(&ops[i], do_recv, i + 1);
  }
  lub_chan_close(ch);
  for (size_t i = 0; i < 3; i++) CHECK("close wakes every receiver", ended(&ops[i]) == LUB_CLOSED);
  lub_chan_drop(ch);
  ch = open_chan(e, capacity);
  for (size_t i = 0; i < capacity; i++) {
    lub_value v = lub_bool(true);
    lub_chan_send(ch, &v, 0);
  }
  for (size_t i = 0; i < 3; i++) {
    ops[i] = (operation){.ch = ch, .wait = LUB_FOREVER, .value = lub_of_chan(ch)};
    start_parked(&ops[i], do_send, i + 1);
  }
  lub_chan_close(ch);
  for (size_t i = 0; i < 3; i++) {
    CHECK("close wakes every sender", ended(&ops[i]) == LUB_CLOSED);
    CHECK("who keeps its value", lub_to_chan(&ops[i].value) == ch);
    lub_value_drop(&ops[i].value);
  }
  lub_chan_drop(ch);
}

/* Channels in channels: what is buffered goes with the channel, and a ring of references with the engine. */
static void keeping(void) {
  lub_chan *outer = open_chan(e, 2), *inner = open_chan(e, 1), *self = open_chan(e, 1);
  lub_value v = lub_of_chan(inner), text;
  lub_chan_send(outer, &v, 0);
  lub_string(e, "a string that needs a block of its own", 38, &text);
  lub_chan_send(outer, &text, 0);
  lub_chan_drop(inner);
  lub_chan_drop(outer);
  v = lub_of_chan(self);
  CHECK("a channel can be sent through itself", lub_chan_send(self, &v, 0) == LUB_OK);
  lub_chan_drop(self); /* the leak checker tells if one of these stays */
}

/* ---- many threads ------------------------------------------------------------------------------------- */

typedef struct crowd {
  lub_chan *ch;
  atomic_llong sent, received; /* sums */
  atomic_int count;            /* what was sent, less what was received */
} crowd;

static void *produce(void *arg) {
  crowd *c = arg;
  for (int i = 1; i <= ITEMS; i++) {
    lub_value v = lub_int(i);
    if (lub_chan_send(c->ch, &v, i % 7 ? LUB_FOREVER : 1e-6) == LUB_TIMEOUT) continue;
    if (v.type != LUB_NIL) break; /* closed */
    atomic_fetch_add(&c->sent, i);
    atomic_fetch_add(&c->count, 1);
  }
  return NULL;
}

static void *consume(void *arg) {
  crowd *c = arg;
  lub_value v;
  lub_status status;
  for (int i = 0; (status = lub_chan_recv(c->ch, &v, i % 5 ? LUB_FOREVER : 1e-6)) != LUB_CLOSED; i++) {
    if (status != LUB_OK) continue;
    atomic_fetch_add(&c->received, v.as.i);
    atomic_fetch_sub(&c->count, 1);
  }
  return NULL;
}

static void many_to_many(size_t capacity) {
  pthread_t p[PRODUCERS], q[CONSUMERS];
  crowd c = {.ch = open_chan(e, capacity)};
  for (int i = 0; i < PRODUCERS; i++) pthread_create(&p[i], NULL, produce, &c);
  for (int i = 0; i < CONSUMERS; i++) pthread_create(&q[i], NULL, consume, &c);
  for (int i = 0; i < PRODUCERS; i++) pthread_join(p[i], NULL);
  lub_chan_close(c.ch);
  for (int i = 0; i < CONSUMERS; i++) pthread_join(q[i], NULL);
  CHECK("every number arrives once",
        atomic_load(&c.count) == 0 && atomic_load(&c.sent) == atomic_load(&c.received));
  CHECK("and there were some", atomic_load(&c.sent) > ITEMS);
  CHECK("nobody is left in the queues", waiters(c.ch) == 0);
  lub_chan_drop(c.ch);
}

/* Closed in the midst of it, each time at another moment: who sent is received, who was refused is not. */
static void closed_any_time(size_t capacity) {
  bool all = true;
  for (int round = 0; round < ROUNDS; round++) {
    pthread_t p[2], q[2];
    crowd c = {.ch = open_chan(e, capacity)};
    for (int i = 0; i < 2; i++) pthread_create(&p[i], NULL, produce, &c);
    for (int i = 0; i < 2; i++) pthread_create(&q[i], NULL, consume, &c);
    for (volatile int i = 0; i < round * 50; i++) continue;
    lub_chan_close(c.ch);
    for (int i = 0; i < 2; i++) pthread_join(p[i], NULL);
    for (int i = 0; i < 2; i++) pthread_join(q[i], NULL);
    all = all && atomic_load(&c.sent) == atomic_load(&c.received) && atomic_load(&c.count) == 0;
    lub_chan_drop(c.ch);
  }
  CHECK("a close at any moment loses nothing and doubles nothing", all);
}

int main(void) {
  if (lub_engine_open(NULL, &e)) return 2;
  opening();
  handing_over();
  keeping();
  for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
    results(capacities[i]);
    first_come(capacities[i]);
    closing_wakes(capacities[i]);
    many_to_many(capacities[i]);
    closed_any_time(capacities[i]);
  }
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  return TEST_END();
}
