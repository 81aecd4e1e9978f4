/* lvalue.c - Lua values to messages and back. Numbers, booleans, handles and short strings travel in the
 * lub_value itself; everything else is packed into bytes in the worker's own buffer and copied once.
 * Cycles and shared references are kept: each table and function gets a number when first met. */
#include <string.h>

#include "llub.h"

enum { MAX_DEPTH = 200 };

enum tag { T_NIL, T_FALSE, T_TRUE, T_INT, T_NUM, T_STR, T_TABLE, T_REF, T_FUNC, T_CFUNC, T_MODULE, T_OBJECT,
           T_POINTER, T_ENV, T_END };

typedef struct path { /* how the value was reached, for the error message */
  struct path *up;
  const char *upvalue;
  int key; /* stack index of the key, 0: none */
} path;

typedef struct packer {
  lua_State *L;
  lworker *lw;
  const char *what;
  int seen; /* stack index of the table: object -> number */
  int count, depth;
} packer;

static void add(packer *p, const void *bytes, size_t n) {
  lworker *lw = p->lw;
  if (lw->pack_room - lw->pack_len < n) {
    size_t room = lw->pack_room ? lw->pack_room : 256;
    while (room - lw->pack_len < n) room *= 2;
    lub_engine *e = lw->core->engine;
    char *grown = e->mem.realloc(e->mem.ud, lw->pack, room);
    if (!grown) luaL_error(p->L, "not enough memory");
    lw->pack = grown;
    lw->pack_room = room;
  }
  memcpy(lw->pack + lw->pack_len, bytes, n);
  lw->pack_len += n;
}

static void add_tag(packer *p, enum tag t) {
  char c = (char)t;
  add(p, &c, 1);
}

static void add_size(packer *p, size_t n) { add(p, &n, sizeof n); }

static void add_string(packer *p, const char *s, size_t n) {
  add_size(p, n);
  add(p, s, n);
}

static void add_path(luaL_Buffer *b, lua_State *L, path *at) {
  if (!at) return;
  add_path(b, L, at->up);
  if (at->up && at->up->upvalue) luaL_addchar(b, ' ');
  if (at->upvalue) {
    lua_pushfstring(L, "%supvalue '%s'", at->up && !at->up->upvalue ? " " : "", at->upvalue);
  } else if (lua_type(L, at->key) == LUA_TSTRING) {
    lua_pushfstring(L, ".%s", lua_tostring(L, at->key));
  } else if (lua_isinteger(L, at->key)) {
    lua_pushfstring(L, "[%I]", (LUAI_UACINT)lua_tointeger(L, at->key));
  } else {
    lua_pushfstring(L, "[%s]", luaL_tolstring(L, at->key, NULL));
    lua_remove(L, -2);
  }
  luaL_addvalue(b);
}

static _Noreturn void refuse(packer *p, path *at, const char *what) {
  luaL_Buffer b;
  luaL_checkstack(p->L, 20, NULL);
  char head[128];
  (void)snprintf(head, sizeof head, "cannot send %s (at ", what);
  luaL_buffinit(p->L, &b);
  luaL_addstring(&b, head);
  luaL_addstring(&b, p->what);
  if (at && *p->what) luaL_addchar(&b, ' ');
  add_path(&b, p->L, at);
  luaL_addstring(&b, ")");
  luaL_pushresult(&b);
  luaL_where(p->L, 1);
  lua_insert(p->L, -2);
  lua_concat(p->L, 2);
  lua_error(p->L);
  abort();
}

/* Whether the value at the top was packed before; if so writes its number. Otherwise numbers it. */
static bool met_before(packer *p, int index) {
  lua_State *L = p->L;
  lua_pushvalue(L, index);
  if (lua_rawget(L, p->seen) == LUA_TNUMBER) {
    add_tag(p, T_REF);
    add_size(p, (size_t)lua_tointeger(L, -1));
    lua_pop(L, 1);
    return true;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, index);
  lua_pushinteger(L, ++p->count);
  lua_rawset(L, p->seen);
  return false;
}

/* The name under which package.loaded knows the table at index; pushes it, or nothing. */
static bool push_module_name(lua_State *L, int index) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    bool found = lua_rawequal(L, -1, index) && lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 1);
    if (found) {
      lua_remove(L, -2);
      return true;
    }
  }
  lua_pop(L, 1);
  return false;
}

/* "string.format" for a C function that a loaded module holds; pushes it, or nothing. */
static bool push_function_name(lua_State *L, int index) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1)) {
      lua_pushnil(L);
      while (lua_next(L, -2)) {
        bool found = lua_rawequal(L, -1, index) && lua_type(L, -2) == LUA_TSTRING;
        lua_pop(L, 1);
        if (found) {
          lua_pushfstring(L, "%s\n%s", lua_tostring(L, -3), lua_tostring(L, -1));
          lua_replace(L, -5);
          lua_pop(L, 3);
          return true;
        }
      }
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return false;
}

static void pack_any(packer *p, int index, path *at);

static void pack_table(packer *p, int index, path *at) {
  lua_State *L = p->L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  bool env = lua_rawequal(L, -1, index);
  lua_pop(L, 1);
  if (env) {
    add_tag(p, T_ENV);
    return;
  }
  if (met_before(p, index)) return;
  const char *class = "";
  if (push_module_name(L, index)) {
    add_tag(p, T_MODULE);
    size_t n;
    const char *name = lua_tolstring(L, -1, &n);
    add_string(p, name, n);
    lua_pop(L, 1);
    return;
  }
  int base = lua_gettop(L);
  if (lua_getmetatable(L, index)) {
    lua_getfield(L, LUA_REGISTRYINDEX, "lub.classes");
    lua_insert(L, -2);
    if (lua_rawget(L, -2) != LUA_TSTRING) refuse(p, at, "a table with a metatable nobody registered");
    class = lua_tostring(L, -1); /* kept alive by lub.classes */
    lua_settop(L, base);
  }
  add_tag(p, T_TABLE);
  add_string(p, class, strlen(class));
  size_t counts = p->lw->pack_len, narr = lua_rawlen(L, index), nhash = 0;
  add_size(p, narr);
  add_size(p, 0);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    int key = lua_gettop(L) - 1;
    path here = {.up = at, .key = key};
    pack_any(p, key, &here);
    pack_any(p, key + 1, &here);
    lua_pop(L, 1);
    nhash++;
  }
  add_tag(p, T_END);
  nhash = nhash > narr ? nhash - narr : 0;
  memcpy(p->lw->pack + counts + sizeof nhash, &nhash, sizeof nhash);
}

static void pack_function(packer *p, int index, path *at) {
  lua_State *L = p->L;
  if (met_before(p, index)) return;
  if (lua_iscfunction(L, index)) {
    if (!push_function_name(L, index)) refuse(p, at, "a foreign C function");
    size_t n;
    const char *name = lua_tolstring(L, -1, &n);
    add_tag(p, T_CFUNC);
    add_string(p, name, n);
    lua_pop(L, 1);
    return;
  }
  size_t n;
  lua_pushvalue(L, index);
  int function = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.dump");
  lua_pushvalue(L, function);
  lua_call(L, 1, 1);
  const char *code = lua_tolstring(L, -1, &n);
  add_tag(p, T_FUNC);
  add_string(p, code, n);
  lua_pop(L, 1);
  int nup = 0;
  while (lua_getupvalue(L, function, nup + 1)) {
    lua_pop(L, 1);
    nup++;
  }
  add_size(p, (size_t)nup);
  for (int i = 1; i <= nup; i++) {
    /* shared upvalues stay shared: each is known by its identity */
    lua_pushlightuserdata(L, lua_upvalueid(L, function, i));
    bool shared = met_before(p, lua_gettop(L));
    lua_pop(L, 1);
    if (shared) continue;
    add_tag(p, T_FALSE);
    const char *name = lua_getupvalue(L, function, i);
    path here = {.up = at, .upvalue = name && *name ? name : "?"};
    if (name && !strcmp(name, "_ENV")) add_tag(p, T_ENV); /* the receiver's, whatever it is here */
    else pack_any(p, lua_gettop(L), &here);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void pack_object(packer *p, lub_object *o, uint8_t flags) {
  lworker *lw = p->lw;
  if (lw->nobjects == lw->objects_room) {
    lub_engine *e = lw->core->engine;
    uint32_t room = lw->objects_room ? lw->objects_room * 2 : 8;
    lub_object **grown = e->mem.realloc(e->mem.ud, lw->objects, room * sizeof *grown);
    if (!grown) luaL_error(p->L, "not enough memory");
    lw->objects = grown;
    lw->objects_room = room;
  }
  lw->objects[lw->nobjects] = o;
  add_tag(p, T_OBJECT);
  add(p, &flags, 1);
  add_size(p, lw->nobjects++);
}

/* The counted object behind a handle, or NULL. */
static lub_object *object_of(lua_State *L, int index, uint8_t *flags) {
  struct { lub_chan *ch; int view; } *chan = luaL_testudata(L, index, LUB_CHAN_TYPE);
  if (chan) {
    *flags = (uint8_t)chan->view;
    return &chan->ch->obj;
  }
  lub_worker **w = luaL_testudata(L, index, LUB_WORKER_TYPE);
  *flags = UINT8_MAX;
  return w ? &(*w)->obj : NULL;
}

static void pack_any(packer *p, int index, path *at) {
  lua_State *L = p->L;
  if (++p->depth > MAX_DEPTH) {
    char what[64];
    (void)snprintf(what, sizeof what, "a value nested more than %d levels deep", MAX_DEPTH);
    refuse(p, NULL, what);
  }
  luaL_checkstack(L, 12, "value nested too deep to send");
  switch (lua_type(L, index)) {
    case LUA_TNIL: add_tag(p, T_NIL); break;
    case LUA_TBOOLEAN: add_tag(p, lua_toboolean(L, index) ? T_TRUE : T_FALSE); break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) {
        lua_Integer i = lua_tointeger(L, index);
        add_tag(p, T_INT);
        add(p, &i, sizeof i);
      } else {
        lua_Number n = lua_tonumber(L, index);
        add_tag(p, T_NUM);
        add(p, &n, sizeof n);
      }
      break;
    case LUA_TSTRING: {
      size_t n;
      const char *s = lua_tolstring(L, index, &n);
      add_tag(p, T_STR);
      add_string(p, s, n);
      break;
    }
    case LUA_TLIGHTUSERDATA: {
      void *bare = lua_touserdata(L, index);
      add_tag(p, T_POINTER);
      add(p, &bare, sizeof bare);
      break;
    }
    case LUA_TTABLE: pack_table(p, index, at); break;
    case LUA_TFUNCTION: pack_function(p, index, at); break;
    case LUA_TTHREAD: refuse(p, at, "a coroutine");
    default: {
      uint8_t flags;
      lub_object *o = object_of(L, index, &flags);
      if (!o) refuse(p, at, luaL_testudata(L, index, LUB_FIBER_TYPE) ? "a fiber" : "a userdata");
      pack_object(p, o, flags);
    }
  }
  p->depth--;
}

static lub_value finish_pack(packer *p) {
  lworker *lw = p->lw;
  lub_block *b = lub_block_new(&lw->core->engine->mem, lw->pack_len, lw->nobjects);
  if (!b) luaL_error(p->L, "not enough memory to send %s", p->what);
  memcpy(b->bytes, lw->pack, lw->pack_len);
  for (uint32_t i = 0; i < lw->nobjects; i++) {
    b->objects[i] = lw->objects[i];
    lub_object_ref(b->objects[i]);
  }
  return lub_of_block(LUB_PACKED, b);
}

static packer start_pack(lua_State *L, const char *what) {
  packer p = {.L = L, .lw = lub_lworker(L), .what = what};
  p.lw->pack_len = 0;
  p.lw->nobjects = 0;
  lua_newtable(L);
  p.seen = lua_gettop(L);
  return p;
}

lub_value lub_pack(lua_State *L, int index, const char *what) {
  lub_value v = {0};
  uint8_t flags;
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: return lub_bool(lua_toboolean(L, index));
    case LUA_TNUMBER:
      return lua_isinteger(L, index) ? lub_int(lua_tointeger(L, index)) : lub_num(lua_tonumber(L, index));
    case LUA_TLIGHTUSERDATA: return (lub_value){.type = LUB_POINTER, .as.p = lua_touserdata(L, index)};
    case LUA_TSTRING: {
      size_t n;
      const char *s = lua_tolstring(L, index, &n);
      if (lub_string(lub_lworker(L)->core->engine, s, n, &v))
        luaL_error(L, "not enough memory to send %s", what);
      return v;
    }
    case LUA_TUSERDATA: {
      lub_object *o = object_of(L, index, &flags);
      if (o) return lub_of_object(o, flags);
      break;
    }
    default: break;
  }
  packer p = start_pack(L, what);
  pack_any(&p, index, NULL);
  lua_settop(L, p.seen - 1);
  return finish_pack(&p);
}

lub_value lub_pack_list(lua_State *L, int first, int n, const char *function) {
  char what[64];
  packer p = start_pack(L, what);
  for (int i = 0; i < n; i++) {
    (void)snprintf(what, sizeof what, "%s %d", function ? "argument" : "result", i + 1);
    pack_any(&p, first + i, NULL);
  }
  add_tag(&p, T_END);
  lua_settop(L, p.seen - 1);
  return finish_pack(&p);
}

/* ---- the way back ------------------------------------------------------------------------------------- */

typedef struct unpacker {
  lua_State *L;
  const lub_block *b;
  size_t at;
  int seen, count;
} unpacker;

static void take_bytes(unpacker *u, void *out, size_t n) {
  memcpy(out, u->b->bytes + u->at, n);
  u->at += n;
}

static size_t take_size(unpacker *u) {
  size_t n;
  take_bytes(u, &n, sizeof n);
  return n;
}

static const char *take_string(unpacker *u, size_t *n) {
  *n = take_size(u);
  const char *s = u->b->bytes + u->at;
  u->at += *n;
  return s;
}

static void remember(unpacker *u) {
  lua_pushvalue(u->L, -1);
  lua_rawseti(u->L, u->seen, ++u->count);
}

static void push_object(lua_State *L, lub_object *o, uint8_t flags) {
  if (flags == UINT8_MAX) lub_push_worker(L, lub_container(o, lub_worker, obj));
  else lub_push_chan(L, lub_container(o, lub_chan, obj), flags);
}

static bool unpack_any(unpacker *u);

static void unpack_table(unpacker *u) {
  lua_State *L = u->L;
  size_t n;
  const char *class = take_string(u, &n);
  size_t narr = take_size(u), nhash = take_size(u);
  lua_createtable(L, narr < INT32_MAX ? (int)narr : 0, nhash < INT32_MAX ? (int)nhash : 0);
  remember(u);
  while (unpack_any(u)) {
    (void)unpack_any(u);
    lua_rawset(L, -3);
  }
  if (!n) return;
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_pushlstring(L, class, n);
  if (lua_rawget(L, -2) != LUA_TTABLE)
    luaL_error(L, "cannot receive an object of class '%s': it is not registered in this worker", class);
  lua_setmetatable(L, -3);
  lua_pop(L, 1);
}

static void unpack_function(unpacker *u) {
  lua_State *L = u->L;
  size_t n;
  const char *code = take_string(u, &n);
  /* this bytecode was dumped by this process a moment ago, never by a user */
  if (luaL_loadbufferx(L, code, n, "=function", "b")) lua_error(L);
  remember(u);
  int nup = (int)take_size(u);
  for (int i = 1; i <= nup; i++) {
    char tag;
    take_bytes(u, &tag, 1);
    if (tag == T_REF) { /* joined to the upvalue it shares */
      lua_rawgeti(L, u->seen, (lua_Integer)take_size(u));
      lua_rawgeti(L, -1, 1);
      lua_rawgeti(L, -2, 2);
      lua_upvaluejoin(L, -4, i, -2, (int)lua_tointeger(L, -1));
      lua_pop(L, 3);
      continue;
    }
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, i);
    lua_rawseti(L, -2, 2);
    remember(u);
    lua_pop(L, 1);
    (void)unpack_any(u);
    lua_setupvalue(L, -2, i);
  }
}

static void unpack_c_function(unpacker *u) {
  lua_State *L = u->L;
  size_t n;
  const char *name = take_string(u, &n), *newline = memchr(name, '\n', n);
  lua_getglobal(L, "require");
  lua_pushlstring(L, name, (size_t)(newline - name));
  lua_call(L, 1, 1);
  lua_pushlstring(L, newline + 1, n - (size_t)(newline - name) - 1);
  lua_gettable(L, -2);
  lua_remove(L, -2);
  remember(u);
}

/* Pushes one value; false, and nothing pushed: the end of a table. */
static bool unpack_any(unpacker *u) {
  lua_State *L = u->L;
  char tag;
  luaL_checkstack(L, 12, "value nested too deep to receive");
  take_bytes(u, &tag, 1);
  switch ((enum tag)tag) {
    case T_END: return false;
    case T_NIL: lua_pushnil(L); break;
    case T_FALSE: lua_pushboolean(L, 0); break;
    case T_TRUE: lua_pushboolean(L, 1); break;
    case T_INT: {
      lua_Integer i;
      take_bytes(u, &i, sizeof i);
      lua_pushinteger(L, i);
      break;
    }
    case T_NUM: {
      lua_Number n;
      take_bytes(u, &n, sizeof n);
      lua_pushnumber(L, n);
      break;
    }
    case T_STR: {
      size_t n;
      const char *s = take_string(u, &n);
      lua_pushlstring(L, s, n);
      break;
    }
    case T_POINTER: {
      void *bare;
      take_bytes(u, &bare, sizeof bare);
      lua_pushlightuserdata(L, bare);
      break;
    }
    case T_TABLE: unpack_table(u); break;
    case T_REF: lua_rawgeti(L, u->seen, (lua_Integer)take_size(u)); break;
    case T_FUNC: unpack_function(u); break;
    case T_CFUNC: unpack_c_function(u); break;
    case T_ENV: lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS); break;
    case T_MODULE: {
      size_t n;
      const char *name = take_string(u, &n);
      lua_getglobal(L, "require");
      lua_pushlstring(L, name, n);
      lua_call(L, 1, 1);
      remember(u);
      break;
    }
    case T_OBJECT: {
      uint8_t flags;
      take_bytes(u, &flags, 1);
      push_object(L, u->b->objects[take_size(u)], flags);
      break;
    }
  }
  return true;
}

static unpacker start_unpack(lua_State *L, const lub_value *v) {
  unpacker u = {.L = L, .b = lub_value_block(v)};
  lua_newtable(L);
  u.seen = lua_gettop(L);
  return u;
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
    case LUB_PACKED: {
      unpacker u = start_unpack(L, v);
      (void)unpack_any(&u);
      lua_remove(L, u.seen);
    }
  }
}

int lub_unpack_list(lua_State *L, const lub_value *v) {
  unpacker u = start_unpack(L, v);
  int n = 0;
  while (unpack_any(&u)) n++;
  lua_remove(L, u.seen);
  return n;
}

/* lub.register(name, metatable): tables with this metatable may cross, to workers that registered the
 * same name. */
int lub_register(lua_State *L) {
  luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_rawset(L, -3);
  return 0;
}
