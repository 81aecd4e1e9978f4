/* hearts.c - a C application with a heart for a thread of its own: beats from C, a policy in Lua, verdicts by callback. */
#include <stdatomic.h>
#include <stdlib.h>

#include "host.h"

static atomic_int dead, alive;
static char first_reason[128], first_state[16];

static void on_verdict(void *ud, const lub_verdict *v) {
  (void)ud;
  if (!strcmp(v->verdict, "dead")) {
    if (!atomic_load(&dead))
      (void)snprintf(first_state, sizeof first_state, "%s", lub_state_name(v->h.state));
    if (!atomic_load(&dead)) (void)snprintf(first_reason, sizeof first_reason, "%s", v->reason);
    atomic_fetch_add(&dead, 1);
  } else if (!strcmp(v->verdict, "alive")) {
    atomic_fetch_add(&alive, 1);
  }
}

static void until(atomic_int *what, int n) {
  while (atomic_load(what) < n) sched_yield();
}

typedef struct beater {
  lub_heart *heart;
  atomic_bool stop;
  int beats;
} beater;

static void *beat_on(void *arg) {
  beater *b = arg;
  while (!atomic_load(&b->stop)) {
    b->beats += lub_beat(b->heart) == LUB_OK;
    sched_yield();
  }
  return NULL;
}

static const char policy[] =
    "return function(opts)\n"
    "  if opts.limit <= 0 then error('limit: expected seconds above 0, got ' .. opts.limit, 0) end\n"
    "  return function(h)\n"
    "    if h.age <= opts.limit then return 'alive', opts.limit - h.age end\n"
    "    return 'dead'\n"
    "  end, { window = 16 }\n"
    "end\n";

static void write_script(char *path, const char *text) {
  int fd = mkstemp(path);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
  if (!f || fputs(text, f) < 0 || fclose(f)) abort();
}

static void judged_by_script(lub_engine *e, const char *path) {
  lub_heart_options o = {.name = "thread", .interval = 0.02};
  beater b = {0};
  lub_value error;
  pthread_t t;
  lub_snapshot at;
  CHECK("a heart with a policy in Lua",
        lub_heart_open_judged(e, &o, path, "{ limit = 0.1 }", &b.heart, &error) == LUB_OK);
  if (!b.heart) abort();
  pthread_create(&t, NULL, beat_on, &b);
  for (int i = 0; i < 1000; i++) lub_heart_look(b.heart, &at);
  atomic_store(&b.stop, true);
  pthread_join(t, NULL);
  until(&dead, 1);
  CHECK("its silence is told", !strcmp(first_state, "busy") && !*first_reason);
  CHECK("it beats again", lub_beat(b.heart) == LUB_OK);
  until(&alive, 1);
  lub_heart_look(b.heart, &at);
  CHECK("what the policy wanted to know is known", at.samples <= 16 && at.beats == (uint64_t)b.beats + 1);
  CHECK("it fails by its own word", lub_heart_fail(b.heart, "disk") == LUB_OK);
  until(&dead, 2);
  CHECK("closed", lub_heart_close(b.heart) == LUB_OK && lub_beat(b.heart) == LUB_CLOSED);
  lub_heart_drop(b.heart);
}

/* The same in a sim: when each verdict comes is known to the nanosecond. */
static char told[256];

static void tell(void *ud, const lub_verdict *v) {
  (void)ud;
  size_t n = strlen(told);
  (void)snprintf(told + n, sizeof told - n, "%s %.2f ", v->verdict, v->h.now);
}

static void in_virtual_time(const char *path) {
  lub_options lent = {.verdict = tell};
  lub_sim_options so = {.seed = 1, .engine = &lent};
  lub_heart_options o = {.name = "sim", .interval = 0.02};
  lub_heart *h = NULL;
  lub_value error;
  lub_sim *s = NULL;
  if (lub_sim_open(&so, &s)) abort();
  CHECK("a heart in a sim, with a policy in Lua",
        lub_heart_open_judged(lub_sim_engine(s), &o, path, "{ limit = 0.1 }", &h, &error) == LUB_OK);
  if (!h) abort();
  for (int i = 0; i < 20; i++) (void)(lub_beat(h), lub_sim_pass(s, 0.1));
  CHECK("no verdict while it beats, though only just", !*told && lub_sim_now(s) == 2);
  (void)(lub_beat(h), lub_sim_pass(s, 1));
  CHECK("then its silence is told", !strcmp(told, "dead 2.10 "));
  (void)(lub_beat(h), lub_sim_pass(s, 0.05));
  CHECK("and that it beats again", !strcmp(told, "dead 2.10 alive 3.00 "));
  (void)(lub_heart_fail(h, "disk"), lub_sim_settle(s));
  CHECK("it fails by its own word, at once", !strcmp(told, "dead 2.10 alive 3.00 dead 3.05 "));
  (void)lub_heart_close(h);
  lub_heart_drop(h);
  CHECK("the sim closes", lub_sim_close(s) == LUB_OK);
}

static bool says(const lub_value *error, const char *what) {
  size_t n;
  const char *text = lub_text(error, &n);
  return text && strstr(text, what);
}

static void refused(lub_engine *e, const char *path) {
  lub_heart *h = NULL;
  lub_value error;
  CHECK("options that the policy refuses",
        lub_heart_open_judged(e, NULL, path, "{ limit = 0 }", &h, &error) == LUB_FAILED &&
            says(&error, "limit: expected seconds above 0"));
  lub_value_drop(&error);
  CHECK("a policy that is not there",
        lub_heart_open_judged(e, NULL, "no/such.lua", NULL, &h, &error) == LUB_FAILED &&
            says(&error, "no/such.lua"));
  lub_value_drop(&error);
  CHECK("options that are no table",
        lub_heart_open_judged(e, NULL, path, "7", &h, &error) == LUB_FAILED && says(&error, "a table"));
  lub_value_drop(&error);
  lub_heart_options bad = {.interval = -1};
  CHECK("a bad interval", lub_heart_open_judged(e, &bad, path, "{ limit = 1 }", &h, &error) == LUB_INVALID &&
                              error.type == LUB_NIL);
}

/* Each heart has a policy of its own, which is asked: its verdict is awaited. */
static const char one_after_the_other[] =
    "local lub = require 'lubdub'\n"
    "local count, script = (...):match '(%d+) ?(.*)'\n"
    "for i = 1, count do\n"
    "  local policy = script ~= '' and script or function() return 'late', i end\n"
    "  local h = lub.heart { interval = 1e-5, policy = policy, policy_opts = { i = i } }\n"
    "  local verdicts = h:verdicts()\n"
    "  h:beat() -- a verdict that came before anybody listened comes again\n"
    "  assert(verdicts:recv(9).verdict == 'late')\n"
    "  h:close()\n"
    "end\n";

/* Blocks that are out when so many hearts have been opened and closed. */
static long blocks_after(host *hs, lub_engine *e, int hearts, const char *script) {
  char what[128], text[512];
  lub_value arg;
  (void)snprintf(what, sizeof what, "%d %s", hearts, script);
  if (lub_string(e, what, strlen(what), &arg)) abort();
  CHECK("hearts one after the other", host_end(host_start(e, one_after_the_other, &arg, 1), text) == LUB_OK);
  return atomic_load(&hs->mem.blocks);
}

/* The judge once kept every policy until the engine ended, some ten blocks each. */
static void policies_go(void) {
  host hs;
  char path[] = "/tmp/lubdub-policy-XXXXXX";
  write_script(path, "return function(o) return function() return 'late', o.i end end");
  lub_engine *e = host_open(&hs, 2);
  long few = blocks_after(&hs, e, 100, ""), many = blocks_after(&hs, e, 3000, "");
  CHECK("the judge lets go of functions that no heart has", many < few + 3000);
  few = blocks_after(&hs, e, 100, path);
  many = blocks_after(&hs, e, 3000, path);
  CHECK("and of scripts", many < few + 3000);
  (void)remove(path);
  CHECK("the judge's worker ends", lub_engine_end_workers(e, LONG) == LUB_OK);
  CHECK("all memory is given back", host_close(&hs, e));
}

int main(void) {
  lub_engine *e;
  char path[] = "/tmp/lubdub-policy-XXXXXX";
  lub_options o = {.carriers = 2, .verdict = on_verdict};
  write_script(path, policy);
  if (lub_lua_engine_open(&o, &e)) abort();
  judged_by_script(e, path);
  in_virtual_time(path);
  refused(e, path);
  (void)remove(path);
  policies_go();
  CHECK("the judge's worker ends", lub_engine_end_workers(e, 10) == LUB_OK);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  return TEST_END();
}
