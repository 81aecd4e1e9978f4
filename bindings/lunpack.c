/* lunpack.c - messages to Lua values; see lvalue.c, which makes them. */
#include <string.h>

#include "lhome.h"
#include "llub.h"
#include "lmessage.h"

typedef struct unpacker {
  lua_State *L;
  const char *bytes, *at; /* the message; the next byte of it */
  lub_object **objects;
  int seen; /* stack index of nil, or a table: place in the message -> what is there */
} unpacker;

static void unpack_any(unpacker *u);

static inline void take(unpacker *u, void *out, size_t n) {
  memcpy(out, u->at, n);
  u->at += n;
}

static size_t take_size(unpacker *u) {
  size_t n = 0;
  for (int shift = 0;; shift += 7) {
    unsigned char c = (unsigned char)*u->at++;
    n |= (size_t)(c & 127) << shift;
    if (c < 128) return n;
  }
}

static const char *take_string(unpacker *u, size_t *n) {
  *n = take_size(u);
  u->at += *n;
  return u->at - *n;
}

static void push_string(unpacker *u) {
  size_t n;
  const char *s = take_string(u, &n);
  lua_pushlstring(u->L, s, n);
}

/* Pops a value: what the message has at this place. */
static void remember(unpacker *u, lua_Integer place) {
  if (lua_isnil(u->L, u->seen)) {
    lua_newtable(u->L);
    lua_replace(u->L, u->seen);
  }
  lua_rawseti(u->L, u->seen, place);
}

static void unpack_module(unpacker *u) {
  push_string(u);
  lub_require(u->L, lua_tostring(u->L, -1));
  lua_remove(u->L, -2);
}

/* A C function: of a module, or a method. */
static void unpack_c_function(unpacker *u, bool method) {
  lua_State *L = u->L;
  int top = lua_gettop(L) + 1;
  push_string(u);
  u->at++; /* T_STR */
  push_string(u);
  const char *module = lua_tostring(L, -2), *name = lua_tostring(L, -1);
  if (method && !strcmp(module, LUA_FILEHANDLE))
    lub_require(L, LUA_IOLIBNAME), lua_pop(L, 1); /* makes the type */
  if (method) lub_push_methods(L, module);
  else lub_require(L, module);
  if (lua_istable(L, -1)) lua_getfield(L, -1, name);
  if (!lua_isfunction(L, -1))
    luaL_error(L, "cannot receive the function '%s.%s': this worker has none", module, name);
  lua_replace(L, top);
  lua_settop(L, top);
}

static void unpack_entries(unpacker *u, bool shared, lua_Integer place) {
  lua_State *L = u->L;
  uint32_t count[2];
  take(u, count, sizeof count);
  lua_createtable(L, (int)count[0], (int)count[1]);
  if (shared) {
    lua_pushvalue(L, -1);
    remember(u, place);
  }
  for (uint32_t i = 1; i <= count[0]; i++) {
    unpack_any(u);
    lua_rawseti(L, -2, i);
  }
  for (uint32_t i = 0; i < count[1]; i++) {
    unpack_any(u);
    unpack_any(u);
    lua_rawset(L, -3);
  }
}

static void unpack_object(unpacker *u, bool shared, lua_Integer place) {
  lua_State *L = u->L;
  push_string(u);
  (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_pushvalue(L, -2);
  if (lua_rawget(L, -2) != LUA_TTABLE)
    luaL_error(L, "cannot receive an object of class '%s': it is not registered in this worker",
               lua_tostring(L, -3));
  lua_replace(L, -3);
  lua_pop(L, 1);
  unpack_entries(u, shared, place);
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
}

/* An upvalue's place leads to a function that has it, its negative to the number it has there. */
static void join_upvalue(unpacker *u, int i) {
  lua_State *L = u->L;
  lua_Integer place = (lua_Integer)take_size(u);
  lua_rawgeti(L, u->seen, place);
  lua_rawgeti(L, u->seen, -place);
  lua_upvaluejoin(L, -3, i, -2, (int)lua_tointeger(L, -1));
  lua_pop(L, 2);
}

static void unpack_upvalue(unpacker *u, int i) {
  lua_State *L = u->L;
  lua_Integer place = u->at - u->bytes;
  unsigned char t = (unsigned char)*u->at++;
  if (t == T_REF) {
    join_upvalue(u, i);
    return;
  }
  if (t & SHARED) {
    lua_pushvalue(L, -1);
    remember(u, place);
    lua_pushinteger(L, i);
    remember(u, -place);
  }
  unpack_any(u);
  lua_setupvalue(L, -2, i);
}

static void unpack_function(unpacker *u, bool shared, lua_Integer place) {
  lua_State *L = u->L;
  size_t n;
  take(u, &n, sizeof n);
  /* lua_dump wrote this in pack_code: no script's string comes here. Its own chunk name is in it. */
  if (luaL_loadbufferx(L, u->at, n, "=function", "b")) lua_error(L);
  u->at += n;
  if (shared) {
    lua_pushvalue(L, -1);
    remember(u, place);
  }
  int nup = (unsigned char)*u->at++;
  for (int i = 1; i <= nup; i++) unpack_upvalue(u, i);
}

static void push_object(lua_State *L, lub_object *o, uint8_t flags) {
  if (flags == UINT8_MAX) lub_push_worker(L, lub_container(o, lub_worker, obj));
  else if (flags == LUB_HEART_FLAGS) lub_push_heart(L, lub_container(o, lub_heart, obj));
  else lub_push_chan(L, lub_container(o, lub_chan, obj), flags);
}

static void unpack_handle(unpacker *u) {
  uint8_t flags;
  take(u, &flags, sizeof flags);
  push_object(u->L, u->objects[take_size(u)], flags);
}

static void unpack_integer(unpacker *u) {
  lua_Integer i;
  take(u, &i, sizeof i);
  lua_pushinteger(u->L, i);
}

static void unpack_number(unpacker *u) {
  lua_Number n;
  take(u, &n, sizeof n);
  lua_pushnumber(u->L, n);
}

static void unpack_pointer(unpacker *u) {
  uint64_t bare;
  take(u, &bare, sizeof bare);
  lua_pushlightuserdata(u->L, (void *)(uintptr_t)bare);
}

/* What holds other values: may refer to itself, and is remembered before it is filled. */
static void unpack_container(unpacker *u, tag t, bool shared, lua_Integer place) {
  luaL_checkstack(u->L, LUA_MINSTACK, "value nested too deep to receive");
  if (t == T_TABLE) unpack_entries(u, shared, place);
  else if (t == T_OBJECT) unpack_object(u, shared, place);
  else unpack_function(u, shared, place);
}

/* Pushes one value. */
static void unpack_any(unpacker *u) {
  lua_State *L = u->L;
  lua_Integer place = u->at - u->bytes;
  unsigned char c = (unsigned char)*u->at++;
  bool shared = c & SHARED;
  tag t = (tag)(c & ~SHARED);
  switch (t) {
    case T_NIL: lua_pushnil(L); break;
    case T_FALSE: lua_pushboolean(L, 0); break;
    case T_TRUE: lua_pushboolean(L, 1); break;
    case T_INT: unpack_integer(u); break;
    case T_NUM: unpack_number(u); break;
    case T_POINTER: unpack_pointer(u); break;
    case T_STR: push_string(u); break;
    case T_HANDLE: unpack_handle(u); break;
    case T_ENV: lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS); break;
    case T_REF: lua_rawgeti(L, u->seen, (lua_Integer)take_size(u)); break;
    case T_MODULE: unpack_module(u); break;
    case T_LIBRARY:
    case T_METHOD: unpack_c_function(u, t == T_METHOD); break;
    case T_UPVALUE: lub_assert(t != T_UPVALUE); break; /* inside a function only */
    case T_TABLE:
    case T_OBJECT:
    case T_FUNCTION: unpack_container(u, t, shared, place); return;
  }
  if (!shared) return;
  lua_pushvalue(L, -1);
  remember(u, place);
}

/* Pushes the nil that `seen` begins as. */
static unpacker start_unpack(lua_State *L, const lub_value *v) {
  const lub_block *b = lub_value_block(v);
  luaL_checkstack(L, LUA_MINSTACK, "no room to receive");
  lua_pushnil(L);
  return (unpacker){.L = L, .bytes = b->bytes, .at = b->bytes, .objects = b->objects, .seen = lua_gettop(L)};
}

static void unpack_structure(lua_State *L, const lub_value *v) {
  unpacker u = start_unpack(L, v);
  unpack_any(&u);
  lua_remove(L, u.seen);
}

void lub_unpack(lua_State *L, const lub_value *v) {
  size_t n;
  const char *s;
  switch ((lub_type)v->type) {
    case LUB_NIL: lua_pushnil(L); break;
    case LUB_BOOL: lua_pushboolean(L, v->as.b); break;
    case LUB_INT: lua_pushinteger(L, v->as.i); break;
    case LUB_NUM: lua_pushnumber(L, v->as.n); break;
    case LUB_POINTER: lua_pushlightuserdata(L, v->as.p); break;
    case LUB_SHORT:
    case LUB_STRING:
      s = lub_text(v, &n);
      lua_pushlstring(L, s, n);
      break;
    case LUB_OBJECT: push_object(L, v->as.p, v->flags); break;
    case LUB_PACKED: unpack_structure(L, v); break;
  }
}

int lub_unpack_list(lua_State *L, const lub_value *v) {
  unpacker u = start_unpack(L, v);
  int n = (int)take_size(&u);
  luaL_checkstack(L, n, "too many values to receive");
  for (int i = 0; i < n; i++) unpack_any(&u);
  lua_remove(L, u.seen);
  return n;
}

static int unpack_protected(lua_State *L) {
  lub_unpack(L, lua_touserdata(L, 1));
  return 1;
}

void lub_take_any(lua_State *L, lub_value *v) {
  if (v->type <= LUB_SHORT) { /* owns nothing */
    lub_unpack(L, v);
    return;
  }
  lworker *lw = lub_lworker(L);
  lub_value own = *v, *taken = &lw->taken; /* the caller's may move while Lua code runs */
  v->type = LUB_NIL;
  if (taken->type == LUB_NIL && !lw->core->pinned) { /* a host's state has no slices */
    *taken = own;
    lub_unpack(L, taken);
    lub_value_drop(taken);
    return;
  }
  lua_pushcfunction(L, unpack_protected);
  lua_pushlightuserdata(L, &own);
  int status = lua_pcall(L, 1, 1, 0);
  lub_value_drop(&own);
  if (status) lua_error(L);
}
