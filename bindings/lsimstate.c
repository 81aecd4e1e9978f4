/* lsimstate.c - see lsimstate.h.
 *
 * Functions of the sim take the place of Lua's own in the tables in which scripts find them: in a worker when it opens
 * the library, in the caller's state while the sim runs. A local made before is out of reach. What the script itself
 * has put there, in Lua, stays. Upvalue 1 is Lua's own, which is called in the same frame, so that its errors name it and
 * the line of its caller; and which alone is left of a function that outlives its sim. */
#include "lsimstate.h"

#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define EPOCH 946684800 /* 2000-01-01T00:00:00Z */
#define SECOND_NS 1000000000

static int own(lua_State *L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

/* ---- time ------------------------------------------------------------------------------------------------------ */

static lua_Integer seconds(const lworker *lw) {
  int64_t now_ns = lub_sim_now_ns(lw->core->engine->sim), part_ns = now_ns % SECOND_NS;
  return EPOCH + (now_ns - part_ns) / SECOND_NS - (part_ns < 0);
}

static int os_time(lua_State *L) {
  const lworker *lw = lub_lworker(L);
  if (!lw->sim || !lua_isnoneornil(L, 1)) return own(L);
  lua_pushinteger(L, seconds(lw));
  return 1;
}

static int os_clock(lua_State *L) {
  const lworker *lw = lub_lworker(L);
  if (!lw->sim) return own(L);
  lua_pushnumber(L, lub_sim_now(lw->core->engine->sim));
  return 1;
}

static int os_date(lua_State *L) {
  const lworker *lw = lub_lworker(L);
  if (lw->sim && lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_pushinteger(L, seconds(lw));
  }
  return own(L);
}

/* ---- random numbers --------------------------------------------------------------------------------------------- */

/* Upvalue 1 is not of the caller's generator, but of the sim's. Without arguments Lua takes the time and an address. */
static int math_randomseed(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (lua_isnone(L, 1)) {
    for (int i = 0; i < 2; i++) lua_pushinteger(L, (lua_Integer)lub_random_next(&lw->random));
  } else {
    (void)luaL_checknumber(L, 1);
    (void)luaL_optinteger(L, 2, 0);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* Seeds the generator of the library on top for lw. */
static void seed_random(lua_State *L, const lworker *lw) {
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, (lua_Integer)lw->core->engine->opts.seed);
  lua_pushinteger(L, (lua_Integer)lw->core->id);
  lua_call(L, 2, 0);
}

/* ---- the functions, in their places ------------------------------------------------------------------------------ */

static const struct replacement {
  const char *library, *name;
  lua_CFunction fn;
} replacements[] = {{LUA_OSLIBNAME, "time", os_time},
                    {LUA_OSLIBNAME, "clock", os_clock},
                    {LUA_OSLIBNAME, "date", os_date},
                    {NULL, NULL, NULL}};

typedef struct place { /* a library's table at an index of the stack */
  const char *library;
  int table;
  int saved; /* the index of a list of what was there before, SAVED values for each; 0: nobody wants it back */
} place;
enum { SAVED = 4 }; /* the table, the name, the function, the library */

static void save(lua_State *L, const place *at, const char *name) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, at->saved);
  lua_pushvalue(L, at->table);
  lua_pushstring(L, name);
  lua_pushvalue(L, -1);
  lua_rawget(L, at->table);
  lua_pushstring(L, at->library);
  for (int i = SAVED; i > 0; i--) lua_rawseti(L, at->saved, n + i);
}

/* Pops the function `name` for the library. */
static void put(lua_State *L, const place *at, const char *name) {
  if (at->saved) save(L, at, name);
  lua_pushstring(L, name);
  lua_insert(L, -2);
  lua_rawset(L, at->table);
}

/* Pushes the function `name` of the library if it is Lua's own. */
static bool push_own(lua_State *L, const place *at, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, at->table);
  if (lua_iscfunction(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static void replace_all(lua_State *L, const place *at) {
  for (const struct replacement *r = replacements; r->name; r++) {
    if (strcmp(r->library, at->library) != 0 || !push_own(L, at, r->name)) continue;
    lua_pushcclosure(L, r->fn, 1);
    put(L, at, r->name);
  }
}

/* The library that `at` speaks of has functions of the one on top, which has a generator of its own. */
static void replace_random(lua_State *L, const lworker *lw, const place *at) {
  static const char *const names[] = {"random", "randomseed"};
  int fresh = lua_gettop(L);
  seed_random(L, lw);
  for (int i = 0; i < 2; i++) {
    if (!push_own(L, at, names[i])) continue;
    lua_pop(L, 1);
    lua_getfield(L, fresh, names[i]);
    if (i == 1) lua_pushcclosure(L, math_randomseed, 1);
    put(L, at, names[i]);
  }
}

/* The library that was opened is on top. */
void lub_sim_library(lua_State *L, lworker *lw, const char *name) {
  const place at = {.library = name, .table = lua_gettop(L)};
  if (!strcmp(name, LUA_MATHLIBNAME)) replace_random(L, lw, &at);
  replace_all(L, &at);
}

static char KEY; /* of the list, in the registry */

/* A generator costs a library: it serves one sim after the other. */
static void push_fresh_math(lua_State *L) {
  static char fresh;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &fresh) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_pushcfunction(L, luaopen_math);
  lua_call(L, 0, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &fresh);
}

void lub_sim_enter_state(lua_State *L, lworker *lw, int saved) {
  static const char *const libraries[] = {LUA_MATHLIBNAME, LUA_OSLIBNAME, NULL};
  int top = lua_gettop(L);
  lua_pushvalue(L, saved);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (const char *const *name = libraries; *name; name++) {
    const place at = {.library = *name, .table = top + 2, .saved = saved};
    bool there = lua_getfield(L, top + 1, *name) == LUA_TTABLE;
    if (there) replace_all(L, &at);
    if (there && !strcmp(*name, LUA_MATHLIBNAME)) {
      push_fresh_math(L);
      replace_random(L, lw, &at);
    }
    lua_settop(L, top + 1);
  }
  lua_settop(L, top);
}

int lub_sim_leave_state(lua_State *L) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, 1) - SAVED; i >= 0; i -= SAVED) {
    for (int k = 1; k < SAVED; k++) lua_rawgeti(L, 1, i + k);
    lua_rawset(L, 2);
    lua_settop(L, 1);
  }
  return 0;
}

bool lub_sim_own(lua_State *L, int function, const char **library, const char **name) {
  *name = NULL;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &KEY) == LUA_TTABLE) {
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1) - SAVED; i >= 0 && !*name; i -= SAVED) {
      lua_rawgeti(L, -1, i + 3);
      if (lua_rawequal(L, -1, function)) {
        lua_rawgeti(L, -2, i + 2);
        lua_rawgeti(L, -3, i + 4);
        *library = lua_tostring(L, -1); /* the list has them */
        *name = lua_tostring(L, -2);
        lua_pop(L, 2);
      }
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  return *name;
}
