/* lworker.c - fibers and workers in Lua: go, spawn, join, cancel, kill; the module; running a script. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "llub.h"

/* ---- what every handle can do --------------------------------------------------------------------------- */

static lfiber *check_fiber(lua_State *L, const char *function) {
  lfiber *f = luaL_testudata(L, 1, LUB_FIBER_TYPE);
  if (!f) lub_arg_error(L, function, 1, "a fiber");
  return f;
}

static lub_worker *check_worker(lua_State *L, const char *function) {
  lub_worker **w = luaL_testudata(L, 1, LUB_WORKER_TYPE);
  if (!w) lub_arg_error(L, function, 1, "a worker");
  return *w;
}

static const char *check_why(lua_State *L, int arg, const char *function) {
  if (!lua_isnoneornil(L, arg) && lua_type(L, arg) != LUA_TSTRING) lub_arg_error(L, function, arg, "a reason (a string)");
  return luaL_optstring(L, arg, "");
}

static lub_chan *fiber_done(lua_State *L, lfiber *f) {
  f->joined = true;
  if (!f->done) {
    if (lub_chan_open(f->owner->core->engine, 0, "done", &f->done)) luaL_error(L, "done: not enough memory");
    if (f->ended) (void)lub_chan_close(f->done);
  }
  return f->done;
}

/* Waits for `done`, then lets `push` give the results of the handle at index 1. */
static int joined(lua_State *L, int s, lua_KContext push) {
  (void)s;
  lub_status status = lub_finish(L, lub_lworker(L));
  return status == LUB_CLOSED ? ((lua_CFunction)push)(L) : lub_push_reason(L, status);
}

static int join(lua_State *L, lub_chan *done, lua_CFunction push) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = lub_check_wait(L, lw, 2, "join");
  lub_value v;
  lfiber *f = lub_running(L, lw);
  bool refused = f->cancelled || atomic_load(&lw->core->cancelled);
  lub_status status = lub_wait_recv(&f->core.wait, &f->core.one, done, &v, refused ? 0 : deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)push, joined);
  if (status == LUB_CLOSED) return push(L);
  return lub_push_reason(L, refused && deadline ? LUB_CANCELLED : status);
}

/* ---- fibers --------------------------------------------------------------------------------------------- */

static void remember_site(lua_State *L, char *site, size_t n) {
  lua_Debug ar;
  if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "Sl", &ar))
    (void)snprintf(site, n, "%.50s:%d", ar.short_src, ar.currentline);
}

/* lub.go(fn, ...) -> fiber */
static int go(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (lua_type(L, 1) != LUA_TFUNCTION) lub_arg_error(L, "go", 1, "a function");
  int n = lua_gettop(L);
  lua_State *co = lua_newthread(L);
  if (!lua_checkstack(co, n + 4)) return luaL_error(L, "go: too many arguments");
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_xmove(L, co, n);
  lfiber *f = lub_fiber_new(L, lw, co, n - 1);
  (void)snprintf(f->name, sizeof f->name, "%llu", (unsigned long long)f->core.wait.id);
  remember_site(L, f->site, sizeof f->site);
  lub_fiber_ready(&f->core);
  return 1;
}

static int push_fiber_results(lua_State *L) {
  lfiber *f = lua_touserdata(L, 1);
  luaL_checkstack(L, f->nresults, "too many results");
  if (!lua_checkstack(f->co, f->nresults)) return luaL_error(L, "join: not enough memory");
  int first = lua_gettop(f->co) - f->nresults; /* they stay, so that join can be repeated */
  for (int i = 1; i <= f->nresults; i++) lua_pushvalue(f->co, first + i);
  lua_xmove(f->co, L, f->nresults);
  return f->nresults;
}

static int fiber_join(lua_State *L) {
  lfiber *f = check_fiber(L, "join");
  if (f == lub_lworker(L)->running) return luaL_error(L, "join: a fiber cannot join itself");
  lub_chan *done = fiber_done(L, f);
  return f->ended ? push_fiber_results(L) : join(L, done, push_fiber_results);
}

static int fiber_done_chan(lua_State *L) {
  lub_push_chan(L, fiber_done(L, check_fiber(L, "done")), LUB_VIEW_RECV);
  return 1;
}

static int fiber_cancel(lua_State *L) {
  lub_fiber_cancel(lub_lworker(L), check_fiber(L, "cancel"), check_why(L, 2, "cancel"));
  return 0;
}

/* What the hook does to a running fiber: it never comes back. */
static int killed_self(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  return luaL_error(L, "killed");
}

static int fiber_kill(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lfiber *f = check_fiber(L, "kill");
  lub_fiber_kill(lw, f, check_why(L, 2, "kill"));
  if (f->ended) return 0;
  if (f == lw->running) return lub_park(L, lw, 0, killed_self);
  return 0;
}

static const char *fiber_state_name(lworker *lw, lfiber *f) {
  if (f->ended) return "dead";
  if (f == lw->running) return "busy";
  if (f->kill) return "stopping";
  if (!f->core.wait.parked) return f->nargs >= 0 ? "starting" : "runnable";
  if (!atomic_load(&f->core.wait.open)) return "runnable";
  return f->core.wait.count == 1 && f->core.wait.waiters[0].send ? "blocked_send" : "idle";
}

static int fiber_state(lua_State *L) {
  lua_pushstring(L, fiber_state_name(lub_lworker(L), check_fiber(L, "state")));
  return 1;
}

static int fiber_name(lua_State *L) {
  lua_pushstring(L, check_fiber(L, "name")->name);
  return 1;
}

static int fiber_traceback(lua_State *L) {
  lfiber *f = check_fiber(L, "traceback");
  luaL_traceback(L, lub_innermost(f->co), NULL, 0);
  return 1;
}

static int fiber_tostring(lua_State *L) {
  lfiber *f = check_fiber(L, "tostring");
  lua_pushfstring(L, "fiber '%s' (%s)", f->name, fiber_state_name(lub_lworker(L), f));
  return 1;
}

static int fiber_gc(lua_State *L) {
  lfiber *f = lua_touserdata(L, 1);
  if (!f->owner) return 0;
  if (!f->ended) lub_pinned_close(f->owner); /* a living fiber is anchored: the state closes */
  const lub_allocator *mem = &f->owner->core->engine->mem;
  for (uint32_t i = 0; i < f->ncases; i++)
    if (f->cases[i].value.type != LUB_NIL) lub_value_drop(&f->cases[i].value);
  lub_free(mem, f->cases);
  lub_free(mem, f->order);
  if (f->done) lub_chan_drop(f->done);
  if (f->cancel) lub_chan_drop(f->cancel);
  f->owner = NULL;
  return 0;
}

void lub_open_fiber(lua_State *L) {
  static const luaL_Reg methods[] = {{"join", fiber_join},   {"done", fiber_done_chan}, {"cancel", fiber_cancel},
                                     {"kill", fiber_kill},   {"state", fiber_state},    {"name", fiber_name},
                                     {"traceback", fiber_traceback}, {NULL, NULL}};
  luaL_newmetatable(L, LUB_FIBER_TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, fiber_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, fiber_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

/* ---- workers -------------------------------------------------------------------------------------------- */

void lub_push_worker(lua_State *L, lub_worker *w) {
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.handles");
  if (lua_rawgetp(L, -1, w) != LUA_TUSERDATA) {
    lua_pop(L, 1);
    lub_worker **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LUB_WORKER_TYPE);
    lub_worker_ref(w);
    *box = w;
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, w);
  }
  lua_remove(L, -2);
}

/* In the new state: the function or path and its arguments, from the message at index 1. */
static int begin_worker(lua_State *L) {
  lworker *lw = lub_lworker(L);
  const lub_value *message = lua_touserdata(L, 1);
  lua_getglobal(L, "package");
  lua_pushstring(L, lua_touserdata(L, 2));
  lua_setfield(L, -2, "path");
  lua_pushstring(L, lua_touserdata(L, 3));
  lua_setfield(L, -2, "cpath");
  lua_settop(L, 1);
  lua_State *co = lua_newthread(L);
  int n = lub_unpack_list(L, message);
  if (lua_type(L, 3) == LUA_TSTRING) {
    if (luaL_loadfilex(L, lua_tostring(L, 3), "t")) return lua_error(L);
    lua_replace(L, 3);
  }
  if (!lua_checkstack(co, n + 4)) return luaL_error(L, "spawn: too many arguments");
  lua_xmove(L, co, n);
  lw->main = lub_fiber_new(L, lw, co, n - 1);
  (void)snprintf(lw->main->name, sizeof lw->main->name, "main");
  return 0;
}

/* Starts a worker whose message lies in *message, which stays the caller's. NULL, with the error on L. */
static lworker *start_worker(lua_State *L, lub_engine *e, const char *name, size_t memory, lub_value *message,
                             const char *path, const char *cpath, const char *site) {
  lworker *lw;
  if (lub_lworker_open(e, name, NULL, &lw)) {
    lua_pushliteral(L, "spawn: not enough memory for a worker");
    return NULL;
  }
  (void)snprintf(lw->site, sizeof lw->site, "%s", site);
  lw->memory_limit = memory;
  lua_pushcfunction(lw->L, begin_worker);
  lua_pushlightuserdata(lw->L, message);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)path);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)cpath);
  if (lua_pcall(lw->L, 3, 0, 0)) {
    lua_pushstring(L, lua_tostring(lw->L, -1));
    lua_close(lw->L);
    lub_worker_end(lw->core);
    lub_worker_drop(lw->core);
    return NULL;
  }
  lub_fiber *f = &lw->main->core;
  lub_fiber_inbox(f);
  lub_worker_start(lw->core);
  return lw;
}

/* lub.spawn([{name=, memory=},] fn_or_path, ...) -> worker */
static int spawn(lua_State *L) {
  lworker *self = lub_lworker(L);
  char name[32], site[64] = "?";
  lua_Integer memory = 0;
  (void)snprintf(name, sizeof name, "%llu", (unsigned long long)atomic_load(&self->core->engine->worker_ids) + 1);
  if (lua_istable(L, 1)) {
    if (lua_getfield(L, 1, "name") != LUA_TNIL) (void)snprintf(name, sizeof name, "%s", luaL_checkstring(L, -1));
    if (lua_getfield(L, 1, "memory") != LUA_TNIL) memory = luaL_checkinteger(L, -1);
    if (memory < 0) return luaL_error(L, "spawn: memory: expected bytes, got %I", (LUAI_UACINT)memory);
    lua_settop(L, lua_gettop(L) - 2);
    lua_remove(L, 1);
  }
  if (lua_type(L, 1) != LUA_TFUNCTION && lua_type(L, 1) != LUA_TSTRING)
    lub_arg_error(L, "spawn", 1, "a function or the path of a script");
  remember_site(L, site, sizeof site);
  int n = lua_gettop(L);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_getfield(L, -2, "cpath");
  lub_value *message = lua_newuserdatauv(L, sizeof *message, 0);
  *message = (lub_value){0};
  luaL_setmetatable(L, "lub.value");
  *message = lub_pack_list(L, 1, n, "spawn");
  lworker *lw = start_worker(L, self->core->engine, name, (size_t)memory, message, lua_tostring(L, n + 2),
                             lua_tostring(L, n + 3), site);
  lub_value_drop(message);
  if (!lw) return lua_error(L);
  lub_worker *w = lw->core; /* lw may be gone already; the opener's reference keeps w */
  lub_push_worker(L, w);
  lub_worker_drop(w);
  return 1;
}

static int push_worker_results(lua_State *L) {
  lub_worker *w = check_worker(L, "join");
  lworker *lw = w->data;
  if (!lw->failed) return lub_unpack_list(L, &lw->result);
  lua_pushnil(L);
  lub_unpack(L, &lw->result);
  return 2;
}

static int worker_join(lua_State *L) {
  lub_worker *w = check_worker(L, "join");
  if (w == lub_lworker(L)->core) return luaL_error(L, "join: a worker cannot join itself");
  atomic_store(&((lworker *)w->data)->joined, true);
  return join(L, w->done, push_worker_results);
}

static int worker_done(lua_State *L) {
  lub_worker *w = check_worker(L, "done");
  atomic_store(&((lworker *)w->data)->joined, true);
  lub_push_chan(L, w->done, LUB_VIEW_RECV);
  return 1;
}

static int worker_cancel(lua_State *L) {
  lub_worker_cancel(check_worker(L, "cancel"), check_why(L, 2, "cancel"));
  return 0;
}

static int worker_kill(lua_State *L) {
  lub_worker *w = check_worker(L, "kill");
  if (!atomic_load(&w->ended)) lub_worker_kill(w, check_why(L, 2, "kill"));
  return 0;
}

static const char *worker_state_name(lub_worker *w) {
  if (atomic_load(&w->ended)) return "dead";
  if (atomic_load(&w->killed) || atomic_load(&w->cancelled)) return "stopping";
  switch (atomic_load(&w->state)) {
    case LUB_QUEUED: return "runnable";
    case LUB_RUNNING:
    case LUB_NOTIFIED: return "busy";
    default: return "idle";
  }
}

static int worker_state(lua_State *L) {
  lua_pushstring(L, worker_state_name(check_worker(L, "state")));
  return 1;
}

static int worker_name(lua_State *L) {
  lua_pushstring(L, check_worker(L, "name")->name);
  return 1;
}

static int worker_tostring(lua_State *L) {
  lub_worker *w = check_worker(L, "tostring");
  lua_pushfstring(L, "worker '%s' (%s)", w->name, worker_state_name(w));
  return 1;
}

static int worker_gc(lua_State *L) {
  lub_worker **w = lua_touserdata(L, 1);
  if (*w) lub_worker_drop(*w);
  *w = NULL;
  return 0;
}

void lub_open_worker(lua_State *L) {
  static const luaL_Reg methods[] = {{"join", worker_join}, {"done", worker_done},   {"cancel", worker_cancel},
                                     {"kill", worker_kill}, {"state", worker_state}, {"name", worker_name},
                                     {NULL, NULL}};
  luaL_newmetatable(L, LUB_WORKER_TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, worker_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, worker_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

/* ---- self, yield, cancelled, dump ------------------------------------------------------------------------ */

static int self_fiber(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, lub_lworker(L)->running);
  return 1;
}

static int cancelled(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  if (!f->cancel) {
    if (lub_chan_open(lw->core->engine, 0, "cancelled", &f->cancel)) return luaL_error(L, "cancelled: not enough memory");
    if (f->cancelled) (void)lub_chan_close(f->cancel);
  }
  lub_push_chan(L, f->cancel, LUB_VIEW_RECV);
  lua_pushstring(L, f->why);
  return 2;
}

static int yielded(lua_State *L, int s, lua_KContext ctx) {
  (void)L;
  (void)s;
  (void)ctx;
  return 0;
}

static int yield(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_fiber_ready(&lub_running(L, lw)->core);
  return lub_park(L, lw, 0, yielded);
}

static int workers(lua_State *L) {
  lub_engine *e = lub_lworker(L)->core->engine;
  lua_newtable(L);
  for (lua_Integer i = 1;; i++) { /* one at a time: no lock is held while Lua may raise */
    lub_worker *w = NULL;
    lua_Integer at = 1;
    pthread_mutex_lock(&e->lock);
    for (lub_link *k = lub_list_first(&e->workers); k && !w; k = lub_list_next(&e->workers, k))
      if (at++ == i) lub_worker_ref(w = lub_container(k, lub_worker, all));
    pthread_mutex_unlock(&e->lock);
    if (!w) return 1;
    lub_push_worker(L, w);
    lub_worker_drop(w);
    lua_rawseti(L, -2, i);
  }
}

static void report_wait(lfiber *f, FILE *out) {
  const lub_wait *w = &f->core.wait;
  if (!w->parked) return;
  if (w->count == 0) (void)fprintf(out, " sleeps");
  for (uint32_t i = 0; i < w->count; i++) {
    const lub_waiter *one = &w->waiters[i];
    if (one->ch)
      (void)fprintf(out, "%s %s '%s'", i ? "," : " waits:", one->send ? "send on" : "recv on", one->ch->name);
  }
}

void lub_report(lworker *lw, FILE *out) {
  (void)fprintf(out, "worker '%s'\n", lw->core->name);
  for (lub_link *k = lub_list_first(&lw->core->fibers); k; k = lub_list_next(&lw->core->fibers, k)) {
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    lua_State *co = lub_innermost(f->co);
    lua_Debug ar;
    (void)fprintf(out, "  fiber '%s' %s", f->name, fiber_state_name(lw, f));
    report_wait(f, out);
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
      lua_getinfo(co, "Sl", &ar);
      if (ar.currentline < 0) continue;
      (void)fprintf(out, " at %s:%d", ar.short_src, ar.currentline);
      break;
    }
    (void)fprintf(out, "%s%s\n", *f->site ? ", started at " : "", f->site);
  }
}

/* lub.dump([file]): this worker's fibers, to an open file (stderr). */
static int dump(lua_State *L) {
  FILE *out = stderr;
  if (!lua_isnoneornil(L, 1)) {
    luaL_Stream *s = luaL_testudata(L, 1, LUA_FILEHANDLE);
    if (!s || !s->closef) lub_arg_error(L, "dump", 1, "an open file");
    out = s->f;
  }
  lub_report(lub_lworker(L), out);
  return 0;
}

/* lub.named(name): what the host published under this name, or nil. */
static int named(lua_State *L) {
  lub_value *v = lua_newuserdatauv(L, sizeof *v, 0);
  *v = (lub_value){0};
  luaL_setmetatable(L, "lub.value");
  if (lub_engine_lookup(lub_lworker(L)->core->engine, luaL_checkstring(L, 1), v)) *v = (lub_value){0};
  lub_unpack(L, v);
  return 1;
}

/* ---- lub.after(s, fn, ...) ------------------------------------------------------------------------------- */

static int after_wait(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  if (lub_finish(L, lub_lworker(L)) != LUB_TIMEOUT) return 0;
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

static int after_body(lua_State *L) {
  lworker *lw = lub_lworker(L);
  int64_t deadline = lub_check_wait(L, lw, 1, "after");
  lua_remove(L, 1);
  if (lub_wait_sleep(&lw->running->core.wait, deadline ? deadline : 1) != LUB_PARK)
    return luaL_error(L, "after: not enough memory");
  return lub_park(L, lw, 0, after_wait);
}

static int after(lua_State *L) {
  (void)lub_check_seconds(L, 1, "after");
  if (lua_isnoneornil(L, 2)) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
  }
  if (lua_type(L, 2) != LUA_TFUNCTION) lub_arg_error(L, "after", 2, "a function");
  lua_pushcfunction(L, after_body);
  lua_insert(L, 1);
  return go(L);
}

/* ---- the module ------------------------------------------------------------------------------------------ */

const luaL_Reg lub_worker_functions[] = {
    {"go", go},           {"spawn", spawn},     {"self", self_fiber}, {"yield", yield}, {"cancelled", cancelled},
    {"workers", workers}, {"dump", dump},       {"named", named},     {"register", lub_register}, {NULL, NULL}};

static int close_engine(lua_State *L) {
  struct { lub_engine *e; lworker *lw; } *own = lua_touserdata(L, 1);
  if (own->lw) {
    lub_worker *w = own->lw->core;
    lub_pinned_close(own->lw);
    lub_lworker_drop_buffers(own->lw);
    lub_worker_end(w);
    lub_worker_drop(w);
  }
  /* a worker stuck in a C call keeps its engine: memory is lost, the process is not */
  if (own->e && lub_workers_end(own->e, 2)) lub_engine_close(own->e);
  own->e = NULL;
  own->lw = NULL;
  return 0;
}

static lub_status open_engine(lub_engine **e) {
  lub_options o = {.preempt_signal = SIGURG};
  const char *carriers = getenv("LUBDUB_CARRIERS");
  if (carriers) o.carriers = atoi(carriers);
  if (o.carriers < 0) o.carriers = 0;
  lub_set_signal();
  return lub_engine_open(&o, e);
}

/* A stock Lua: an engine of its own, with this state as its pinned worker. */
static void adopt_host(lua_State *L) {
  struct { lub_engine *e; lworker *lw; } *own = lua_newuserdatauv(L, sizeof *own, 0);
  own->e = NULL;
  own->lw = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_engine);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.engine");
  lub_status status = open_engine(&own->e);
  if (status) luaL_error(L, "lubdub: the engine does not start: %s", lub_strerror(status));
  if (lub_lworker_open(own->e, "main", L, &own->lw)) luaL_error(L, "lubdub: not enough memory");
  lub_engine_release(own->e);
}

int luaopen_lubdub(lua_State *L) {
  if (!lub_lworker(L)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    if (main != L) return luaL_error(L, "lubdub: require it first from the main coroutine");
    adopt_host(L);
  }
  lua_newtable(L);
  luaL_setfuncs(L, lub_chan_functions, 0);
  luaL_setfuncs(L, lub_worker_functions, 0);
  lua_getfield(L, -1, "after");
  lua_pushcclosure(L, after, 1);
  lua_setfield(L, -2, "after");
  lua_pushliteral(L, LUB_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}

/* ---- a script as the main worker -------------------------------------------------------------------------- */

static lub_worker *script;
static lub_engine *script_engine;

void lub_run_interrupt(void) {
  if (script) lub_worker_cancel(script, "interrupted");
}

void lub_run_report(void) {
  if (script_engine) lub_workers_report(script_engine);
}

static int start_script(lua_State *L) {
  char **argv = lua_touserdata(L, 2);
  int argc = (int)lua_tointeger(L, 3);
  lworker *lw = lub_lworker(L);
  lua_State *co = lua_newthread(L);
  if (luaL_loadfilex(L, lua_touserdata(L, 1), "t")) return lua_error(L);
  lua_createtable(L, argc, 1);
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_rawseti(L, -2, 0);
  luaL_checkstack(L, argc + 4, "too many arguments");
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
  for (int i = 0; i < argc; i++) lua_pushstring(L, argv[i]);
  if (!lua_checkstack(co, argc + 4)) return luaL_error(L, "too many arguments");
  lua_xmove(L, co, argc + 1);
  lw->main = lub_fiber_new(L, lw, co, argc);
  (void)snprintf(lw->main->name, sizeof lw->main->name, "main");
  return 0;
}

static void report_deadlock(lub_engine *e) {
  (void)fprintf(stderr, "lubdub: deadlock: every fiber waits, and nothing can wake one\n");
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k))
    lub_report(lub_container(k, lub_worker, all)->data, stderr);
}

int lub_run_script(const char *path, int argc, char **argv, char **error) {
  lub_engine *e;
  lworker *lw;
  lub_status status = open_engine(&e);
  *error = NULL;
  if (status || lub_lworker_open(e, "main", NULL, &lw)) {
    *error = strdup(lub_strerror(status ? status : LUB_NOMEM));
    return 1;
  }
  lua_pushcfunction(lw->L, start_script);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)path);
  lua_pushlightuserdata(lw->L, argv);
  lua_pushinteger(lw->L, argc);
  lub_worker *w = lw->core;
  if (lua_pcall(lw->L, 3, 0, 0)) {
    *error = strdup(lua_tostring(lw->L, -1));
    lua_close(lw->L);
    lub_worker_end(w);
    lub_worker_drop(w);
    lub_engine_close(e);
    return 1;
  }
  script_engine = e;
  script = w;
  lub_fiber_inbox(&lw->main->core);
  lub_worker_start(w);
  lub_engine_release(e);
  status = lub_worker_join(w, LUB_FOREVER);
  if (status == LUB_DEADLOCK) {
    report_deadlock(e);
    lub_engine_hold(e);
  }
  int code = status == LUB_DEADLOCK ? 4 : lw->failed ? 1 : 0;
  size_t n;
  if (code == 1) {
    const char *text = lub_text(&lw->result, &n);
    *error = text ? strndup(text, n) : strdup("not enough memory");
  }
  bool ended = lub_workers_end(e, 2);
  script = NULL;
  script_engine = NULL;
  lub_worker_drop(w);
  if (ended) lub_engine_close(e);
  return code;
}
