/* lsim.c - lubdub.simcore: one run of a sim, whose body is a fiber of the calling state; what scripts may do in one. The
 * rest of `require "lubdub.sim"` is in Lua. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lguard.h"
#include "lsimstate.h"
#include "sim.h"

#define HOUR_NS 3600000000000
#define GUARD 10.0 /* seconds of real time without a turn */
enum { LIVELOCK = 100000, POINTS_MAX = 500000, STEPS_MAX = 1000000 };

typedef struct born { /* a fiber: its name is its parent's, and which of its children it is */
  uint32_t parent, ordinal, children;
} born;

typedef struct lsim {
  lub_sim *sim;
  lub_engine *engine;
  lworker *outer, *body;
  lua_State *L;   /* of the body, in which the sim was started */
  lub_chan *rest; /* who waits for the others to settle receives from it */
  born *fibers;   /* [nfibers] by id */
  size_t nfibers;
  lub_sim_watcher watcher;
  bool (*limit)(void);
  int slice;         /* instructions */
  FILE *log, *trace; /* what the engine logs; a line for each operation, or NULL */
  bool trace_all;    /* also for what a fiber was about to do when another was chosen */
  char *log_text, *trace_text;
  size_t log_size, trace_size;
  uint64_t step_max, points_max;
  int64_t time_max_ns, stall_ns;
  struct {
    int64_t instant_ns, woke_ns; /* the clock; when the body ran last, or was sure to */
    uint64_t instant_steps, steps;
  } pace;
  int64_t instant_ns; /* of the last point */
  uint64_t points;    /* at that instant, of at most points_max */
  const char *why;    /* the run ended, or may not go on */
  char *left;         /* what leaked, where it waited for what Lua cannot yield for; or NULL */
  lfaults *faults;
  lsimstate state;
  lguard guard;
} lsim;

static lsim *sim_of(const lworker *lw) { return lub_sim_binding(lw->core->engine->sim); }

lsimstate *lub_sim_state(const lworker *lw) { return &sim_of(lw)->state; }
bool lub_sim_has_body(const lworker *lw) { return sim_of(lw)->body; }
lguard *lub_sim_guard(const lworker *lw) { return &sim_of(lw)->guard; }

static lsim *check_sim(lua_State *L, const char *function) {
  lworker *lw = lub_lworker(L);
  if (!lw->sim) luaL_error(L, "%s: not inside a sim", function);
  return sim_of(lw);
}

/* ---- names of fibers ----------------------------------------------------------------------------------------- */

static bool make_room(lsim *s, size_t id) {
  if (id < s->nfibers) return true;
  size_t n = id * 2 + 64;
  born *grown = realloc(s->fibers, n * sizeof *grown);
  if (!grown) return false;
  memset(grown + s->nfibers, 0, (n - s->nfibers) * sizeof *grown);
  s->fibers = grown;
  s->nfibers = n;
  return true;
}

void lub_sim_born(lua_State *L, lworker *lw, const lfiber *f) {
  lsim *s = sim_of(lw);
  size_t id = f->core.wait.id, parent = s->engine->turns.current;
  if (lw->guest) lub_intern(L, lw, -1, f); /* to be found when the sim ends */
  if (!make_room(s, id > parent ? id : parent)) return;
  s->fibers[id].parent = (uint32_t)parent;
  s->fibers[id].ordinal = ++s->fibers[parent].children;
}

/* "P" for the body, "P.2.1" for the first child of its second. */
static void print_name(const lsim *s, FILE *out, uint64_t id) {
  if (id >= s->nfibers || !s->fibers[id].parent) {
    (void)fputc('P', out);
    return;
  }
  print_name(s, out, s->fibers[id].parent);
  (void)fprintf(out, ".%u", s->fibers[id].ordinal);
}

static int push_name(lua_State *L, const lsim *s, uint64_t id) {
  char *text = NULL;
  size_t n = 0;
  FILE *out = open_memstream(&text, &n);
  if (!out) return luaL_error(L, "not enough memory");
  print_name(s, out, id);
  (void)fclose(out);
  lua_pushlstring(L, text, n);
  free(text);
  return 1;
}

static void tell_operation(lua_State *L, const lworker *lw, const char *function, bool done) {
  const lub_sim_watcher *watcher = &sim_of(lw)->watcher;
  const lchan *box = lub_test_chan(L, 1);
  lua_Debug ar;
  char place[LUA_IDSIZE + 16] = "?";
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline < 0) continue;
    (void)snprintf(place, sizeof place, "%s:%d", ar.short_src, ar.currentline);
    break;
  }
  watcher->operation(watcher->ud, lw->running->core.wait.id, done ? function + (*function == ':') : "",
                     done && box ? lub_chan_name(box->ch) : "", place);
}

void lub_sim_note(lua_State *L, lworker *lw, const char *function, bool done) {
  lsim *s = sim_of(lw);
  lua_Debug ar;
  if (s->watcher.operation) tell_operation(L, lw, function, done);
  if (!s->trace || (!done && !s->trace_all)) return;
  (void)fprintf(s->trace, "%lld\t", (long long)lub_sim_now_ns(s->sim));
  print_name(s, s->trace, lw->running->core.wait.id);
  const lchan *box = lub_test_chan(L, 1);
  (void)fprintf(s->trace, "\t%s\t%s%s\t%s", lw->core->name, done ? "" : "~", function + (*function == ':'),
                box ? lub_chan_name(box->ch) : "");
  const char *place = "\t?";
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline < 0 || strncmp(ar.source, "@lubdub.", 8) == 0) continue; /* C, or the Lua half */
    (void)fprintf(s->trace, "\t%s:%d", ar.short_src, ar.currentline);
    place = "";
    break;
  }
  (void)fprintf(s->trace, "%s\n", place);
}

/* A fiber that asks again and again may be the only one that is ready: it never leaves, no step ends. */
bool lub_sim_tired(lworker *lw) {
  lsim *s = sim_of(lw);
  int64_t now_ns = lub_sim_now_ns(s->sim);
  if (now_ns != s->instant_ns) s->points = 0;
  s->instant_ns = now_ns;
  return ++s->points > s->points_max;
}

void lub_sim_watch(lub_engine *e, const lub_sim_watcher *watcher) {
  lsim *s = lub_sim_binding(e->sim);
  s->watcher = *watcher;
  e->turns.watch = watcher->turn;
  e->turns.watch_ud = watcher->ud;
}

/* Who computes is seen the second time that it is looked at. */
void lub_sim_compute(lub_engine *e, double per_second) {
  double count = per_second * (LUB_SLICE_NS / 2e9);
  ((lsim *)lub_sim_binding(e->sim))->slice = count < 1 ? 1 : count > INT_MAX ? INT_MAX : (int)count;
}

int lub_sim_slice(const lworker *lw) { return lw->sim ? sim_of(lw)->slice : 0; }

void lub_sim_print_name(lub_engine *e, FILE *out, uint64_t fiber) {
  print_name(lub_sim_binding(e->sim), out, fiber);
}

static const char ERRORS[] = "lub.sim.error";

void lub_sim_failed(lworker *lw, lua_State *co) {
  (void)lw;
  lua_pushvalue(co, -1);
  lua_setfield(co, LUA_REGISTRYINDEX, ERRORS);
}

/* ---- a host's sim: its scripts have workers of their own, and no body ---- */

/* Wakes who waits for the others. */
static bool at_rest(void *binding) {
  lsim *s = binding;
  if (s->faults && lub_deliver_signs(s->faults)) return true;
  if (s->faults && !lub_invariants_hold(s->faults, s->body)) return true; /* it ends here */
  lub_value v = lub_bool(true);
  return s->rest && lub_chan_send(s->rest, &v, 0) == LUB_OK;
}

static void detach(void *binding) {
  lsim *s = binding;
  if (s->rest) lub_chan_drop(s->rest);
  if (s->faults) lub_end_faults(NULL, s->faults);
  lub_sim_state_close(&s->state);
  free(s->fibers);
  free(s);
}

bool lub_sim_attach(lub_engine *e) {
  if (lub_sim_binding(e->sim)) return true;
  lsim *s = calloc(1, sizeof *s);
  if (!s) return false;
  *s = (lsim){.sim = e->sim, .engine = e, .points_max = POINTS_MAX};
  lub_sim_set_binding(s->sim, s, detach);
  lub_sim_at_rest(s->sim, at_rest);
  return true;
}

/* ---- one run --------------------------------------------------------------------------------------------------- */

static void engine_log(void *ud, const char *message) {
  static const char waiting[] = "waiting for ";
  lsim *s = ud;
  const lub_options *outer = &s->outer->core->engine->opts;
  /* this may last for ever: whoever sits before it must know now */
  if (!strncmp(message, waiting, sizeof waiting - 1) && outer->log) outer->log(outer->ud, message);
  if (s->log) (void)fprintf(s->log, "%s\n", message);
}

/* The body has returned: the clock stands, what can still run does, and who is frozen would be for ever. */
static void begin_rest(lsim *s) {
  lub_sim_heal(s->sim);
  lub_sim_stop_clock(s->sim, true);
}

bool lub_sim_idle(lworker *lw) {
  lsim *s = sim_of(lw);
  bool returned = s->body && s->body->main->ended;
  if (returned) begin_rest(s);
  if (s->body && s->body->failed) return false;
  if (lub_sim_go_on(s->sim)) return true;
  if (!returned) return false;
  s->why = "leaked"; /* who drives is killed for it */
  s->left = lub_report_text(s->engine);
  return true;
}

lfaults **lub_sim_faults(const lworker *lw) { return &sim_of(lw)->faults; }

static lua_Integer option_integer(lua_State *L, const char *name, lua_Integer none) {
  lua_Integer n = none;
  if (lua_getfield(L, 2, name) != LUA_TNIL) {
    int exact;
    n = lua_tointegerx(L, -1, &exact);
    if (!exact || lua_type(L, -1) != LUA_TNUMBER)
      luaL_error(L, "sim: %s: expected an integer, got %s", name, luaL_tolstring(L, -1, NULL));
  }
  lua_pop(L, 1);
  return n;
}

static double option_number(lua_State *L, const char *name, double none) {
  double n = none;
  if (lua_getfield(L, 2, name) != LUA_TNIL) {
    n = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0))
      luaL_error(L, "sim: %s: expected a number, not negative, got %s", name, luaL_tolstring(L, -1, NULL));
  }
  lua_pop(L, 1);
  return n;
}

const uint32_t *lub_sim_push_prefix(lua_State *L, int table, size_t *n) {
  *n = 0;
  if (lua_getfield(L, table, "prefix") != LUA_TTABLE) return NULL;
  *n = lua_rawlen(L, -1);
  uint32_t *prefix = lua_newuserdatauv(L, (*n + 1) * sizeof *prefix, 0);
  for (size_t i = 0; i < *n; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i + 1);
    prefix[i] = (uint32_t)lua_tointeger(L, -1) - 1;
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
  return prefix;
}

static void open_sim(lua_State *L, lsim *s) {
  static const char *const strategies[] = {"first", "random", "sticky", "pct", NULL};
  lub_options engine = {.log = engine_log, .ud = s};
  lub_sim_options o = {.seed = (uint64_t)option_integer(L, "seed", 1), .engine = &engine};
  lua_getfield(L, 2, "strategy");
  o.strategy = (lub_strategy)luaL_checkoption(L, -1, "random", strategies);
  lua_pop(L, 1);
  o.sticky = option_number(L, "sticky", 0);
  o.depth = (uint32_t)option_integer(L, "depth", 0);
  o.length = (uint32_t)option_integer(L, "length", 0);
  int faults = lua_getfield(L, 2, "faults");
  o.no_faults =
      faults != LUA_TNIL && (!lua_toboolean(L, -1) || (faults == LUA_TNUMBER && lua_tonumber(L, -1) == 0));
  lua_pop(L, 1);
  s->step_max = (uint64_t)option_integer(L, "steps", STEPS_MAX);
  s->points_max = (uint64_t)option_integer(L, "points", POINTS_MAX);
  s->time_max_ns = (int64_t)(option_number(L, "time", 30 * 24 * 3600.0) * 1e9);
  s->stall_ns = (int64_t)(option_number(L, "stall", 3600) * 1e9);
  o.prefix = lub_sim_push_prefix(L, 2, &o.nprefix);
  lub_status status = lub_sim_open(&o, &s->sim);
  lua_pop(L, 1);
  if (status != LUB_OK) luaL_error(L, "sim: %s", lub_strerror(status));
  s->engine = lub_sim_engine(s->sim);
  lub_sim_set_binding(s->sim, s, NULL);
  lub_sim_at_rest(s->sim, at_rest);
  s->log = open_memstream(&s->log_text, &s->log_size);
  s->trace_all = lua_getfield(L, 2, "trace") == LUA_TSTRING; /* "all" */
  if (lua_toboolean(L, -1)) s->trace = open_memstream(&s->trace_text, &s->trace_size);
  lua_getfield(L, 2, "strict");
  s->state.strict = lua_toboolean(L, -1);
  lua_pop(L, 2);
  double compute = option_number(L, "compute", 0);
  if (compute > 0) lub_sim_compute(s->engine, compute);
  double guard = option_number(L, "guard", GUARD);
  lub_guard_open(&s->guard, guard, s->outer->core->engine->opts.preempt_signal);
}

/* At index 1 the function, then options. */
static void begin_body(lua_State *L, lsim *s) {
  if (lub_lworker_open_guest(s->engine, s->outer, L, &s->body)) luaL_error(L, "sim: not enough memory");
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lfiber *f = lub_fiber_new(L, s->body, co, 0);
  f->main = true;
  s->body->main = f;
  lub_fiber_inbox(&f->core);
  lub_worker_start(s->body->core);
  /* the handle stays on the stack: the results lie in it when it has ended */
}

static bool body_waits_for_ever(const lsim *s) {
  const lub_wait *w = &s->body->main->core.wait;
  return w->parked && !w->armed;
}

/* After each turn, also of those that a fiber drives where Lua cannot yield: whether the run may go on. */
static bool may_go_on(lsim *s, bool body_ran) {
  int64_t now_ns = lub_sim_now_ns(s->sim);
  if (now_ns != s->pace.instant_ns) {
    s->pace.instant_ns = now_ns;
    s->pace.instant_steps = 0;
  }
  if (body_ran || !body_waits_for_ever(s)) s->pace.woke_ns = now_ns;
  if (s->why) return false;
  if (++s->pace.instant_steps > LIVELOCK || s->points > s->points_max) s->why = "livelock";
  else if (++s->pace.steps > s->step_max || now_ns > s->time_max_ns) s->why = "budget";
  else if (now_ns - s->pace.woke_ns > s->stall_ns) s->why = "stalled";
  return !s->why;
}

bool lub_sim_may_drive(const lworker *lw) {
  lsim *s = sim_of(lw);
  if (s->body) return may_go_on(s, false);
  return !s->limit || s->limit();
}

void lub_sim_limit(lub_engine *e, bool (*goes_on)(void)) {
  lsim *s = lub_sim_binding(e->sim);
  s->limit = goes_on;
}

/* Steps until the body has returned, or cannot. */
static const char *run_body(lsim *s) {
  const lworker *lw = s->body;
  uint64_t body = lw->main->core.wait.id;
  s->pace.instant_ns = -1;
  while (!lw->main->ended && !lw->failed) {
    lub_status status = lub_sim_step(s->sim);
    if (s->guard.over) return "hog";
    if (s->why || lw->main->ended || lw->failed) break;
    if (status == LUB_DEADLOCK) return "deadlock";
    if (status == LUB_FOREIGN) return "foreign";
    if (!may_go_on(s, s->engine->turns.current == body)) break;
  }
  return s->why;
}

static const char *run_rest(lsim *s) {
  begin_rest(s);
  for (uint64_t i = 0; i < LIVELOCK; i++)
    if (s->points > s->points_max) break;
    else if (lub_sim_step(s->sim) != LUB_OK) return s->why;
  return "livelock";
}

static void count_worker(lub_worker *w, void *ud) {
  const lworker *lw = w->data;
  size_t *n = ud;
  if (strcmp(w->name, "judge") != 0 && !(lw->guest && lub_list_empty(&w->fibers))) ++*n;
}

static size_t count_left(lsim *s) {
  size_t n = 0;
  lub_workers_each(s->engine, count_worker, &n);
  return n;
}

static void push_text(lua_State *L, FILE **stream, char **text, const size_t *n, const char *name) {
  if (!*stream) return;
  (void)fclose(*stream);
  *stream = NULL;
  lua_pushlstring(L, *text ? *text : "", *text ? *n : 0);
  lua_setfield(L, -2, name);
}

/* result.text: what every fiber does. */
static void set_report(lua_State *L, lsim *s) {
  char *text = NULL;
  size_t n = 0;
  FILE *out = open_memstream(&text, &n);
  if (!out) return;
  if (lub_sim_foreign(s->sim))
    (void)fprintf(out, "foreign: thread '%s' used what belongs to this sim, from outside\n",
                  lub_sim_foreign(s->sim));
  if (s->guard.report) (void)fprintf(out, "%s\n", s->guard.report);
  if (s->left) (void)fprintf(out, "%s\n", s->left);
  else lub_report_waits(s->engine, out);
  (void)fclose(out);
  lua_pushlstring(L, text, n);
  free(text);
  lua_setfield(L, -2, "report");
}

static void set_results(lua_State *L, lsim *s, int handle) {
  const lfiber *f = s->body->main;
  if (f->nvalues > 1) {
    lua_getiuservalue(L, handle, 1);
  } else {
    lua_createtable(L, 1, 1);
    lua_getiuservalue(L, handle, 1);
    if (f->nvalues == 1) lua_rawseti(L, -2, 1);
    else lua_pop(L, 1);
  }
  lua_pushinteger(L, f->nvalues);
  lua_setfield(L, -2, "n");
  lua_setfield(L, -2, "values");
}

static void set_error(lua_State *L, lsim *s) {
  size_t n;
  const char *text = lub_text(&s->body->result, &n);
  lua_getfield(L, LUA_REGISTRYINDEX, ERRORS);
  lua_setfield(L, -2, "error");
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, ERRORS);
  if (text) lua_pushlstring(L, text, n);
  else lua_pushliteral(L, "not enough memory");
  lua_setfield(L, -2, "traceback");
}

/* result.choices: kinds, ns and taken (from 1), fibers by name, times. */
static void set_choices(lua_State *L, lsim *s) {
  static const char *const kinds[] = {"fiber", "switch", "timer", "case", "other", "fault"};
  size_t n;
  const lub_sim_choice *made = lub_sim_choices(s->sim, &n);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_createtable(L, 0, 5);
    lua_pushstring(L, kinds[made[i].kind]);
    lua_setfield(L, -2, "kind");
    lua_pushinteger(L, made[i].n);
    lua_setfield(L, -2, "n");
    lua_pushinteger(L, (lua_Integer)made[i].taken + 1);
    lua_setfield(L, -2, "taken");
    push_name(L, s, made[i].fiber);
    lua_setfield(L, -2, "fiber");
    lua_pushinteger(L, made[i].now_ns);
    lua_setfield(L, -2, "at");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "choices");
}

void lub_sim_push_choices(lua_State *L, lub_engine *e) {
  lua_createtable(L, 0, 1);
  set_choices(L, lub_sim_binding(e->sim));
  lua_getfield(L, -1, "choices");
  lua_remove(L, -2);
}

/* result.choices, for who makes many runs: of each a byte for the kind and, little-endian, 32 bits for n and for what was
 * taken (from 0). */
static void set_packed_choices(lua_State *L, lsim *s) {
  size_t n;
  const lub_sim_choice *made = lub_sim_choices(s->sim, &n);
  luaL_Buffer b;
  unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, n * 9);
  for (size_t i = 0; i < n; i++) {
    *out++ = (unsigned char)made[i].kind;
    for (int bit = 0; bit < 32; bit += 8) *out++ = (unsigned char)(made[i].n >> bit);
    for (int bit = 0; bit < 32; bit += 8) *out++ = (unsigned char)(made[i].taken >> bit);
  }
  luaL_pushresultsize(&b, n * 9);
  lua_setfield(L, -2, "choices");
}

/* opts.choices: true; "failed": only of a run that has; "packed". */
static void set_wanted_choices(lua_State *L, lsim *s, bool failed) {
  static const char *const words[] = {"failed", "packed", NULL};
  size_t n;
  (void)lub_sim_choices(s->sim, &n);
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, "nchoices");
  bool word = lua_getfield(L, 2, "choices") == LUA_TSTRING;
  bool packed = word && luaL_checkoption(L, -1, NULL, words) == 1;
  bool wanted = word ? failed && !packed : lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (packed) set_packed_choices(L, s);
  else if (wanted) set_choices(L, s);
}

/* fn, opts, what the state is to get back, the sim (light) -> the outcome */
static int run_protected(lua_State *L) {
  lsim *s = lua_touserdata(L, 4);
  lua_settop(L, 3);
  open_sim(L, s);
  begin_body(L, s);
  lub_sim_enter_state(L, s->body, 3);
  int handle = lua_gettop(L);
  s->why = run_body(s);
  lub_here = s->body;
  bool failed = s->body->failed;
  if (!s->why && !failed) s->why = run_rest(s);
  lub_here = s->body;
  failed = failed || s->body->failed;
  (void)lub_engine_complain(s->engine, true);
  if ((!s->why || s->left) && !failed && lub_engine_failures(s->engine)) s->why = "failed";
  if (!s->why && !failed && count_left(s)) s->why = "leaked";
  if (!s->why && !failed && lub_sim_foreign(s->sim)) s->why = "foreign";
  if (!s->why && !failed && s->body->main->killed) s->why = "killed";
  if (s->guard.over) {
    s->why = "hog";
    failed = false;
  }
  lua_createtable(L, 0, 12);
  if (failed) set_error(L, s);
  else if (!s->why) set_results(L, s, handle);
  if (s->why) set_report(L, s);
  lua_pushstring(L, failed ? "error" : s->why);
  lua_setfield(L, -2, "why");
  lua_pushnumber(L, lub_sim_now(s->sim));
  lua_setfield(L, -2, "now");
  lua_pushinteger(L, (lua_Integer)lub_sim_steps(s->sim));
  lua_setfield(L, -2, "steps");
  lua_pushinteger(L, (lua_Integer)lub_sim_hash(s->sim));
  lua_setfield(L, -2, "hash");
  set_wanted_choices(L, s, failed || s->why);
  lub_sim_push_uncontrolled(L, &s->state);
  lua_setfield(L, -2, "uncontrolled");
  push_text(L, &s->log, &s->log_text, &s->log_size, "log");
  push_text(L, &s->trace, &s->trace_text, &s->trace_size, "trace");
  return 1;
}

/* False: something still uses its engine, which stays. */
static bool end_sim(lsim *s) {
  bool closed = true;
  while (s->sim && lub_gate_await(s->engine)) continue; /* those who promised something use the engine */
  if (s->faults) {
    lub_end_faults(s->body, s->faults);
    s->faults = NULL;
  }
  if (s->body) lub_lworker_end_guest(s->body, s->outer);
  if (s->rest) lub_chan_drop(s->rest);
  if (s->sim) closed = lub_sim_close(s->sim) == LUB_OK;
  if (s->log) (void)fclose(s->log);
  if (s->trace) (void)fclose(s->trace);
  free(s->left);
  free(s->log_text);
  free(s->trace_text);
  free(s->fibers);
  lub_sim_state_close(&s->state);
  lub_here = s->outer;
  return closed;
}

/* simcore.run(fn, opts) -> outcome */
static int run(lua_State *L) {
  lworker *outer = lub_lworker(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (outer->sim) return luaL_error(L, "sim: this is inside a sim already: sims do not nest");
  lub_require(L, LUA_LOADLIBNAME); /* a lazy state opens all of its libraries: the body shares them */
  lua_pop(L, 1);
  lsim s = {.outer = outer, .L = L};
  lua_State *innermost = outer->innermost;
  lub_worker *current = lub_worker_current();
  lua_createtable(L, LUB_SAVED_MAX, 0);
  lua_pushcfunction(L, run_protected);
  for (int i = 1; i <= 3; i++) lua_pushvalue(L, i);
  lua_pushlightuserdata(L, &s);
  int status = lua_pcall(L, 4, 1, 0);
  bool closed = end_sim(&s);
  bool late = s.guard.over && status == LUA_OK && (!s.why || strcmp(s.why, "hog") != 0);
  if (late) { /* a handler ran for ever when all were closed */
    lua_pushliteral(L, "hog");
    lua_setfield(L, -2, "why");
    lua_pushstring(L, s.guard.report);
    lua_setfield(L, -2, "report");
  }
  lub_guard_close(&s.guard);
  lua_pushcfunction(L, lub_sim_leave_state);
  lua_pushvalue(L, 3);
  (void)lua_pcall(L, 1, 0, 0);
  lub_worker_set_current(current);
  outer->innermost = innermost;
  if (status != LUA_OK) return lua_error(L);
  if (!closed) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "referenced");
  }
  return 1;
}

/* ---- inside one ---------------------------------------------------------------------------------------------------- */

static int settled(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lub_status outcome = lub_finish(L, lw);
  return outcome == LUB_OK ? 0 : lub_push_reason(L, outcome);
}

/* simcore.settle(): waits until nobody else can run at this instant. */
static int settle(lua_State *L) {
  lsim *s = check_sim(L, "settle");
  lworker *lw = lub_lworker(L);
  int64_t deadline = LUB_NEVER;
  lub_value v;
  lub_fiber *f = &lw->running->core;
  if (!s->rest && lub_chan_open(s->engine, 0, "settle", &s->rest))
    return luaL_error(L, "settle: not enough memory");
  lub_chan_lock(s->rest);
  bool busy = !lub_list_empty(&s->rest->recvq);
  lub_chan_unlock(s->rest);
  if (busy) return luaL_error(L, "settle: already in progress, by another fiber");
  (void)lub_may_wait(L, lw, &deadline);
  lub_status status = lub_wait_recv(&f->wait, &f->one, s->rest, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, 0, settled);
  return status == LUB_OK ? 0 : lub_push_reason(L, status);
}

/* simcore.choose(n) -> 1 to n, a choice of the run's */
static int choose(lua_State *L) {
  lsim *s = check_sim(L, "choose");
  lua_Integer n = luaL_checkinteger(L, 1);
  if (n < 1 || n > UINT32_MAX) lub_arg_error(L, "choose", 1, "a number of choices (1 to 2^32 - 1)");
  lua_pushinteger(L, (lua_Integer)lub_sim_choose(s->sim, (uint32_t)n) + 1);
  return 1;
}

/* simcore.inside() -> whether this is inside a sim */
static int inside(lua_State *L) {
  lua_pushboolean(L, lub_lworker(L)->sim);
  return 1;
}

/* simcore.jump(s): moves the clock, without a sleep. */
static int jump(lua_State *L) {
  lsim *s = check_sim(L, "jump");
  lub_sim_jump(s->sim, (int64_t)(lub_check_seconds(L, 1, "jump") * 1e9));
  return 0;
}

int luaopen_lubdub_simcore(lua_State *L) {
  static const luaL_Reg functions[] = {{"run", run},       {"settle", settle}, {"choose", choose},
                                       {"inside", inside}, {"jump", jump},     {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
