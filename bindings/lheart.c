/* lheart.c - hearts in Lua: lub.heart, and what a handle can do; the judge's figures. */
#include <math.h>
#include <string.h>

#include "llub.h"
#include "lubdub_lua.h"

#define LONGEST 3e8 /* seconds: ten years */

static const char HEART_MAGIC[] = "lub.heart";

typedef struct heart_box {
  const void *magic;
  lub_heart *heart; /* one reference */
  bool interned;    /* it was put into the worker's handles */
} heart_box;

/* ---- handles -------------------------------------------------------------------------------------------- */

lub_heart *lub_test_heart(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TUSERDATA || lua_rawlen(L, arg) != sizeof(heart_box)) return NULL;
  heart_box *box = lua_touserdata(L, arg);
  return box->magic == HEART_MAGIC ? box->heart : NULL;
}

lub_heart *lub_check_heart(lua_State *L, const char *function) {
  lub_heart *h = lub_test_heart(L, 1);
  if (!h) lub_arg_error(L, function, 1, "a heart");
  return h;
}

static int heart_gc(lua_State *L) {
  heart_box *box = lua_touserdata(L, 1);
  lworker *lw = lub_known_lworker(L);
  if (!lub_test_heart(L, 1)) return 0; /* closed, or a script has called it */
  if (box->interned && lw) lub_forget(L, lw, box->heart);
  lub_heart_drop(box->heart);
  box->heart = NULL;
  return 0;
}

/* The handle on top, if it is a heart's, whose sim is over. */
void lub_disown_heart(lua_State *L) {
  heart_box *box = lua_touserdata(L, -1);
  if (!lub_test_heart(L, -1)) return;
  lub_heart_drop(box->heart);
  *box = (heart_box){.magic = LUB_OVER_MAGIC};
}

static void open_heart(lua_State *L);

static heart_box *push_box(lua_State *L) {
  heart_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (heart_box){.magic = HEART_MAGIC};
  open_heart(L);
  lua_setmetatable(L, -2);
  return box;
}

void lub_intern_heart(lua_State *L, int index, const lub_heart *h) {
  heart_box *box = lua_touserdata(L, index);
  if (box->interned) return;
  lub_intern(L, lub_lworker(L), index, h);
  box->interned = true;
}

void lub_push_heart(lua_State *L, lub_heart *h) {
  if (lub_push_interned(L, lub_lworker(L), h)) return;
  heart_box *box = push_box(L);
  lub_intern_heart(L, -1, h);
  lub_heart_ref(h);
  box->heart = h;
}

/* ---- signs of life ----------------------------------------------------------------------------------------- */

static int push_done(lua_State *L, lub_status status) {
  if (status == LUB_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (status == LUB_NOMEM) return luaL_error(L, "heart: not enough memory");
  return lub_push_reason(L, status);
}

/* A progress that cannot cross leaves the one before; it is told once. */
static int pack_progress(lua_State *L) {
  *(lub_value *)lua_touserdata(L, 2) = lub_pack(L, 1, "argument 1");
  return 0;
}

static bool take_progress(lua_State *L, lub_heart *h, lub_value *out) {
  lworker *lw = lub_lworker(L);
  lua_pushcfunction(L, pack_progress);
  lua_pushvalue(L, 2);
  lua_pushlightuserdata(L, out);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return true;
  const lub_options *o = &lw->core->engine->opts;
  if (lub_heart_lose_progress(h) && o->log) {
    lua_pushfstring(L, "heart '%s': a progress is lost, the one before stays: %s", lub_heart_name(h),
                    lua_tostring(L, -1));
    o->log(o->ud, lua_tostring(L, -1));
  }
  return false;
}

lub_status lub_give_sign(lub_heart *h, lub_sign sign, lub_value *v) {
  if (sign == LUB_SIGN_UNIT) return lub_unit(h, v);
  if (sign == LUB_SIGN_REST) return lub_rest(h);
  return v ? lub_beat_progress(h, v) : lub_beat(h);
}

/* Gives a sign of life, with what it says, which is freed, or NULL. In a sim it may be lost, or late. */
static int give(lua_State *L, lub_heart *h, lub_sign sign, lub_value *v) {
  lworker *lw = lub_lworker(L);
  if (lw->sim && lub_fault_sign(lw, h, sign, v)) return push_done(L, LUB_OK);
  lub_status status = lub_give_sign(h, sign, v);
  if (status != LUB_OK && v) lub_value_drop(v);
  return push_done(L, status);
}

/* heart:beat([progress]) -> true | nil, "closed" */
static int heart_beat(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, heart_beat, ":beat");
  lub_heart *h = lub_check_heart(L, ":beat");
  int n = lua_gettop(L);
  if (n == 1 || (n == 2 && lua_isnil(L, 2))) return give(L, h, LUB_SIGN_BEAT, NULL);
  lub_check_surplus(L, 2, ":beat");
  lub_value v;
  return give(L, h, LUB_SIGN_BEAT, take_progress(L, h, &v) ? &v : NULL);
}

/* heart:unit([id]) -> true | nil, "closed" */
static int heart_unit(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, heart_unit, ":unit");
  lub_heart *h = lub_check_heart(L, ":unit");
  lub_value id;
  int type = lua_type(L, 2);
  lub_check_surplus(L, 2, ":unit");
  if (type == LUA_TNONE || type == LUA_TNIL) {
    lub_units *u = atomic_load(&h->units);
    id = lub_int(u ? (int64_t)atomic_load(&u->count) + 1 : 1);
  } else if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN) {
    id = lub_pack(L, 2, "argument 1");
  } else {
    lub_arg_error(L, ":unit", 2, "an id (a string, number or boolean)");
  }
  return give(L, h, LUB_SIGN_UNIT, &id);
}

/* heart:rest() -> true | nil, "closed" */
static int heart_rest(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, heart_rest, ":rest");
  lub_heart *h = lub_check_heart(L, ":rest");
  lub_check_surplus(L, 1, ":rest");
  return give(L, h, LUB_SIGN_REST, NULL);
}

/* ---- who listens --------------------------------------------------------------------------------------------- */

static int push_ear(lua_State *L, const char *function, lub_status (*get)(lub_heart *h, lub_chan **out)) {
  lub_heart *h = lub_check_heart(L, function);
  lub_chan *ch;
  lub_check_surplus(L, 1, function);
  if (get(h, &ch)) return luaL_error(L, "%s: not enough memory", function + 1);
  lub_value v = lub_of_object(&ch->obj, LUB_VIEW_RECV);
  lub_chan_drop(ch);
  lub_take(L, &v);
  return 1;
}

/* heart:pulses() -> a channel of what it does; the newest wins */
static int heart_pulses(lua_State *L) { return push_ear(L, ":pulses", lub_heart_pulses); }
/* heart:verdicts() -> a channel of verdicts */
static int heart_verdicts(lua_State *L) { return push_ear(L, ":verdicts", lub_heart_verdicts); }

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* The times of the last beats, newest last, as far as the statistics look back. */
static void push_last(lua_State *L, lub_heart *h, double last) {
  size_t n;
  double *all = lub_push_intervals(L, h, &n);
  lua_createtable(L, (int)n + 1, 0);
  for (size_t i = n + 1; last > 0 && i > 0; i--) {
    lua_pushnumber(L, last);
    lua_rawseti(L, -2, (lua_Integer)i);
    if (i > 1) last -= all[i - 2];
  }
  lua_remove(L, -2);
}

/* heart:stats() -> what it has done so far */
static int heart_stats(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":stats");
  lub_snapshot at;
  lub_heart_figures f;
  lub_check_surplus(L, 1, ":stats");
  lub_heart_look(h, &at);
  lub_heart_count(h, &f);
  lua_createtable(L, 0, 28);
  set_integer(L, "beats", at.beats);
  set_integer(L, "units", at.units);
  set_integer(L, "samples", at.samples);
  set_integer(L, "misses", at.misses);
  set_integer(L, "pulses", f.pulses);
  set_integer(L, "lost", f.lost);
  lub_set_number(L, "mean", at.mean);
  lub_set_number(L, "sd", at.sd);
  lub_set_number(L, "min", at.min);
  lub_set_number(L, "max", at.max);
  lub_set_number(L, "mean_unit", f.mean_unit);
  lub_set_number(L, "max_unit", f.max_unit);
  lub_set_number(L, "excused", f.excused);
  lub_set_number(L, "extended", f.extended);
  for (int i = 0; i < LUB_STATES; i++) lub_set_number(L, lub_state_name((lub_state)i), f.spent[i]);
  lua_pushstring(L, at.verdict);
  lua_setfield(L, -2, "verdict");
  if (at.in_unit) {
    lub_push_value_of(L, h, lub_heart_unit);
    lua_setfield(L, -2, "unit");
    lub_set_number(L, "unit_age", at.unit_age);
  }
  push_last(L, h, f.last_beat);
  lua_setfield(L, -2, "last");
  return 1;
}

static int heart_state(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":state");
  lub_snapshot at;
  lub_check_surplus(L, 1, ":state");
  lub_heart_look(h, &at);
  lua_pushstring(L, lub_state_name(at.state));
  return 1;
}

/* heart:progress() -> a copy of the latest | nil */
static int heart_progress(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":progress");
  lub_check_surplus(L, 1, ":progress");
  lub_push_value_of(L, h, lub_heart_progress);
  return 1;
}

static int heart_name(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":name");
  lub_check_surplus(L, 1, ":name");
  lua_pushstring(L, lub_heart_name(h));
  return 1;
}

static int heart_tostring(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":tostring");
  lub_snapshot at;
  lub_heart_look(h, &at);
  lua_pushfstring(L, "heart '%s' (%s, %s)", at.name, lub_state_name(at.state), at.verdict);
  return 1;
}

/* ---- steering it ----------------------------------------------------------------------------------------------- */

/* heart:fail([why]): "dead" at once */
static int heart_fail(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":fail");
  return push_done(L, lub_heart_fail(h, lub_check_why(L, 2, ":fail")));
}

/* heart:pause([why]), heart:resume(): counted */
static int heart_pause(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":pause");
  return push_done(L, lub_heart_pause(h, lub_check_why(L, 2, ":pause")));
}

static int heart_resume(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":resume");
  lub_check_surplus(L, 1, ":resume");
  lub_status status = lub_heart_resume(h);
  if (status == LUB_INVALID) return luaL_error(L, "resume: heart '%s' is not paused", lub_heart_name(h));
  return push_done(L, status);
}

/* heart:extend(s) -> the seconds granted */
static int heart_extend(lua_State *L) {
  lub_heart *h = lub_check_heart(L, ":extend");
  double s = lub_check_seconds(L, 2, ":extend"), granted;
  lub_check_surplus(L, 2, ":extend");
  if (s < 0 || s > LONGEST) lub_arg_error(L, ":extend", 2, "seconds (from 0 to 3e8)");
  lub_status status = lub_heart_extend(h, s, &granted);
  if (status != LUB_OK) return push_done(L, status);
  lua_pushnumber(L, granted);
  return 1;
}

/* heart:close() -> true | nil, "closed" */
static int heart_close(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, heart_close, ":close");
  lub_heart *h = lub_check_heart(L, ":close");
  lub_check_surplus(L, 1, ":close");
  return push_done(L, lub_heart_close(h));
}

/* local heart <close> = lub.heart{…} */
static int heart_leave(lua_State *L) {
  (void)lub_heart_close(lub_check_heart(L, "__close"));
  return 0;
}

/* Pushes the hearts' metatable. */
static void open_heart(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"beat", heart_beat},     {"unit", heart_unit},         {"rest", heart_rest},
      {"pulses", heart_pulses}, {"verdicts", heart_verdicts}, {"stats", heart_stats},
      {"state", heart_state},   {"progress", heart_progress}, {"name", heart_name},
      {"fail", heart_fail},     {"pause", heart_pause},       {"resume", heart_resume},
      {"extend", heart_extend}, {"close", heart_close},       {NULL, NULL}};
  if (!luaL_newmetatable(L, HEART_MAGIC)) return;
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, heart_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, heart_leave);
  lua_setfield(L, -2, "__close");
  lua_pushliteral(L, "lub.heart");
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, heart_tostring);
  lua_setfield(L, -2, "__tostring");
}

/* ---- lub.heart ------------------------------------------------------------------------------------------------- */

static _Noreturn void bad_option(lua_State *L, const char *name, const char *expected) {
  luaL_error(L, "heart: %s: expected %s, got %s", name, expected, lub_push_shown(L, -1));
  abort();
}

/* Seconds above 0; 0 without the option. */
static double option_span(lua_State *L, const char *name) {
  double s = 0;
  if (lua_getfield(L, 1, name) != LUA_TNIL) {
    s = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(s > 0) || s > LONGEST)
      bad_option(L, name, "seconds (above 0, at most 3e8)");
  }
  lua_pop(L, 1);
  return s;
}

static void read_window(lua_State *L, lub_heart_options *o) {
  if (lua_getfield(L, 1, "window") != LUA_TNIL) {
    int exact;
    lua_Integer n = lua_tointegerx(L, -1, &exact);
    if (!exact || lua_type(L, -1) != LUA_TNUMBER || n < 0 || n > LUB_WINDOW_MAX)
      bad_option(L, "window", "a number of intervals (an integer from 0 to 2^20)");
    o->window = (uint32_t)n;
  }
  lua_pop(L, 1);
}

static void check_names(lua_State *L) {
  static const char *const known[] = {"name",  "interval", "interval_opts", "policy",   "policy_opts",
                                      "limit", "startup",  "window",        "estimate", "members"};
  lua_pushnil(L);
  while (lub_next(L, lub_lworker(L), 1)) {
    bool ok = false;
    for (size_t i = 0; i < sizeof known / sizeof *known && lua_type(L, -2) == LUA_TSTRING; i++)
      ok = ok || !strcmp(lua_tostring(L, -2), known[i]);
    if (!ok) luaL_error(L, "heart: unknown option '%s'", luaL_tolstring(L, -2, NULL));
    lua_pop(L, 1);
  }
}

/* Its heart is closed, or never was. */
static void leave_own(void *binding) {
  lheart *own = binding;
  if (own->left) return;
  own->left = true;
  lub_policy_leave(own->policy);
  lub_policy_leave(own->pulse);
}

static void free_own(void *binding) {
  lheart *own = binding;
  if (!own) return;
  leave_own(own);
  lub_policy_drop(own->policy);
  lub_policy_drop(own->pulse);
  for (uint32_t i = 0; i < own->nmembers; i++) lub_heart_drop(own->members[i]);
  lub_free(own->mem, own);
}

static lheart *make_own(lua_State *L, size_t nmembers) {
  const lub_allocator *mem = &lub_lworker(L)->core->engine->mem;
  lheart *own = lub_alloc(mem, sizeof *own + nmembers * sizeof *own->members);
  if (!own) luaL_error(L, "heart: not enough memory");
  *own = (lheart){.mem = mem};
  return own;
}

/* Most hearts have nothing of their own. What one has is held at index 2 until it hangs on the heart: an error frees it,
 * at once, for the state may outlive the engine (that of a sim's body does). */
enum { OWN = 2 };

static int guard_close(lua_State *L) {
  lheart **guard = lua_touserdata(L, 1);
  free_own(*guard);
  *guard = NULL;
  return 0;
}

static lheart *own_of(lua_State *L, size_t nmembers) {
  lheart **guard = lua_touserdata(L, OWN);
  if (guard) return *guard;
  guard = lua_newuserdatauv(L, sizeof *guard, 0);
  *guard = NULL;
  if (luaL_newmetatable(L, "lub.heart.own")) {
    lua_pushcfunction(L, guard_close);
    lua_setfield(L, -2, "__close");
  }
  lua_setmetatable(L, -2);
  lua_replace(L, OWN);
  lua_toclose(L, OWN);
  return *guard = make_own(L, nmembers);
}

static lheart *take_own(lua_State *L) {
  lheart **guard = lua_touserdata(L, OWN), *own = guard ? *guard : NULL;
  if (guard) *guard = NULL;
  return own;
}

static void read_members(lua_State *L) {
  if (lua_getfield(L, 1, "members") != LUA_TNIL) {
    if (!lua_istable(L, -1)) bad_option(L, "members", "a table of hearts");
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    if (n < 1 || n > 100000)
      luaL_error(L, "heart: members: expected 1 to 100000 hearts, got %I", (LUAI_UACINT)n);
    lheart *own = own_of(L, (size_t)n);
    for (lua_Integer i = 1; i <= n; i++) {
      lua_rawgeti(L, -1, i);
      lub_heart *h = lub_test_heart(L, -1);
      if (!h)
        luaL_error(L, "heart: members: expected a heart at %I, got %s", (LUAI_UACINT)i, luaL_typename(L, -1));
      lub_heart_ref(h);
      own->members[own->nmembers++] = h;
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* ---- scripts of options: before the rest is read, since they may run for long ---- */

/* Two: each takes five places of the stack, from SCRIPTS on: the option, its options, then what lub_policy_make pushes. */
enum { SCRIPTS = OWN + 1, PLACES = 5 };

static const char *const script_names[][2] = {{"policy", "policy_opts"}, {"interval", "interval_opts"}};

static bool is_script(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TFUNCTION || lua_type(L, index) == LUA_TSTRING;
}

/* Pushes the n-th, and its options. Whether there is one: an interval may be a number. */
static bool push_script(lua_State *L, lua_KContext n) {
  const char *name = script_names[n][0], *opts = script_names[n][1];
  lua_getfield(L, 1, name);
  if (lua_getfield(L, 1, opts) != LUA_TNIL && !lua_istable(L, -1)) bad_option(L, opts, "a table");
  if (is_script(L, -2)) return true;
  if (!lua_isnil(L, -2) && (n == 0 || lua_type(L, -2) != LUA_TNUMBER)) {
    lua_pop(L, 1);
    bad_option(L, name, "a function or the path of a script");
  }
  return false;
}

static int watch_heart(lua_State *L);

/* n of them are made. */
static int make_scripts(lua_State *L, int status, lua_KContext n) {
  while (status == LUA_OK || status == LUA_YIELD) {
    if (n == sizeof script_names / sizeof *script_names) return watch_heart(L);
    int at = lua_gettop(L) + 1;
    bool any = push_script(L, n++);
    if (any) status = lub_policy_make(L, at, at + 1, script_names[n - 1][0], n, make_scripts);
    else lua_settop(L, at + PLACES - 1);
  }
  return lub_policy_unmade(L, script_names[n - 1][0]);
}

static lpolicy *script_of(lua_State *L, int n, lub_heart_options *wants) {
  int at = SCRIPTS + n * PLACES;
  return is_script(L, at) ? lub_policy_of(L, at + 2, at + 1, script_names[n][0], wants) : NULL;
}

static void take_scripts(lua_State *L, lub_heart_options *o) {
  if (!is_script(L, SCRIPTS) && !is_script(L, SCRIPTS + PLACES)) return;
  lheart *own = own_of(L, 0);
  own->policy = script_of(L, 0, o);
  own->pulse = script_of(L, 1, NULL);
}

/* ---- opening ---- */

static void read_options(lua_State *L, lub_heart_options *o) {
  if (lua_getfield(L, 1, "name") != LUA_TNIL && lua_type(L, -1) != LUA_TSTRING)
    bad_option(L, "name", "a string");
  o->name = lua_tostring(L, -1); /* the table holds it */
  lua_pop(L, 1);
  int type = lua_getfield(L, 1, "interval");
  lua_pop(L, 1);
  if (type != LUA_TFUNCTION && type != LUA_TSTRING) o->interval = option_span(L, "interval");
  o->limit = option_span(L, "limit");
  o->startup = option_span(L, "startup");
  read_members(L);
  take_scripts(L, o);
  double estimate = option_span(L, "estimate");
  if (estimate > 0) o->estimate = estimate;
  read_window(L, o);
}

/* Gives h what is its own. LUB_NOMEM: that is freed. */
static lub_status hang(lub_heart *h, lheart *own) {
  h->scripted = true;
  if (!own) return LUB_OK;
  h->pulse_scripted = own->pulse != NULL;
  h->group = own->nmembers > 0;
  if (h->group) atomic_store(&h->life.state, LUB_STATE_IDLE);
  lub_status status = lub_heart_hang(h, own, leave_own, free_own);
  if (status != LUB_OK) free_own(own);
  return status;
}

/* lub.heart{name=, interval=, policy=, ...} -> the calling fiber's heart, watched from now on */
static int new_heart(lua_State *L) {
  int64_t deadline = 0;
  lworker *lw = lub_lworker(L);
  (void)lub_may_wait(L, lw, &deadline); /* a killed fiber starts nothing */
  if (lw->running == &lw->nobody) return luaL_error(L, "heart: the worker ends");
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  if (!lua_istable(L, 1)) lub_arg_error(L, "heart", 1, "a table of options");
  lub_check_surplus(L, 1, "heart");
  check_names(L);
  lua_settop(L, OWN);
  return make_scripts(L, LUA_OK, 0);
}

static int watch_heart(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  char fiber[64];
  lub_heart_options o = {0};
  read_options(L, &o);
  if (!o.name) {
    (void)snprintf(fiber, sizeof fiber, f->main ? "%.40s" : "%.40s/%llu", lw->core->name,
                   (unsigned long long)f->core.wait.id);
    o.name = fiber;
  }
  lub_start_judge(L, lw);
  heart_box *box = push_box(L);
  lub_status status = lub_heart_make(lw->core->engine, &o, &box->heart);
  lub_heart *h = box->heart;
  if (status == LUB_OK) status = hang(h, take_own(L));
  if (status == LUB_OK && lub_must_intern(L, lw)) lub_intern_heart(L, -1, h);
  if (status == LUB_OK) status = lub_heart_start(h, h->group ? NULL : &f->core);
  if (status == LUB_BUSY)
    return luaL_error(L, "heart: this fiber has a heart already ('%s')",
                      lub_heart_name(lub_heart_in(&f->core)));
  if (status) return luaL_error(L, "heart: %s", lub_strerror(status));
  lub_keep_outside(L, lw, sizeof *h);
  return 1;
}

typedef struct judged { /* what a C host asks for */
  lub_heart_options o;
  const char *policy, *opts;
  lheart *own;
} judged;

static int make_judged(lua_State *L) {
  judged *a = lua_touserdata(L, 1);
  lworker *lw = lub_lworker(L);
  lua_settop(L, 0);
  lua_pushstring(L, a->policy);
  lua_pushfstring(L, "return %s", a->opts ? a->opts : "nil");
  if (luaL_loadbufferx(L, lua_tostring(L, 2), lua_rawlen(L, 2), "=policy_opts", "t")) return lua_error(L);
  lua_call(L, 0, 1);
  lua_replace(L, 2);
  if (!lua_isnil(L, 2) && !lua_istable(L, 2))
    luaL_error(L, "policy_opts: expected a table, got %s", luaL_typename(L, 2));
  if (lub_policy_make(L, 1, 2, "policy", 0, NULL)) (void)lub_policy_unmade(L, "policy");
  lub_start_judge(L, lw);
  a->own = make_own(L, 0);
  lub_heart_options wants = {0};
  a->own->policy = lub_policy_of(L, 3, 2, "policy", &wants);
  if (!a->o.window) a->o.window = wants.window;
  if (!(a->o.estimate > 0)) a->o.estimate = wants.estimate;
  return 0;
}

lub_status lub_heart_open_judged(lub_engine *e, const lub_heart_options *o, const char *policy,
                                 const char *policy_opts, lub_heart **out, lub_value *error) {
  judged a = {.o = o ? *o : (lub_heart_options){0}, .policy = policy, .opts = policy_opts};
  lworker *lw, *here = lub_here;
  if (error) *error = (lub_value){0};
  if (lub_lworker_open(e, "policy", NULL, NULL, &lw)) return LUB_NOMEM;
  lub_here = lw;
  lua_pushcfunction(lw->L, make_judged);
  lua_pushlightuserdata(lw->L, &a);
  lub_status status = lua_pcall(lw->L, 1, 0, 0) == LUA_OK ? LUB_OK : LUB_FAILED;
  const char *text = status == LUB_OK ? NULL : lua_tostring(lw->L, -1);
  if (text && error) (void)lub_string(e, text, strlen(text), error);
  lub_lworker_abandon(lw);
  lub_here = here;
  lub_heart *h = NULL;
  if (status == LUB_OK) status = lub_heart_make(e, &a.o, &h);
  if (status == LUB_OK) status = hang(h, a.own);
  else free_own(a.own);
  if (status == LUB_OK) *out = h;
  else if (h) lub_heart_drop(h);
  return status == LUB_OK ? lub_heart_start(h, NULL) : status;
}

/* lub.judge() -> the judge's own figures */
static int judge(lua_State *L) {
  lub_judge *j = lub_judge_of(lub_lworker(L)->core->engine);
  lub_check_surplus(L, 0, "judge");
  if (!j) return luaL_error(L, "judge: not enough memory");
  lub_judge_figures f = lub_judge_count(j);
  lua_createtable(L, 0, 8);
  set_integer(L, "hearts", f.hearts);
  set_integer(L, "deaths", (uint64_t)f.deaths);
  set_integer(L, "asked", f.asked);
  set_integer(L, "announced", f.announced);
  set_integer(L, "blamed", f.blamed);
  set_integer(L, "stalls", f.stalls);
  lub_set_number(L, "stalled", (double)f.stalled_ns / 1e9);
  lub_set_number(L, "late", (double)f.late_ns / 1e9);
  return 1;
}

const luaL_Reg lub_heart_functions[] = {{"heart", new_heart}, {"judge", judge}, {NULL, NULL}};
