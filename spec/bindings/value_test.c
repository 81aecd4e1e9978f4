/* value_test.c - values when memory ends: allocation n of the engine fails, then allocation n of Lua, for n =
 * 1, 2, 3, ... until the scenario passes whole. Each failure is an error in the script that asked; the channel
 * is empty afterwards, and nothing leaks. */
#include <string.h>

#include "../core/test.h"
#include "llub.h"

typedef struct memory {
  size_t blocks;
  long until, often; /* the allocation that fails, and how many from there on; 0: none */
} memory;

static bool fails(memory *m) {
  if (m->until > 1) m->until--;
  else if (m->until == 1 && m->often && m->often--) return true;
  return false;
}

static void *engine_realloc(void *ud, void *block, size_t nbytes) {
  memory *m = ud;
  if (!nbytes) {
    m->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  if (fails(m)) return NULL;
  void *grown = realloc(block, nbytes);
  m->blocks += grown && !block;
  return grown;
}

static void *lua_realloc(void *ud, void *block, size_t old, size_t nbytes) {
  memory *m = ud;
  if (nbytes && (!block || nbytes > old) && fails(m)) return NULL;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

/* Returns a function that sends something of every kind and checks the copy. */
static const char scenario[] =
    "local lub = require 'lubdub'\n"
    "local ch, mt, n = lub.chan(1), {}, 0\n"
    "lub.register('thing', mt)\n"
    "local t = { long = ('l'):rep(1000), lub = lub, f = string.format, [1.5] = true, ch, ch }\n"
    "t.me, t.again, t.thing = t, t.long, setmetatable({}, mt)\n"
    "for i = 1, 40 do t[i + 2] = { i, t[i + 1] } end\n"
    "t.add = function() n = n + 1; return n, t end\n"
    "t.get = function() return n end\n"
    "return function()\n"
    "  assert(ch:send(t))\n"
    "  local ok, c = pcall(ch.recv, ch)\n"
    "  assert(#ch == 0, 'the channel keeps what could not be received')\n"
    "  assert(ok, c)\n"
    "  c.add()\n"
    "  assert(c.get() == 1 and n == 0 and c.me == c and c.lub == lub and c[1] == ch and c.long == t.long)\n"
    "  assert(getmetatable(c.thing) == mt and c[42][2] == c[41] and c.f == string.format)\n"
    "end, function() return #ch end\n";

static int run(lua_State *L) { /* the scenario's function */
  lua_pushvalue(L, 1);
  return lua_pcall(L, 0, 0, 0);
}

static int channel_length(lua_State *L) {
  lua_pushvalue(L, 2);
  lua_call(L, 0, 1);
  int n = (int)lua_tointeger(L, -1);
  lua_settop(L, 2);
  return n;
}

/* Runs the scenario in L until the allocation that fails lies behind its end; returns how often it failed. */
static int until_it_passes(lua_State *L, memory *m, long often, bool *memory_error) {
  *memory_error = true;
  for (long n = 1; n < 5000; n++) {
    m->until = n;
    m->often = often;
    int status = run(L);
    m->until = 0;
    if (!status) return (int)n - 1;
    *memory_error = *memory_error && lua_isstring(L, -1) && strstr(lua_tostring(L, -1), "not enough memory");
    if (channel_length(L) != 0) return -1;
    lub_pack_free(lub_lworker(L)); /* so that its allocations are made anew */
  }
  return -1;
}

static lua_State *open_state(lub_engine *e, memory *of_lua, lworker **lw) {
  lua_State *L = lua_newstate(lua_realloc, of_lua);
  luaL_openlibs(L);
  if (lub_lworker_open(e, "main", L, NULL, lw)) abort();
  luaL_requiref(L, "lubdub", luaopen_lubdub, 0);
  lua_settop(L, 0);
  if (luaL_loadstring(L, scenario) || lua_pcall(L, 0, 2, 0)) {
    printf("%s\n", lua_tostring(L, -1));
    abort();
  }
  return L;
}

int main(void) {
  memory of_engine = {0}, of_lua = {0};
  lub_engine *e;
  lworker *lw;
  bool told;
  lub_options o = {.carriers = -1, .realloc = engine_realloc, .ud = &of_engine};
  if (lub_engine_open(&o, &e)) return 2;
  lua_State *L = open_state(e, &of_lua, &lw);

  int n = until_it_passes(L, &of_engine, 1, &told);
  CHECK("an engine without memory is an error of the send", n > 5 && told);
  n = until_it_passes(L, &of_lua, 2, &told); /* Lua collects garbage and tries once more */
  CHECK("a Lua without memory is an error of the receive", n > 50 && told);
  CHECK("all is well afterwards", run(L) == LUA_OK);

  lub_worker *w = lw->core;
  lub_close_fibers(lw);
  lua_close(L);
  lub_pack_free(lw);
  lub_worker_end(w);
  lub_worker_drop(w); /* alive no more */
  lub_worker_drop(w);
  (void)lub_engine_close(e);
  CHECK("nothing of the engine's memory is left", of_engine.blocks == 0);
  return TEST_END();
}
