/* lspawn.c - workers in Lua: spawn, and what a handle can do; workers, named. */
#include <string.h>

#include "llub.h"

#define NO_TEXT "the error of a module that the function needs is not a string"

lub_worker *lub_check_worker(lua_State *L, const char *function) {
  lub_worker **w = luaL_testudata(L, 1, LUB_WORKER_TYPE);
  if (!w || !*w) lub_arg_error(L, function, 1, "a worker");
  return *w;
}

void lub_push_worker(lua_State *L, lub_worker *w) {
  lworker *lw = lub_lworker(L);
  if (lub_push_interned(L, lw, w)) return;
  lub_worker **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  lub_open_worker(L);
  lua_setmetatable(L, -2);
  lub_intern(L, lw, -1, w);
  lub_worker_ref(w);
  *box = w;
}

/* ---- spawn ----------------------------------------------------------------------------------------------------- */

typedef struct seed {       /* of a new worker, for begin_worker in its state */
  const lub_value *message; /* the function or path and its arguments */
  lworker *parent;
  const char *path, *cpath;
} seed;

static int begin_worker(lua_State *L) {
  lworker *lw = lub_lworker(L);
  const seed *s = lua_touserdata(L, 1);
  if (lub_inherit_paths(lw, s->parent, s->path, s->cpath)) return luaL_error(L, "not enough memory");
  lua_State *co = lua_newthread(L);
  int n = lub_unpack_list(L, s->message);
  if (lua_type(L, 3) == LUA_TSTRING) {
    if (luaL_loadfilex(L, lua_tostring(L, 3), lw->bytecode ? NULL : "t")) return lua_error(L);
    lua_replace(L, 3);
  }
  if (!lua_checkstack(co, n + 4)) return luaL_error(L, "spawn: too many arguments");
  lua_xmove(L, co, n);
  lw->main = lub_fiber_new(L, lw, co, n - 1);
  lw->main->main = true;
  return 0;
}

/* NULL, with the error in *why, or nil in it without memory. Raises nothing: the caller owns a message. */
static lworker *start_worker(lua_State *L, const lworker *parent, const char *name, size_t memory,
                             const seed *s, lub_value *why) {
  lworker *lw, *here = lub_here;
  lua_Debug ar;
  *why = lub_nil();
  if (lub_lworker_open(parent->core->engine, name, NULL, parent, &lw)) return NULL;
  (void)snprintf(lw->site, sizeof lw->site, "[C]");
  if (lub_find_lua(L, 1, "Sl", &ar))
    (void)snprintf(lw->site, sizeof lw->site, "%.50s:%d", ar.short_src, ar.currentline);
  lw->memory_limit = memory;
  lub_here = lw;
  lua_pushcfunction(lw->L, begin_worker);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)s);
  int status = lua_pcall(lw->L, 1, 0, 0);
  lub_here = here;
  if (status == LUA_OK) return lw;
  size_t n;
  const char *text = lua_type(lw->L, -1) == LUA_TSTRING ? lua_tolstring(lw->L, -1, &n) : NULL;
  (void)lub_string(parent->core->engine, text ? text : NO_TEXT, text ? n : sizeof NO_TEXT - 1, why);
  lub_lworker_abandon(lw);
  lub_here = here;
  return NULL;
}

/* Takes {name=, memory=} from argument 1, if there is one. */
static lua_Integer read_options(lua_State *L, char *name, size_t size) {
  lua_Integer memory = 0;
  if (!lua_istable(L, 1)) return 0;
  lua_pushnil(L);
  while (lub_next(L, lub_lworker(L), 1)) {
    const char *option = luaL_tolstring(L, -2, NULL);
    if (strcmp(option, "name") != 0 && strcmp(option, "memory") != 0)
      luaL_error(L, "spawn: unknown option '%s'", option);
    lua_pop(L, 2);
  }
  if (lua_getfield(L, 1, "name") != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "spawn: name: expected a string, got %s", luaL_typename(L, -1));
    (void)snprintf(name, size, "%s", lua_tostring(L, -1));
  }
  if (lua_getfield(L, 1, "memory") != LUA_TNIL) {
    int exact;
    memory = lua_tointegerx(L, -1, &exact);
    if (!exact || lua_type(L, -1) != LUA_TNUMBER || memory <= 0)
      luaL_error(L, "spawn: memory: expected bytes (an integer above 0), got %s", lub_push_shown(L, -1));
  }
  lua_pop(L, 2);
  lua_remove(L, 1);
  return memory;
}

/* lub.spawn([{name=, memory=},] fn_or_path, ...) -> worker */
static int spawn(lua_State *L) {
  lworker *self = lub_lworker(L);
  LUB_POINT(L, self, spawn, "spawn");
  char name[64];
  int64_t deadline = 0;
  (void)lub_may_wait(L, self, &deadline); /* a killed fiber starts nothing */
  (void)snprintf(name, sizeof name, "%llu",
                 (unsigned long long)atomic_load(&self->core->engine->worker_ids) + 1);
  lua_Integer memory = read_options(L, name, sizeof name);
  if (lua_type(L, 1) != LUA_TFUNCTION && lua_type(L, 1) != LUA_TSTRING)
    lub_arg_error(L, "spawn", 1, "a function or the path of a script");
  int n = lua_gettop(L);
  luaL_checkstack(L, n + 8, "spawn: too many arguments");
  lub_push_paths(L);
  lub_value message = lub_pack_list(L, 1, n, "spawn");
  seed s = {&message, self, lua_tostring(L, n + 1), lua_tostring(L, n + 2)};
  lub_value why;
  lworker *lw = start_worker(L, self, name, (size_t)memory, &s, &why);
  lub_value_drop(&message);
  if (!lw && why.type == LUB_NIL) return luaL_error(L, "spawn: not enough memory for a worker");
  if (!lw) {
    lub_take(L, &why);
    return luaL_error(L, "spawn: %s", lua_tostring(L, -1));
  }
  lub_worker *w = lw->core;
  lub_value v = lub_of_object(&w->obj, UINT8_MAX);
  lub_fiber_inbox(&lw->main->core);
  lub_worker_start(w); /* from here on lw may be gone; the opener's reference keeps w */
  lub_worker_drop(w);
  lub_take(L, &v);
  lub_keep_outside(L, self, sizeof *w + sizeof *lw);
  return 1;
}

/* ---- what a handle can do ------------------------------------------------------------------------------------------ */

static int push_results(lua_State *L) {
  lub_worker *w = lub_check_worker(L, ":join");
  lworker *lw = w->data;
  if (atomic_load_explicit(&w->fate, memory_order_acquire) == LUB_FATE_KILLED)
    return lub_push_reason(L, LUB_KILLED);
  if (!lw->failed) return lub_unpack_list(L, &lw->result);
  lua_pushnil(L);
  if (lw->result.type == LUB_NIL) lua_pushliteral(L, "not enough memory");
  else lub_unpack(L, &lw->result);
  return 2;
}

/* w:join([wait]) -> results of fn, copied | nil, error | nil, "killed" | nil, "timeout" | nil, "cancelled" */
static int worker_join(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, worker_join, ":join");
  lub_worker *w = lub_check_worker(L, ":join");
  if (w == lw->core) return luaL_error(L, "join: a worker cannot join itself");
  atomic_store(&w->joined, true);
  return lub_join(L, w->done, push_results);
}

static int worker_done(lua_State *L) {
  lub_worker *w = lub_check_worker(L, ":done");
  lub_check_surplus(L, 1, ":done");
  atomic_store(&w->joined, true);
  lub_push_chan(L, w->done, LUB_VIEW_RECV);
  return 1;
}

static int worker_cancel(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, worker_cancel, ":cancel");
  lub_worker *w = lub_check_worker(L, ":cancel");
  lub_worker_cancel(w, lub_check_why(L, 2, ":cancel"));
  return 0;
}

static int worker_kill(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, worker_kill, ":kill");
  lub_worker *w = lub_check_worker(L, ":kill");
  const char *why = lub_check_why(L, 2, ":kill");
  if (w->pinned)
    return luaL_error(L, "kill: worker '%s' runs in a host's state: only its host may end it", w->name);
  lub_worker_kill(w, why);
  return w == lw->core && !lw->running->closing ? lub_die(L, lw) : 0;
}

static int worker_state(lua_State *L) {
  lub_worker *w = lub_check_worker(L, ":state");
  lub_check_surplus(L, 1, ":state");
  lua_pushstring(L, lub_worker_state(w));
  return 1;
}

static int worker_name(lua_State *L) {
  const lub_worker *w = lub_check_worker(L, ":name");
  lub_check_surplus(L, 1, ":name");
  lua_pushstring(L, w->name);
  return 1;
}

/* What its fibers do, as text. */
static int worker_traceback(lua_State *L) {
  lub_worker *w = lub_check_worker(L, ":traceback");
  lub_check_surplus(L, 1, ":traceback");
  return lub_worker_traceback(L, w);
}

static int worker_tostring(lua_State *L) {
  lub_worker *w = lub_check_worker(L, ":tostring");
  lua_pushfstring(L, "worker '%s' (%s)", w->name, lub_worker_state(w));
  return 1;
}

static int worker_gc(lua_State *L) {
  lub_worker **w = luaL_testudata(L, 1, LUB_WORKER_TYPE);
  if (!w || !*w) return 0;
  lub_worker_drop(*w);
  *w = NULL;
  return 0;
}

/* Pushes the workers' metatable. */
void lub_open_worker(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"join", worker_join},   {"done", worker_done}, {"cancel", worker_cancel},       {"kill", worker_kill},
      {"state", worker_state}, {"name", worker_name}, {"traceback", worker_traceback}, {NULL, NULL}};
  if (!luaL_newmetatable(L, LUB_WORKER_TYPE)) return;
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, worker_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, LUB_WORKER_TYPE);
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, worker_tostring);
  lua_setfield(L, -2, "__tostring");
}

/* ---- workers, named ------------------------------------------------------------------------------------------------ */

typedef struct roll { /* to be closed, which drops the references: the state may outlive the engine */
  size_t n, room;
  lub_worker *all[];
} roll;

static void call_roll(lub_worker *w, void *ud) {
  roll *r = ud;
  if (r->n == r->room) return;
  lub_worker_ref(w);
  r->all[r->n++] = w;
}

static int drop_roll(lua_State *L) {
  roll *r = lua_touserdata(L, 1);
  while (r->n) lub_worker_drop(r->all[--r->n]);
  return 0;
}

/* lub.workers() -> a list of the living, the caller's included */
static int workers(lua_State *L) {
  lub_engine *e = lub_lworker(L)->core->engine;
  lub_check_surplus(L, 0, "workers");
  size_t room = lub_workers_count(e) + 16;
  roll *r = lua_newuserdatauv(L, sizeof *r + room * sizeof r->all[0], 0);
  *r = (roll){.room = room};
  if (luaL_newmetatable(L, "lub.roll")) {
    lua_pushcfunction(L, drop_roll);
    lua_setfield(L, -2, "__close");
  }
  lua_setmetatable(L, -2);
  lua_toclose(L, -1);
  lub_workers_each(e, call_roll, r);
  lua_createtable(L, (int)r->n, 0);
  for (size_t i = 0; i < r->n; i++) {
    lub_push_worker(L, r->all[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* lub.named(name) -> what the host published under this name, or nil */
static int named(lua_State *L) {
  lub_value v;
  if (lua_type(L, 1) != LUA_TSTRING) lub_arg_error(L, "named", 1, "a name (a string)");
  lub_check_surplus(L, 1, "named");
  if (lub_engine_lookup(lub_lworker(L)->core->engine, lua_tostring(L, 1), &v)) lua_pushnil(L);
  else lub_take(L, &v);
  return 1;
}

const luaL_Reg lub_worker_functions[] = {{"spawn", spawn},           {"workers", workers}, {"named", named},
                                         {"register", lub_register}, {"dump", lub_dump},   {NULL, NULL}};
