/* ltrial.c - lubdub.trial: a heart without a life, in an engine without threads, on a clock that is told: for back-tests
 * of policies on recorded beats. The statistics and the ages are the judge's own. */
#include <math.h>
#include <string.h>

#include "llub.h"

#define LONGEST 3e8 /* seconds */

typedef struct trial {
  lub_engine *engine;
  lub_heart *heart;
  int64_t now_ns;
} trial;

static const char TYPE[] = "lub.trial";

static int64_t told_clock(void *ud) { return ((trial *)ud)->now_ns; }

static void *memory(void *ud, void *block, size_t nbytes) {
  (void)ud;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

static trial *check_trial(lua_State *L) {
  trial *t = luaL_checkudata(L, 1, TYPE);
  if (!t->heart) luaL_error(L, "the trial was closed");
  return t;
}

/* Moves the clock to the time at argument 1. */
static trial *at_time(lua_State *L, const char *function) {
  trial *t = check_trial(L);
  double s = lub_check_seconds(L, 2, function);
  int64_t ns = (int64_t)llround(s * 1e9) + 1; /* 0 is no time for a heart */
  if (!(s >= 0) || s > LONGEST || ns < t->now_ns)
    lub_arg_error(L, function, 2, "a time that is not before the last, at most 3e8");
  t->now_ns = ns;
  return t;
}

static int beat(lua_State *L) {
  (void)lub_beat(at_time(L, ":beat")->heart);
  return 0;
}

static int unit(lua_State *L) {
  trial *t = at_time(L, ":unit");
  lub_value id = lua_isnoneornil(L, 3) ? lub_bool(true) : lub_pack(L, 3, "argument 2");
  if (lub_unit(t->heart, &id) == LUB_OK) return 0;
  lub_value_drop(&id);
  return luaL_error(L, "unit: not enough memory");
}

static int rest(lua_State *L) {
  (void)lub_rest(at_time(L, ":rest")->heart);
  return 0;
}

static int park(lua_State *L) {
  static const char *const states[] = {"idle", "blocked_send", NULL};
  trial *t = at_time(L, ":park");
  lub_state s = luaL_checkoption(L, 3, "idle", states) ? LUB_STATE_BLOCKED_SEND : LUB_STATE_IDLE;
  lub_life_enter(&t->heart->life, s, t->now_ns);
  return 0;
}

static int wake(lua_State *L) {
  trial *t = at_time(L, ":wake");
  lub_life_enter(&t->heart->life, LUB_STATE_BUSY, t->now_ns);
  return 0;
}

static int look(lua_State *L) {
  trial *t = at_time(L, ":look");
  lub_snapshot at;
  lub_heart_look(t->heart, &at);
  lua_pushvalue(L, 1);
  lub_push_snapshot(L, t->heart, &at);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1); /* the trial lives as long as its snapshots */
  return 1;
}

static void tell_nobody(lub_heart *h, const lub_verdict *v, bool watched, void *ud) {
  (void)v;
  (void)watched;
  (void)ud;
  lub_judge_told(h);
}

/* t:suspect(verdict): what the policy said of the silence that is */
static int suspect(lua_State *L) {
  trial *t = check_trial(L);
  const char *verdict = luaL_checkstring(L, 2);
  lub_snapshot at;
  lub_judge_look(t->heart, &at);
  lub_judge_hear(t->heart, &at, verdict, LUB_FOREVER, NAN);
  lub_judge_settle(t->engine->judge, NULL, tell_nobody, NULL);
  return 0;
}

static int trial_gc(lua_State *L) {
  trial *t = luaL_checkudata(L, 1, TYPE);
  if (t->heart) {
    (void)lub_heart_close(t->heart);
    lub_heart_drop(t->heart);
  }
  if (t->engine) (void)lub_engine_close(t->engine);
  t->heart = NULL;
  t->engine = NULL;
  return 0;
}

static double field(lua_State *L, const char *name, double most) {
  double n = 0;
  if (lua_getfield(L, 1, name) != LUA_TNIL) {
    n = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0) || n > most)
      luaL_error(L, "trial: %s: expected a number from 0 to %f, got %s", name, most,
                 luaL_tolstring(L, -1, NULL));
  }
  lua_pop(L, 1);
  return n;
}

/* trial.new{name=, interval=, limit=, window=, estimate=} */
static int new_trial(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "name");
  lub_heart_options h = {.name = luaL_optstring(L, 2, "trial"),
                         .interval = field(L, "interval", LONGEST),
                         .limit = field(L, "limit", LONGEST),
                         .estimate = field(L, "estimate", LONGEST),
                         .window = (uint32_t)field(L, "window", LUB_WINDOW_MAX)};
  trial *t = lua_newuserdatauv(L, sizeof *t, 0);
  *t = (trial){.now_ns = 1};
  luaL_setmetatable(L, TYPE);
  lub_options o = {.carriers = -1, .realloc = memory, .clock = told_clock, .ud = t};
  if (lub_engine_open(&o, &t->engine) || lub_heart_open(t->engine, &h, &t->heart))
    return luaL_error(L, "trial: not enough memory");
  return 1;
}

int luaopen_lubdub_trial(lua_State *L) {
  static const luaL_Reg methods[] = {{"beat", beat}, {"unit", unit}, {"rest", rest},       {"park", park},
                                     {"wake", wake}, {"look", look}, {"suspect", suspect}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"new", new_trial}, {NULL, NULL}};
  if (!lub_known_lworker(L))
    luaL_requiref(L, "lubdub", luaopen_lubdub, 0); /* values cross in a worker only */
  luaL_newmetatable(L, TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, trial_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, functions);
  return 1;
}
