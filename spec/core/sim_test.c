/* sim_test.c - sims from C: the clock, the choices, how a run is repeated. The fibers here are C functions. */
#include <string.h>

#include "memory.h"
#include "park.h"
#include "sim.h"
#include "test.h"

/* ---- fibers in C --------------------------------------------------------------------------------------------------
 * A worker's fibers take turns: each has a number of steps, and leaves at a point behind each of them, as the binding's
 * do. What they did lies in `order`. */

enum { FIBERS = 4, STEPS = 5, FOR_EVER = 1 << 30 };

typedef struct crew {
  lub_worker *worker;
  lub_fiber fibers[FIBERS];
  int left[FIBERS]; /* steps */
  bool sleeps;      /* a second between two steps */
  char order[256];
} crew;

static void do_step(crew *c, int i) {
  lub_fiber *f = &c->fibers[i];
  char name[2] = {(char)('a' + i), 0};
  for (;;) {
    if (f->wait.parked) (void)lub_wait_finish(&f->wait);
    if (strlen(c->order) + 1 < sizeof c->order) strcat(c->order, name);
    if (--c->left[i] == 0) {
      lub_fiber_close(f);
      return;
    }
    if (c->sleeps) {
      int64_t deadline = lub_engine_deadline(c->worker->engine, 1);
      if (lub_wait_sleep(&f->wait, deadline) == LUB_PARK) return;
    } else if (lub_turns_point(f)) {
      lub_fiber_preempted(f);
      return;
    }
  }
}

static void run_crew(lub_worker *w) {
  crew *c = w->data;
  lub_fiber *f;
  while ((f = lub_worker_next(w))) do_step(c, (int)(f - c->fibers));
  if (!lub_list_empty(&w->fibers) && !atomic_load(&w->killed)) return;
  lub_worker_forget_ready(w);
  for (int i = 0; i < FIBERS; i++)
    if (c->left[i] > 0) lub_fiber_leave(&c->fibers[i]);
  (void)lub_worker_decide(w, LUB_ENDED);
  lub_worker_end(w);
}

static lub_status start_crew(lub_sim *s, crew *c, bool sleeps, int left) {
  memset(c, 0, sizeof *c);
  c->sleeps = sleeps;
  if (lub_worker_open(lub_sim_engine(s), "crew", false, &c->worker)) return LUB_NOMEM;
  c->worker->data = c;
  c->worker->run = run_crew;
  for (int i = 0; i < FIBERS; i++) {
    lub_fiber_init(&c->fibers[i], c->worker);
    c->left[i] = left;
    lub_fiber_inbox(&c->fibers[i]);
  }
  lub_worker_start(c->worker);
  return LUB_OK;
}

static lub_sim *open_sim(const lub_sim_options *o) {
  lub_sim *s = NULL;
  if (lub_sim_open(o, &s)) abort();
  return s;
}

static void close_sim(lub_sim *s, crew *c) {
  if (c) lub_worker_drop(c->worker);
  CHECK("it closes", lub_sim_close(s) == LUB_OK);
}

static lub_status run(lub_sim *s) {
  lub_status status;
  while ((status = lub_sim_step(s)) == LUB_OK) continue;
  return status;
}

/* ---- the clock ----------------------------------------------------------------------------------------------------- */

static void at_rest(void) {
  crew c;
  lub_sim *s = open_sim(&(lub_sim_options){.seed = 1, .strategy = LUB_SIM_RANDOM});
  CHECK("it begins at 0, without a step", lub_sim_now(s) == 0 && lub_sim_steps(s) == 0);
  CHECK("nothing can happen", lub_sim_step(s) == LUB_DEADLOCK && lub_sim_now(s) == 0);
  (void)start_crew(s, &c, true, STEPS);
  for (int i = 0; i < FIBERS; i++)
    CHECK("it stands while somebody can run", !lub_sim_step(s) && lub_sim_now(s) == 0);
  CHECK("all have run", strlen(c.order) == FIBERS);
  CHECK("at rest it moves", lub_sim_step(s) == LUB_OK && lub_sim_now(s) == 1);
  CHECK("everybody sleeps to the end, and then there is nothing",
        run(s) == LUB_DEADLOCK && lub_sim_now(s) == STEPS - 1 && strlen(c.order) == STEPS * FIBERS);
  close_sim(s, &c);
}

static void pass_and_settle(void) {
  crew c;
  lub_sim *s = open_sim(&(lub_sim_options){.seed = 1, .strategy = LUB_SIM_RANDOM});
  (void)start_crew(s, &c, true, STEPS);
  CHECK("settle runs who can", !lub_sim_settle(s) && strlen(c.order) == FIBERS && lub_sim_now(s) == 0);
  CHECK("and does not move the clock",
        !lub_sim_settle(s) && strlen(c.order) == FIBERS && lub_sim_now(s) == 0);
  CHECK("before it is time nobody wakes", !lub_sim_pass(s, 0.999) && strlen(c.order) == FIBERS);
  CHECK("then all do", !lub_sim_pass(s, 0.001) && lub_sim_now(s) == 1 && strlen(c.order) == 2 * FIBERS);
  CHECK("the clock stops where it is told to", !lub_sim_pass(s, 1.5) && lub_sim_now(s) == 2.5);
  lub_sim_stop_clock(s, true);
  CHECK("it stands", run(s) == LUB_TIMEOUT && lub_sim_now(s) == 2.5);
  lub_sim_stop_clock(s, false);
  lub_sim_jump(s, 500000000);
  CHECK("after a jump, what is due comes", !lub_sim_settle(s) && strlen(c.order) == 4 * FIBERS);
  CHECK("and it goes on", run(s) == LUB_DEADLOCK && lub_sim_now(s) == 4);
  CHECK("time passes over an empty sim too", !lub_sim_pass(s, 3600) && lub_sim_now(s) == 3604);
  const double bad[] = {-1, NAN, LUB_FOREVER, 1e12};
  for (int i = 0; i < 4; i++)
    CHECK("no span", lub_sim_pass(s, bad[i]) == LUB_INVALID && lub_sim_now(s) == 3604);
  close_sim(s, &c);
}

static void hearts(void) {
  crew c;
  lub_heart *h = NULL;
  lub_snapshot at;
  lub_sim *s = open_sim(&(lub_sim_options){.seed = 1});
  lub_heart_options o = {.name = "h", .interval = 0.25};
  if (lub_heart_open(lub_sim_engine(s), &o, &h)) abort();
  CHECK("hearts alone do not move the clock", run(s) == LUB_DEADLOCK && lub_sim_now(s) == 0);
  (void)start_crew(s, &c, true, STEPS);
  CHECK("with others they go on", run(s) == LUB_DEADLOCK && lub_sim_now(s) == STEPS - 1);
  lub_heart_look(h, &at);
  CHECK("and are judged meanwhile", !strcmp(at.verdict, "dead") && lub_engine_deaths(lub_sim_engine(s)) == 1);
  CHECK("pass moves their clock", !lub_sim_pass(s, 60) && lub_sim_now(s) == 60 + STEPS - 1);
  (void)lub_heart_close(h);
  lub_heart_drop(h);
  close_sim(s, &c);
}

/* ---- choices -------------------------------------------------------------------------------------------------------- */

typedef struct outcome {
  char order[256];
  uint64_t hash, steps;
  size_t nchoices;
  uint32_t taken[256];
  double now;
} outcome;

static outcome run_with(const lub_sim_options *o, bool sleeps) {
  outcome out = {.nchoices = 0};
  crew c;
  lub_sim *s = open_sim(o);
  (void)start_crew(s, &c, sleeps, STEPS);
  CHECK("it runs to its end", run(s) == LUB_DEADLOCK);
  memcpy(out.order, c.order, sizeof out.order);
  out.hash = lub_sim_hash(s);
  out.steps = lub_sim_steps(s);
  out.now = lub_sim_now(s);
  const lub_sim_choice *made = lub_sim_choices(s, &out.nchoices);
  bool sane = out.nchoices <= 256;
  for (size_t i = 0; sane && i < out.nchoices; i++) {
    sane = made[i].n > 1 && made[i].taken < made[i].n;
    out.taken[i] = made[i].taken;
  }
  CHECK("each choice was one", sane);
  close_sim(s, &c);
  return out;
}

static bool equal(const outcome *a, const outcome *b) {
  return !strcmp(a->order, b->order) && a->hash == b->hash && a->steps == b->steps && a->now == b->now &&
         a->nchoices == b->nchoices && !memcmp(a->taken, b->taken, a->nchoices * sizeof a->taken[0]);
}

/* How often another fiber runs than before. */
static int switches(const char *order) {
  int n = 0;
  for (; order[0] && order[1]; order++) n += order[0] != order[1];
  return n;
}

static void strategies(void) {
  outcome first = run_with(&(lub_sim_options){.strategy = LUB_SIM_FIRST}, false);
  CHECK("the first goes on until it ends", !strcmp(first.order, "aaaaabbbbbcccccddddd"));
  int n[4] = {0};
  for (lub_strategy strategy = LUB_SIM_RANDOM; strategy <= LUB_SIM_PCT; strategy++) {
    int different = 0;
    outcome before = first;
    for (uint64_t seed = 1; seed <= 20; seed++) {
      lub_sim_options o = {.seed = seed, .strategy = strategy, .depth = 3, .length = 20};
      outcome one = run_with(&o, seed % 2), again = run_with(&o, seed % 2);
      CHECK("one seed, one run", equal(&one, &again));
      different += strcmp(one.order, before.order) != 0;
      CHECK("other choices, another hash", one.hash != before.hash);
      n[strategy] += switches(one.order);
      before = one;
    }
    CHECK("other seeds, other runs", different > 10);
  }
  CHECK("the sticky and those with priorities switch less often",
        n[LUB_SIM_STICKY] < n[LUB_SIM_RANDOM] && n[LUB_SIM_PCT] < n[LUB_SIM_RANDOM]);
  outcome sticky = run_with(&(lub_sim_options){.seed = 3, .strategy = LUB_SIM_STICKY, .sticky = 1}, false);
  CHECK("the stickiest never leaves", switches(sticky.order) == FIBERS - 1);
}

static void prefixes(void) {
  for (uint64_t seed = 1; seed <= 10; seed++) {
    lub_sim_options o = {.seed = seed, .strategy = LUB_SIM_RANDOM};
    outcome one = run_with(&o, false);
    lub_sim_options forced = {.seed = seed, .prefix = one.taken, .nprefix = one.nchoices};
    outcome again = run_with(&forced, false);
    CHECK("its choices make the run again, whatever the strategy", equal(&one, &again));
    forced.nprefix = 4;
    again = run_with(&forced, false);
    CHECK("the first of them, its beginning", !memcmp(one.taken, again.taken, 4 * sizeof one.taken[0]));
  }
  const uint32_t wild[] = {1000000, 3, UINT32_MAX};
  outcome tame = run_with(&(lub_sim_options){.prefix = wild, .nprefix = 3}, false);
  CHECK("one that there is not is the first", tame.taken[0] == 0 && tame.taken[1] == 3);
}

static void own_choices(void) {
  lub_sim *a = open_sim(&(lub_sim_options){.seed = 9, .strategy = LUB_SIM_RANDOM});
  lub_sim *b = open_sim(&(lub_sim_options){.seed = 9, .strategy = LUB_SIM_RANDOM});
  uint32_t seen = 0;
  size_t n;
  CHECK("one of one is no choice", lub_sim_choose(a, 1) == 0 && (lub_sim_choices(a, &n), n == 0));
  for (int i = 0; i < 100; i++) {
    uint32_t taken = lub_sim_choose(a, 3);
    CHECK("the host's own come from the seed too", taken < 3 && taken == lub_sim_choose(b, 3));
    seen |= 1u << taken;
  }
  const lub_sim_choice *made = lub_sim_choices(a, &n);
  CHECK("each comes", seen == 7);
  CHECK("they are kept", n == 100 && made[99].kind == LUB_CHOOSE_OTHER && made[99].n == 3);
  CHECK("and in the hash",
        lub_sim_hash(a) == lub_sim_hash(b) && (lub_sim_choose(a, 2), lub_sim_hash(a) != lub_sim_hash(b)));
  close_sim(a, NULL);
  close_sim(b, NULL);
}

/* ---- what goes wrong ------------------------------------------------------------------------------------------------ */

static void no_end(void) {
  crew c;
  lub_sim *s = open_sim(&(lub_sim_options){.seed = 1, .strategy = LUB_SIM_PCT, .fair_after = 50});
  (void)start_crew(s, &c, false, FOR_EVER);
  CHECK("who never rests cannot settle", lub_sim_settle(s) == LUB_INVALID);
  CHECK("nor does time pass", lub_sim_pass(s, 1) == LUB_INVALID && lub_sim_now(s) == 0);
  bool all = true;
  for (int name = 'a'; name < 'a' + FIBERS; name++) all = all && strchr(c.order + 60, name);
  CHECK("but nobody starves for ever", all);
  close_sim(s, &c);
}

static void bad_options(void) {
  const lub_sim_options bad[] = {
      {.depth = 17}, {.sticky = 1.5}, {.sticky = -0.5}, {.sticky = NAN}, {.strategy = (lub_strategy)9}};
  lub_sim *s = NULL;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECK("refused", lub_sim_open(&bad[i], &s) == LUB_INVALID && !s);
}

/* Whether nothing failed: allocation n + 1, if there is one, does. */
static bool survives(long n) {
  memory mem = {.blocks = 0};
  lub_options lent = {.realloc = memory_realloc, .ud = &mem};
  const uint32_t prefix[] = {1, 1};
  lub_sim_options o = {
      .seed = 1, .strategy = LUB_SIM_RANDOM, .prefix = prefix, .nprefix = 2, .engine = &lent};
  lub_sim *s = NULL;
  crew c;
  memory_set(&mem, n, 1);
  lub_status status = lub_sim_open(&o, &s);
  size_t nchoices = 1;
  if (status == LUB_OK) {
    status = start_crew(s, &c, n % 2, STEPS);
    if (status == LUB_OK) (void)run(s);
    if (status == LUB_OK) lub_worker_drop(c.worker);
    for (int i = 0; i < 300; i++) (void)lub_sim_choose(s, 2);
    (void)lub_sim_choices(s, &nchoices);
    CHECK("it closes", lub_sim_close(s) == LUB_OK);
  }
  CHECK("it opened, or said why not", status == LUB_OK || status == LUB_NOMEM);
  CHECK("nothing leaks", atomic_load(&mem.blocks) == 0);
  return atomic_load(&mem.fail) > 0;
}

static void out_of_memory(void) {
  long n = 0;
  while (!survives(n) && n < 1000) n++;
  CHECK("each allocation has failed once", n > 10 && n < 1000);
}

int main(void) {
  at_rest();
  pass_and_settle();
  hearts();
  strategies();
  prefixes();
  own_choices();
  no_end();
  bad_options();
  out_of_memory();
  return TEST_END();
}
