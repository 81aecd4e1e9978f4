/* heart_test.c - hearts of a host that steps its engine on a clock of its own: what the judge says, and when. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "judge.h"
#include "memory.h"
#include "test.h"

typedef struct scene {
  memory m; /* first */
  int64_t now_ns;
  char said[512]; /* "verdict@ms " ... */
  char logged[256];
  lub_engine *e;
} scene;

static int64_t scene_clock(void *ud) { return ((scene *)ud)->now_ns; }

static void on_verdict(void *ud, const lub_verdict *v) {
  scene *s = ud;
  size_t n = strlen(s->said);
  (void)snprintf(s->said + n, sizeof s->said - n, "%s@%lld ", v->verdict, (long long)(s->now_ns / 1000000));
}

static void on_log(void *ud, const char *message) {
  (void)snprintf(((scene *)ud)->logged, sizeof((scene *)ud)->logged, "%s", message);
}

static void open_scene(scene *s, bool told) {
  *s = (scene){.now_ns = 1};
  memory_set(&s->m, LONG_MAX, 0);
  lub_options o = {.carriers = -1,
                   .realloc = memory_realloc,
                   .clock = scene_clock,
                   .log = on_log,
                   .verdict = told ? on_verdict : NULL,
                   .ud = s};
  if (lub_engine_open(&o, &s->e)) abort();
}

/* Lets `ms` go by, one at a time. */
static void pass(scene *s, int ms) {
  for (int i = 0; i < ms; i++) {
    s->now_ns += 1000000;
    while (lub_engine_step(s->e, 0) == LUB_OK) continue;
  }
}

static bool said(scene *s, const char *what) {
  bool it = !strcmp(s->said, what);
  if (!it) (void)printf("said: %s\n", s->said);
  *s->said = 0;
  return it;
}

static void close_scene(scene *s) {
  CHECK("the engine closes", lub_engine_close(s->e) == LUB_OK);
  CHECK("nothing leaks", atomic_load(&s->m.blocks) == 0);
}

static lub_heart *open_heart(scene *s, lub_heart_options o) {
  lub_heart *h = NULL;
  if (lub_heart_open(s->e, &o, &h)) abort();
  return h;
}

static void end_heart(lub_heart *h) {
  (void)lub_heart_close(h);
  lub_heart_drop(h);
}

static void fixed(void) {
  scene s;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.name = "host", .interval = 0.5, .limit = 1});
  pass(&s, 1000);
  CHECK("alive while age <= limit", said(&s, ""));
  pass(&s, 1);
  CHECK("dead beyond it", said(&s, "dead@1001 "));
  pass(&s, 3000);
  CHECK("told once of a silence", said(&s, ""));
  CHECK("a beat", lub_beat(h) == LUB_OK);
  pass(&s, 1);
  CHECK("the recovery is told", said(&s, "alive@4002 "));
  for (int i = 0; i < 5; i++) {
    pass(&s, 900);
    (void)lub_beat(h);
  }
  CHECK("beats in time keep it alive", said(&s, ""));
  pass(&s, 1002);
  CHECK("another silence is told again", said(&s, "dead@9503 "));
  end_heart(h);
  close_scene(&s);
}

static const char *ladder(void *ud, const lub_snapshot *h, double *ask_again) {
  int *asked = ud;
  ++*asked;
  static const struct {
    double age;
    const char *verdict;
  } steps[] = {{0.5, "alive"}, {1, "late"}, {5, "missed"}, {INFINITY, "gone"}};
  size_t i = 0;
  while (h->age > steps[i].age) i++;
  if (steps[i].age < INFINITY) *ask_again = steps[i].age - h->age;
  return steps[i].verdict;
}

static void policies(void) {
  scene s;
  int asked = 0;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.interval = 0.5, .policy = ladder, .ud = &asked});
  pass(&s, 10000);
  CHECK("each step once, to the point", said(&s, "late@501 missed@1001 gone@5001 "));
  CHECK("it is asked at deadlines, not polled", asked < 12);
  lub_snapshot at;
  lub_heart_look(h, &at);
  CHECK("a miss is counted", at.misses == 1 && !strcmp(at.verdict, "gone"));
  (void)lub_beat(h);
  pass(&s, 1500);
  lub_heart_look(h, &at);
  CHECK("and the next", at.misses == 2);
  end_heart(h);
  close_scene(&s);
}

typedef struct doubt { /* a policy that is slow: the heart beats while it thinks, at first */
  lub_heart *h;
  int asked;
} doubt;

static const char *slow(void *ud, const lub_snapshot *h, double *ask_again) {
  doubt *d = ud;
  (void)h;
  *ask_again = LUB_FOREVER;
  if (d->asked++ == 0) (void)lub_beat(d->h);
  return "dead";
}

static void beaten_meanwhile(void) {
  scene s;
  doubt d = {0};
  open_scene(&s, true);
  d.h = open_heart(&s, (lub_heart_options){.interval = 0.5, .policy = slow, .ud = &d});
  pass(&s, 500);
  CHECK("what was said of a silence that is over is void: its policy is asked again at once, and believed",
        said(&s, "dead@500 ") && d.asked == 2);
  end_heart(d.h);
  close_scene(&s);
}

static const char *many_names(void *ud, const lub_snapshot *h, double *ask_again) {
  static char name[16];
  int *asked = ud;
  (void)h;
  *ask_again = 0.001;
  if (*asked == 64) return "dead";
  (void)snprintf(name, sizeof name, "name %d", (*asked)++);
  return name;
}

static const char *one_more(void *ud, const lub_snapshot *h, double *ask_again) {
  (void)ud;
  (void)h;
  (void)ask_again;
  return "one more";
}

static void names(void) {
  scene s;
  int asked = 0;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.interval = 0.001, .policy = many_names, .ud = &asked});
  pass(&s, 300);
  CHECK("a death is told in the silence in which 64 other verdicts were",
        strstr(s.said, "name 9@") && asked == 64 && lub_engine_deaths(s.e) == 1);
  end_heart(h);
  h = open_heart(&s, (lub_heart_options){.interval = 0.001, .policy = one_more});
  pass(&s, 5);
  CHECK("the 65th is told of", strstr(s.logged, "the verdict 'one more' counts as unknown"));
  end_heart(h);
  close_scene(&s);
}

static void spans(void) {
  scene s;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.interval = 4, .limit = 0.2});
  pass(&s, 203);
  CHECK("a limit that is shorter than the interval holds", strstr(s.said, "dead@20"));
  *s.said = 0;
  (void)lub_beat(h);
  lub_life_enter(&h->life, LUB_STATE_IDLE, s.now_ns);
  pass(&s, 500);
  lub_engine_enter(s.e, &h->life, LUB_STATE_BUSY);
  *s.said = 0;
  pass(&s, 201);
  CHECK("also when it has waited before", strstr(s.said, "dead@"));
  *s.said = 0;
  end_heart(h);
  h = open_heart(&s, (lub_heart_options){.interval = 1e-10, .limit = 1});
  pass(&s, 10);
  CHECK("an interval may be shorter than any clock tells", said(&s, ""));
  end_heart(h);
  h = open_heart(&s, (lub_heart_options){.interval = 0.1, .limit = 60, .startup = 0.3});
  lub_life_enter(&h->life, LUB_STATE_RUNNABLE, s.now_ns);
  pass(&s, 1000);
  CHECK("who waits for a CPU is not dead for want of a first beat", said(&s, ""));
  lub_life_enter(&h->life, LUB_STATE_BUSY, s.now_ns);
  pass(&s, 310);
  CHECK("but when it runs, and does not beat", strstr(s.said, "dead@"));
  end_heart(h);
  close_scene(&s);
}

static void *beat_on(void *arg) {
  for (int i = 0; i < 200000; i++) (void)lub_beat(arg);
  return NULL;
}

/* They may not; but nobody hangs for it. */
static void two_beat(void) {
  lub_options o = {.carriers = 1};
  lub_heart_options ho = {.interval = 60};
  lub_engine *e;
  lub_heart *h;
  pthread_t threads[2];
  lub_snapshot at;
  if (lub_engine_open(&o, &e) || lub_heart_open(e, &ho, &h)) abort();
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, beat_on, h);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  lub_heart_look(h, &at);
  CHECK("the figures of a heart that two have beaten at once can be read", at.samples > 0);
  end_heart(h);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

static void startup_and_failure(void) {
  scene s;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.interval = 0.1, .limit = 60, .startup = 2});
  pass(&s, 2000);
  CHECK("it may take its time to start", said(&s, ""));
  pass(&s, 2);
  CHECK("but no longer", said(&s, "dead@2001 "));
  CHECK("a heart that failed", lub_heart_fail(h, "broken") == LUB_OK);
  (void)lub_beat(h);
  pass(&s, 2);
  CHECK("says so", said(&s, "dead@2003 "));
  end_heart(h);
  h = open_heart(&s, (lub_heart_options){.interval = 0.1});
  (void)lub_heart_fail(h, "broken");
  CHECK("closed at once", lub_heart_close(h) == LUB_OK && lub_heart_fail(h, "") == LUB_CLOSED);
  lub_heart_drop(h);
  pass(&s, 2);
  CHECK("its failure is told all the same", said(&s, "dead@2005 "));
  pass(&s, 1000);
  CHECK("once", said(&s, ""));
  close_scene(&s);
}

static void pause_and_extend(void) {
  scene s;
  double granted = 0;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.interval = 0.5, .limit = 1});
  pass(&s, 500);
  (void)lub_heart_pause(h, "debugger");
  (void)lub_heart_pause(h, "and once more");
  pass(&s, 5000);
  (void)lub_heart_resume(h);
  pass(&s, 5000);
  CHECK("who is paused is not judged", said(&s, ""));
  (void)lub_heart_resume(h);
  CHECK("pauses are counted", lub_heart_resume(h) == LUB_INVALID);
  pass(&s, 500);
  CHECK("its time stood still", said(&s, ""));
  pass(&s, 2);
  CHECK("and goes on", said(&s, "dead@11001 "));
  (void)lub_beat(h);
  CHECK("it asks for more time", lub_heart_extend(h, 4, &granted) == LUB_OK && granted == 4);
  CHECK("up to ten limits", lub_heart_extend(h, 9, &granted) == LUB_OK && granted == 6);
  CHECK("not less than none", lub_heart_extend(h, -1, &granted) == LUB_INVALID);
  pass(&s, 11000);
  CHECK("it has it", said(&s, "alive@11003 "));
  pass(&s, 2);
  CHECK("and no more", said(&s, "dead@22003 "));
  (void)lub_beat(h);
  (void)lub_heart_pause(h, "forgotten");
  pass(&s, 600001);
  CHECK("a pause lapses", strstr(s.logged, "10 minutes") != NULL);
  pass(&s, 1002);
  CHECK("then it is judged again", strstr(s.said, "dead@") != NULL);
  CHECK("and may be ended late", lub_heart_resume(h) == LUB_OK);
  CHECK("but once", lub_heart_resume(h) == LUB_INVALID);
  (void)lub_heart_pause(h, "forgotten again");
  pass(&s, 600001);
  (void)lub_heart_pause(h, "in time");
  CHECK("one after it ends by itself", lub_heart_resume(h) == LUB_OK);
  (void)lub_beat(h);
  *s.said = 0;
  pass(&s, 2002);
  CHECK("and then it is judged", strstr(s.said, "dead@") != NULL);
  for (int i = 0; i < 70000; i++) (void)lub_heart_pause(h, NULL);
  for (int i = 1; i < 70000; i++) (void)lub_heart_resume(h);
  (void)lub_beat(h);
  *s.said = 0;
  pass(&s, 1100);
  CHECK("however many there are, each counts", !strstr(s.said, "dead@"));
  end_heart(h);
  close_scene(&s);
}

static void units_and_progress(void) {
  scene s;
  open_scene(&s, false);
  lub_heart *h = open_heart(&s, (lub_heart_options){.name = "w"});
  lub_value v = lub_int(7), got;
  CHECK("a unit", lub_unit(h, &v) == LUB_OK && v.type == LUB_NIL);
  pass(&s, 250);
  lub_snapshot at;
  lub_heart_look(h, &at);
  CHECK("is in flight", at.in_unit && fabs(at.unit_age - 0.25) < 1e-9 && at.units == 1);
  CHECK("it is known", lub_heart_unit(h, &got) == LUB_OK && got.as.i == 7);
  char text[200];
  memset(text, 'x', sizeof text);
  for (int i = 0; i < 3; i++) {
    CHECK("a long text", lub_string(s.e, text, sizeof text, &v) == LUB_OK);
    CHECK("is progress", lub_beat_progress(h, &v) == LUB_OK);
  }
  CHECK("of which the latest stays", lub_heart_progress(h, &got) == LUB_OK && got.type == LUB_STRING);
  lub_value_drop(&got);
  (void)lub_rest(h);
  lub_heart_figures f;
  lub_heart_count(h, &f);
  CHECK("the unit is over",
        f.units_done == 1 && fabs(f.mean_unit - 0.25) < 1e-9 && f.max_unit == f.mean_unit);
  pass(&s, 1002);
  CHECK("a death nobody watches is logged", strstr(s.logged, "heart 'w' died: busy for 1.00"));
  CHECK("and counted", lub_engine_deaths(s.e) == 1);
  (void)lub_beat(h);
  pass(&s, 1);
  CHECK("unless it comes back", lub_engine_deaths(s.e) == 0);
  CHECK("closed", lub_heart_close(h) == LUB_OK);
  CHECK("once", lub_heart_close(h) == LUB_CLOSED);
  v = lub_int(1);
  CHECK("no beat on a closed heart", lub_beat(h) == LUB_CLOSED && lub_unit(h, &v) == LUB_CLOSED &&
                                         lub_rest(h) == LUB_CLOSED && lub_beat_progress(h, &v) == LUB_CLOSED);
  lub_heart_drop(h);
  close_scene(&s);
}

/* Akka's history: {100, 200, 125, 340, 130}: mean 179, variance 7584; of the last three of 100, 110, 90, 140, 80:
 * 103.33, 688.89. */
static void statistics(void) {
  static const int all[] = {100, 200, 125, 340, 130}, some[] = {100, 110, 90, 140, 80};
  scene s;
  lub_snapshot at;
  open_scene(&s, true);
  lub_heart *h = open_heart(&s, (lub_heart_options){.window = 20, .limit = 100}),
            *few = open_heart(&s, (lub_heart_options){.window = 3, .limit = 100}),
            *run = open_heart(&s, (lub_heart_options){.limit = 100});
  (void)lub_beat(h);
  (void)lub_beat(few);
  (void)lub_beat(run);
  for (int i = 0; i < 5; i++) {
    s.now_ns += all[i] * INT64_C(1000000);
    (void)lub_beat(h);
    (void)lub_beat(run);
  }
  for (int i = 0; i < 5; i++) {
    if (i == 0) s.now_ns -= 895 * INT64_C(1000000);
    s.now_ns += some[i] * INT64_C(1000000);
    (void)lub_beat(few);
  }
  lub_heart_look(h, &at);
  CHECK("mean and deviation", fabs(at.mean - 0.179) < 1e-6 && fabs(at.sd * at.sd - 0.007584) < 1e-6);
  CHECK("least and most", fabs(at.min - 0.1) < 1e-6 && fabs(at.max - 0.34) < 1e-6 && at.samples == 5);
  lub_heart_look(run, &at);
  CHECK("without a window", fabs(at.mean - 0.179) < 1e-9 && fabs(at.sd * at.sd - 0.007584) < 1e-9);
  lub_heart_look(few, &at);
  CHECK("of a window", fabs(at.mean - 0.10333333) < 1e-6 && fabs(at.sd * at.sd - 0.00068888889) < 1e-6);
  CHECK("of a window, least and most", fabs(at.min - 0.08) < 1e-6 && fabs(at.max - 0.14) < 1e-6);
  double last[3];
  CHECK("its content",
        lub_heart_window(few, last, 3) == 3 && fabs(last[0] - 0.09) < 1e-6 && fabs(last[2] - 0.08) < 1e-6);
  for (int i = 0; i < 30000; i++) {
    s.now_ns += (i % 3 + 1) * INT64_C(1000000);
    (void)lub_beat(few);
  }
  lub_heart_look(few, &at);
  CHECK("no error grows", fabs(at.mean - 0.002) < 1e-9 && fabs(at.sd * at.sd - 2e-6 / 3) < 1e-9);
  end_heart(h);
  end_heart(few);
  end_heart(run);
  close_scene(&s);
}

static void misuse(void) {
  scene s;
  lub_heart *h = NULL;
  open_scene(&s, true);
  lub_heart_options bad[] = {
      {.interval = -1}, {.limit = NAN}, {.startup = INFINITY}, {.estimate = -0.1}, {.window = 1u << 21}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECK("spans that make no sense are refused", lub_heart_open(s.e, &bad[i], &h) == LUB_INVALID && !h);
  lub_heart_options o = {.name = "left open"};
  CHECK("a heart", lub_heart_open(s.e, &o, &h) == LUB_OK && !strcmp(lub_heart_name(h), "left open"));
  (void)lub_heart_fail(h, "unheard");
  CHECK("an engine whose heart is in use stays", lub_engine_close(s.e) == LUB_BUSY);
  CHECK("and says so", !strcmp(s.logged, "the engine cannot close: heart 'left open' is still referenced"));
  CHECK("it has closed the heart", lub_beat(h) == LUB_CLOSED && lub_heart_close(h) == LUB_CLOSED);
  lub_heart_drop(h);
  close_scene(&s);
}

static void out_of_memory(void) {
  scene s;
  int told = 0, n = 0;
  bool whole = true;
  for (lub_status status = LUB_NOMEM; status != LUB_OK; n++) {
    open_scene(&s, true);
    memory_set(&s.m, n, 1);
    lub_heart *h;
    lub_heart_options o = {.name = "a name", .window = 10};
    status = lub_heart_open(s.e, &o, &h);
    memory_set(&s.m, LONG_MAX, 0);
    told += status == LUB_NOMEM;
    if (status == LUB_OK) end_heart(h);
    (void)lub_engine_close(s.e);
    whole &= atomic_load(&s.m.blocks) == 0;
  }
  CHECK("every allocation of a heart that fails is told", told >= 4 && whole);
}

static void tell_script(lub_heart *h, const lub_verdict *v, bool watched, void *ud) {
  (void)watched;
  (void)snprintf(ud, 64, "%s: %s", v->h.name, v->verdict);
  lub_judge_told(h);
}

/* A host's heart is judged by who runs the timers: he took what a script had said of another, and told only the host. */
static void scripts(void) {
  scene s;
  char told[64] = "";
  lub_heart_options o = {.name = "scripted", .interval = 0.5};
  lub_heart *h;
  open_scene(&s, true);
  if (lub_heart_make(s.e, &o, &h)) abort();
  h->scripted = true;
  CHECK("a heart that a script judges", lub_heart_start(h, NULL) == LUB_OK);
  lub_judge *j = lub_judge_of(s.e);
  lub_worker *w, *other;
  if (lub_worker_open(s.e, "judge", false, &w) || lub_worker_open(s.e, "other", false, &other)) abort();
  CHECK("who asks", lub_duty_take(j) && !lub_duty_take(j) && lub_duty_serve(j, w, NULL) == LUB_OK);
  pass(&s, 1500);
  lub_heart *host = open_heart(&s, (lub_heart_options){.name = "host", .interval = 0.1, .limit = 0.1});
  bool misses = !lub_judge_next(j, other);
  lub_heart *next = lub_judge_next(j, w);
  CHECK("it is due for the one who serves", misses && next == h);
  lub_snapshot at;
  lub_judge_look(h, &at);
  lub_judge_hear(h, &at, "late", LUB_FOREVER, NAN);
  pass(&s, 300);
  CHECK("the host's dies meanwhile", said(&s, "dead@1601 "));
  lub_judge_settle(j, w, tell_script, told);
  CHECK("what the script said is told by its asker", !strcmp(told, "scripted: late"));
  lub_duty_answered(j, w, next);
  lub_judge_stir(h);
  pass(&s, 1);
  CHECK("it is due again", (next = lub_judge_next(j, w)) == h);
  lub_judge_stir(h);
  pass(&s, 1);
  CHECK("and meanwhile", h->due_next != NULL);
  atomic_store(&w->killed, true);
  lub_duty_answered(j, w, next);
  CHECK("one that was killed asks nothing more", !lub_judge_next(j, w));
  lub_duty_desert(j, other);
  CHECK("only he can desert", !lub_duty_take(j));
  lub_duty_desert(j, w);
  CHECK("then another may serve", lub_duty_take(j) && strstr(s.logged, "judge's worker has ended"));
  for (int i = 0; i < 2; i++) {
    lub_worker *one = i ? other : w;
    atomic_store(&one->joined, true);
    lub_worker_end(one);
    lub_worker_drop(one);
    lub_worker_drop(one);
  }
  end_heart(host);
  end_heart(h);
  close_scene(&s);
}

int main(void) {
  fixed();
  scripts();
  policies();
  beaten_meanwhile();
  names();
  spans();
  two_beat();
  startup_and_failure();
  pause_and_extend();
  units_and_progress();
  statistics();
  misuse();
  out_of_memory();
  return TEST_END();
}
