/* simulate.c - `lubdub sim`: a script in virtual time, once, from a token, or under many schedules. Which schedule a run
 * has, and the tokens, are Lua's business (lubdub.simulate), in a state of the command's own: the desk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chrome.h"
#include "command.h"
#include "sim.h"

enum { LIVELOCK = 10000000, MADE_MAX = 1 << 16, TOKEN_MAX = 1 << 12 };

/* What a run leaves, if need be in the memory of its parent. */
typedef struct outcome {
  bool over;
  uint64_t hash, nchoices;
  char token[TOKEN_MAX]; /* "": it did not come to that, or it is too long */
  lub_sim_choice made[MADE_MAX];
} outcome;

static struct {
  lua_State *desk; /* MODULE, WISH, RUN on its stack */
  lub_sim *sim;
  outcome *out;
  const char *trace;
  double time_max;
  bool many;
  double instant, cancelled; /* the clock after the last turn; when signals had the script cancelled, or -1 */
  uint32_t steps;            /* at that instant */
  int over;                  /* the exit code of a run that may not go on, or FINE */
} it;
enum { MODULE = 1, WISH, RUN };

/* Calls a function of lubdub.simulate with the values on top. */
static void ask(lua_State *L, const char *name, int nargs, int nresults) {
  lua_getfield(L, MODULE, name);
  lua_insert(L, -1 - nargs);
  lua_call(L, nargs, nresults);
}

static lua_Number field(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  lua_Number n = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

/* What at RUN says. */
static lub_status open_sim(lua_State *L) {
  static const char *const strategies[] = {"first", "random", "sticky", "pct", NULL};
  lub_options engine = lub_command_options();
  lub_sim_options o = {.engine = &engine};
  if (it.trace) engine.record = lub_chrome_event;
  lua_getfield(L, RUN, "mixed");
  o.seed = (uint64_t)lua_tointeger(L, -1);
  lua_getfield(L, RUN, "plan");
  int plan = lua_gettop(L);
  lua_getfield(L, plan, "strategy");
  o.strategy = (lub_strategy)luaL_checkoption(L, -1, NULL, strategies);
  o.sticky = field(L, plan, "sticky");
  o.depth = (uint32_t)field(L, plan, "depth");
  o.length = (uint32_t)field(L, plan, "length");
  o.prefix = lub_sim_push_prefix(L, RUN, &o.nprefix);
  lub_status status = lub_sim_open(&o, &it.sim);
  lua_settop(L, RUN);
  if (status != LUB_OK) return status;
  lub_command.engine = lub_sim_engine(it.sim);
  if (!lub_sim_attach(lub_command.engine)) return LUB_NOMEM;
  lub_sim_compute(lub_command.engine, LUB_COMPUTE);
  return LUB_OK;
}

static bool script_runs(void) { return atomic_load(&lub_command.main->fate) == LUB_ALIVE; }

static void report(const char *why) {
  (void)fflush(stdout);
  (void)fprintf(stderr, "lubdub: %s, at %.9f s of virtual time\n", why, lub_sim_now(it.sim));
  lub_report_waits(lub_command.engine, stderr);
}

static void end(lub_worker *w, void *ud) {
  (void)ud;
  lub_worker_kill(w, "it did not stop when the command was interrupted");
}

/* What the signals ask for. As in real time: who does not heed the first is killed. */
static void heed_signals(void) {
  double now = lub_sim_now(it.sim);
  if (atomic_exchange(&lub_command.report_wanted, false)) report("SIGQUIT");
  if (!atomic_load(&lub_command.interrupt)) return;
  if (it.cancelled < 0) {
    it.cancelled = now;
    lub_cancel_workers();
  } else if (now > it.cancelled + HEED) {
    lub_workers_each(lub_command.engine, end, NULL);
  }
}

static int told_why(int code, const char *format, double n) {
  char why[100];
  (void)snprintf(why, sizeof why, format, n);
  report(why);
  return code;
}

/* After each turn. */
static bool may_go_on(void) {
  double now = lub_sim_now(it.sim);
  if (it.over) return false;
  heed_signals();
  if (now != it.instant) it.steps = 0;
  it.instant = now;
  if (++it.steps > LIVELOCK)
    it.over = told_why(SCRIPT_FAILED, "livelock: %.0f steps at one instant", LIVELOCK);
  else if (now > it.time_max)
    it.over = told_why(TIMED_OUT, "the script still runs after %.9g s", it.time_max);
  return !it.over;
}

/* ... also of those that a fiber drives where Lua cannot yield: it would wait on though the script has ended. */
static bool may_drive(void) { return may_go_on() && script_runs(); }

/* Steps until the main function has ended. */
static int drive(void) {
  it.cancelled = -1;
  lub_sim_limit(lub_command.engine, may_drive);
  while (script_runs()) {
    lub_status status = lub_sim_step(it.sim);
    if (it.over || !script_runs()) break;
    if (status == LUB_DEADLOCK) return lub_tell_deadlock();
    if (!may_go_on()) break;
  }
  return it.over ? it.over : lub_tell_result();
}

/* Workers that were cancelled end by themselves, and what is known of hearts is still to be told. */
static bool is_unfinished(void) {
  return lub_has_news() || (atomic_load(&lub_command.interrupt) && lub_workers_count(lub_command.engine));
}

static void linger(void) {
  double until = lub_sim_now(it.sim) + LINGER;
  for (uint32_t steps = 0; is_unfinished() && steps < LIVELOCK; steps++)
    if (lub_sim_step(it.sim) != LUB_OK || lub_sim_now(it.sim) > until) return;
}

/* ---- what it leaves --------------------------------------------------------------------------------------------- */

/* code -> the token, or, from a token, where the run went another way */
static int write_outcome(lua_State *L) {
  bool failed = lua_toboolean(L, RUN + 1);
  size_t n;
  const lub_sim_choice *made = lub_sim_choices(it.sim, &n);
  it.out->nchoices = n;
  it.out->hash = lub_sim_hash(it.sim);
  if (it.many && made) memcpy(it.out->made, made, (n < MADE_MAX ? n : MADE_MAX) * sizeof *made);
  lua_getfield(L, WISH, "token");
  if (lua_isnil(L, -1) && !failed) return 0;
  lub_sim_push_choices(L, lub_command.engine);
  int choices = lua_gettop(L);
  lua_pushvalue(L, WISH);
  lua_pushvalue(L, choices);
  ask(L, "diverged", 2, 1);
  if (!lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, WISH);
  lua_pushvalue(L, RUN);
  lua_pushvalue(L, choices);
  ask(L, "token", 3, 1);
  (void)snprintf(it.out->token, sizeof it.out->token, "%s", lua_tostring(L, -1));
  if (strlen(it.out->token) != lua_rawlen(L, -1)) *it.out->token = 0;
  return 0;
}

/* Also called by exit, when the script does: then nobody knows whether it has failed. */
static int finish(int code) {
  lua_State *L = it.desk;
  if (!it.sim || it.out->over) return code;
  it.out->over = true;
  if (it.trace && !lub_chrome_write())
    code = lub_complain(code ? code : SCRIPT_FAILED, "cannot write the trace");
  if (!lua_checkstack(L, 8)) return code;
  lua_pushcfunction(L, write_outcome);
  lua_pushvalue(L, MODULE);
  lua_pushvalue(L, WISH);
  lua_pushvalue(L, RUN);
  lua_pushboolean(L, code != FINE);
  bool failed = lua_pcall(L, 4, 1, 0) != LUA_OK, diverged = lua_isstring(L, -1);
  if (failed || diverged) code = lub_complain(code ? code : SCRIPT_FAILED, lua_tostring(L, -1));
  lua_pop(L, 1);
  return code;
}

static void at_exit(void) { (void)finish(it.many ? SCRIPT_FAILED : FINE); }

static void print_again(lua_State *L, const char *token) {
  lua_pushvalue(L, WISH);
  lua_pushstring(L, token);
  ask(L, "again", 2, 1);
  (void)fprintf(stderr, "lubdub: to run it again: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* Pushes what this run is to be. */
static void prepare(lua_State *L, int number, uint64_t most) {
  lua_pushvalue(L, WISH);
  lua_pushinteger(L, number);
  lua_pushinteger(L, (lua_Integer)most);
  ask(L, "run", 3, 1);
}

/* The run at RUN, in this process. */
static int run_here(lua_State *L, int argc, char **argv) {
  if (it.trace && !lub_chrome_begin(it.trace)) return SCRIPT_FAILED;
  lub_status status = open_sim(L);
  if (status) return lub_complain(SCRIPT_FAILED, lub_strerror(status));
  if (it.trace) lub_chrome_watch(it.sim);
  (void)lub_handle_signals(false);
  (void)atexit(at_exit);
  lub_script s = {.path = argv[0], .name = "main"};
  int code = lub_start_script(s, argc - 1, argv + 1);
  if (code) {
    it.out->over = true;
    return code;
  }
  code = drive();
  linger();
  if (it.trace) lub_chrome_end();
  return finish(lub_end_engine(code));
}

/* ---- many runs ---------------------------------------------------------------------------------------------------- */

static void pour(FILE *from, FILE *to) {
  char block[4096];
  size_t n;
  rewind(from);
  while ((n = fread(block, 1, sizeof block, from)) > 0) (void)fwrite(block, 1, n, to);
}

static bool redirect(FILE *out, FILE *err) {
  return freopen("/dev/null", "r", stdin) && dup2(fileno(out), STDOUT_FILENO) >= 0 &&
         dup2(fileno(err), STDERR_FILENO) >= 0;
}

/* In a process of its own: what a script does to its process, other runs do not see. -1: it cannot be. */
static int run_child(lua_State *L, int argc, char **argv, FILE *out, FILE *err) {
  int status;
  (void)fflush(NULL);
  pid_t child = fork();
  if (child < 0) return -1;
  if (!child) exit(redirect(out, err) ? run_here(L, argc, argv) : SCRIPT_FAILED);
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
}

/* The same, whose output is shown if it fails. */
static int run_apart(lua_State *L, int argc, char **argv) {
  FILE *out = tmpfile(), *err = tmpfile();
  it.out->over = false;
  *it.out->token = 0;
  int code = out && err ? run_child(L, argc, argv, out, err) : -1;
  if (code < 0) code = lub_complain(SCRIPT_FAILED, strerror(errno));
  if (code && out) pour(out, stdout);
  (void)fflush(stdout);
  if (code && err) pour(err, stderr);
  if (out) (void)fclose(out);
  if (err) (void)fclose(err);
  return code;
}

static void tell_failed(lua_State *L, int code) {
  lua_pushvalue(L, WISH);
  lua_pushvalue(L, RUN);
  ask(L, "name", 2, 1);
  (void)fprintf(stderr, "lubdub: %s ended with %d\n", lua_tostring(L, -1), code);
  lua_pop(L, 1);
  if (*it.out->token) print_again(L, it.out->token);
}

static bool equal(const lub_sim_choice *a, const lub_sim_choice *b) {
  return a->kind == b->kind && a->n == b->n && a->taken == b->taken && a->fiber == b->fiber &&
         a->now_ns == b->now_ns;
}

/* The first run, made twice, must be the same. Says where it is not. */
static bool is_same(const outcome *a, const outcome *b) {
  uint64_t i = 0, most = a->nchoices < b->nchoices ? a->nchoices : b->nchoices;
  if (a->hash == b->hash && a->over == b->over) return true;
  if (most > MADE_MAX) most = MADE_MAX;
  while (i < most && equal(&a->made[i], &b->made[i])) i++;
  (void)fprintf(stderr, "lubdub: nondeterminism: two runs with one seed differ at choice %llu",
                (unsigned long long)i + 1);
  const outcome *both[] = {a, b};
  for (int k = 0; k < 2; k++) {
    const lub_sim_choice *c = &both[k]->made[i];
    if (i >= both[k]->nchoices || i >= MADE_MAX)
      (void)fputs(k ? ", then there is none" : ": there is none", stderr);
    else
      (void)fprintf(stderr, "%s: %u of %u by fiber %llu at %.9f s", k ? ", then" : "", c->taken + 1, c->n,
                    (unsigned long long)c->fiber, (double)c->now_ns / 1e9);
  }
  (void)fputs("\nhint: it depends on something that is not the sim's: a file, the real time, an address\n",
              stderr);
  return false;
}

static int run_many(lua_State *L, int runs, int argc, char **argv) {
  uint64_t most = 0;
  int first = FINE, failed = 0;
  outcome *before = NULL;
  for (int i = 1; i <= runs; i++) {
    prepare(L, i, most);
    int code = run_apart(L, argc, argv);
    if (code) tell_failed(L, code);
    if (i == 1 && !code && (before = malloc(sizeof *before))) {
      memcpy(before, it.out, sizeof *before);
      code = run_apart(L, argc, argv);
      if (!is_same(before, it.out) && !code) code = SCRIPT_FAILED;
      free(before);
    }
    if (it.out->nchoices > most) most = it.out->nchoices;
    failed += code != FINE;
    if (!first) first = code;
    lua_settop(L, WISH);
    if (code == SIGNALLED + SIGINT || code == SIGNALLED + SIGTERM) return code;
  }
  (void)fprintf(stderr, "lubdub: %d of %d runs failed\n", failed, runs);
  return first;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

typedef struct line {
  int argc, code;
  char **argv;
} line;

static int simulate(lua_State *L) {
  line *l = lua_touserdata(L, 1);
  lua_settop(L, 0);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lub_preload(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lubdub.simulate");
  lua_call(L, 1, 1);
  lua_replace(L, MODULE);
  lua_createtable(L, l->argc, 0);
  for (int i = 0; i < l->argc; i++) {
    lua_pushstring(L, l->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  ask(L, "read", 1, 2);
  if (lua_isnil(L, WISH)) {
    l->code = lub_complain(USAGE, lua_tostring(L, -1));
    return 0;
  }
  lua_settop(L, WISH);
  int at = (int)field(L, WISH, "first") - 1, runs = (int)field(L, WISH, "runs");
  it.time_max = field(L, WISH, "time");
  it.many = runs > 1;
  lua_getfield(L, WISH, "trace");
  it.trace = lua_tostring(L, -1); /* which the table keeps */
  lua_settop(L, WISH);
  if (it.many) {
    l->code = run_many(L, runs, l->argc - at, l->argv + at);
    return 0;
  }
  prepare(L, 1, 0);
  l->code = run_here(L, l->argc - at, l->argv + at);
  if (l->code && *it.out->token) print_again(L, it.out->token);
  return 0;
}

int lub_simulate(int argc, char **argv) {
  line l = {.argc = argc, .argv = argv};
  lua_State *L = it.desk = luaL_newstate();
  it.out = mmap(NULL, sizeof *it.out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!L || it.out == MAP_FAILED) return lub_complain(SCRIPT_FAILED, lub_strerror(LUB_NOMEM));
  luaL_openlibs(L);
  lua_pushcfunction(L, simulate);
  lua_pushlightuserdata(L, &l);
  if (lua_pcall(L, 1, 0, 0)) return lub_complain(SCRIPT_FAILED, lua_tostring(L, -1));
  return l.code;
}
