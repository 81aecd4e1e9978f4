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

/* ---- what no seed controls ------------------------------------------------------------------------------------------ */

/* "file:line" of the innermost Lua function. */
static void push_where(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline < 0) continue;
    lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
  lua_pushliteral(L, "?");
}

static void count_call(lsimstate *s, const char *name, const char *where) {
  for (size_t i = 0; i < s->ncalls; i++) {
    luncontrolled *c = &s->calls[i];
    if (strcmp(c->name, name) != 0 || strcmp(c->where, where) != 0) continue;
    c->count++;
    return;
  }
  luncontrolled *grown = realloc(s->calls, (s->ncalls + 1) * sizeof *grown);
  if (!grown) return;
  s->calls = grown;
  luncontrolled c = {.name = strdup(name), .where = strdup(where), .count = 1};
  if (c.name && c.where) {
    s->calls[s->ncalls++] = c;
  } else {
    free(c.name);
    free(c.where);
  }
}

void lub_sim_uncontrolled(lua_State *L, lworker *lw, const char *name) {
  lsimstate *s = lub_sim_state(lw);
  luaL_checkstack(L, 4, NULL);
  push_where(L);
  count_call(s, name, lua_tostring(L, -1));
  lua_pop(L, 1);
  if (s->strict) luaL_error(L, "%s: no seed controls it, and this sim is strict", name);
}

void lub_sim_push_uncontrolled(lua_State *L, const lsimstate *s) {
  lua_createtable(L, (int)s->ncalls, 0);
  for (size_t i = 0; i < s->ncalls; i++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, s->calls[i].name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, s->calls[i].where);
    lua_setfield(L, -2, "where");
    lua_pushinteger(L, s->calls[i].count);
    lua_setfield(L, -2, "count");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

void lub_sim_state_close(lsimstate *s) {
  for (size_t i = 0; i < s->ncalls; i++) {
    free(s->calls[i].name);
    free(s->calls[i].where);
  }
  free(s->calls);
}

static int told(lua_State *L, const char *name) {
  lworker *lw = lub_lworker(L);
  if (lw->sim) lub_sim_uncontrolled(L, lw, name);
  return own(L);
}

static int os_execute(lua_State *L) { return told(L, "os.execute"); }
static int os_getenv(lua_State *L) { return told(L, "os.getenv"); }
static int os_tmpname(lua_State *L) { return told(L, "os.tmpname"); }
static int io_popen(lua_State *L) { return told(L, "io.popen"); }

/* Whether the file on top is stdin; pops it. */
static bool is_stdin(lua_State *L) {
  const luaL_Stream *file = luaL_testudata(L, -1, LUA_FILEHANDLE);
  bool is = file && file->closef && file->f == stdin;
  lua_pop(L, 1);
  return is;
}

static bool default_is_stdin(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "_IO_input"); /* liolib.c's own key */
  return is_stdin(L);
}

static int io_read(lua_State *L) { return default_is_stdin(L) ? told(L, "io.read of stdin") : own(L); }

static int io_lines(lua_State *L) {
  return lua_isnoneornil(L, 1) && default_is_stdin(L) ? told(L, "io.lines of stdin") : own(L);
}

static int file_read(lua_State *L) {
  lua_pushvalue(L, 1);
  return is_stdin(L) ? told(L, "file:read of stdin") : own(L);
}

static int file_lines(lua_State *L) {
  lua_pushvalue(L, 1);
  return is_stdin(L) ? told(L, "file:lines of stdin") : own(L);
}

static int os_exit(lua_State *L) {
  const lworker *lw = lub_lworker(L);
  if (!lw->sim || !lub_sim_has_body(lw)) return own(L); /* a host that starts scripts knows of os.exit */
  return luaL_error(L, "os.exit: inside a sim, which ends when its body returns or fails");
}

/* ---- the functions, in their places ------------------------------------------------------------------------------ */

static const struct replacement {
  const char *library, *name;
  lua_CFunction fn;
} replacements[] = {{LUA_OSLIBNAME, "time", os_time},
                    {LUA_OSLIBNAME, "clock", os_clock},
                    {LUA_OSLIBNAME, "date", os_date},
                    {LUA_OSLIBNAME, "execute", os_execute},
                    {LUA_OSLIBNAME, "getenv", os_getenv},
                    {LUA_OSLIBNAME, "tmpname", os_tmpname},
                    {LUA_OSLIBNAME, "exit", os_exit},
                    {LUA_IOLIBNAME, "popen", io_popen},
                    {LUA_IOLIBNAME, "read", io_read},
                    {LUA_IOLIBNAME, "lines", io_lines},
                    {LUA_FILEHANDLE, "read", file_read},
                    {LUA_FILEHANDLE, "lines", file_lines},
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

static int plain_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

/* pairs gives `next`: a script may compare them. */
static void replace_order(lua_State *L, const place *at) {
  bool stub = !push_own(L, at, "next");
  if (stub) lua_pushcfunction(L, plain_next);
  lua_pushcclosure(L, lub_sim_next, 1);
  if (push_own(L, at, "pairs")) {
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, lub_sim_pairs, 2);
    put(L, at, "pairs");
  }
  if (stub) lua_pop(L, 1);
  else put(L, at, "next");
}

/* Pushes the table of files' methods, or something else. */
static void push_files(lua_State *L) {
  if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE) lua_getfield(L, -1, "__index");
  else lua_pushnil(L);
  lua_remove(L, -2);
}

/* The library that was opened is on top. */
void lub_sim_library(lua_State *L, lworker *lw, const char *name) {
  const place at = {.library = name, .table = lua_gettop(L)};
  if (!strcmp(name, LUA_MATHLIBNAME)) replace_random(L, lw, &at);
  if (!strcmp(name, LUA_GNAME)) replace_order(L, &at);
  replace_all(L, &at);
  if (strcmp(name, LUA_IOLIBNAME) != 0) return;
  const place files = {.library = LUA_FILEHANDLE, .table = at.table + 1};
  push_files(L);
  if (lua_istable(L, -1)) replace_all(L, &files);
  lua_pop(L, 1);
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
  static const char *const libraries[] = {LUA_GNAME, LUA_MATHLIBNAME, LUA_OSLIBNAME, LUA_IOLIBNAME, NULL};
  int top = lua_gettop(L);
  lua_pushvalue(L, saved);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (const char *const *name = libraries; *name; name++) {
    const place at = {.library = *name, .table = top + 2, .saved = saved};
    bool there = lua_getfield(L, top + 1, *name) == LUA_TTABLE;
    if (there) replace_all(L, &at);
    if (there && !strcmp(*name, LUA_GNAME)) replace_order(L, &at);
    if (there && !strcmp(*name, LUA_MATHLIBNAME)) {
      push_fresh_math(L);
      replace_random(L, lw, &at);
    }
    lua_settop(L, top + 1);
  }
  const place files = {.library = LUA_FILEHANDLE, .table = top + 2, .saved = saved};
  push_files(L);
  if (lua_istable(L, -1)) replace_all(L, &files);
  lua_settop(L, top);
}

int lub_sim_leave_state(lua_State *L) {
  lub_sim_end_walks(L);
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
