/* timer_test.c - the heap of deadlines by itself; then after and tick on a clock that the test moves. */
#include "engine.h"
#include "memory.h"
#include "random.h"
#include "test.h"
#include "tick.h"

enum { TIMERS = 1000, SECOND = 1000000000 };

/* ---- the heap ------------------------------------------------------------------------------------------- */

typedef struct entry {
  lub_timer timer; /* first */
  int fired;
  int64_t at;
} entry;

static lub_timers heap;
static int64_t latest;
static bool in_order;
static int again;

static void note(lub_timer *t, int64_t due, int64_t now) {
  entry *x = lub_container(t, entry, timer);
  in_order = in_order && due >= latest && due <= now;
  latest = due;
  x->fired++;
  x->at = now;
  if (again > 0 && again--) lub_timer_again(&heap, t, now + 1);
}

static bool never_wakes(lub_timer *t) { return t == NULL; }
static const lub_timer_kind noting = {.fire = note}, idle = {.fire = note, .could_wake = never_wakes};

static void *plain_realloc(void *ud, void *block, size_t nbytes) {
  (void)ud;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

static bool all_room_is_free(void) {
  uint32_t n = 0;
  for (uint32_t id = heap.free; id; id = heap.places[id]) n++;
  return n == heap.capacity;
}

static void order_of_deadlines(void) {
  static entry all[TIMERS];
  bool earliest, reserved = true, none_ran = true, told = true, stopped = true, moved = true, right = true;
  int64_t first = INT64_MAX;
  lub_random r;
  lub_random_seed(&r, 1);
  for (int i = 0; i < TIMERS; i++) {
    reserved = reserved && lub_timer_reserve(&heap, &all[i].timer, &noting) == LUB_OK;
    int64_t when = 1 + lub_random_below(&r, 500);
    none_ran &= !lub_timer_start(&heap, &all[i].timer, when, &earliest);
    told &= !earliest || when <= first;
    if (when < first) first = when;
  }
  CHECK("there is room for all", reserved);
  CHECK("a new timer was not running", none_ran);
  CHECK("each tells whether it is the next to fire", told);
  CHECK("the heap knows the next deadline", lub_timers_next(&heap) == first);
  for (int i = 0; i < TIMERS; i += 3) stopped &= lub_timer_stop(&heap, &all[i].timer);
  CHECK("a running timer stops", stopped);
  for (int i = 1; i < TIMERS; i += 3) moved &= lub_timer_start(&heap, &all[i].timer, 501 + i, &earliest);
  CHECK("a running timer moves", moved);
  latest = 0;
  in_order = true;
  CHECK("nothing is due before its time", lub_timers_run(&heap, 0) == 0);
  uint32_t fired = lub_timers_run(&heap, 500);
  CHECK("what is due fires, in the order of deadlines", in_order && fired == TIMERS / 3);
  fired = lub_timers_run(&heap, 501 + TIMERS);
  CHECK("then what was moved", in_order && fired == TIMERS / 3);
  CHECK("nothing is left", lub_timers_next(&heap) == LUB_NEVER);
  for (int i = 0; i < TIMERS; i++) {
    right &= all[i].fired == (i % 3 != 0) && !lub_timer_stop(&heap, &all[i].timer);
    lub_timer_forget(&heap, &all[i].timer);
  }
  CHECK("each fired once, a stopped one never; none runs any more", right);
  CHECK("all room is given back", all_room_is_free());
}

static void from_inside(void) {
  entry x = {.fired = 0}, y = {.fired = 0};
  bool earliest;
  (void)lub_timer_reserve(&heap, &x.timer, &noting);
  (void)lub_timer_reserve(&heap, &y.timer, &idle);
  again = 3;
  latest = 0;
  (void)lub_timer_start(&heap, &x.timer, 10, &earliest);
  CHECK("a timer may start itself again", lub_timers_run(&heap, 10) == 1 && lub_timers_next(&heap) == 11);
  CHECK("it could wake somebody", lub_timers_could_wake(&heap));
  lub_lock_take(&heap.lock);
  CHECK("who will not wait leaves what is due to who is about it",
        lub_timers_try(&heap, 11) == 0 && lub_timers_next(&heap) == 11);
  lub_lock_give(&heap.lock);
  CHECK("and else fires it", lub_timers_try(&heap, 11) == 1);
  (void)lub_timers_run(&heap, 12);
  (void)lub_timers_run(&heap, 13);
  CHECK("as long as it likes", x.fired == 4 && lub_timers_next(&heap) == LUB_NEVER);
  (void)lub_timer_start(&heap, &y.timer, 20, &earliest);
  CHECK("a timer to which nobody listens could not", !lub_timers_could_wake(&heap));
  lub_timer_forget(&heap, &y.timer); /* running */
  CHECK("a forgotten one does not fire", lub_timers_run(&heap, 30) == 0 && y.fired == 0);
  lub_timer_forget(&heap, &x.timer);
}

/* Against a list: any order of any calls. */
static void any_order(void) {
  enum { FEW = 40, CALLS = 200000 };
  static entry all[FEW];
  static int64_t due[FEW]; /* of those that run; 0: it does not */
  int64_t time = 0;
  bool earliest, same = true;
  lub_random r;
  lub_random_seed(&r, 7);
  again = 0;
  for (int i = 0; i < CALLS && same; i++) {
    int k = (int)lub_random_below(&r, FEW);
    entry *x = &all[k];
    int64_t first = LUB_NEVER;
    switch (lub_random_below(&r, 8)) {
      case 0:
        lub_timer_forget(&heap, &x->timer);
        due[k] = 0;
        break;
      case 1:
        same &= lub_timer_stop(&heap, &x->timer) == (due[k] != 0);
        due[k] = 0;
        break;
      case 2:
        for (int j = 0; j < FEW; j++) all[j].fired = 0;
        time += lub_random_below(&r, 20);
        latest = 0;
        in_order = true;
        (void)lub_timers_run(&heap, time);
        for (int j = 0; j < FEW; j++) {
          bool was_due = due[j] && due[j] <= time;
          same &= all[j].fired == was_due;
          if (was_due) due[j] = 0;
        }
        same &= in_order;
        break;
      default:
        same &= lub_timer_reserve(&heap, &x->timer, k % 4 ? &noting : &idle) == LUB_OK;
        same &= lub_timer_start(&heap, &x->timer, time + 1 + k, &earliest) == (due[k] != 0);
        due[k] = time + 1 + k;
    }
    for (int j = 0; j < FEW; j++)
      if (due[j] && due[j] < first) first = due[j];
    same &= lub_timers_next(&heap) == first;
  }
  CHECK("timers run as a list of them says", same);
  CHECK("the room of forgotten ones is used again", heap.capacity <= TIMERS * 2);
  for (int k = 0; k < FEW; k++) lub_timer_forget(&heap, &all[k].timer);
  CHECK("and nothing can wake anybody", all_room_is_free() && !lub_timers_could_wake(&heap));
}

static void no_room(void) {
  memory m = {0};
  lub_allocator mem = {memory_realloc, &m};
  lub_timers few;
  lub_timer t = {0};
  bool told = true, earliest;
  lub_timers_init(&few, &mem);
  for (int n = 0; n < 3; n++) {
    memory_set(&m, n, 1);
    told &= lub_timer_reserve(&few, &t, &noting) == LUB_NOMEM && !lub_timer_has_room(&t) &&
            !lub_timer_stop(&few, &t);
  }
  CHECK("a timer for which there is no memory is refused", told);
  memory_set(&m, 0, 1);
  CHECK("also one that begins at once", lub_timer_begin(&few, &t, &noting, 1, &earliest) == LUB_NOMEM &&
                                            !lub_timer_has_room(&t) && lub_timers_next(&few) == LUB_NEVER);
  memory_set(&m, 100, 0);
  CHECK("and has room when there is", lub_timer_reserve(&few, &t, &noting) == LUB_OK);
  CHECK("and starts", !lub_timer_start(&few, &t, 1, &earliest) && earliest);
  lub_timer_forget(&few, &t);
  lub_timers_close(&few);
  CHECK("nothing leaks", atomic_load(&m.blocks) == 0);
}

static void begun_at_once(void) {
  entry x = {.fired = 0}, y = {.fired = 0}, z = {.fired = 0};
  bool first, second, third;
  again = 0;
  latest = 0;
  CHECK("a timer begins", lub_timer_begin(&heap, &x.timer, &noting, 20, &first) == LUB_OK);
  CHECK("an earlier one", lub_timer_begin(&heap, &y.timer, &idle, 10, &second) == LUB_OK);
  CHECK("a later one", lub_timer_begin(&heap, &z.timer, &noting, 30, &third) == LUB_OK);
  CHECK("each tells whether it is the next", first && second && !third && lub_timers_next(&heap) == 10);
  uint32_t id = 0, none = 0;
  (void)lub_timer_stop(&heap, &z.timer);
  const lub_timer *a = lub_timers_next_of(&heap, &noting, &id), *b = lub_timers_next_of(&heap, &noting, &id);
  CHECK("those of a kind are found, running or not",
        (a == &x.timer && b == &z.timer) || (a == &z.timer && b == &x.timer));
  CHECK("and no others",
        !lub_timers_next_of(&heap, &noting, &id) && lub_timers_next_of(&heap, &idle, &none) == &y.timer);
  CHECK("they fire", lub_timers_run(&heap, 30) == 2 && x.fired && y.fired && !z.fired);
  lub_timer_forget(&heap, &x.timer);
  lub_timer_forget(&heap, &y.timer);
  lub_timer_forget(&heap, &z.timer);
  id = 0;
  CHECK("forgotten ones are not found", !lub_timers_next_of(&heap, &noting, &id));
}

/* ---- after and tick ------------------------------------------------------------------------------------- */

static int64_t now;
static int64_t clock_now(void *ud) {
  (void)ud;
  return now;
}

static lub_engine *e;

/* The clock goes on by so many seconds, and what is due fires. */
static void pass(double seconds) {
  now += (int64_t)(seconds * SECOND);
  while (lub_engine_step(e, 0) == LUB_OK) continue;
}

static double time_on(lub_chan *ch) {
  lub_value v;
  return lub_chan_recv(ch, &v, 0) == LUB_OK ? v.as.n : -1;
}

static void after(void) {
  lub_chan *ch;
  double begin = lub_engine_now(e);
  CHECK("after opens",
        lub_tick_open(e, "after", 2LL * SECOND, 0, &ch) == LUB_OK && !lub_tick_is_periodic(ch));
  pass(1.5);
  CHECK("nothing before its time", time_on(ch) < 0);
  pass(0.5);
  CHECK("then the time", time_on(ch) == begin + 2);
  pass(10);
  CHECK("once", time_on(ch) < 0);
  CHECK("stop says that it did not run", !lub_tick_stop(ch));
  CHECK("nor does reset find it running", !lub_tick_reset(ch, SECOND));
  CHECK("but starts it", lub_tick_stop(ch));
  (void)lub_tick_reset(ch, SECOND);
  pass(1);
  CHECK("fired and not received counts as running", lub_tick_stop(ch));
  CHECK("and after stop no stale value comes", time_on(ch) < 0);
  (void)lub_tick_reset(ch, SECOND);
  pass(1);
  CHECK("reset too takes the stale value", lub_tick_reset(ch, 3LL * SECOND) && time_on(ch) < 0);
  begin = lub_engine_now(e);
  pass(3);
  CHECK("and the new time counts", time_on(ch) == begin + 3);
  CHECK("an after channel does not close", !lub_chan_closed(ch));
  lub_chan_drop(ch);
}

static void tick(void) {
  lub_chan *ch;
  double begin = lub_engine_now(e);
  CHECK("tick opens", lub_tick_open(e, "tick", SECOND, SECOND, &ch) == LUB_OK && lub_tick_is_periodic(ch));
  for (int i = 1; i <= 3; i++) {
    pass(1);
    CHECK("it ticks", time_on(ch) == begin + i);
  }
  pass(5.5);
  CHECK("a slow receiver finds one tick", time_on(ch) >= begin + 4 && time_on(ch) < 0);
  pass(0.5);
  CHECK("and the next keeps time", time_on(ch) == begin + 9);
  CHECK("stop says that it ran", lub_tick_stop(ch));
  CHECK("stop again says that it did not", !lub_tick_stop(ch));
  pass(5);
  CHECK("a stopped one does not tick", time_on(ch) < 0);
  begin = lub_engine_now(e);
  (void)lub_tick_reset(ch, 2LL * SECOND);
  pass(2);
  CHECK("reset gives it another period", time_on(ch) == begin + 2);
  pass(2);
  CHECK("for good", time_on(ch) == begin + 4);
  lub_chan_drop(ch);
  CHECK("it goes with its channel", lub_timers_next(&e->timers) == LUB_NEVER);
}

/* A timer's channel is in no list: its room is how the engine finds it. */
static void at_the_end(void) {
  memory m = {0};
  lub_engine *own;
  lub_chan *out, *lost;
  lub_options o = {.carriers = -1, .clock = clock_now, .realloc = memory_realloc, .ud = &m};
  memory_set(&m, 1000000, 0);
  if (lub_engine_open(&o, &own)) exit(2);
  (void)lub_tick_open(own, "lost", SECOND, 0, &lost);
  (void)lub_tick_stop(lost);
  lub_value v = lub_of_chan(lost);
  CHECK("a timer's channel may lie in itself", lub_chan_send(lost, &v, 0) == LUB_OK);
  lub_chan_drop(lost);
  (void)lub_tick_open(own, "out", SECOND, 0, &out);
  CHECK("one that is out keeps the engine", lub_engine_close(own) == LUB_BUSY);
  lub_chan_drop(out);
  CHECK("one that only lies in itself goes with it", lub_engine_close(own) == LUB_OK);
  CHECK("and nothing leaks", atomic_load(&m.blocks) == 0);
}

static void deadlines_of_waits(void) {
  lub_chan *slow, *fast;
  (void)lub_tick_open(e, "slow", 3LL * SECOND, 0, &slow);
  (void)lub_tick_open(e, "fast", 1LL * SECOND, 0, &fast);
  now += 10LL * SECOND; /* all are due at once */
  CHECK("one step fires all that is due", lub_engine_step(e, 0) == LUB_OK);
  CHECK("in one moment", time_on(fast) == time_on(slow));
  lub_chan_drop(slow);
  lub_chan_drop(fast);
}

/* ---- in real time ------------------------------------------------------------------------------------------ */

/* Each wake of a thread costs more than ten timers: where there are many, they wait for each other. */
static bool come_together(lub_engine *real, int64_t span, bool *in_time) {
  enum { MANY = 100 };
  lub_chan *chs[MANY + 1];
  lub_value after, v;
  double last = 0;
  int64_t due = lub_engine_now_ns(real) + span;
  for (int i = 0; i <= MANY; i++) {
    int64_t first = due - lub_engine_now_ns(real) + (i == MANY ? SECOND / 10000 : 0);
    (void)lub_tick_open(real, "after", first, 0, &chs[i]);
  }
  *in_time = lub_engine_now_ns(real) < due;
  (void)lub_chan_recv(chs[MANY], &after, 60); /* first, so that this thread is not woken between the others */
  for (int i = 0; i < MANY; i++) {
    (void)lub_chan_recv(chs[i], &v, 60);
    if (v.as.n > last) last = v.as.n;
  }
  for (int i = 0; i <= MANY; i++) lub_chan_drop(chs[i]);
  return after.as.n == last || after.as.n - last > 0.000199;
}

static void many_at_once(void) {
  lub_engine *real;
  bool together = false, in_time = false;
  if (lub_engine_open(NULL, &real)) abort();
  /* no promise: the watcher may look at the timers just then */
  for (int tries = 3; tries > 0 && !together; tries--, in_time = false)
    for (int64_t span = SECOND / 100; !in_time; span *= 2) together = come_together(real, span, &in_time);
  CHECK("one that is due just after many comes with them, or 0.2 ms later", together);
  (void)lub_engine_close(real);
}

static void real_time(void) {
  lub_engine *real;
  lub_chan *ch;
  lub_value v;
  if (lub_engine_open(NULL, &real)) abort();
  double begin = lub_engine_now(real), last = begin;
  (void)lub_tick_open(real, "tick", SECOND / 1000, SECOND / 1000, &ch);
  for (int i = 0; i < 5; i++) {
    CHECK("it ticks", lub_chan_recv(ch, &v, 60) == LUB_OK && v.as.n > last);
    last = v.as.n;
  }
  CHECK("never too early", lub_engine_now(real) - begin >= 0.005);
  lub_chan_drop(ch);
  (void)lub_chan_open(real, 0, "", &ch);
  begin = lub_engine_now(real);
  CHECK("a wait is never too short",
        lub_chan_recv(ch, &v, 0.01) == LUB_TIMEOUT && lub_engine_now(real) - begin >= 0.01);
  lub_chan_drop(ch);
  (void)lub_engine_close(real);
}

int main(void) {
  lub_allocator mem = {plain_realloc, NULL};
  lub_options virtual = {.carriers = -1, .clock = clock_now};
  lub_timers_init(&heap, &mem);
  order_of_deadlines();
  from_inside();
  any_order();
  no_room();
  begun_at_once();
  lub_timers_close(&heap);
  now = 100LL * SECOND;
  if (lub_engine_open(&virtual, &e)) return 2;
  after();
  tick();
  deadlines_of_waits();
  at_the_end();
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  real_time();
  many_at_once();
  return TEST_END();
}
