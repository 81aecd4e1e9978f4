/* lhandle.c - a worker's handles: in its state, one userdata for each object that was sent from it, or came. */
#include <limits.h>

#include "llub.h"

const char LUB_OVER_MAGIC[] = "lub.over";

bool lub_push_interned(lua_State *L, const lworker *lw, const void *key) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->handles);
  int type = lua_rawgetp(L, -1, key);
  lua_remove(L, -2);
  if (type != LUA_TUSERDATA) lua_pop(L, 1);
  return type == LUA_TUSERDATA;
}

void lub_intern(lua_State *L, const lworker *lw, int index, const void *key) {
  lua_pushvalue(L, index);
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->handles);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, key);
  lua_pop(L, 1);
}

void lub_push_weak(lua_State *L, const void *key) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* The collector has taken it out before, but a finalizer that sent it since may have put it back. */
void lub_forget(lua_State *L, const lworker *lw, const void *key) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->handles);
  lua_rawgetp(L, -1, key);
  if (lua_rawequal(L, -1, 1)) {
    lua_pushnil(L);
    lua_rawsetp(L, -3, key);
  }
  lua_pop(L, 2);
}

/* In a finalizer the collector stands still; as it does for a script that has stopped it. */
bool lub_must_intern(lua_State *L, const lworker *lw) {
  return lw->guest || lua_gc(L, LUA_GCISRUNNING, 0) != 1;
}

void lub_tell_collector(lua_State *L, size_t nbytes) {
  lub_lworker(L)->outside = 0;
  if (lua_gc(L, LUA_GCISRUNNING, 0) == 1)
    (void)lua_gc(L, LUA_GCSTEP, nbytes < INT_MAX ? (int)(nbytes / 1024) : INT_MAX / 1024);
}

/* ---- what outlives its engine ------------------------------------------------------------------------------------ */

static void disown(lua_State *L) {
  lchan *chan = lub_test_chan(L, -1);
  lub_worker **w = luaL_testudata(L, -1, LUB_WORKER_TYPE);
  lfiber *f = lub_test_fiber(L, -1);
  if (chan) {
    if (chan->ch) lub_chan_drop(chan->ch);
    *chan = (lchan){.magic = LUB_OVER_MAGIC};
  } else if (w) {
    if (*w) lub_worker_drop(*w);
    *w = NULL;
  } else if (f) {
    f->core.worker = NULL;
  } else {
    lub_disown_heart(L);
  }
}

void lub_disown_all(lua_State *L, lworker *lw) {
  lw->gone++;
  if (!lw->handles) return; /* there was no memory for them */
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->handles);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) disown(L);
  lua_pop(L, 1);
}

bool lub_is_over(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TUSERDATA) return false;
  lub_worker **w = luaL_testudata(L, arg, LUB_WORKER_TYPE);
  const lfiber *f = lub_test_fiber(L, arg);
  if (w || f) return w ? !*w : !f->core.worker;
  const void *const *magic = lua_touserdata(L, arg);
  return lua_rawlen(L, arg) >= sizeof *magic && *magic == LUB_OVER_MAGIC;
}
