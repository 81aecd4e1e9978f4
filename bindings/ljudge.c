/* ljudge.c - the worker in which the scripts of hearts are asked, one for an engine, started with the first heart. Its
 * main fiber takes what is due, asks, and tells what is to be announced; a verdict that wants a traceback has a fiber of
 * its own, so that nobody else waits for it. */
#include <math.h>
#include <string.h>

#include "llub.h"

enum { BATCH = 256, BATCH_NS = 1000000 }; /* asked before what was heard is settled */
#define CAPTURE_WITHIN 0.05 /* seconds: a fiber that has shown no traceback by then is inside a C call */

/* ---- asking ------------------------------------------------------------------------------------------------ */

/* Of an answer that is none: a __tostring of its own must not run outside its budget. */
static const char *plain(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TNUMBER ? lua_pushfstring(L, "%f", lua_tonumber(L, index))
                                           : luaL_typename(L, index);
}

static bool is_answer(lua_State *L, const char **why) {
  double again = lua_tonumber(L, -2);
  if (lua_type(L, -3) != LUA_TSTRING) {
    *why = lua_pushfstring(L, "expected a verdict (a string), got %s", luaL_typename(L, -3));
    return false;
  }
  if (!lua_isnoneornil(L, -2) && (lua_type(L, -2) != LUA_TNUMBER || isnan(again))) {
    *why = lua_pushfstring(L, "expected when to ask again (seconds), got %s", plain(L, lua_absindex(L, -2)));
    return false;
  }
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER) {
    *why = lua_pushfstring(L, "expected a score (a number), got %s", luaL_typename(L, -1));
    return false;
  }
  return true;
}

static void ask_policy(lua_State *L, lworker *lw, lub_heart *h, const lub_snapshot *at) {
  lheart *own = lub_heart_hung(h);
  int top = lua_gettop(L);
  double again = LUB_FOREVER, score = NAN;
  const char *verdict = NULL, *why;
  if (own && own->policy) {
    lub_push_snapshot(L, h, at);
    if (lub_policy_ask(L, lw, own->policy, h, LUB_ROLE_POLICY)) {
      if (is_answer(L, &why)) {
        verdict = lua_tostring(L, -3);
        if (!lua_isnil(L, -2)) again = lua_tonumber(L, -2);
        if (!lua_isnil(L, -1)) score = lua_tonumber(L, -1);
      } else {
        lub_policy_refuse(L, lw, own->policy, h, LUB_ROLE_POLICY, why);
      }
    }
  }
  if (!verdict) verdict = lub_judge_fixed(at, &again);
  if (atomic_load(&lw->core->killed)) return; /* another may be at it */
  lub_judge_hear(h, at, verdict, again, score);
  lua_settop(L, top);
}

static void ask_pulse(lua_State *L, lworker *lw, lub_heart *h, const lub_snapshot *at) {
  lheart *own = lub_heart_hung(h);
  if (!own || !own->pulse) return;
  int top = lua_gettop(L);
  lub_push_snapshot(L, h, at);
  if (lub_policy_ask(L, lw, own->pulse, h, LUB_ROLE_PULSE)) {
    double s = lua_tonumber(L, -1);
    if (lua_type(L, -1) == LUA_TNUMBER && s > 0 && s <= 3e8) lub_judge_set_interval(h, s);
    else
      lub_policy_refuse(
          L, lw, own->pulse, h, LUB_ROLE_PULSE,
          lua_pushfstring(L, "expected the seconds to the next pulse (above 0, at most 3e8), got %s",
                          plain(L, lua_gettop(L))));
  }
  lua_settop(L, top);
}

static void ask(lua_State *L, lworker *lw, lub_heart *h) {
  lub_snapshot at;
  lub_judge_look(h, &at);
  ask_pulse(L, lw, h, &at);
  if (!lub_judge_knows(h, &at)) ask_policy(L, lw, h, &at);
}

/* ---- telling ------------------------------------------------------------------------------------------------- */

static void set_string(lua_State *L, const char *name, const char *s) {
  lua_pushstring(L, s);
  lua_setfield(L, -2, name);
}

static void push_verdict(lua_State *L, lub_heart *h, const lub_verdict *v) {
  lub_value unit = {0};
  lua_createtable(L, 0, 14);
  set_string(L, "heart", v->h.name);
  set_string(L, "verdict", v->verdict);
  set_string(L, "state", lub_state_name(v->h.state));
  lub_set_number(L, "age", v->h.age);
  lub_set_number(L, "state_age", v->h.state_age);
  lub_set_number(L, "time", v->h.now);
  lua_pushinteger(L, (lua_Integer)v->h.beats);
  lua_setfield(L, -2, "beats");
  if (*v->reason) set_string(L, "reason", v->reason);
  if (!isnan(v->score)) lub_set_number(L, "score", v->score);
  if (!v->h.in_unit || lub_heart_unit(h, &unit)) return;
  lub_take(L, &unit);
  lua_setfield(L, -2, "unit");
  lub_set_number(L, "unit_age", v->h.unit_age);
}

static const char *field(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  return luaL_optstring(L, -1, ""); /* it stays on the stack */
}

static void tell_host(lua_State *L, lub_heart *h, int table) {
  const lub_options *o = &h->engine->opts;
  if (!o->verdict) return;
  lub_verdict v = {.heart = h,
                   .verdict = field(L, table, "verdict"),
                   .reason = field(L, table, "reason"),
                   .traceback = field(L, table, "traceback"),
                   .score = lua_getfield(L, table, "score") == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN};
  lub_heart_look(h, &v.h);
  o->verdict(o->ud, &v);
  lua_pop(L, 4);
}

/* The silence of one that told a reason, or whose fiber has ended, is no news. */
static void push_silence(lua_State *L, int table) {
  const char *state = field(L, table, "state"), *reason = field(L, table, "reason");
  lua_getfield(L, table, "age");
  if (*reason || !strcmp(state, lub_state_name(LUB_STATE_DEAD))) lua_pushliteral(L, "");
  else lua_pushfstring(L, ": %s for %f s without a sign of life", state, lua_tonumber(L, -1));
}

static void log_death(lua_State *L, lworker *lw, int table) {
  const lub_options *o = &lw->core->engine->opts;
  if (!o->log || strcmp(field(L, table, "verdict"), "dead") != 0) return;
  const char *heart = field(L, table, "heart"), *reason = field(L, table, "reason"),
             *traceback = field(L, table, "traceback");
  push_silence(L, table);
  lua_pushfstring(L, "heart '%s' died%s%s%s%s%s", heart, lua_tostring(L, -1), *reason ? ": " : "", reason,
                  *traceback ? "\n" : "", traceback);
  o->log(o->ud, lua_tostring(L, -1));
}

/* Verdicts on a heart come in their order: those that wait behind one whose traceback is awaited lie in this table, by
 * heart, a list each. */
static const char TELLING[] = "lub.telling";

static void push_telling(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, TELLING) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, TELLING);
}

static void not_told(lua_State *L, lub_heart *h, const char *verdict) {
  const lub_options *o = &h->engine->opts;
  lua_pushfstring(L, "heart '%s': verdict '%s' was not told: %s", lub_heart_name(h), verdict,
                  lua_tostring(L, -1));
  if (o->log) o->log(o->ud, lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* At index 1 the heart, 2 the verdict. */
static int send_verdict(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_heart *h = lub_check_heart(L, "verdict");
  lub_chan *ch;
  lua_settop(L, 2);
  bool watched = lub_heart_is_watched(h);
  if (!watched) log_death(L, lw, 2);
  tell_host(L, h, 2);
  if (!watched) return 0;
  lub_value v = lub_pack(L, 2, "verdict");
  if (lub_heart_verdicts(h, &ch)) {
    lub_value_drop(&v);
    return 0;
  }
  lub_chan_replace(ch, &v);
  lub_chan_drop(ch);
  return 0;
}

/* The verdict at 2, and those that had to wait for it. */
static int send_all(lua_State *L) {
  lub_heart *h = lub_check_heart(L, "verdict");
  lua_settop(L, 2);
  push_telling(L);
  lua_rawgetp(L, 3, h);
  for (lua_Integer i = 0; i <= (lua_Integer)lua_rawlen(L, 4); i++) {
    if (i == 0) lua_pushvalue(L, 2);
    else lua_rawgeti(L, 4, i);
    lua_getfield(L, 5, "verdict");
    lua_pushcfunction(L, send_verdict);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 5);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) not_told(L, h, lua_tostring(L, 6));
    lua_settop(L, 4);
    lub_judge_told(h);
  }
  lua_pushnil(L);
  lua_rawsetp(L, 3, h);
  return 0;
}

/* On top: what it does. A fiber that could show it is not inside a C call, even if its thread seemed so. */
static int captured(lua_State *L, int s, lua_KContext ctx) {
  const lub_heart *h = lub_check_heart(L, "verdict");
  (void)s;
  (void)ctx;
  bool shown = !lua_isnil(L, -1);
  if (!shown && atomic_load(&h->flags) & LUB_HEART_CLOSED) return 0; /* its fiber is gone */
  if (!shown && h->worker->pinned) lua_pushliteral(L, "no traceback: nobody interrupts a host's own Lua");
  else if (!shown) lua_pushliteral(L, "no traceback: it did not stop, so it is inside a C call");
  lua_setfield(L, 2, "traceback");
  if (shown && lua_getfield(L, 2, "state") == LUA_TSTRING && !strcmp(lua_tostring(L, -1), "in_c")) {
    lua_pushliteral(L, "busy");
    lua_setfield(L, 2, "state");
  }
  return 0;
}

/* The traceback of what the heart's fiber does right now. */
static int capture(lua_State *L) {
  lub_heart *h = lub_check_heart(L, "verdict");
  lub_chan *ch;
  if (lub_worker_ask(h->worker, &h->obj, &ch)) return 0;
  return lub_await_report(L, ch, CAPTURE_WITHIN, captured);
}

/* With it or, when it could not be had, without. */
static int tell_captured(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  return send_all(L);
}

static int capture_and_tell(lua_State *L) {
  lua_pushcfunction(L, capture);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  return tell_captured(L, lua_pcallk(L, 2, 0, 0, 0, tell_captured), 0);
}

/* Whether it is told; else a fiber does, or one that is about to. */
static int tell_protected(lua_State *L) {
  lub_heart *h = lua_touserdata(L, 1);
  const lub_verdict *v = lua_touserdata(L, 2);
  bool alive = !strcmp(v->verdict, "alive"), closed = atomic_load(&h->flags) & LUB_HEART_CLOSED;
  lua_settop(L, 0);
  push_telling(L);
  lua_rawgetp(L, 1, h);
  lub_push_heart(L, h);
  push_verdict(L, h, v);
  if (lua_istable(L, 2)) {
    lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
  } else if (alive || closed || !h->worker) {
    lua_pushcfunction(L, send_verdict);
    lua_insert(L, 3);
    lua_call(L, 2, 0);
    lua_pushboolean(L, true);
    return 1;
  } else {
    lua_newtable(L);
    lua_rawsetp(L, 1, h);
    lua_pushcfunction(L, lub_go);
    lua_pushcfunction(L, capture_and_tell);
    lua_rotate(L, 3, 2);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
      lua_pushnil(L);
      lua_rawsetp(L, 1, h);
      (void)lua_error(L);
    }
  }
  lua_pushboolean(L, false);
  return 1;
}

static void tell(lub_heart *h, const lub_verdict *v, bool watched, void *ud) {
  lua_State *L = ud;
  bool told = !watched && !h->engine->opts.verdict && strcmp(v->verdict, "dead") != 0;
  if (!told) {
    lua_pushcfunction(L, tell_protected);
    lua_pushlightuserdata(L, h);
    lua_pushlightuserdata(L, (void *)(uintptr_t)v);
    bool failed = lua_pcall(L, 2, 1, 0) != LUA_OK;
    if (failed) not_told(L, h, v->verdict);
    told = failed || lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  if (told) lub_judge_told(h);
}

/* ---- the worker ----------------------------------------------------------------------------------------------- */

static bool is_long(const lworker *lw, int64_t since_ns) {
  return lub_engine_coarse_ns(lw->core->engine) - since_ns > BATCH_NS;
}

static int judge_on(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lub_judge *j = lub_judge_of(lw->core->engine);
  lub_chan *bell = lub_test_chan(L, 1)->ch;
  if (lw->running->core.wait.parked && lub_finish(L, lw) == LUB_CANCELLED) return 0;
  lub_fiber *f = &lw->running->core;
  for (;;) {
    lub_heart *h;
    int64_t began_ns = lub_engine_coarse_ns(lw->core->engine);
    int n = 0;
    do {
      if (!(h = lub_judge_next(j, lw->core))) break; /* no more are due */
      ask(L, lw, h);
      lub_duty_answered(j, lw->core, h);
    } while (++n < BATCH && !is_long(lw, began_ns));
    if (!atomic_load(&lw->core->killed)) lub_judge_settle(j, lw->core, tell, L); /* else the next does */
    lub_value v;
    int64_t deadline = LUB_NEVER;
    if (lub_may_wait(L, lw, &deadline)) return 0;
    if (lub_worker_has_ready(lw->core)) { /* they tell verdicts */
      lub_fiber_ready(f);
      return lub_park(L, lw, 0, judge_on);
    }
    if (h) continue;
    lub_status status = lub_wait_recv(&f->wait, &f->one, bell, &v, deadline);
    if (status == LUB_PARK) return lub_park(L, lw, 0, judge_on);
    if (status != LUB_OK) return 0;
  }
}

static int judge_main(lua_State *L) { return judge_on(L, 0, 0); }

static int refuse_exit(lua_State *L) { return luaL_error(L, "os.exit: not in a script that the judge asks"); }

static int begin_judge(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_value v = lub_of_chan(lua_touserdata(L, 1));
  lub_require(L, LUA_OSLIBNAME);
  lua_pushcfunction(L, refuse_exit);
  lua_setfield(L, -2, "exit");
  lua_State *co = lua_newthread(L);
  lua_pushcfunction(co, judge_main);
  lub_take(L, &v);
  lua_xmove(L, co, 1);
  lw->main = lub_fiber_new(L, lw, co, 1);
  lw->main->main = true;
  return 0;
}

static void relieve(lub_judge *j, lub_worker *stuck, lub_heart *asked);

static lub_status start_worker(lub_judge *j, lworker *like, lub_chan *bell, const char *path,
                               const char *cpath) {
  lworker *lw, *here = lub_here;
  if (lub_lworker_open(like->core->engine, "judge", NULL, like, &lw)) return LUB_NOMEM;
  lub_here = lw;
  lua_pushcfunction(lw->L, begin_judge);
  lua_pushlightuserdata(lw->L, bell);
  bool ok = !lub_inherit_paths(lw, like, path, cpath) && lua_pcall(lw->L, 1, 0, 0) == LUA_OK &&
            lub_duty_serve(j, lw->core, relieve) == LUB_OK;
  lub_here = here;
  if (!ok) {
    lub_lworker_abandon(lw);
    lub_here = here;
    return LUB_NOMEM;
  }
  lw->judge = true;
  lub_fiber_inbox(&lw->main->core);
  lub_worker_start(lw->core);
  lub_worker_drop(lw->core);
  return LUB_OK;
}

static lub_status start(lub_judge *j, lworker *like, const char *path, const char *cpath) {
  lub_chan *bell;
  lub_status status = lub_judge_bell(j, &bell);
  if (status != LUB_OK) return status;
  status = start_worker(j, like, bell, path, cpath);
  lub_chan_drop(bell);
  return status;
}

/* The scripts cross again, into the state of the next. */
static void relieve(lub_judge *j, lub_worker *stuck, lub_heart *asked) {
  lworker *lw = stuck->data;
  const lheart *own = lub_heart_hung(asked);
  const lpaths *paths = lw->paths;
  if (own && own->policy) lub_policy_give_up(own->policy, asked, LUB_ROLE_POLICY);
  if (own && own->pulse) lub_policy_give_up(own->pulse, asked, LUB_ROLE_PULSE);
  lub_worker_kill(stuck, "a script of a heart did not return");
  if (!start(j, lw, paths ? paths->path : NULL, paths ? paths->cpath : NULL)) return;
  lub_duty_give_back(j);
  lub_judge_log(j, "not enough memory for another judge: hearts are not judged until another is opened");
}

void lub_start_judge(lua_State *L, lworker *lw) {
  lub_judge *j = lub_judge_of(lw->core->engine);
  if (!j) luaL_error(L, "heart: not enough memory");
  if (!lub_duty_take(j)) return;
  lub_push_paths(L);
  lub_status status = start(j, lw, lua_tostring(L, -2), lua_tostring(L, -1));
  lua_pop(L, 2);
  if (status == LUB_OK) return;
  lub_duty_give_back(j);
  luaL_error(L, "heart: not enough memory for the judge");
}
