/* engine_test.c - the life of an engine: options, steps on the host's thread, deadlock and holds, memory that ends. */
#include <string.h>

#include "memory.h"
#include "test.h"
#include "threads.h"
#include "tick.h"

static void options(void) {
  lub_engine *e = NULL;
  lub_options bad[] = {
      {.carriers = -2}, {.carriers = 1 << 20}, {.max_carriers = -1}, {.max_carriers = 1 << 20}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECK("options that make no sense are refused", lub_engine_open(&bad[i], &e) == LUB_INVALID && !e);
  CHECK("without options it opens", lub_engine_open(NULL, &e) == LUB_OK);
  CHECK("with carriers", lub_engine_carriers(e) >= 1 && lub_engine_threads(e) >= lub_engine_carriers(e));
  CHECK("nobody has died or failed", lub_engine_zombies(e) == 0 && lub_engine_failures(e) == 0);
  CHECK("an engine with carriers does not step", lub_engine_step(e, 0) == LUB_INVALID);
  CHECK("there is nobody to end", lub_engine_end_workers(e, 0) == LUB_OK);
  double now = lub_engine_now(e);
  CHECK("time goes on", lub_engine_now(e) >= now && now > 0);
  CHECK("it closes", lub_engine_close(e) == LUB_OK);
  e = open_engine(3);
  CHECK("as many carriers as one likes", lub_engine_carriers(e) == 3);
  (void)lub_engine_close(e);
}

static void texts(void) {
  bool all = true;
  for (int i = LUB_OK; i <= LUB_FAILED; i++) all = all && *lub_strerror((lub_status)i);
  CHECK("every status has a text", all);
  CHECK("so has what is none", *lub_strerror((lub_status)-1) && *lub_strerror((lub_status)1000));
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

static void stepping(void) {
  lub_engine *e = open_engine(-1);
  lub_chan *tick;
  lub_value v;
  CHECK("a host-run engine starts no thread", lub_engine_threads(e) == 0);
  CHECK("nothing to do: timeout", lub_engine_step(e, 0) == LUB_TIMEOUT);
  double begin = lub_engine_now(e);
  CHECK("also after a wait", lub_engine_step(e, 0.01) == LUB_TIMEOUT && lub_engine_now(e) - begin >= 0.01);
  (void)lub_tick_open(e, "tick", 1000000, 0, &tick);
  CHECK("a step waits for a timer and fires it", lub_engine_step(e, 60) == LUB_OK);
  CHECK("which has fed its channel", lub_chan_recv(tick, &v, 0) == LUB_OK);
  lub_chan_drop(tick);
  lub_engine_release(e);
  CHECK("without holds nothing can ever come", lub_engine_step(e, 60) == LUB_DEADLOCK);
  lub_engine_hold(e);
  CHECK("with one the host may yet act", lub_engine_step(e, 0.001) == LUB_TIMEOUT);
  CHECK("it closes", lub_engine_close(e) == LUB_OK);
}

/* ---- deadlock -------------------------------------------------------------------------------------------- */

static void deadlock(int carriers) {
  lub_engine *e = open_engine(carriers);
  lub_chan *ch = open_chan(e, 0), *tick;
  lub_value v = lub_int(1), got;
  lub_case cases[] = {{.ch = ch}, {.ch = NULL}};
  size_t at;
  lub_engine_release(e); /* the host will not act again */
  CHECK("a receive that nothing can end", lub_chan_recv(ch, &got, LUB_FOREVER) == LUB_DEADLOCK);
  CHECK("a send", lub_chan_send(ch, &v, LUB_FOREVER) == LUB_DEADLOCK && v.as.i == 1);
  CHECK("a select", lub_select(e, cases, 2, false, LUB_FOREVER, &at) == LUB_DEADLOCK);
  CHECK("a select of nothing", lub_select(e, NULL, 0, false, LUB_FOREVER, &at) == LUB_DEADLOCK);
  CHECK("but time could end this one", lub_chan_recv(ch, &got, 0.01) == LUB_TIMEOUT);
  (void)lub_tick_open(e, "tick", 5000000, 0, &tick);
  CHECK("and a timer this one", lub_chan_recv(tick, &got, LUB_FOREVER) == LUB_OK);
  CHECK("once", lub_chan_recv(tick, &got, LUB_FOREVER) == LUB_DEADLOCK);
  CHECK("nobody is left in the queue", waiters(ch) == 0);
  lub_chan_drop(tick);
  lub_chan_drop(ch);
  (void)lub_engine_close(e);
}

static void several(void) {
  lub_engine *e = open_engine(1);
  lub_chan *ch = open_chan(e, 0);
  operation ops[3];
  for (size_t i = 0; i < 3; i++) {
    ops[i] = (operation){.ch = ch, .wait = LUB_FOREVER};
    start_parked(&ops[i], do_recv, i + 1);
  }
  lub_engine_release(e);
  for (size_t i = 0; i < 3; i++)
    CHECK("every host thread is told of a deadlock", ended(&ops[i]) == LUB_DEADLOCK);
  lub_chan_drop(ch);
  (void)lub_engine_close(e);
}

static void holds(void) {
  lub_engine *e = open_engine(1);
  lub_chan *ch = open_chan(e, 0);
  operation op = {.ch = ch, .wait = LUB_FOREVER};
  lub_value v = lub_int(5);
  lub_engine_hold(e);
  lub_engine_release(e); /* one is left: the opener's */
  start_parked(&op, do_recv, 1);
  CHECK("while a hold is out, who waits goes on waiting",
        lub_chan_send(ch, &v, 0) == LUB_OK && ended(&op) == LUB_OK);
  op = (operation){.ch = ch, .wait = LUB_FOREVER};
  start_parked(&op, do_recv, 1);
  lub_engine_release(e);
  CHECK("the last release tells who waits", ended(&op) == LUB_DEADLOCK);
  lub_chan_drop(ch);
  (void)lub_engine_close(e);
}

/* ---- memory that ends -------------------------------------------------------------------------------------- */

/* Opens, uses and closes an engine; false: some step was refused for want of memory, and said so. */
static bool scenario(memory *m, int carriers, bool *told) {
  lub_options o = {.carriers = carriers, .realloc = memory_realloc, .ud = m};
  lub_engine *e;
  lub_chan *ch = NULL, *tick = NULL;
  lub_value v = {0}, w = lub_int(1), got = {0};
  size_t at;
  lub_status s = lub_engine_open(&o, &e);
  if (s) {
    *told = *told && s == LUB_NOMEM;
    return false;
  }
  s = lub_chan_open(e, 4, "named", &ch);
  if (!s) s = lub_string(e, "a string that needs a block", 27, &v);
  if (!s) s = lub_engine_publish(e, "name", &v);
  if (!s) s = lub_engine_lookup(e, "name", &got);
  if (!s) s = lub_tick_open(e, "tick", 1000000000, 1000000000, &tick);
  if (!s) s = lub_chan_send(ch, &w, 1);
  if (!s) {
    lub_case cases[] = {{.ch = ch}, {.ch = tick}};
    s = lub_select(e, cases, 2, false, 1, &at);
  }
  if (!s) s = lub_chan_recv(ch, &w, 0.0001) == LUB_TIMEOUT ? LUB_OK : LUB_NOMEM;
  *told = *told && (s == LUB_OK || s == LUB_NOMEM);
  lub_value_drop(&v);
  lub_value_drop(&got);
  if (tick) lub_chan_drop(tick);
  if (ch) lub_chan_drop(ch);
  (void)lub_engine_close(e);
  return s == LUB_OK;
}

/* Allocation n fails, n = 1, 2, 3, ... until the scenario passes whole. */
static void out_of_memory(int carriers) {
  memory m = {0};
  bool told = true, leaks = false, whole = false;
  long n = 0;
  for (; !whole && n < 1000; n++) {
    memory_set(&m, n, 1);
    whole = scenario(&m, carriers, &told);
    leaks = leaks || atomic_load(&m.blocks) != 0;
  }
  CHECK("every allocation that fails is told", told && n > 8);
  CHECK("the scenario passes in the end", whole);
  CHECK("nothing leaks", !leaks);
}

static void two_at_once(void) {
  lub_engine *one = open_engine(1), *two = open_engine(1);
  lub_chan *a = open_chan(one, 0), *b = open_chan(two, 0);
  operation op = {.ch = a, .wait = LUB_FOREVER};
  lub_value v = lub_int(1), got;
  start_parked(&op, do_recv, 1);
  lub_engine_release(two);
  CHECK("a deadlock of one engine", lub_chan_recv(b, &got, LUB_FOREVER) == LUB_DEADLOCK);
  CHECK("is none of the other", lub_chan_send(a, &v, LUB_FOREVER) == LUB_OK && ended(&op) == LUB_OK);
  lub_chan_drop(b);
  (void)lub_engine_close(two);
  lub_chan_drop(a);
  (void)lub_engine_close(one);
}

int main(void) {
  options();
  texts();
  stepping();
  deadlock(-1);
  deadlock(1);
  deadlock(4);
  several();
  holds();
  out_of_memory(-1);
  out_of_memory(2);
  two_at_once();
  return TEST_END();
}
