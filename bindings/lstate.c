/* lstate.c - a worker's own lua_State: its memory limit, its warnings, and libraries that are opened when first touched.
 *
 * A state with all libraries costs 25 KB and 50 us; most workers touch a few. So _G is empty at first and has a metatable
 * that opens the base library at the first access to any name, and another library at the first access to its own, and
 * strings have one that opens theirs at the first method or arithmetic. What could
 * tell the difference (pairs, next, rawget, rawset, getmetatable, setmetatable; package, debug; require) opens the rest
 * first, and the metatables go. Functions that are wrapped here end in Lua's own, called in the same frame: so their
 * errors name them, and the line of their caller. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llub.h"

static int open_package(lua_State *L);

static const struct library {
  const char *name;
  lua_CFunction open;
  bool sees_all; /* it shows what is open, so all of them must be */
} libraries[] = {{LUA_STRLIBNAME, luaopen_string, false},     {LUA_TABLIBNAME, luaopen_table, false},
                 {LUA_MATHLIBNAME, luaopen_math, false},      {LUA_IOLIBNAME, luaopen_io, false},
                 {LUA_OSLIBNAME, luaopen_os, false},          {LUA_UTF8LIBNAME, luaopen_utf8, false},
                 {LUA_COLIBNAME, lub_open_coroutines, false}, {LUA_DBLIBNAME, luaopen_debug, true},
                 {LUA_LOADLIBNAME, open_package, true},       {NULL, NULL, false}};

void *lub_limited_alloc(void *ud, void *block, size_t old, size_t nbytes) {
  lworker *lw = ud;
  if (!block) old = 0;
  if (nbytes >= LUB_TOO_MUCH) return NULL;
  if (nbytes > old && lw->memory_limit && lw->memory + (nbytes - old) > lw->memory_limit) return NULL;
  void *grown = lub_arena_realloc(&lw->arena, block, old, nbytes);
  if (grown || !nbytes) lw->memory = lw->memory - old + nbytes;
  return grown;
}

/* stderr, as in stock Lua: off until warn("@on"). */
static void on_warning(void *ud, const char *message, int continues) {
  lworker *lw = ud;
  if (!lw->in_warning && !continues && *message == '@') {
    if (!strcmp(message, "@on")) lw->warns = true;
    else if (!strcmp(message, "@off")) lw->warns = false;
    return;
  }
  if (!lw->warns) return;
  (void)fprintf(stderr, "%s%s%s", lw->in_warning ? "" : "Lua warning: ", message, continues ? "" : "\n");
  lw->in_warning = continues;
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static const struct library *find_library(const char *name) {
  const struct library *r = libraries;
  while (r->name && strcmp(r->name, name) != 0) r++;
  return r->name ? r : NULL;
}

static void open_all(lua_State *L);
static void open_base(lua_State *L, lworker *lw);

/* Opens library r unless it is open, and makes it global unless the script has taken the name. Pushes it. */
static void open_library(lua_State *L, const struct library *r, bool global) {
  lworker *lw = lub_lworker(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, r->name) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushcfunction(L, r->open);
    lua_pushstring(L, r->name);
    lua_call(L, 1, 1);
    if (lw->sim) lub_sim_library(L, lw, r->name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, r->name);
    if (global) {
      lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
      lua_pushstring(L, r->name);
      lua_pushvalue(L, -3);
      lua_rawset(L, -3);
      lua_pop(L, 1);
    }
    if (r->sees_all) open_all(L);
  }
  lua_remove(L, -2);
}

/* Opens what is missing; from here on the state is like any other. */
static void open_all(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (!lw->lazy) return;
  luaL_checkstack(L, 12, NULL);
  open_base(L, lw);
  lw->lazy = false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_pushnil(L);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  for (const struct library *r = libraries; r->name; r++) {
    open_library(L, r, true);
    lua_pop(L, 1);
  }
}

/* package keeps the `require` that is global already, ours. */
static int open_package(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_getfield(L, -1, "require");
  lua_pushcfunction(L, luaopen_package);
  lua_pushstring(L, LUA_LOADLIBNAME);
  lua_call(L, 1, 1);
  lua_getfield(L, -3, "require");
  lub_lworker(L)->base.require = lua_tocfunction(L, -1);
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.require");
  lua_pushvalue(L, -3);
  lua_setupvalue(L, -2, 1);
  lua_pop(L, 2);
  lua_pushvalue(L, -2);
  lua_setfield(L, -4, "require");
  const lpaths *paths = lub_lworker(L)->paths; /* those of the worker that spawned this one */
  for (int i = 0; i < 2 && paths; i++) {
    lua_pushstring(L, i ? paths->cpath : paths->path);
    lua_setfield(L, -2, i ? "cpath" : "path");
  }
  lua_getfield(L, -1, "preload");
  lub_preload(L);
  lua_pop(L, 1);
  return 1;
}

/* The library that the string at 2 names, if it is not open yet. */
static const struct library *missing_library(lua_State *L) {
  const struct library *r = lua_type(L, 2) == LUA_TSTRING ? find_library(lua_tostring(L, 2)) : NULL;
  if (!r) return NULL;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool missing = lua_getfield(L, -1, r->name) == LUA_TNIL;
  lua_pop(L, 2);
  return missing ? r : NULL;
}

/* _G[name] of a name that is not there. */
static int missing_global(lua_State *L) {
  open_base(L, lub_lworker(L));
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 1) != LUA_TNIL) return 1;
  const struct library *r = missing_library(L);
  if (!r) return 0;
  open_library(L, r, true);
  return 1;
}

/* _G[name] = value of a name that is not there: the script takes it, also as nil. */
static int new_global(lua_State *L) {
  open_base(L, lub_lworker(L));
  const struct library *r = missing_library(L);
  if (r) {
    open_library(L, r, false);
    lua_pop(L, 1);
  }
  /* rawset would not tell the line */
  if (lua_isnil(L, 2)) return luaL_error(L, "table index is nil");
  if (lua_type(L, 2) == LUA_TNUMBER && lua_tonumber(L, 2) != lua_tonumber(L, 2))
    return luaL_error(L, "table index is NaN");
  lua_rawset(L, 1);
  return 0;
}

/* ---- strings -------------------------------------------------------------------------------------------------- */

/* After it, strings have the library's own metatable. */
static void open_strings(lua_State *L) {
  if (!lub_lworker(L)->lazy) return;
  open_library(L, find_library(LUA_STRLIBNAME), true);
  lua_pop(L, 1);
}

static int string_index(lua_State *L) {
  open_strings(L);
  lua_settop(L, 2);
  lua_gettable(L, 1);
  return 1;
}

static int string_event(lua_State *L, const char *event) {
  open_strings(L);
  lua_pushliteral(L, "");
  luaL_getmetafield(L, -1, event);
  lua_CFunction own = lua_tocfunction(L, -1);
  lua_settop(L, 2);
  return own(L);
}

#define STRING_EVENT(name) \
  static int string_##name(lua_State *L) { return string_event(L, "__" #name); }
STRING_EVENT(add)
STRING_EVENT(sub)
STRING_EVENT(mul)
STRING_EVENT(mod)
STRING_EVENT(pow)
STRING_EVENT(div)
STRING_EVENT(idiv)
STRING_EVENT(unm)

static const luaL_Reg string_events[] = {
    {"__index", string_index}, {"__add", string_add}, {"__sub", string_sub}, {"__mul", string_mul},
    {"__mod", string_mod},     {"__pow", string_pow}, {"__div", string_div}, {"__idiv", string_idiv},
    {"__unm", string_unm},     {NULL, NULL}};

/* ---- the functions that could tell ----------------------------------------------------------------------------- */

lworker *lub_looked_at(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (!lw->lazy || lua_isnone(L, 1)) return lw;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  bool globals = lua_rawequal(L, 1, -1);
  lua_pop(L, 1);
  if (globals) open_all(L);
  return lw;
}

static int base_next(lua_State *L) { return lub_looked_at(L)->base.next(L); }
static int base_rawget(lua_State *L) { return lub_looked_at(L)->base.rawget(L); }
static int base_rawset(lua_State *L) { return lub_looked_at(L)->base.rawset(L); }
static int base_setmetatable(lua_State *L) { return lub_looked_at(L)->base.setmetatable(L); }

static int base_getmetatable(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) open_strings(L);
  return lub_looked_at(L)->base.getmetatable(L);
}

static int pairs_continue(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 3;
}

/* Gives our `next`, not Lua's: a script may compare them. */
static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  (void)lub_looked_at(L);
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
  const struct library *r = find_library(name);
  if (!strcmp(name, LUA_GNAME) && lub_lworker(L)->lazy) {
    open_base(L, lub_lworker(L));
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
  } else if (!strcmp(name, "lubdub")) luaL_requiref(L, name, luaopen_lubdub, 0);
  else if (r && lub_lworker(L)->lazy) open_library(L, r, true);
  else {
    open_all(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "lub.require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
  }
}

/* Its upvalue is package, as of Lua's own, once that is open. */
static int base_require(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lworker *lw = lub_lworker(L);
  if (lw->lazy && (find_library(name) || !strcmp(name, "lubdub") || !strcmp(name, LUA_GNAME))) {
    lub_require(L, name);
    return 1;
  }
  open_all(L);
  return lw->base.require(L);
}

/* load, loadfile: text only, unless the host allows bytecode. */
static void text_only(lua_State *L, int mode) {
  if (lub_lworker(L)->bytecode) return;
  luaL_checkstack(L, 4, NULL);
  while (lua_gettop(L) < mode) lua_pushnil(L);
  lua_pushstring(L, strchr(luaL_optstring(L, mode, "t"), 't') ? "t" : "");
  lua_replace(L, mode);
}

static int base_load(lua_State *L) {
  if (!lua_isnone(L, 1)) text_only(L, 3);
  return lub_lworker(L)->base.load(L);
}

static int base_loadfile(lua_State *L) {
  text_only(L, 2);
  return lub_lworker(L)->base.loadfile(L);
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

/* Lua's own, but that a line is written as one: other workers print too. */
static int base_print(lua_State *L) {
  int n = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    (void)luaL_tolstring(L, i, NULL);
    lua_replace(L, i);
  }
  flockfile(stdout);
  for (int i = 1; i <= n; i++) {
    size_t nbytes;
    const char *text = lua_tolstring(L, i, &nbytes);
    if (i > 1) (void)putc_unlocked('\t', stdout);
    (void)fwrite(text, 1, nbytes, stdout);
  }
  (void)putc_unlocked('\n', stdout);
  (void)fflush(stdout);
  funlockfile(stdout);
  return 0;
}

/* ---- a new state ------------------------------------------------------------------------------------------------- */

/* Puts fn in the place of the function `name` of the table on top, and returns that. */
static lua_CFunction replace(lua_State *L, const char *name, lua_CFunction fn) {
  lua_getfield(L, -1, name);
  lua_CFunction own = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  lua_pushcfunction(L, fn);
  lua_setfield(L, -2, name);
  return own;
}

void lub_note_catchers(lua_State *L, lworker *lw) {
  lua_getfield(L, -1, "pcall");
  lua_getfield(L, -2, "xpcall");
  lw->base.pcall = lua_tocfunction(L, -2);
  lw->base.xpcall = lua_tocfunction(L, -1);
  lua_pop(L, 2);
}

static int fill_globals(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lua_settop(L, 0);
  lua_pushcfunction(L, luaopen_base);
  lua_call(L, 0, 1);
  lub_note_catchers(L, lw);
  lw->base.next = replace(L, "next", base_next);
  lw->base.rawget = replace(L, "rawget", base_rawget);
  lw->base.rawset = replace(L, "rawset", base_rawset);
  lw->base.getmetatable = replace(L, "getmetatable", base_getmetatable);
  lw->base.setmetatable = replace(L, "setmetatable", base_setmetatable);
  lw->base.load = replace(L, "load", base_load);
  lw->base.loadfile = replace(L, "loadfile", base_loadfile);
  (void)replace(L, "pairs", base_pairs);
  (void)replace(L, "dofile", base_dofile);
  (void)replace(L, "print", base_print);
  lua_pushnil(L);
  lua_pushcclosure(L, base_require, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.require");
  lua_setfield(L, 1, "require");
  if (lw->sim) lub_sim_library(L, lw, LUA_GNAME);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, LUA_GNAME);
  return 0;
}

/* Of the table at that index, without memory. */
static void empty(lua_State *L, int table) {
  for (lua_pushnil(L); lua_next(L, table);) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, table);
  }
}

/* Once, before a script can have a global of its own. While the names come, _G is without its metatable. When memory ends
 * in the midst it is empty again, and the next access begins anew. */
static void open_base(lua_State *L, lworker *lw) {
  if (lw->base.next) return;
  luaL_checkstack(L, 8, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  if (!lua_getmetatable(L, -1)) lua_pushnil(L);
  lua_pushnil(L);
  lua_setmetatable(L, -3);
  lua_pushcfunction(L, fill_globals);
  int status = lua_pcall(L, 0, 0, 0);
  if (status) {
    memset(&lw->base, 0, sizeof lw->base);
    empty(L, lua_gettop(L) - 2);
    lua_rotate(L, -3, 1); /* the error below both */
  }
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  if (status) lua_error(L);
}

void lub_open_base(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (lw->lazy) open_base(L, lw);
}

void lub_open_libraries(lua_State *L, lworker *lw) {
  lua_settop(L, 0);
  lua_setwarnf(L, on_warning, lw);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, missing_global);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, new_global);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_pushliteral(L, "");
  luaL_newlib(L, string_events);
  lua_setmetatable(L, -2);
  lua_settop(L, 0);
  lw->lazy = true;
}
