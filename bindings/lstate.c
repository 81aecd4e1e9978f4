/* lstate.c - a worker's own lua_State: its memory limit, and libraries that are opened when first touched.
 *
 * A state with all libraries costs 25 KB and 50 us; most workers touch a few. So _G has a metatable that opens a library
 * at the first access to its name. What could tell the difference (pairs, next, rawget, getmetatable, setmetatable of _G;
 * package; require) opens the rest first, and the metatable goes. */
#include <stdlib.h>
#include <string.h>

#include "llub.h"

static int open_package(lua_State *L);

static const luaL_Reg lazy[] = {
    {LUA_TABLIBNAME, luaopen_table},      {LUA_MATHLIBNAME, luaopen_math}, {LUA_IOLIBNAME, luaopen_io},
    {LUA_OSLIBNAME, luaopen_os},          {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_DBLIBNAME, luaopen_debug},
    {LUA_COLIBNAME, lub_open_coroutines}, {LUA_LOADLIBNAME, open_package}, {NULL, NULL}};

void *lub_limited_alloc(void *ud, void *block, size_t old, size_t nbytes) {
  lworker *lw = ud;
  const lub_allocator *mem = &lw->core->engine->mem;
  if (!block) old = 0;
  if (nbytes >= LUB_TOO_MUCH) return NULL;
  if (nbytes > old && lw->memory_limit && lw->memory + (nbytes - old) > lw->memory_limit) return NULL;
  void *grown = mem->realloc(mem->ud, block, nbytes);
  if (grown || !nbytes) lw->memory = lw->memory - old + nbytes;
  return grown;
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static const luaL_Reg *find_lazy(const char *name) {
  for (const luaL_Reg *r = lazy; r->name; r++)
    if (!strcmp(r->name, name)) return r;
  return NULL;
}

/* Opens library r unless it is open, and makes it global unless the script has taken the name. Pushes it. */
static void open_library(lua_State *L, const luaL_Reg *r, bool global) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, r->name) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushcfunction(L, r->func);
    lua_pushstring(L, r->name);
    lua_call(L, 1, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, r->name);
    if (global) {
      lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
      lua_pushstring(L, r->name);
      lua_pushvalue(L, -3);
      lua_rawset(L, -3);
      lua_pop(L, 1);
    }
  }
  lua_remove(L, -2);
}

static bool is_missing(lua_State *L, const luaL_Reg *r) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool missing = lua_getfield(L, -1, r->name) == LUA_TNIL;
  lua_pop(L, 2);
  return missing;
}

/* Opens what is missing; from here on the state is like any other. */
static void open_all(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (!lw->lazy) return;
  lw->lazy = false;
  luaL_checkstack(L, 12, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_pushnil(L);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  for (const luaL_Reg *r = lazy; r->name; r++) {
    open_library(L, r, true);
    lua_pop(L, 1);
  }
}

/* package speaks of all libraries; its `require` stays ours, which is global already. */
static int open_package(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_getfield(L, -1, "require");
  lua_pushcfunction(L, luaopen_package);
  lua_pushstring(L, LUA_LOADLIBNAME);
  lua_call(L, 1, 1);
  lua_getfield(L, -3, "require");
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.require");
  lua_pushvalue(L, -2);
  lua_setfield(L, -4, "require");
  const lpaths *paths = lub_lworker(L)->paths; /* those of the worker that spawned this one */
  for (int i = 0; i < 2 && paths; i++) {
    lua_pushstring(L, i ? paths->cpath : paths->path);
    lua_setfield(L, -2, i ? "cpath" : "path");
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, LUA_LOADLIBNAME);
  lua_pop(L, 1);
  lua_getfield(L, -1, "preload");
  lub_preload(L);
  lua_pop(L, 1);
  open_all(L);
  return 1;
}

/* _G[name] of a name that is not there. */
static int missing_global(lua_State *L) {
  const luaL_Reg *r = lua_type(L, 2) == LUA_TSTRING ? find_lazy(lua_tostring(L, 2)) : NULL;
  if (!r || !is_missing(L, r)) return 0;
  open_library(L, r, true);
  return 1;
}

/* _G[name] = value of a name that is not there: the script takes it, also as nil. */
static int new_global(lua_State *L) {
  const luaL_Reg *r = lua_type(L, 2) == LUA_TSTRING ? find_lazy(lua_tostring(L, 2)) : NULL;
  if (r && is_missing(L, r)) {
    open_library(L, r, false);
    lua_pop(L, 1);
  }
  lua_rawset(L, 1);
  return 0;
}

/* ---- the functions that could tell ----------------------------------------------------------------------------- */

static void if_globals(lua_State *L) {
  if (!lub_lworker(L)->lazy) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  bool globals = lua_rawequal(L, 1, -1);
  lua_pop(L, 1);
  if (globals) open_all(L);
}

static int base_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if_globals(L);
  lua_settop(L, 2);
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

static int pairs_continue(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 3;
}

static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if_globals(L);
  if (luaL_getmetafield(L, 1, "__pairs") == LUA_TNIL) {
    lua_pushcfunction(L, base_next);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
  }
  lua_pushvalue(L, 1);
  lua_callk(L, 1, 3, 0, pairs_continue);
  return 3;
}

static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  if_globals(L);
  lua_settop(L, 2);
  lua_rawget(L, 1);
  return 1;
}

static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if_globals(L);
  if (!lua_getmetatable(L, 1)) lua_pushnil(L);
  else luaL_getmetafield(L, 1, "__metatable"); /* pushes nothing without one */
  return 1;
}

static int base_setmetatable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
  if_globals(L);
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
    return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */

void lub_push_paths(lua_State *L) {
  const lpaths *paths = lub_lworker(L)->paths;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool open = lua_getfield(L, -1, LUA_LOADLIBNAME) == LUA_TTABLE;
  lua_replace(L, -2);
  for (int i = 0; i < 2; i++) {
    if (open) lua_getfield(L, -1 - i, i ? "cpath" : "path");
    else lua_pushstring(L, !paths ? NULL : i ? paths->cpath : paths->path);
  }
  lua_remove(L, -3);
}

static lpaths *make_paths(const lub_allocator *mem, const char *path, const char *cpath) {
  size_t n = strlen(path) + 1, m = strlen(cpath) + 1;
  lpaths *p = lub_alloc(mem, sizeof *p + n + m);
  if (!p) return NULL;
  p->mem = mem;
  atomic_init(&p->refs, 1);
  memcpy(p->path, path, n);
  p->cpath = memcpy(p->path + n, cpath, m);
  return p;
}

lub_status lub_inherit_paths(lworker *lw, lworker *parent, const char *path, const char *cpath) {
  lpaths *p = parent->paths;
  if (!path || !cpath) return LUB_OK;
  if (!p || strcmp(p->path, path) != 0 || strcmp(p->cpath, cpath) != 0) {
    if (!(p = make_paths(&lw->core->engine->mem, path, cpath))) return LUB_NOMEM;
    lub_drop_paths(parent);
    parent->paths = p;
  }
  atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
  lw->paths = p;
  return LUB_OK;
}

void lub_drop_paths(lworker *lw) {
  lpaths *p = lw->paths;
  lw->paths = NULL;
  /* acq_rel: whoever frees it sees that all others are done with it */
  if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) lub_free(p->mem, p);
}

void lub_require(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) != LUA_TNIL) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 2);
  const luaL_Reg *r = find_lazy(name);
  if (!strcmp(name, "lubdub")) luaL_requiref(L, name, luaopen_lubdub, 0);
  else if (r && lub_lworker(L)->lazy) open_library(L, r, true);
  else {
    open_all(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "lub.require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
  }
}

static int base_require(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const luaL_Reg *r = find_lazy(name);
  if (lub_lworker(L)->lazy &&
      (r || !strcmp(name, "lubdub") || !strcmp(name, LUA_STRLIBNAME) || !strcmp(name, "_G"))) {
    lub_require(L, name);
    return 1;
  }
  open_all(L);
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.require");
  lua_pushvalue(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L) - 1;
}

/* load, loadfile: text only, unless the host allows bytecode. The argument that is the mode is upvalue 2. */
static int text_only(lua_State *L) {
  int mode = (int)lua_tointeger(L, lua_upvalueindex(2)), n = lua_gettop(L);
  if (!lub_lworker(L)->bytecode) {
    luaL_checkstack(L, 4, NULL);
    while (n < mode) {
      lua_pushnil(L);
      n++;
    }
    const char *wanted = luaL_optstring(L, mode, "t");
    lua_pushstring(L, strchr(wanted, 't') ? "t" : "");
    lua_replace(L, mode);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L);
}

static int dofile_continue(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - 1;
}

static int base_dofile(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (luaL_loadfilex(L, name, lub_lworker(L)->bytecode ? NULL : "t")) return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_continue);
  return dofile_continue(L, 0, 0);
}

static void take_text_only(lua_State *L, const char *name, int mode) {
  lua_getfield(L, 1, name);
  lua_pushinteger(L, mode);
  lua_pushcclosure(L, text_only, 2);
  lua_setfield(L, 1, name);
}

void lub_open_libraries(lua_State *L, lworker *lw) {
  lua_settop(L, 0);
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  take_text_only(L, "load", 3);
  take_text_only(L, "loadfile", 2);
  static const luaL_Reg own[] = {{"next", base_next},
                                 {"pairs", base_pairs},
                                 {"rawget", base_rawget},
                                 {"getmetatable", base_getmetatable},
                                 {"setmetatable", base_setmetatable},
                                 {"require", base_require},
                                 {"dofile", base_dofile},
                                 {NULL, NULL}};
  luaL_setfuncs(L, own, 0);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, missing_global);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, new_global);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_settop(L, 0);
  lw->lazy = true;
}
