/* ltime.c - now, sleep, after and tick in Lua. */
#include <math.h>
#include <string.h>

#include "llub.h"

#define LONGEST 9e9 /* seconds: 285 years */

/* ---- arguments ------------------------------------------------------------------------------------------------ */

/* A method's name begins with ':', and its self is not counted: in ch:send(v), v is argument 1. */
void lub_arg_error(lua_State *L, const char *function, int arg, const char *expected) {
  const char *got = lua_isnone(L, arg) ? "nothing" : luaL_typename(L, arg);
  bool method = *function == ':';
  if (lub_is_over(L, arg)) {
    const lworker *lw = lub_known_lworker(L);
    got = lw && !lw->closed ? "one of a sim that is over" : "one that was closed with its state";
  }
  if (lua_type(L, arg) == LUA_TNUMBER) {
    lua_pushfstring(L, "%s %s", got, luaL_tolstring(L, arg, NULL));
    got = lua_tostring(L, -1);
  }
  if (method && arg == 1) luaL_error(L, "%s: expected %s, got %s", function + 1, expected, got);
  luaL_error(L, "%s: argument %d: expected %s, got %s", function + method, arg - method, expected, got);
  abort();
}

const char *lub_push_shown(lua_State *L, int index) {
  bool quoted = lua_type(L, index) == LUA_TSTRING;
  const char *text = luaL_tolstring(L, index, NULL);
  return quoted ? lua_pushfstring(L, "'%s'", text) : text;
}

void lub_check_surplus(lua_State *L, int most, const char *function) {
  for (int i = lua_gettop(L); i > most; i--)
    if (!lua_isnil(L, i)) lub_arg_error(L, function, most + 1, "no more arguments");
}

double lub_check_seconds(lua_State *L, int arg, const char *function) {
  if (lua_type(L, arg) != LUA_TNUMBER) lub_arg_error(L, function, arg, "seconds (a number)");
  double s = lua_tonumber(L, arg);
  if (isnan(s)) lub_arg_error(L, function, arg, "seconds (a number that is not NaN)");
  return s;
}

int64_t lub_check_wait(lua_State *L, lworker *lw, int arg, const char *function) {
  int type = lua_type(L, arg), is_integer = false;
  if (type <= LUA_TNIL) return LUB_NEVER;
  if (type == LUA_TNUMBER && lua_tointegerx(L, arg, &is_integer) <= 0 && is_integer)
    return 0; /* a poll, for half of the price */
  return lub_engine_deadline(lw->core->engine, lub_check_seconds(L, arg, function));
}

int64_t lub_check_given_wait(lua_State *L, lworker *lw, int arg, const char *function) {
  int64_t deadline = lub_check_wait(L, lw, arg, function);
  lub_check_surplus(L, arg, function);
  return deadline;
}

static double check_period(lua_State *L, int arg, const char *function) {
  double s = lub_check_seconds(L, arg, function);
  if (!(s > 0)) lub_arg_error(L, function, arg, "a period (more than 0 seconds)");
  return s;
}

/* ns of s seconds, at least `least`; more than LONGEST is for ever. */
static int64_t span_ns(double s, int64_t least) {
  int64_t ns = s > LONGEST ? LUB_NEVER : s > 0 ? lub_span_ns(s) : 0;
  return ns < least ? least : ns;
}

/* ---- now and sleep -------------------------------------------------------------------------------------------- */

/* lub.now() -> seconds on the engine's clock, which never goes back. */
static int now(lua_State *L) {
  lub_check_surplus(L, 0, "now");
  lua_pushnumber(L, lub_engine_now(lub_lworker(L)->core->engine));
  return 1;
}

static int slept(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lub_status status = lub_finish(L, lub_lworker(L));
  if (status != LUB_TIMEOUT) return lub_push_reason(L, status);
  lua_pushboolean(L, 1);
  return 1;
}

/* lub.sleep(s) -> true | nil, "cancelled" */
static int sleep_for(lua_State *L) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = lub_engine_deadline(lw->core->engine, lub_check_seconds(L, 1, "sleep"));
  lub_check_surplus(L, 1, "sleep");
  lub_status refused = lub_may_wait(L, lw, &deadline);
  if (refused) return lub_push_reason(L, refused);
  if (lw->sim) lub_sim_note(L, lw, "sleep", true);
  /* a deadline of 0 is long past, and parks all the same: others have their turn first */
  if (lub_wait_sleep(&lw->running->core.wait, deadline) != LUB_PARK)
    return luaL_error(L, "sleep: not enough memory");
  return lub_park(L, lw, 0, slept);
}

/* ---- after and tick --------------------------------------------------------------------------------------------- */

static int open_tick(lua_State *L, const char *name, int64_t first_ns, int64_t period_ns) {
  lworker *lw = lub_lworker(L);
  lchan *box = lub_push_new_chan(L, LUB_VIEW_BOTH);
  if (lub_tick_open(lw->core->engine, name, first_ns, period_ns, &box->ch))
    return luaL_error(L, "%s: not enough memory", name);
  lub_own_chan(L, box);
  lub_keep_outside(L, lw, sizeof *box->ch);
  return 1;
}

/* lub.tick(s) -> a channel that receives the time every s; a slow receiver misses ticks. */
static int tick(lua_State *L) {
  int64_t period_ns = span_ns(check_period(L, 1, "tick"), 1);
  lub_check_surplus(L, 1, "tick");
  return open_tick(L, "tick", period_ns, period_ns);
}

/* A timer that runs a function. User values: a table of the function and its arguments; the fiber that waits. */
typedef struct lafter {
  const void *magic;
  bool waits;
} lafter;

static const char AFTER_MAGIC[] = "lub.after";

static lafter *test_after(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TUSERDATA || lua_rawlen(L, arg) != sizeof(lafter)) return NULL;
  lafter *t = lua_touserdata(L, arg);
  return t->magic == AFTER_MAGIC ? t : NULL;
}

static int ran(lua_State *L, int s, lua_KContext ctx) {
  (void)L;
  (void)s;
  (void)ctx;
  return 0;
}

static int run_after(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lafter *t = lua_touserdata(L, 1);
  if (lub_finish(L, lub_lworker(L)) != LUB_TIMEOUT) return 0;
  t->waits = false;
  lua_getiuservalue(L, 1, 1);
  int n = (int)lua_rawlen(L, -1), args = lua_gettop(L);
  if (lua_getfield(L, args, "n") == LUA_TNUMBER) n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, n + 4, "after: too many arguments");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, args, i);
  lua_callk(L, n - 1, 0, 0, ran);
  return 0;
}

static int after_body(lua_State *L) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = lua_tointeger(L, 2);
  lub_status refused = lub_may_wait(L, lw, &deadline);
  if (refused) return 0;
  if (lub_wait_sleep(&lw->running->core.wait, deadline) != LUB_PARK)
    return luaL_error(L, "after: not enough memory");
  return lub_park(L, lw, 0, run_after);
}

/* Starts the fiber of the timer at `index`. */
static void start_after(lua_State *L, int index, double s) {
  int64_t deadline = lub_engine_deadline(lub_lworker(L)->core->engine, s);
  lafter *t = lua_touserdata(L, index);
  lua_pushcfunction(L, lub_go);
  lua_pushcfunction(L, after_body);
  lua_pushvalue(L, index);
  lua_pushinteger(L, deadline);
  lua_call(L, 3, 1);
  lua_setiuservalue(L, index, 2);
  t->waits = true;
}

/* Whether it was still waiting. */
static bool stop_after(lua_State *L, lafter *t) {
  if (!t->waits) return false;
  t->waits = false;
  lua_getiuservalue(L, 1, 2);
  lub_fiber_kill(lub_lworker(L), lua_touserdata(L, -1), "");
  lua_pop(L, 1);
  return true;
}

static int after_stop(lua_State *L) {
  lafter *t = test_after(L, 1);
  if (!t) lub_arg_error(L, ":stop", 1, "a timer");
  lub_check_surplus(L, 1, ":stop");
  lua_pushboolean(L, stop_after(L, t));
  return 1;
}

static int after_reset(lua_State *L) {
  lafter *t = test_after(L, 1);
  if (!t) lub_arg_error(L, ":reset", 1, "a timer");
  double s = lub_check_seconds(L, 2, ":reset");
  lub_check_surplus(L, 2, ":reset");
  lua_pushboolean(L, stop_after(L, t));
  start_after(L, 1, s);
  return 1;
}

static int after_tostring(lua_State *L) {
  lafter *t = lua_touserdata(L, 1);
  lua_pushfstring(L, "timer (%s)", t->waits ? "waiting" : "not waiting");
  return 1;
}

static void push_after_metatable(lua_State *L) {
  static const luaL_Reg methods[] = {{"stop", after_stop}, {"reset", after_reset}, {NULL, NULL}};
  if (!luaL_newmetatable(L, AFTER_MAGIC)) return;
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, after_tostring);
  lua_setfield(L, -2, "__tostring");
}

/* lub.after(s) -> a channel that receives the time once.   lub.after(s, fn, ...) -> a timer that runs fn in a fiber. */
static int after(lua_State *L) {
  double s = lub_check_seconds(L, 1, "after");
  int n = lua_gettop(L);
  if (n == 1) return open_tick(L, "after", span_ns(s, 0), 0);
  if (lua_type(L, 2) != LUA_TFUNCTION) lub_arg_error(L, "after", 2, "a function");
  lafter *t = lua_newuserdatauv(L, sizeof *t, 2);
  *t = (lafter){.magic = AFTER_MAGIC};
  lua_insert(L, 1);
  lua_createtable(L, n - 1, 1);
  lua_insert(L, 3);
  for (int i = n - 1; i > 0; i--) lua_rawseti(L, 3, i);
  lua_pushinteger(L, n - 1);
  lua_setfield(L, 3, "n");
  lua_setiuservalue(L, 1, 1);
  lua_settop(L, 1);
  push_after_metatable(L);
  lua_setmetatable(L, 1);
  start_after(L, 1, s);
  return 1;
}

/* ---- stop and reset of channels --------------------------------------------------------------------------------- */

static lub_chan *check_timer(lua_State *L, const char *function) {
  lchan *box = lub_test_chan(L, 1);
  if (!box) lub_arg_error(L, function, 1, "a timer's channel");
  if (!box->ch->tick) luaL_error(L, "%s: channel '%s' has no timer", function + 1, box->ch->name);
  return box->ch;
}

/* t:stop() -> whether the timer was still running. */
static int timer_stop(lua_State *L) {
  lub_chan *ch = check_timer(L, ":stop");
  lub_check_surplus(L, 1, ":stop");
  lua_pushboolean(L, lub_tick_stop(ch));
  return 1;
}

/* t:reset(s) -> whether the timer was still running. */
static int timer_reset(lua_State *L) {
  lub_chan *ch = check_timer(L, ":reset");
  bool periodic = lub_tick_is_periodic(ch);
  double s = periodic ? check_period(L, 2, ":reset") : lub_check_seconds(L, 2, ":reset");
  lub_check_surplus(L, 2, ":reset");
  lua_pushboolean(L, lub_tick_reset(ch, span_ns(s, periodic)));
  return 1;
}

/* Adds stop and reset to the methods of the channels' metatable at the top. */
void lub_open_time(lua_State *L) {
  static const luaL_Reg methods[] = {{"stop", timer_stop}, {"reset", timer_reset}, {NULL, NULL}};
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 1);
}

const luaL_Reg lub_time_functions[] = {
    {"now", now}, {"sleep", sleep_for}, {"tick", tick}, {"after", after}, {NULL, NULL}};
