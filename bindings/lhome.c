/* lhome.c - see lhome.h. */
#include "lhome.h"

#include <string.h>

#include "llub.h"

static bool is_one_of(const char *name, const char *const *names) {
  while (*names && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

/* How sure another state has a function there too: aliases in modules and globals are the script's own. */
static int rank(const char *module, const char *name) {
  static const char *const libraries[] = {
      LUA_STRLIBNAME, LUA_TABLIBNAME, LUA_MATHLIBNAME, LUA_IOLIBNAME, LUA_OSLIBNAME, LUA_UTF8LIBNAME,
      LUA_COLIBNAME,  LUA_DBLIBNAME,  LUA_LOADLIBNAME, "lubdub",      NULL};
  static const char *const base[] = {"assert",   "collectgarbage", "dofile",   "error",        "getmetatable",
                                     "ipairs",   "load",           "loadfile", "next",         "pairs",
                                     "pcall",    "print",          "rawequal", "rawget",       "rawlen",
                                     "rawset",   "require",        "select",   "setmetatable", "tonumber",
                                     "tostring", "type",           "warn",     "xpcall",       NULL};
  if (!strcmp(module, LUA_GNAME)) return is_one_of(name, base) ? 3 : 1;
  return is_one_of(module, libraries) ? 4 : 2;
}

/* Of two that are as good, one is always the same. */
static bool is_better(const lhome *a, const lhome *b) {
  if (a->rank != b->rank || !b->name) return a->rank > b->rank;
  int order = strcmp(a->module, b->module);
  return order ? order < 0 : strcmp(a->name, b->name) < 0;
}

/* Looks in the table on top, a module's, for the function at index. */
static void look_in(lua_State *L, int index, const char *module, lhome *best) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_rawequal(L, -1, index)) {
      const char *name = lua_tostring(L, -2);
      const lhome other = {.module = module, .name = name, .rank = rank(module, name)};
      if (is_better(&other, best)) *best = other;
    }
    lua_pop(L, 1);
  }
}

lhome lub_home_in_modules(lua_State *L, int index) {
  lhome best = {0};
  int top = lua_gettop(L);
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, top + 1)) {
      if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1)) look_in(L, index, lua_tostring(L, -2), &best);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, top);
  return best;
}

void lub_push_methods(lua_State *L, const char *type) {
  if (!strcmp(type, LUB_CHAN_MAGIC)) lub_open_chan(L, lub_lworker(L));
  else if (!strcmp(type, LUB_WORKER_TYPE)) lub_open_worker(L);
  else if (luaL_getmetatable(L, type) != LUA_TTABLE) {
    lub_require(L, LUA_IOLIBNAME); /* not open yet in this worker */
    lua_pop(L, 2);
    luaL_getmetatable(L, type);
  }
  lua_getfield(L, -1, "__index");
  lua_remove(L, -2);
}

lhome lub_home_in_methods(lua_State *L, int index) {
  static const char *const types[] = {LUB_CHAN_MAGIC, LUB_FIBER_TYPE, LUB_WORKER_TYPE, LUA_FILEHANDLE};
  lhome best = {0};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    lub_push_methods(L, types[i]);
    if (lua_istable(L, -1)) look_in(L, index, types[i], &best);
    lua_pop(L, 1);
  }
  return best;
}
