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

/* ---- several at once ---------------------------------------------------------------------------------- */

enum { BATCH = 10 };

static void number(lub_value *v, size_t n) {
  for (size_t i = 0; i < n; i++) v[i] = lub_int((int64_t)i);
}

static bool are_nil(const lub_value *v, size_t n) {
  while (n > 0 && v[n - 1].type == LUB_NIL) n--;
  return n == 0;
}

/* Whether v[0..n) are the numbers from `first` on. */
static bool are_numbered(const lub_value *v, size_t n, int64_t first) {
  for (size_t i = 0; i < n; i++)
    if (v[i].type != LUB_INT || v[i].as.i != first + (int64_t)i) return false;
  return true;
}

static void refusing_many(void) {
  lub_chan *ch = open_chan(e, 4);
  lub_value v[3] = {lub_int(1), lub_nil(), lub_int(3)};
  size_t n = 9;
  CHECK("a nil among many is refused", lub_chan_send_many(ch, v, 3, 0, &n) == LUB_INVALID && n == 0);
  CHECK("and none was sent", lub_chan_len(ch) == 0 && v[0].as.i == 1 && v[2].as.i == 3);
  CHECK("no number is no time to wait", lub_chan_send_many(ch, v, 1, NAN, &n) == LUB_INVALID);
  CHECK("nor for a receive", lub_chan_recv_many(ch, v, 1, NAN, &n) == LUB_INVALID);
  CHECK("to receive none is refused", lub_chan_recv_many(ch, v, 0, 0, &n) == LUB_INVALID);
  CHECK("to send none is done at once", lub_chan_send_many(ch, v, 0, LUB_FOREVER, &n) == LUB_OK && n == 0);
  lub_chan_drop(ch);
}

static void many_results(size_t capacity) {
  lub_chan *ch = open_chan(e, capacity);
  size_t all = capacity + 3, n = 9;
  lub_value v[80], got[80];
  number(v, all);
  CHECK("nobody there: timeout", lub_chan_recv_many(ch, got, 80, 0, &n) == LUB_TIMEOUT);
  CHECK("what finds no room is told", lub_chan_send_many(ch, v, all, 0, &n) == LUB_TIMEOUT && n == capacity);
  CHECK("what was sent is nil", are_nil(v, capacity));
  CHECK("what was not is kept", are_numbered(v + capacity, 3, (int64_t)capacity));
  CHECK("also after a short wait",
        lub_chan_send_many(ch, v + capacity, 3, 0.001, &n) == LUB_TIMEOUT && n == 0);
  CHECK("who gave up has left the queue", waiters(ch) == 0);
  if (capacity) {
    CHECK("what is there comes at once, in order",
          lub_chan_recv_many(ch, got, 80, LUB_FOREVER, &n) == LUB_OK && n == capacity &&
              are_numbered(got, n, 0));
    number(v, capacity);
    CHECK("what fits is sent", lub_chan_send_many(ch, v, capacity, 0, &n) == LUB_OK && n == capacity);
    CHECK("no more comes than was asked for",
          lub_chan_recv_many(ch, got, 1, 0, &n) == LUB_OK && n == 1 && lub_chan_len(ch) == capacity - 1);
  }
  lub_chan_close(ch);
  number(v, 2);
  CHECK("closed for senders", lub_chan_send_many(ch, v, 2, LUB_FOREVER, &n) == LUB_CLOSED && n == 0);
  CHECK("who keep their values", are_numbered(v, 2, 0));
  if (capacity > 1)
    CHECK("what is buffered drains", lub_chan_recv_many(ch, got, 80, 0, &n) == LUB_OK && n == capacity - 1);
  CHECK("then it is closed for receivers", lub_chan_recv_many(ch, got, 80, LUB_FOREVER, &n) == LUB_CLOSED);
  lub_chan_drop(ch);
}

/* A send of many that is parked: its values are taken one by one or together, in its place of the line. */
static void one_place_in_the_line(size_t capacity) {
  lub_chan *ch = open_chan(e, capacity);
  lub_value v[2][80], got[300];
  operation senders[2], single = {.ch = ch, .value = lub_int(-1), .wait = LUB_FOREVER};
  size_t all = capacity + BATCH, n, total = 0;
  for (size_t i = 0; i < 2; i++) {
    number(v[i], all);
    senders[i] = (operation){.ch = ch, .values = v[i], .n = all, .wait = LUB_FOREVER};
    start_parked(&senders[i], do_send_many, i + 1);
  }
  start_parked(&single, do_send, 3);
  CHECK("a receive takes one of many", lub_chan_recv(ch, &got[total++], 0) == LUB_OK && waiters(ch) == 3);
  CHECK("a receive of many takes what is buffered and what is parked",
        lub_chan_recv_many(ch, got + total, all - 1 + 3, 0, &n) == LUB_OK && n == all + 2);
  total += n;
  CHECK("who has sent all is woken",
        ended(&senders[0]) == LUB_OK && senders[0].done == all && are_nil(v[0], all));
  CHECK("the others wait", waiters(ch) == 2);
  while (lub_chan_recv_many(ch, got + total, 7, 0, &n) == LUB_OK) total += n;
  CHECK("all came", total == 2 * all + 1);
  CHECK("and stayed together",
        are_numbered(got, all, 0) && are_numbered(got + all, all, 0) && got[2 * all].as.i == -1);
  CHECK("the second is told", ended(&senders[1]) == LUB_OK && senders[1].done == all);
  CHECK("the single one, too", ended(&single) == LUB_OK);
  lub_chan_drop(ch);
}

static void serving_receivers(size_t capacity) {
  lub_chan *ch = open_chan(e, capacity);
  lub_value v[80], got[80];
  operation receivers[3], many = {.ch = ch, .values = got, .n = 80, .wait = LUB_FOREVER};
  size_t n;
  for (size_t i = 0; i < 3; i++) {
    receivers[i] = (operation){.ch = ch, .wait = LUB_FOREVER};
    start_parked(&receivers[i], do_recv, i + 1);
  }
  number(v, 3 + capacity);
  CHECK("many go to whom waits, then into the buffer",
        lub_chan_send_many(ch, v, 3 + capacity, 0, &n) == LUB_OK && lub_chan_len(ch) == capacity);
  for (size_t i = 0; i < 3; i++)
    CHECK("first come, first served",
          ended(&receivers[i]) == LUB_OK && receivers[i].value.as.i == (int64_t)i);
  while (lub_chan_recv_many(ch, got, 80, 0, &n) == LUB_OK) continue;
  start_parked(&many, do_recv_many, 1);
  number(v, 1);
  CHECK("who waits for many", lub_chan_send(ch, v, 0) == LUB_OK);
  CHECK("is content with one", ended(&many) == LUB_OK && many.done == 1 && got[0].as.i == 0);
  lub_chan_drop(ch);
}

static void half_sent(size_t capacity) {
  lub_chan *ch = open_chan(e, capacity);
  lub_value v[80], got[80];
  operation late = {.ch = ch, .values = v, .n = capacity + BATCH, .wait = 0.02};
  size_t n, all = 0;
  number(v, late.n);
  start_parked(&late, do_send_many, 1);
  (void)lub_chan_recv_many(ch, got, 4, 0, &all); /* before its time is up, or not */
  CHECK("its time is up", ended(&late) == LUB_TIMEOUT && late.done >= capacity);
  CHECK("it knows what went",
        are_nil(v, late.done) && are_numbered(v + late.done, late.n - late.done, (int64_t)late.done));
  while (lub_chan_recv_many(ch, got + all, 80 - all, 0, &n) == LUB_OK) all += n;
  CHECK("as many came", all == late.done && are_numbered(got, all, 0) && waiters(ch) == 0);
  operation closed = {.ch = ch, .values = v, .n = capacity + BATCH, .wait = LUB_FOREVER};
  number(v, closed.n);
  start_parked(&closed, do_send_many, 1);
  CHECK("some are taken again", lub_chan_recv_many(ch, got, 4, 0, &all) == LUB_OK && all == 4);
  lub_chan_close(ch);
  CHECK("a close ends it", ended(&closed) == LUB_CLOSED && closed.done == capacity + 4);
  while (lub_chan_recv_many(ch, got + all, 80 - all, 0, &n) == LUB_OK) all += n;
  CHECK("and loses nothing", all == closed.done && are_numbered(got, all, 0));
  lub_chan_drop(ch);
}

/* A select that sends or receives beside many. */
static void many_and_select(void) {
  lub_chan *ch = open_chan(e, 0);
  lub_value v[BATCH];
  operation many = {.ch = ch, .values = v, .n = BATCH, .wait = LUB_FOREVER};
  lub_case one = {.ch = ch};
  size_t index;
  bool in_order = true;
  number(v, BATCH);
  start_parked(&many, do_send_many, 1);
  for (int i = 0; i < BATCH; i++)
    in_order = lub_select(e, &one, 1, false, 0, &index) == LUB_OK && one.value.as.i == i && in_order;
  CHECK("a select takes one of many", in_order && ended(&many) == LUB_OK);
  lub_chan_drop(ch);
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

/* The same with 1 to BATCH at once. */
static void *produce_many(void *arg) {
  crowd *c = arg;
  for (int i = 0; i < ITEMS;) {
    lub_value v[BATCH];
    size_t n = (size_t)i % BATCH + 1, sent;
    for (size_t k = 0; k < n; k++) v[k] = lub_int(++i);
    lub_status status = lub_chan_send_many(c->ch, v, n, i % 7 ? LUB_FOREVER : 1e-6, &sent);
    for (size_t k = 0; k < sent; k++) atomic_fetch_add(&c->sent, i - (int)n + (int)k + 1);
    atomic_fetch_add(&c->count, (int)sent);
    if (status == LUB_CLOSED) break;
  }
  return NULL;
}

static void *consume_many(void *arg) {
  crowd *c = arg;
  lub_value v[BATCH];
  lub_status status;
  size_t n;
  for (size_t i = 0;; i++) {
    status = lub_chan_recv_many(c->ch, v, i % BATCH + 1, i % 5 ? LUB_FOREVER : 1e-6, &n);
    if (status == LUB_CLOSED) return NULL;
    if (status != LUB_OK) continue;
    for (size_t k = 0; k < n; k++) atomic_fetch_add(&c->received, v[k].as.i);
    atomic_fetch_sub(&c->count, (int)n);
  }
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
  for (int i = 0; i < PRODUCERS; i++) pthread_create(&p[i], NULL, i % 2 ? produce_many : produce, &c);
  for (int i = 0; i < CONSUMERS; i++) pthread_create(&q[i], NULL, i % 2 ? consume_many : consume, &c);
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
    for (int i = 0; i < 2; i++) pthread_create(&p[i], NULL, i % 2 ? produce_many : produce, &c);
    for (int i = 0; i < 2; i++) pthread_create(&q[i], NULL, i % 2 ? consume_many : consume, &c);
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
  refusing_many();
  many_and_select();
  for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
    results(capacities[i]);
    first_come(capacities[i]);
    closing_wakes(capacities[i]);
    many_results(capacities[i]);
    one_place_in_the_line(capacities[i]);
    serving_receivers(capacities[i]);
    half_sent(capacities[i]);
    many_to_many(capacities[i]);
    closed_any_time(capacities[i]);
  }
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  return TEST_END();
}
