/* lmodule.c - the module's table; and a stock Lua, whose state becomes the pinned worker of an engine of its own. */
#include <stdlib.h>

#include "lhalf.h"
#include "llub.h"
#include "lubdub_lua.h"

#define LINGER 2.0 /* seconds that a closing state waits for its workers */

typedef struct own { /* by the registry of a host's state */
  lub_engine *e;
  lworker *lw;
} own;

static void tell(void *ud, const char *message) {
  (void)ud;
  (void)fprintf(stderr, "lubdub: %s\n", message);
}

static int close_engine(lua_State *L) {
  own *o = lua_touserdata(L, 1);
  lub_engine *e = o->e;
  if (o->lw) {
    lub_worker *w = o->lw->core;
    lub_close_fibers(o->lw);
    if (lub_worker_current() == w) lub_worker_set_current(NULL); /* os.exit while a fiber of it waited */
    lub_forget_lworker(L);
    lub_pack_free(o->lw);
    lub_worker_end(w);
    lub_worker_drop(w); /* alive no more */
    lub_worker_drop(w);
  }
  *o = (own){0};
  if (!e) return 0;
  /* a worker stuck in a C call keeps its engine: memory is lost, the process is not */
  if (lub_engine_end_workers(e, LINGER) == LUB_OK) (void)lub_engine_close(e);
  else (void)lub_engine_complain(e, true);
  return 0;
}

bool lub_carriers_wanted(int *carriers, char why[LUB_CARRIERS_WHY]) {
  const char *text = getenv("LUBDUB_CARRIERS");
  char *end;
  *carriers = 0;
  if (!text || !*text) return true;
  long n = strtol(text, &end, 10);
  if (!*end && n >= 1 && n <= LUB_CARRIERS_MAX) {
    *carriers = (int)n;
    return true;
  }
  (void)snprintf(why, LUB_CARRIERS_WHY, "LUBDUB_CARRIERS: expected a number from 1 to %d, got %s",
                 LUB_CARRIERS_MAX, text);
  return false;
}

static void adopt_host(lua_State *L) {
  own *o = lua_newuserdatauv(L, sizeof *o, 0);
  *o = (own){0};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_engine);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.engine");
  lub_options options = {.log = tell};
  char why[LUB_CARRIERS_WHY];
  if (!lub_carriers_wanted(&options.carriers, why)) luaL_error(L, "lubdub: %s", why);
  lub_status status = lub_lua_engine_open(&options, &o->e);
  if (status) luaL_error(L, "lubdub: the engine does not start: %s", lub_strerror(status));
  if (lub_lworker_open(o->e, "main", L, NULL, &o->lw)) luaL_error(L, "lubdub: not enough memory");
  lub_engine_release(o->e);
}

/* ---- the Lua half ------------------------------------------------------------------------------------------------ */

static int loaded(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 1;
}

int lub_load_half(lua_State *L, const lhalf *m) {
  lua_pushfstring(L, "@%s", m->name);
  if (luaL_loadbufferx(L, (const char *)m->text, m->nbytes, lua_tostring(L, -1), "t")) return lua_error(L);
  lua_pushstring(L, m->name);
  lua_callk(L, 1, 1, 0, loaded);
  return 1;
}

/* The loader of the module at light userdata upvalue 1. */
static int load_half(lua_State *L) { return lub_load_half(L, lua_touserdata(L, lua_upvalueindex(1))); }

/* Fills the table on top, package.preload. */
void lub_preload(lua_State *L) {
  static const luaL_Reg here[] = {{"lubdub", luaopen_lubdub},
                                  {"lubdub.trial", luaopen_lubdub_trial},
                                  {"lubdub.simcore", luaopen_lubdub_simcore},
                                  {"lubdub.faultcore", luaopen_lubdub_faultcore},
                                  {NULL, NULL}};
  luaL_setfuncs(L, here, 0);
  for (const lhalf *m = lub_half; m->name; m++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)m);
    lua_pushcclosure(L, load_half, 1);
    lua_setfield(L, -2, m->name);
  }
}

static int called(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L);
}

/* lub.steward and the like: what their module, upvalue 1, returns is called. */
static int call_half(lua_State *L) {
  lub_require(L, lua_tostring(L, lua_upvalueindex(1)));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, called);
  return lua_gettop(L);
}

static void add_half(lua_State *L) {
  static const char *const names[] = {"steward", "supervisor"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    lua_pushfstring(L, "lubdub.%s", names[i]);
    lua_pushcclosure(L, call_half, 1);
    lua_setfield(L, -2, names[i]);
  }
}

int luaopen_lubdub(lua_State *L) {
  if (!lub_known_lworker(L)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    if (lua_tothread(L, -1) != L) return luaL_error(L, "lubdub: require it first from the main coroutine");
    lua_pop(L, 1);
    adopt_host(L);
    lub_require(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "preload");
    lub_preload(L);
    lua_pop(L, 2);
  }
  lub_open_fiber_methods(L);
  lua_createtable(L, 0, 24);
  const luaL_Reg *const parts[] = {lub_chan_functions, lub_time_functions, lub_fiber_functions,
                                   lub_worker_functions, lub_heart_functions};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) luaL_setfuncs(L, parts[i], 0);
  lub_push_status(L, LUB_TIMEOUT);
  luaL_setfuncs(L, lub_select_functions, 1);
  add_half(L);
  lua_pushliteral(L, LUB_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
