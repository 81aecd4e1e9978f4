/* sim.c - a host that tests what it has built on the engine in virtual time: scripts, a heart of its own, schedules. */
#include "host.h"

static lub_sim *open_sim(host *h, uint64_t seed, lub_strategy strategy) {
  host_init(h);
  lub_options lent = {.realloc = memory_realloc, .log = host_log, .ud = h};
  lub_sim_options o = {.seed = seed, .strategy = strategy, .engine = &lent};
  lub_sim *s = NULL;
  if (lub_sim_open(&o, &s)) abort();
  return s;
}

static bool close_sim(host *h, lub_sim *s) {
  bool closed = lub_sim_close(s) == LUB_OK;
  pthread_mutex_destroy(&h->lock);
  return closed && atomic_load(&h->mem.blocks) == 0;
}

/* ---- scripts ------------------------------------------------------------------------------------------------------ */

static void virtual_days(void) {
  host h;
  lub_sim *s = open_sim(&h, 1, LUB_SIM_RANDOM);
  lub_engine *e = lub_sim_engine(s);
  lub_chan *out = host_chan(e, 8, "out");
  lub_value got, arg = lub_of_chan(out);
  lub_worker *w = host_start(e,
                             "local lub, out = require 'lubdub', ...\n"
                             "local w = lub.spawn(function(out)\n"
                             "  for t in require 'lubdub'.tick(3600) do out:send(t) end\n"
                             "end, out)\n"
                             "lub.sleep(86400.5)\n"
                             "w:kill()\n"
                             "return 'a day'",
                             &arg, 1);
  CHECK("nothing runs before a step", lub_sim_steps(s) == 0 && lub_sim_now(s) == 0);
  CHECK("half an hour passes, and no tick comes", lub_sim_pass(s, 1800) == LUB_OK && lub_sim_now(s) == 1800 &&
                                                      lub_chan_recv(out, &got, 0) == LUB_TIMEOUT);
  CHECK("after the other half it has come",
        lub_sim_pass(s, 1800) == LUB_OK && lub_chan_recv(out, &got, 0) == LUB_OK && got.as.n == 3600);
  int hours = 1;
  while (lub_script_result(w, &got) == LUB_BUSY && lub_sim_step(s) == LUB_OK)
    while (lub_chan_recv(out, &got, 0) == LUB_OK) hours++;
  char text[512];
  CHECK("a day has 24 hours", hours == 24 && lub_sim_now(s) == 86400.5);
  lub_status status = lub_script_result(w, &got);
  (void)snprintf(text, sizeof text, "%s", status == LUB_OK ? lub_text(&got, NULL) : lub_strerror(status));
  CHECK("the script ends", !strcmp(text, "a day"));
  lub_value_drop(&got);
  lub_worker_drop(w);
  lub_chan_drop(out);
  CHECK("it closes, and leaks nothing", close_sim(&h, s));
}

/* What a script does with the sim that it runs in. */
static void from_inside(void) {
  host h;
  lub_sim *s = open_sim(&h, 1, LUB_SIM_RANDOM);
  lub_worker *w = host_start(lub_sim_engine(s),
                             "local lub, core = require 'lubdub', require 'lubdub.simcore'\n"
                             "local order = {}\n"
                             "for i = 1, 3 do lub.go(function() lub.sleep(1) order[#order + 1] = i end) end\n"
                             "assert(core.inside())\n"
                             "lub.sleep(1) core.settle()\n"
                             "assert(#order == 3 and lub.now() == 1)\n"
                             "table.sort({ 3, 1, 2 }, function(a, b) lub.sleep(1) return a < b end)\n"
                             "local c = core.choose(3)\n"
                             "return c >= 1 and c <= 3",
                             NULL, 0);
  lub_value got = {0};
  while (lub_script_result(w, &got) == LUB_BUSY && lub_sim_step(s) == LUB_OK) continue;
  CHECK("it settles, chooses, and waits where Lua cannot yield",
        lub_script_result(w, &got) == LUB_OK && got.type == LUB_BOOL && got.as.b);
  lub_worker_drop(w);
  CHECK("it closes, and leaks nothing", close_sim(&h, s));
}

/* What is left of a span may be less than a nanosecond. */
static void rests(void) {
  host h;
  lub_sim *s = open_sim(&h, 1, LUB_SIM_FIRST);
  lub_worker *w =
      host_start(lub_sim_engine(s),
                 "local lub = require 'lubdub'\n"
                 "local ch, waits = lub.chan(), 0\n"
                 "for i = 1, 1000 do\n"
                 "  local due = lub.now() + i * 0.0137\n"
                 "  while lub.now() < due do ch:recv(due - lub.now()) waits = waits + 1 end\n"
                 "  due = lub.now() + i * 0.0137\n"
                 "  while lub.now() < due do lub.after(due - lub.now()):recv() waits = waits + 1 end\n"
                 "end\n"
                 "return waits",
                 NULL, 0);
  lub_value got = {0};
  while (lub_script_result(w, &got) == LUB_BUSY && lub_sim_steps(s) < 100000) (void)lub_sim_step(s);
  CHECK("who waits for the rest of a span comes to its end",
        lub_script_result(w, &got) == LUB_OK && got.as.i >= 2000 && got.as.i < 4000);
  lub_worker_drop(w);
  CHECK("it closes, and leaks nothing", close_sim(&h, s));
}

static void errors(void) {
  host h;
  lub_sim *s = open_sim(&h, 1, LUB_SIM_FIRST);
  lub_engine *e = lub_sim_engine(s);
  lub_worker_drop(host_start(e, "error 'oh no'", NULL, 0));
  lub_worker *w = host_start(e, "local lub = require 'lubdub' lub.chan(0, 'nobody'):recv()", NULL, 0);
  lub_status status;
  while ((status = lub_sim_step(s)) == LUB_OK) continue;
  CHECK("nobody can wake it", status == LUB_DEADLOCK && lub_script_result(w, &(lub_value){0}) == LUB_BUSY);
  char *report = NULL;
  size_t n;
  FILE *out = open_memstream(&report, &n);
  lub_report_deadlock(e, out);
  (void)fclose(out);
  CHECK("the report says what it waits for", strstr(report, "recv on 'nobody'") != NULL);
  free(report);
  lub_worker_drop(w);
  lub_chan *kept = host_chan(e, 0, "kept");
  CHECK("a channel that is still out keeps the sim",
        lub_sim_close(s) == LUB_BUSY && host_logged(&h, "channel 'kept' is still referenced"));
  CHECK("an error that nobody joined was logged", host_logged(&h, "oh no"));
  lub_chan_drop(kept);
  CHECK("it closes, and leaks nothing", close_sim(&h, s));
}

/* ---- a heart of the host's ---------------------------------------------------------------------------------------- */

static double verdict_at;
static char verdicts[256];

static void on_verdict(void *ud, const lub_verdict *v) {
  (void)ud;
  verdict_at = v->h.now;
  (void)snprintf(verdicts + strlen(verdicts), sizeof verdicts - strlen(verdicts), "%s %s %.1f\n", v->h.name,
                 v->verdict, v->h.now);
}

static void own_heart(void) {
  host h;
  host_init(&h);
  lub_options lent = {.realloc = memory_realloc, .log = host_log, .verdict = on_verdict, .ud = &h};
  lub_sim_options o = {.seed = 1, .engine = &lent};
  lub_heart_options ho = {.name = "pump", .interval = 1, .limit = 3};
  lub_sim *s = NULL;
  lub_heart *heart = NULL;
  if (lub_sim_open(&o, &s) || lub_heart_open(lub_sim_engine(s), &ho, &heart)) abort();
  CHECK("hearts alone do not move the clock", lub_sim_step(s) == LUB_DEADLOCK && lub_sim_now(s) == 0);
  for (int i = 0; i < 10; i++) (void)(lub_sim_pass(s, 2), lub_beat(heart));
  CHECK("no verdict while it beats", !*verdicts && lub_sim_now(s) == 20);
  (void)lub_sim_pass(s, 10);
  CHECK("its silence is noticed after 3 s, in no time", !strcmp(verdicts, "pump dead 23.0\n"));
  (void)lub_beat(heart);
  (void)lub_sim_pass(s, 1);
  CHECK("and that it is alive again", strstr(verdicts, "pump alive 30.0\n") != NULL);
  (void)lub_heart_close(heart);
  lub_heart_drop(heart);
  CHECK("it closes, and leaks nothing", close_sim(&h, s));
}

/* ---- schedules ----------------------------------------------------------------------------------------------------- */

/* Two fibers take a number, add 1, and put it back: between the two the other may have been there. */
static const char lost_update[] = "local lub = require 'lubdub'\n"
                                  "local account, balance = lub.chan(1), 0\n"
                                  "local function pay()\n"
                                  "  local before = balance\n"
                                  "  account:send(1) account:recv()\n"
                                  "  balance = before + 1\n"
                                  "end\n"
                                  "local a, b = lub.go(pay), lub.go(pay)\n"
                                  "a:join() b:join()\n"
                                  "return balance";

typedef struct outcome {
  int64_t balance;
  uint64_t hash;
  size_t nchoices;
  uint32_t taken[256];
} outcome;

static outcome pay(const lub_sim_options *o) {
  outcome out = {0};
  lub_sim *s = NULL;
  if (lub_sim_open(o, &s)) abort();
  lub_worker *w = host_start(lub_sim_engine(s), lost_update, NULL, 0);
  lub_value got = {0};
  while (lub_script_result(w, &got) == LUB_BUSY && lub_sim_step(s) == LUB_OK) continue;
  out.balance = lub_script_result(w, &got) == LUB_OK ? got.as.i : -1;
  out.hash = lub_sim_hash(s);
  const lub_sim_choice *made = lub_sim_choices(s, &out.nchoices);
  for (size_t i = 0; i < out.nchoices && i < 256; i++) out.taken[i] = made[i].taken;
  lub_worker_drop(w);
  CHECK("the sim closes", lub_sim_close(s) == LUB_OK);
  return out;
}

static void schedules(void) {
  outcome right = pay(&(lub_sim_options){.strategy = LUB_SIM_FIRST}), found = {.balance = 2};
  CHECK("in the order of the queues all is well", right.balance == 2);
  uint64_t seed = 0;
  while (found.balance == 2 && ++seed < 1000)
    found = pay(&(lub_sim_options){.seed = seed, .strategy = LUB_SIM_RANDOM});
  CHECK("some seed finds the schedule in which a payment is lost", found.balance == 1);
  outcome again = pay(&(lub_sim_options){.seed = seed, .strategy = LUB_SIM_RANDOM});
  CHECK("the seed finds it again", again.balance == 1 && again.hash == found.hash);
  lub_sim_options forced = {.seed = seed, .prefix = found.taken, .nprefix = found.nchoices};
  CHECK("and so do its choices", pay(&forced).balance == 1);
}

int main(void) {
  virtual_days();
  from_inside();
  rests();
  errors();
  own_heart();
  schedules();
  return TEST_END();
}
