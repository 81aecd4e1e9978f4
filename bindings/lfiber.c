/* lfiber.c - fibers in Lua: go, and what a handle can do; self, yield, cancelled. */
#include <string.h>

#include "llub.h"

const char LUB_FIBER_MAGIC[] = "lub.fiber";

lfiber *lub_check_fiber(lua_State *L, const char *function) {
  lfiber *f = lub_test_fiber(L, 1);
  if (!f || !f->core.worker) lub_arg_error(L, function, 1, "a fiber");
  return f;
}

const char *lub_check_why(lua_State *L, int arg, const char *function) {
  if (!lua_isnoneornil(L, arg) && lua_type(L, arg) != LUA_TSTRING)
    lub_arg_error(L, function, arg, "a reason (a string)");
  lub_check_surplus(L, arg, function);
  return luaL_optstring(L, arg, "");
}

/* ---- go ------------------------------------------------------------------------------------------------------- */

/* lub.go(fn, ...) -> fiber */
int lub_go(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, lub_go, "go");
  if (lua_type(L, 1) != LUA_TFUNCTION) lub_arg_error(L, "go", 1, "a function");
  int64_t deadline = 0;
  (void)lub_may_wait(L, lw, &deadline); /* a killed fiber starts nothing */
  if (atomic_load_explicit(&lw->core->closing, memory_order_relaxed))
    return luaL_error(L, "go: the worker ends");
  int n = lua_gettop(L);
  luaL_checkstack(L, n + 6, "go: too many arguments");
  lfiber *f = lub_fiber_new(L, lw, NULL, n - 1);
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_xmove(L, f->co, n);
  lua_Debug ar;
  if (lub_find_lua(L, 1, "lf", &ar)) { /* where: told when somebody asks */
    f->line = ar.currentline;
    lua_setiuservalue(L, -2, 1);
  }
  lub_fiber_ready(&f->core);
  return 1;
}

/* ---- join ------------------------------------------------------------------------------------------------------ */

static int joined(lua_State *L, int s, lua_KContext push) {
  (void)s;
  lub_status status = lub_finish(L, lub_lworker(L));
  return status == LUB_CLOSED ? ((lua_CFunction)push)(L) : lub_push_reason(L, status);
}

/* Waits for `done`, then lets `push` give the results of the handle at index 1. */
int lub_join(lua_State *L, lub_chan *done, lua_CFunction push) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = lub_check_last_wait(L, lw, 2, ":join"), wanted = deadline;
  lub_value v;
  lub_fiber *f = &lw->running->core;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  lub_status status = lub_wait_recv(&f->wait, &f->one, done, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)push, joined);
  if (status == LUB_CLOSED) return push(L);
  return lub_push_reason(L, status == LUB_TIMEOUT && refused && wanted ? refused : status);
}

static int push_results(lua_State *L) {
  lfiber *f = lua_touserdata(L, 1);
  int n = f->nvalues;
  luaL_checkstack(L, n + 4, "too many results");
  lua_getiuservalue(L, 1, 1);
  if (n == 0) return 0;
  if (n == 1) return 1;
  int all = lua_gettop(L);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, all, i);
  return n;
}

/* f:join([wait]) -> results of fn | nil, error | nil, "timeout" | nil, "cancelled" */
static int fiber_join(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, fiber_join, ":join");
  lfiber *f = lub_check_fiber(L, ":join");
  if (f == lw->running) return luaL_error(L, "join: a fiber cannot join itself");
  f->joined = true;
  int64_t deadline = lub_check_last_wait(L, lw, 2, ":join"), wanted = deadline;
  if (f->ended) return push_results(L);
  lub_fiber *self = &lw->running->core;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  if (!deadline) return lub_push_reason(L, refused && wanted ? refused : LUB_TIMEOUT);
  lextra *x = lub_fiber_extra(f);
  if (!x || lub_wait_join(&self->wait, &self->one, &x->joiners, f->core.wait.id, deadline) != LUB_PARK)
    return lub_push_reason(L, LUB_NOMEM);
  return lub_park(L, lw, (lua_KContext)push_results, joined);
}

static char DONES; /* what :done() gave, by the fiber; weak */

/* Pushes what :done() of the fiber at 1 gave before, if it did; the table lies at 2. */
static bool push_known_done(lua_State *L, const lfiber *f) {
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 2) != LUA_TNIL) return true;
  lua_pop(L, 1);
  if (!f->extra || !f->extra->done) return false;
  lub_push_chan(L, f->extra->done, LUB_VIEW_RECV);
  return true;
}

/* f:done() -> a channel that closes when f has ended. */
static int fiber_done(lua_State *L) {
  const lworker *lw = lub_lworker(L);
  lfiber *f = lub_check_fiber(L, ":done");
  lub_check_surplus(L, 1, ":done");
  f->joined = true;
  lua_settop(L, 1);
  lub_push_weak(L, &DONES);
  if (push_known_done(L, f)) return 1;
  lchan *box = lub_push_new_chan(L, LUB_VIEW_RECV);
  const lub_worker *w = f->core.worker;
  const char *name = f->main ? w->name : NULL; /* reports of others have but the channel */
  if (lub_chan_open(w->engine, 0, name, &box->ch)) return luaL_error(L, "done: not enough memory");
  box->ch->whose = f->core.wait.id;
  lub_own_chan(L, box);
  if (push_known_done(L, f))
    return 1; /* a finalizer that ran meanwhile has asked for it too, or has ended f */
  lextra *x = f->ended ? NULL : lub_fiber_extra(f);
  if (!f->ended && !x) return luaL_error(L, "done: not enough memory");
  if (f->core.worker == lw->core) { /* a handle made in a sim does not outlive it: that fiber may */
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
  }
  if (x) lub_chan_ref(x->done = box->ch);
  else (void)lub_chan_close(box->ch);
  return 1;
}

/* ---- cancel and kill --------------------------------------------------------------------------------------------- */

static int fiber_cancel(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, fiber_cancel, ":cancel");
  lfiber *f = lub_check_fiber(L, ":cancel");
  lub_fiber_cancel(lw, f, lub_check_why(L, 2, ":cancel"));
  return 0;
}

static int fiber_kill(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, fiber_kill, ":kill");
  lfiber *f = lub_check_fiber(L, ":kill");
  const char *why = lub_check_why(L, 2, ":kill");
  if (f->main && lw->core->pinned)
    return luaL_error(L, "kill: the main fiber of a host's state is its host's");
  lub_fiber_kill(lw, f, why);
  return f == lw->running && !f->ended ? lub_die(L, lw) : 0;
}

/* ---- looking at them ---------------------------------------------------------------------------------------------- */

static int fiber_state(lua_State *L) {
  const lfiber *f = lub_check_fiber(L, ":state");
  lub_check_surplus(L, 1, ":state");
  lua_pushstring(L, lub_fiber_state(lub_lworker(L), f));
  return 1;
}

static void push_name(lua_State *L, const lfiber *f) {
  if (f->main) lua_pushliteral(L, "main");
  else lua_pushfstring(L, "%I", (LUAI_UACINT)f->core.wait.id);
}

static int fiber_name(lua_State *L) {
  const lfiber *f = lub_check_fiber(L, ":name");
  lub_check_surplus(L, 1, ":name");
  push_name(L, f);
  return 1;
}

static int fiber_traceback(lua_State *L) {
  lfiber *f = lub_check_fiber(L, ":traceback");
  lub_check_surplus(L, 1, ":traceback");
  if (!f->co) lua_pushliteral(L, "stack traceback:");
  else luaL_traceback(L, f->ended ? f->co : lub_innermost(f->co), NULL, f == lub_lworker(L)->running ? 1 : 0);
  return 1;
}

static int fiber_tostring(lua_State *L) {
  lfiber *f = lub_check_fiber(L, ":tostring");
  push_name(L, f);
  lua_pushfstring(L, "fiber '%s' (%s)", lua_tostring(L, -1), lub_fiber_state(lub_lworker(L), f));
  return 1;
}

lextra *lub_fiber_extra(lfiber *f) {
  if (f->extra) return f->extra;
  lextra *x = f->extra = lub_alloc(&f->core.worker->engine->mem, sizeof *x);
  if (!x) return NULL;
  *x = (lextra){.done = NULL};
  lub_list_init(&x->joiners);
  return x;
}

void lub_free_fiber(lfiber *f) {
  const lub_allocator *mem = &f->core.worker->engine->mem;
  lextra *x = f->extra;
  f->extra = NULL;
  if (!x) return;
  if (x->done) {
    (void)lub_chan_close(x->done);
    lub_chan_drop(x->done);
  }
  if (x->cancel) lub_chan_drop(x->cancel);
  if (x->cases) lub_drop_cases(x->cases);
  lub_drop_batch(x->batch);
  lub_free(mem, x->cases);
  lub_free(mem, x->batch);
  lub_free(mem, x->why);
  lub_free(mem, x);
}

void lub_open_fiber_methods(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"join", fiber_join},   {"done", fiber_done}, {"cancel", fiber_cancel},       {"kill", fiber_kill},
      {"state", fiber_state}, {"name", fiber_name}, {"traceback", fiber_traceback}, {NULL, NULL}};
  luaL_newmetatable(L, LUB_FIBER_TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, fiber_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

/* ---- self, yield, cancelled ---------------------------------------------------------------------------------------- */

/* lub.self() -> the running fiber */
static int self_fiber(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_check_surplus(L, 0, "self");
  lub_fiber_push(L, lw, lw->running);
  return 1;
}

/* lub.cancelled() -> a channel that closes when the running fiber is cancelled, the reason */
static int cancelled(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_check_surplus(L, 0, "cancelled");
  lextra *x = lub_fiber_extra(f);
  if (!x || (!x->cancel && lub_chan_open(lw->core->engine, 0, "cancelled", &x->cancel)))
    return luaL_error(L, "cancelled: not enough memory");
  if (f->cancelled) (void)lub_chan_close(x->cancel); /* unless it is */
  lub_push_chan(L, x->cancel, LUB_VIEW_RECV);
  if (f->cancelled) lua_pushstring(L, x->why ? x->why : "");
  else lua_pushnil(L);
  return 2;
}

static int yielded(lua_State *L, int s, lua_KContext ctx) {
  (void)L;
  (void)s;
  (void)ctx;
  return 0;
}

/* lub.yield(): the other ready fibers have their turn. */
static int yield(lua_State *L) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = 0;
  lub_check_surplus(L, 0, "yield");
  if (lub_may_wait(L, lw, &deadline) == LUB_KILLED) return 0;
  if (lw->sim) lub_sim_note(L, lw, "yield", true);
  lub_fiber_ready(&lw->running->core);
  return lub_park(L, lw, 0, yielded);
}

const luaL_Reg lub_fiber_functions[] = {
    {"go", lub_go}, {"self", self_fiber}, {"yield", yield}, {"cancelled", cancelled}, {NULL, NULL}};
