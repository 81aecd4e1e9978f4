/* bare.c - fibers, workers, and the loop that runs them: `bare SCRIPT [ARGUMENT...]`. */
#include <stdio.h>

#include "bare.h"

typedef struct ready { /* a ring */
  lua_State *co;
  int n;
} ready;

static ready *queue;
static uint32_t first, count, room; /* room: a power of two, or 0 */
static char FIBERS, STATES;         /* in the registry: those that have not ended; the handles' metatable */

void *must(void *memory) {
  if (!memory) abort();
  return memory;
}

void make_ready(lua_State *co, int n) {
  if (count == room) {
    uint32_t more = room ? 2 * room : 64;
    ready *grown = must(malloc(more * sizeof *grown));
    for (uint32_t i = 0; i < count; i++) grown[i] = queue[(first + i) & (room - 1)];
    free(queue);
    queue = grown;
    first = 0;
    room = more;
  }
  queue[(first + count++) & (room - 1)] = (ready){co, n};
}

void open_type(lua_State *L, const void *key, const luaL_Reg *methods, const luaL_Reg *events) {
  lua_newtable(L);
  luaL_setfuncs(L, events, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* ---- fibers: a coroutine is its own handle; without a state it has ended, with its result on top ---------------------- */

/* go(fn, ...) */
static int go(lua_State *L) {
  int n = lua_gettop(L);
  lua_State *co = lua_newthread(L);
  lua_insert(L, 1);
  lua_xmove(L, co, n);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &FIBERS);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, -2, co); /* alive until it ends */
  lua_pop(L, 1);
  make_ready(co, n - 1);
  return 1;
}

/* Who waits for the end lies in the place of the fiber that is waited for. */
static int fiber_join(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  if (!*state_of(co)) {
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    return 1;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &FIBERS);
  lua_pushthread(L);
  lua_rawsetp(L, -2, co);
  return lua_yield(L, 0);
}

static void end_fiber(lua_State *L, lua_State *co) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &FIBERS);
  lua_rawgetp(L, -1, co);
  lua_State *waits = lua_tothread(L, -1);
  *state_of(co) = NULL;
  if (waits != co) {
    lua_pushvalue(co, -1);
    lua_xmove(co, waits, 1);
    make_ready(waits, 1);
  }
  lua_pushnil(L);
  lua_rawsetp(L, -3, co);
  lua_pop(L, 2);
}

static int yield(lua_State *L) {
  make_ready(L, 0);
  return lua_yield(L, 0);
}

/* ---- workers: a state each, in which one coroutine runs --------------------------------------------------------------- */

static state *open_state(void) {
  state *s = must(calloc(1, sizeof *s));
  s->L = must(luaL_newstate());
  *state_of(s->L) = s;
  lua_newtable(s->L);
  lua_rawsetp(s->L, LUA_REGISTRYINDEX, &FIBERS);
  luaL_requiref(s->L, LUA_GNAME, luaopen_base, 1);
  lua_pop(s->L, 1);
  return s;
}

static void open_lubdub(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_newtable(L);
  open_chans(L);
  open_states(L);
  open_timers(L);
  lua_setfield(L, -2, "lubdub");
  lua_pop(L, 1);
}

typedef struct chunk {
  bool begun; /* not before the dump, which wants the function on top */
  luaL_Buffer b;
} chunk;

static int write_chunk(lua_State *L, const void *p, size_t n, void *to) {
  chunk *c = to;
  if (!c->begun) luaL_buffinit(L, &c->b);
  c->begun = true;
  luaL_addlstring(&c->b, p, n);
  return 0;
}

/* The function at 1, of `from`, on top of `to`; without its upvalues. */
static void copy_function(lua_State *from, lua_State *to) {
  chunk c = {.begun = false};
  size_t n;
  lua_pushvalue(from, 1);
  lua_dump(from, write_chunk, &c, 1);
  luaL_pushresult(&c.b);
  const char *code = lua_tolstring(from, -1, &n);
  if (luaL_loadbufferx(to, code, n, "=worker", "b")) abort();
  lua_pop(from, 2);
}

/* spawn(fn, ...) */
static int spawn(lua_State *L) {
  int n = lua_gettop(L);
  state *s = open_state();
  if (n > 1) open_lubdub(s->L); /* channels */
  lua_State *co = lua_newthread(s->L);
  lua_rawsetp(s->L, LUA_REGISTRYINDEX, co);
  copy_function(L, co);
  for (int i = 2; i <= n; i++) {
    if (lua_isuserdata(L, i)) push_chan(co, to_chan(L, i));
    else push_word(co, to_word(L, i));
  }
  make_ready(co, n - 1);
  *(state **)lua_newuserdatauv(L, sizeof s, 0) = s;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &STATES);
  lua_setmetatable(L, -2);
  return 1;
}

static int state_join(lua_State *L) {
  state *s = *(state **)lua_touserdata(L, 1);
  s->join = L;
  if (!s->ended) return lua_yield(L, 0);
  push_word(L, s->result);
  return 1;
}

static int state_free(lua_State *L) {
  state *s = *(state **)lua_touserdata(L, 1);
  if (s->ended) free(s);
  return 0;
}

static void end_state(state *s, lua_State *co) {
  if (lua_gettop(co)) s->result = to_word(co, -1);
  s->ended = true;
  lua_close(s->L);
  if (!s->join) return;
  push_word(s->join, s->result);
  make_ready(s->join, 1);
}

static const luaL_Reg methods[] = {{"join", state_join}, {NULL, NULL}};

void open_states(lua_State *L) {
  static const luaL_Reg functions[] = {{"go", go}, {"yield", yield}, {"spawn", spawn}, {NULL, NULL}};
  static const luaL_Reg events[] = {{"__gc", state_free}, {NULL, NULL}};
  static const luaL_Reg fiber_methods[] = {{"join", fiber_join}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  open_type(L, &STATES, methods, events);
  lua_pushthread(L); /* all threads have one metatable */
  lua_newtable(L);
  luaL_newlib(L, fiber_methods);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

/* Until `last`, a coroutine of `home`, has ended. */
static int run(const state *home, const lua_State *last) {
  while (count || wait_for_timers()) {
    int results;
    ready r = queue[first++ & (room - 1)];
    count--;
    state *s = *state_of(r.co);
    int status = lua_resume(r.co, s->L, r.n, &results);
    if (status == LUA_YIELD) continue;
    if (status != LUA_OK) {
      (void)fprintf(stderr, "bare: %s\n", lua_tostring(r.co, -1));
      return 1;
    }
    if (r.co == last) return 0;
    if (s == home) end_fiber(s->L, r.co);
    else end_state(s, r.co);
  }
  (void)fprintf(stderr, "bare: deadlock\n");
  return 1;
}

int main(int argc, char **argv) {
  state *s = open_state();
  if (argc < 2) return 2;
  luaL_openlibs(s->L);
  open_lubdub(s->L);
  lua_createtable(s->L, argc, 0);
  for (int i = 1; i < argc; i++) {
    lua_pushstring(s->L, argv[i]);
    lua_rawseti(s->L, -2, i - 1);
  }
  lua_setglobal(s->L, "arg");
  lua_State *co = lua_newthread(s->L);
  if (luaL_loadfile(co, argv[1])) return 2;
  make_ready(co, 0);
  return run(s, co);
}
