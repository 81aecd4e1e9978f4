/* lworker.c - the life of a worker's Lua side: open, run slices, end with results or an error. */
#include <stdlib.h>
#include <string.h>

#include "llub.h"

static char KEY;

LUB_THREAD_LOCAL lworker *lub_here;

lworker *lub_known_lworker(lua_State *L) {
  if (lub_here && lub_here->registry == lua_topointer(L, LUA_REGISTRYINDEX)) return lub_here;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &KEY);
  lub_here = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return lub_here;
}

void lub_forget_lworker(lua_State *L) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY); /* which is there: no memory is needed */
  lub_here = NULL;
}

lworker *lub_find_lworker(lua_State *L) {
  lworker *lw = lub_known_lworker(L);
  if (!lw) luaL_error(L, "lubdub: this state has closed its engine");
  return lw;
}

void lub_lworker_fail(lworker *lw, const char *error) {
  if (lw->failed) return;
  lw->failed = true;
  lub_value_drop(&lw->result);
  if (lub_string(lw->core->engine, error, strlen(error), &lw->result)) lw->result = (lub_value){0};
  /* a host's main fiber is told as soon as may be: it may wait for what will never come now */
  if (lw->core->pinned && lw->main->core.wait.parked) (void)lub_wait_abort(&lw->main->core.wait, LUB_FAILED);
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

static void free_lworker(lub_worker *w) {
  lworker *lw = w->data;
  lub_free_fiber(&lw->nobody);
  lub_value_drop(&lw->result);
  lub_value_drop(&lw->first);
  lub_value_drop(&lw->taken);
  lub_drop_paths(lw);
  free(lw->waits);
  lub_arena_close(&lw->arena); /* of a state that could not be made */
  lub_free(&w->engine->mem, lw);
}

static bool is_plain(lua_State *L, int index) {
  int type = lua_type(L, index);
  return type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING || lub_test_chan(L, index);
}

static int pack_results(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_fiber_push(L, lw, lw->main);
  int n = lw->main->nvalues;
  lua_getiuservalue(L, 1, 1);
  if (n > 1) {
    luaL_checkstack(L, n + 8, "too many results");
    for (int i = 1; i <= n; i++) lua_rawgeti(L, 2, i);
    lw->result = lub_pack_list(L, 3, n, NULL);
  } else {
    lw->result = lub_pack_list(L, 2, n, NULL);
  }
  if (lw->script && n > 0 && is_plain(L, n > 1 ? 3 : 2)) lw->first = lub_pack(L, n > 1 ? 3 : 2, "result 1");
  return 0;
}

static void close_state(lworker *lw) {
  lua_State *L = lw->L;
  lw->innermost = NULL;
  lub_here = lw;
  lub_arena_begin_close(&lw->arena);
  lua_close(L);
  lub_here = NULL;
  lw->L = NULL;
  lub_arena_close(&lw->arena);
  lub_pack_free(lw);
}

/* Publishes what became of lw, and tells an error that nobody may ever ask for. */
static void decide(lworker *lw, bool killed) {
  lub_worker *w = lw->core;
  size_t n;
  const char *text = lub_text(&lw->result, &n);
  if (!killed && lw->failed && !atomic_load(&w->joined))
    lub_worker_complain(w, text ? text : "not enough memory");
  (void)lub_worker_decide(w, killed ? LUB_FATE_KILLED : LUB_ENDED);
}

static void end_worker(lworker *lw) {
  lub_worker *w = lw->core;
  lfiber *f = lw->main;
  bool killed = f->killed || atomic_load(&w->killed);
  atomic_store(&w->closing, true);
  if (!killed && f->ended && !f->failed && !lw->failed) {
    lua_pushcfunction(lw->L, pack_results);
    if (lua_pcall(lw->L, 0, 0, 0)) lub_lworker_fail(lw, lua_tostring(lw->L, -1));
  }
  lub_fiber_close_all(lw);
  lw->closed = true;
  if (lw->judge) lub_duty_desert(w->engine->judge, w);
  decide(lw, killed);
  close_state(lw);
  lub_worker_end(w);
}

void lub_lworker_abandon(lworker *lw) {
  lub_worker *w = lw->core;
  if (lw->L) close_state(lw);
  atomic_store(&w->joined, true);
  lub_worker_end(w);
  lub_worker_drop(w); /* alive no more */
  lub_worker_drop(w);
}

/* The state closes from outside: it is a host's, or os.exit was called. Finalizers come in any order, so the first that
 * finds something still waiting calls this; later calls do nothing. */
void lub_close_fibers(lworker *lw) {
  if (lw->closed) return;
  lw->closed = true;
  lub_fiber_close_all(lw);
  lw->running = &lw->nobody;
}

static int close_fibers(lua_State *L) {
  lworker *lw = lua_touserdata(L, lua_upvalueindex(1));
  lub_close_fibers(lw);
  lub_disown_all(L, lw);
  return 0;
}

/* ---- slices ----------------------------------------------------------------------------------------------- */

static void run_slice(lworker *lw) {
  lub_here = lw;
  if (lw->taken.type != LUB_NIL) lub_value_drop(&lw->taken);
  lub_look_at_requests(lw);
  lub_fibers_run(lw);
}

static void run_worker(lub_worker *w) {
  lworker *lw = w->data;
  run_slice(lw);
  if (lw->main->ended || lw->failed || atomic_load_explicit(&w->killed, memory_order_relaxed)) {
    end_worker(lw);
  } else {
    const lub_wait *wait = &lw->main->core.wait;
    bool blocked = wait->parked && wait->count == 1 && wait->waiters[0].send;
    atomic_store_explicit(&w->blocked, blocked, memory_order_relaxed);
  }
}

/* ---- the beginning ----------------------------------------------------------------------------------------- */

/* A table whose metatable has this field, which is popped. */
static void new_table(lua_State *L, const char *field, int *ref) {
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, field);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  *ref = luaL_ref(L, LUA_REGISTRYINDEX); /* from here on it can be found by drop_references */
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

static int set_up(lua_State *L) {
  lworker *lw = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushlightuserdata(L, lw);
  lua_pushcclosure(L, close_fibers, 1);
  new_table(L, "__gc", &lw->anchors); /* the first with a finalizer: when the state closes, the last called */
  lua_pushliteral(L, "v");
  new_table(L, "__mode", &lw->handles);
  lua_pushlightuserdata(L, lw);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY); /* from here on finalizers find it */
  lw->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  lub_here = lw;
  lub_push_status(L, LUB_KILLED);
  lua_pop(L, 1);
  if (lw->guest) {
    lub_begin_policies(L);
    return 0;
  }
  if (lw->core->pinned) {
    lua_getglobal(L, "require");
    lua_setfield(L, LUA_REGISTRYINDEX, "lub.require"); /* before a script changes it */
    lub_replace_coroutines(L);
    lua_pushglobaltable(L);
    lub_note_catchers(L, lw);
    lua_pop(L, 1);
  } else {
    lub_open_libraries(L, lw);
  }
  (void)luaL_newmetatable(L, LUB_FIBER_TYPE);
  lw->fiber_type = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static bool open_state(lworker *lw, lua_State *host) {
  lua_State *L = lw->L = host ? host : lua_newstate(lub_limited_alloc, lw);
  if (!L) return false;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return false;
  lua_pushcfunction(L, set_up);
  lua_pushlightuserdata(L, lw);
  bool ok = lua_pcall(L, 1, 0, 0) == LUA_OK;
  lua_settop(L, top);
  return ok;
}

/* A state goes on without lw. */
static void drop_references(lua_State *L, const lworker *lw) {
  if (lw->anchors) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, lw->anchors);
    lua_pushnil(L);
    lua_setmetatable(L, -2); /* it goes later, without its finalizer */
    lua_pop(L, 1);
  }
  if (lw->anchors) luaL_unref(L, LUA_REGISTRYINDEX, lw->anchors);
  if (lw->handles) luaL_unref(L, LUA_REGISTRYINDEX, lw->handles);
  for (int i = 0; i < LUB_STATUSES; i++)
    if (lw->reasons[i]) luaL_unref(L, LUA_REGISTRYINDEX, lw->reasons[i]);
}

static int use_key(lua_State *L) {
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
  return 0;
}

static int adopt_main(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lub_fiber_new(L, lw, lw->L, 0);
  f->main = f->exposed = true;
  f->begun = true;
  lw->main = lw->running = f;
  lw->innermost = lw->L;
  return 0;
}

/* What every Lua side begins with. */
static lub_status make_lworker(lub_engine *e, const char *name, bool pinned, lworker **out) {
  lub_worker *w;
  lworker *lw = e->sim && !lub_sim_attach(e) ? NULL : lub_alloc(&e->mem, sizeof *lw);
  if (!lw) return LUB_NOMEM;
  memset(lw, 0, sizeof *lw);
  if (lub_worker_open(e, name, pinned, &w)) {
    lub_free(&e->mem, lw);
    return LUB_NOMEM;
  }
  lw->core = w;
  lub_arena_init(&lw->arena, &e->mem);
  lw->running = &lw->nobody;
  lw->nobody.kill = lw->nobody.killed = lw->nobody.closing = true;
  lw->nobody.core.worker = w;
  lw->nobody.core.wait.id = UINT64_MAX; /* it is a fiber, though none that waits */
  lw->sim = e->sim != NULL;
  w->data = lw;
  w->free_data = free_lworker;
  w->run = run_worker;
  w->interrupt = lub_worker_interrupt;
  lub_random_seed(&lw->random, e->opts.seed ? e->opts.seed + w->id : (uint64_t)lub_engine_now_ns(e) ^ w->id);
  *out = lw;
  return LUB_OK;
}

lub_status lub_lworker_open(lub_engine *e, const char *name, lua_State *host, const lworker *like,
                            lworker **out) {
  lworker *lw;
  if (make_lworker(e, name, host != NULL, &lw)) return LUB_NOMEM;
  lw->bytecode = like && like->bytecode;
  bool ok = open_state(lw, host);
  if (ok && host) {
    lua_pushcfunction(host, adopt_main);
    ok = lua_pcall(host, 0, 0, 0) == LUA_OK;
    if (!ok) lua_pop(host, 1);
  }
  if (!ok) {
    if (host) {
      drop_references(host, lw);
      if (lub_known_lworker(host)) lub_forget_lworker(host);
      lw->L = NULL;
    }
    lub_lworker_abandon(lw);
    return LUB_NOMEM;
  }
  *out = lw;
  return LUB_OK;
}

/* ---- guests ---------------------------------------------------------------------------------------------------- */

static void run_guest(lub_worker *w) { run_slice(w->data); }

static void give_state(lua_State *L, lworker *lw) {
  lua_pushcfunction(L, use_key);
  lua_pushlightuserdata(L, lw);
  lua_call(L, 1, 0); /* the key is there: no memory is needed */
  lub_here = lw;
}

lub_status lub_lworker_open_guest(lub_engine *e, lworker *outer, lua_State *L, lworker **out) {
  lworker *lw;
  lub_open_base(L);
  if (make_lworker(e, outer->core->name, false, &lw)) return LUB_NOMEM;
  lw->guest = true;
  lw->core->run = run_guest;
  lw->base = outer->base;
  lw->fiber_type = outer->fiber_type;
  lw->chan_type = outer->chan_type;
  lw->bytecode = outer->bytecode;
  if (!open_state(lw, L)) {
    drop_references(L, lw);
    lw->L = NULL;
    outer->gone++;
    give_state(L, outer);
    lub_lworker_abandon(lw);
    return LUB_NOMEM;
  }
  *out = lw;
  return LUB_OK;
}

void lub_lworker_end_guest(lworker *lw, lworker *outer) {
  lua_State *L = lw->L;
  lub_worker *w = lw->core;
  atomic_store(&w->joined, true);
  lub_here = lw;
  lub_worker_set_current(w); /* so that the guard finds handlers that do not end */
  lub_fiber_close_all(lw);
  lub_worker_set_current(NULL);
  lub_disown_all(L, lw);
  drop_references(L, lw);
  outer->chan_type = lw->chan_type; /* it may have been the first to ask for it */
  outer->gone++;
  lub_end_policies(L);
  give_state(L, outer);
  if (lw->collected) lua_gc(L, LUA_GCCOLLECT, 0); /* such handles are no longer in the table */
  lub_pack_free(lw);
  lw->L = NULL;
  lub_worker_end(w);
  lub_worker_drop(w); /* alive no more */
  lub_worker_drop(w);
}
