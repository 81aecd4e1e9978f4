/* lvalue.c - Lua values to messages; back: lunpack.c. Numbers, booleans, handles and short strings travel in the
 * lub_value itself; everything else is packed into bytes in the worker's buffer and copied once.
 *
 * A message is a run of items, each a tag and its data. What is met a second time is written as a reference
 * to the place of the first, whose tag gets the SHARED bit: only those are remembered when unpacking, so a
 * tree costs no bookkeeping there. Metamethods never run: every access is raw.
 *
 *   tables      copied; array part without keys. The globals are the receiver's. A table in package.loaded
 *               goes by name, if the message holds any function: pure data is copied, whoever loaded it.
 *   functions   of Lua: code with debug information, and each upvalue by identity, so that shared ones stay
 *               shared. Of C: by the name under which a loaded module or a handle's methods hold it.
 *   _ENV        an upvalue like others: the globals are the receiver's, a plain table (a sandbox) is copied
 *               and stays the function's environment. One whose metatable cannot cross is the receiver's
 *               globals too: test runners and the like put such a proxy before _G.
 *   objects     tables whose metatable was given a name by lub.register, on both sides. */
#include "lvalue.h"

#include <string.h>

#include "lhome.h"
#include "llub.h"
#include "lmessage.h"
#include "lpath.h"

enum { FEW = 16, LONG_STRING = 128, KEEP_BYTES = 1 << 16, KEEP_MET = 1 << 10 };

typedef struct packer {
  lua_State *L;
  lworker *lw;
  lpack *out;
  const lub_allocator *mem;
  const char *what; /* "argument 2", the path's beginning; may be empty */
  const void *globals;
  bool spawned;           /* the value is the function of a spawn: paths begin with its upvalue */
  bool tables, functions; /* there is one; where there are both, modules go by name */
  bool knows_modules;     /* the loaded modules are among what was met */
  int depth;
} packer;

static _Noreturn void refuse(packer *p, const lpath *at, const char *what) {
  char text[LUB_PATH_TEXT];
  lub_path_text(p->L, p->what, p->spawned, at, text);
  if (*text) luaL_error(p->L, "cannot send %s (at %s)", what, text);
  luaL_error(p->L, "cannot send %s", what);
  abort();
}

static _Noreturn void no_memory(packer *p) {
  luaL_error(p->L, "not enough memory to send%s%s", *p->what ? " " : "", p->what);
  abort();
}

/* ---- the buffer ----------------------------------------------------------------------------------------- */

/* Room for n more elements of `size` in an array of *room; false without memory. */
static bool make_room(const lub_allocator *mem, void *array, size_t *room, size_t used, size_t n,
                      size_t size) {
  void *old, *grown;
  if (*room - used >= n) return true;
  if (n > SIZE_MAX / 4 / size - used) return false;
  size_t wanted = *room ? *room : FEW;
  while (wanted - used < n) wanted *= 2;
  memcpy(&old, array, sizeof old);
  if (!(grown = mem->realloc(mem->ud, old, wanted * size))) return false;
  memcpy(array, &grown, sizeof grown);
  *room = wanted;
  return true;
}

/* n bytes at the end, to be filled by the caller before the next call. */
static inline char *extend(packer *p, size_t n) {
  lpack *out = p->out;
  if (out->room - out->len < n && !make_room(p->mem, &out->bytes, &out->room, out->len, n, 1)) no_memory(p);
  out->len += n;
  return out->bytes + out->len - n;
}

static inline void add(packer *p, const void *bytes, size_t n) { memcpy(extend(p, n), bytes, n); }
static inline void add_tag(packer *p, tag t) { *extend(p, 1) = (char)t; }

_Static_assert(sizeof(lua_Integer) == 8 && sizeof(lua_Number) == 8, "ORDER WORDS");
static inline void add_word(packer *p, tag t, const void *word) {
  char *to = extend(p, 9);
  *to = (char)t;
  memcpy(to + 1, word, 8);
}

/* Seven bits to a byte, the lowest first; the top bit says that more follow. */
static inline char *put_size(char *to, size_t n) {
  for (; n >= 128; n >>= 7) *to++ = (char)(n | 128);
  *to++ = (char)n;
  return to;
}

enum { SIZE_BYTES = 10 };

static void add_size(packer *p, size_t n) {
  char *to = extend(p, SIZE_BYTES);
  p->out->len = (size_t)(put_size(to, n) - p->out->bytes);
}

static void add_string(packer *p, tag t, const char *s, size_t n) {
  char *to = extend(p, 1 + SIZE_BYTES + n);
  *to = (char)t;
  to = put_size(to + 1, n);
  memcpy(to, s, n);
  p->out->len = (size_t)(to + n - p->out->bytes);
}

void lub_pack_free(lworker *lw) {
  const lub_allocator *mem = &lw->core->engine->mem;
  lub_free(mem, lw->pack.bytes);
  lub_free(mem, lw->pack.objects);
  lub_free(mem, lw->pack.met);
  lub_free(mem, lw->pack.slots);
  lw->pack = (lpack){0};
}

/* A worker that once sent something huge does not hold its size for ever. */
static void trim(lworker *lw) {
  if (lw->pack.room > KEEP_BYTES || lw->pack.met_room > KEEP_MET) lub_pack_free(lw);
}

/* ---- what was met before -------------------------------------------------------------------------------- */

/* The slot of identity, or the free one where it belongs. */
static uint32_t *slot_of(lpack *out, const void *identity) {
  size_t mask = out->nslots - 1;
  size_t i = (size_t)(((uintptr_t)identity >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
  while (out->slots[i] && out->met[out->slots[i] - 1].identity != identity) i = (i + 1) & mask;
  return &out->slots[i];
}

static void rehash(packer *p) {
  lpack *out = p->out;
  size_t wanted = out->nslots ? out->nslots * 2 : 4 * FEW;
  if (out->nmet >= UINT32_MAX / 2) no_memory(p);
  if (!make_room(p->mem, &out->slots, &out->slots_room, 0, wanted, sizeof *out->slots)) no_memory(p);
  out->nslots = wanted;
  memset(out->slots, 0, wanted * sizeof *out->slots);
  for (size_t i = 0; i < out->nmet; i++) *slot_of(out, out->met[i].identity) = (uint32_t)i + 1;
}

static lmet *find(lpack *out, const void *identity) {
  if (out->nslots) {
    uint32_t i = *slot_of(out, identity);
    return i ? &out->met[i - 1] : NULL;
  }
  for (size_t i = 0; i < out->nmet; i++)
    if (out->met[i].identity == identity) return &out->met[i];
  return NULL;
}

static void meet(packer *p, const void *identity, const char *module) {
  lpack *out = p->out;
  if (!make_room(p->mem, &out->met, &out->met_room, out->nmet, 1, sizeof *out->met)) no_memory(p);
  out->met[out->nmet++] = (lmet){.identity = identity, .at = out->len, .module = module};
  if (out->nmet > FEW && out->nmet * 2 > out->nslots) rehash(p);
  else if (out->nslots) *slot_of(out, identity) = (uint32_t)out->nmet;
}

/* Whether it was met before; if so writes the reference, or the module's name. Otherwise it is met now, and
 * the caller must write its tag next. */
static bool met_before(packer *p, const void *identity) {
  lmet *m = find(p->out, identity);
  if (!m) {
    meet(p, identity, NULL);
  } else if (m->module) {
    m->at = p->out->len;
    add_string(p, T_MODULE, m->module, strlen(m->module));
    m->module = NULL;
  } else {
    p->out->bytes[m->at] = (char)(p->out->bytes[m->at] | SHARED);
    add_tag(p, T_REF);
    add_size(p, m->at);
  }
  return m != NULL;
}

/* ---- modules and functions of C, which go by name ------------------------------------------------------- */

/* Meets the loaded modules, so that they are recognised. False: one was packed as data already, start over. */
static bool meet_modules(packer *p) {
  lua_State *L = p->L;
  int top = lua_gettop(L);
  p->knows_modules = true;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  while (lua_next(L, top + 1)) {
    const void *module = lua_topointer(L, -1);
    lmet *m = lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING ? find(p->out, module) : NULL;
    if (m && !m->module) break;
    const char *name = lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (name && !m) meet(p, module, name);
    else if (name && strcmp(name, m->module) < 0) m->module = name; /* it has two names */
    lua_pop(L, 1);
  }
  bool fresh = lua_gettop(L) == top + 1;
  lua_settop(L, top);
  return fresh;
}

/* The same, when it is time. */
static bool know_modules(packer *p) {
  return p->knows_modules || !p->tables || !p->functions || meet_modules(p);
}

static void pack_c_function(packer *p, int index, const lpath *at) {
  tag t = T_LIBRARY;
  lhome found = lub_home_in_modules(p->L, index);
  if (!found.name) {
    t = T_METHOD;
    found = lub_home_in_methods(p->L, index);
  }
  if (!found.name && p->lw->guest && lub_sim_own(p->L, index, &found.module, &found.name))
    t = strcmp(found.module, LUA_FILEHANDLE) != 0 ? T_LIBRARY : T_METHOD;
  if (!found.name) refuse(p, at, "a foreign C function");
  add_string(p, t, found.module, strlen(found.module));
  add_string(p, T_STR, found.name, strlen(found.name));
}

/* ---- packing -------------------------------------------------------------------------------------------- */

/* Packs the value at index, an absolute one. False: start over, knowing the modules. */
static bool pack_any(packer *p, int index, const lpath *at);

static void enter(packer *p, const lpath *at) {
  if (++p->depth > LUB_PATH_DEPTH) refuse(p, at, "a value nested more than 200 levels deep");
  luaL_checkstack(p->L, LUA_MINSTACK, "value nested too deep to send");
}

/* The name of the metatable on top, which is popped; NULL: it has none. */
static const char *class_name(lua_State *L, size_t *n) {
  (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_insert(L, -2);
  const char *name = lua_rawget(L, -2) == LUA_TSTRING ? lua_tolstring(L, -1, n) : NULL;
  lua_pop(L, 2); /* lub.classes keeps it */
  return name;
}

static bool is_next(lua_State *L, int key, lua_Integer n) {
  return lua_isinteger(L, key) && lua_tointeger(L, key) == n;
}

/* How many values come without keys, how many with; then those. */
static bool pack_entries(packer *p, int index, const lpath *at) {
  lua_State *L = p->L;
  uint32_t count[2] = {0, 0};
  add(p, count, sizeof count);
  size_t counts = p->out->len - sizeof count;
  lua_pushnil(L);
  int key = lua_gettop(L);
  const lpath of_key = {.up = at}, of_value = {.up = at, .key = key};
  while (lub_next(L, p->lw, index)) { /* in a sim, whatever cannot cross is always the same */
    bool bare = !count[1] && is_next(L, key, (lua_Integer)count[0] + 1);
    if (count[!bare]++ == INT32_MAX) refuse(p, at, "a table of more than 2^31 entries");
    if (!bare && !pack_any(p, key, &of_key)) return false;
    if (!pack_any(p, key + 1, &of_value)) return false;
    lua_settop(L, key);
  }
  memcpy(p->out->bytes + counts, count, sizeof count);
  return true;
}

static bool pack_table(packer *p, int index, const lpath *at) {
  lua_State *L = p->L;
  const void *identity = lua_topointer(L, index);
  const char *class = NULL;
  size_t n;
  if (identity == p->globals) return add_tag(p, T_ENV), true;
  p->tables = true;
  if (!know_modules(p)) return false;
  if (met_before(p, identity)) return true;
  bool has_class = lua_getmetatable(L, index);
  if (has_class && !(class = class_name(L, &n))) {
    if (!p->knows_modules) return false; /* it may be one */
    if (!at || !at->upvalue || strcmp(at->upvalue, "_ENV") != 0)
      refuse(p, at, "a table with a metatable nobody registered");
    return add_tag(p, T_ENV), true;
  }
  if (class) add_string(p, T_OBJECT, class, n);
  else add_tag(p, T_TABLE);
  enter(p, at);
  if (!pack_entries(p, index, at)) return false;
  p->depth--;
  return true;
}

/* A lua_Writer: it may not raise through lua_dump. */
static int write_code(lua_State *L, const void *code, size_t n, void *packer_) {
  packer *p = packer_;
  (void)L;
  if (!make_room(p->mem, &p->out->bytes, &p->out->room, p->out->len, n, 1)) return 1;
  if (n) memcpy(p->out->bytes + p->out->len, code, n);
  p->out->len += n;
  return 0;
}

static void pack_code(packer *p, int index) {
  size_t start = p->out->len, n = 0;
  add(p, &n, sizeof n);
  lua_pushvalue(p->L, index);
  if (lua_dump(p->L, write_code, p, 0)) no_memory(p);
  lua_pop(p->L, 1);
  n = p->out->len - start - sizeof n;
  memcpy(p->out->bytes + start, &n, sizeof n);
}

/* The value of the upvalue is on top; it stays there. */
static bool pack_upvalue(packer *p, int function, int i, const char *name, const lpath *at) {
  const lpath here = {.up = at, .upvalue = *name ? name : "?"};
  if (met_before(p, lua_upvalueid(p->L, function, i))) return true;
  add_tag(p, T_UPVALUE);
  return pack_any(p, lua_gettop(p->L), &here);
}

static bool pack_function(packer *p, int index, const lpath *at) {
  lua_State *L = p->L;
  const char *name;
  p->functions = true;
  if (!know_modules(p)) return false;
  if (met_before(p, lua_topointer(L, index))) return true;
  if (lua_iscfunction(L, index)) return pack_c_function(p, index, at), true;
  add_tag(p, T_FUNCTION);
  enter(p, at);
  pack_code(p, index);
  size_t count = p->out->len;
  *extend(p, 1) = 0; /* of upvalues, at most 255 */
  for (int i = 1; (name = lua_getupvalue(L, index, i)); i++) {
    if (!pack_upvalue(p, index, i, name, at)) return false;
    lua_pop(L, 1);
    p->out->bytes[count] = (char)i;
  }
  p->depth--;
  return true;
}

static void pack_string(packer *p, int index) {
  size_t n;
  const char *s = lua_tolstring(p->L, index, &n);
  if (n >= LONG_STRING && met_before(p, s)) return; /* a reference to bytes that are sent already */
  add_string(p, T_STR, s, n);
}

static void pack_number(packer *p, int index) {
  if (lua_isinteger(p->L, index)) {
    lua_Integer i = lua_tointeger(p->L, index);
    add_word(p, T_INT, &i);
  } else {
    lua_Number n = lua_tonumber(p->L, index);
    add_word(p, T_NUM, &n);
  }
}

/* The counted object behind a handle, or NULL. */
static lub_object *object_of(lua_State *L, int index, uint8_t *flags) {
  lchan *chan = lub_test_chan(L, index);
  if (chan) {
    lub_intern_chan(L, index, chan);
    *flags = chan->view;
    return chan->ch ? &chan->ch->obj : NULL;
  }
  lub_heart *h = lub_test_heart(L, index);
  *flags = LUB_HEART_FLAGS;
  if (h) {
    lub_intern_heart(L, index, h);
    return &h->obj;
  }
  lub_worker **w = luaL_testudata(L, index, LUB_WORKER_TYPE);
  *flags = UINT8_MAX;
  return w && *w ? &(*w)->obj : NULL;
}

static void pack_handle(packer *p, int index, const lpath *at) {
  uint8_t flags;
  lpack *out = p->out;
  lub_object *o = object_of(p->L, index, &flags);
  if (!o) refuse(p, at, lub_test_fiber(p->L, index) ? "a fiber" : "a userdata");
  if (out->nobjects == UINT32_MAX) no_memory(p);
  if (!make_room(p->mem, &out->objects, &out->objects_room, out->nobjects, 1, sizeof *out->objects))
    no_memory(p);
  add_tag(p, T_HANDLE);
  add(p, &flags, sizeof flags);
  add_size(p, out->nobjects);
  out->objects[out->nobjects++] = o;
}

static void pack_pointer(packer *p, int index) {
  uint64_t bare = (uintptr_t)lua_touserdata(p->L, index);
  add_word(p, T_POINTER, &bare);
}

static bool pack_any(packer *p, int index, const lpath *at) {
  switch (lua_type(p->L, index)) {
    case LUA_TNIL: add_tag(p, T_NIL); break;
    case LUA_TBOOLEAN: add_tag(p, lua_toboolean(p->L, index) ? T_TRUE : T_FALSE); break;
    case LUA_TNUMBER: pack_number(p, index); break;
    case LUA_TSTRING: pack_string(p, index); break;
    case LUA_TLIGHTUSERDATA: pack_pointer(p, index); break;
    case LUA_TTABLE: return pack_table(p, index, at);
    case LUA_TFUNCTION: return pack_function(p, index, at);
    case LUA_TTHREAD: refuse(p, at, "a coroutine");
    default: pack_handle(p, index, at);
  }
  return true;
}

static packer start_pack(lua_State *L, lworker *lw, const char *what) {
  packer p = {.L = L, .lw = lw, .out = &lw->pack, .mem = &lw->core->engine->mem, .what = what ? what : ""};
  trim(lw);
  lw->pack.len = lw->pack.nobjects = lw->pack.nmet = lw->pack.nslots = 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  p.globals = lua_topointer(L, -1);
  lua_pop(L, 1);
  return p;
}

/* Nothing raises once the block is there. */
static lub_value finish_pack(packer *p) {
  lpack *out = p->out;
  lub_block *b = lub_block_new(p->mem, out->len, (uint32_t)out->nobjects);
  if (!b) no_memory(p);
  memcpy(b->bytes, out->bytes, out->len);
  for (size_t i = 0; i < out->nobjects; i++) lub_object_ref(b->objects[i] = out->objects[i]);
  trim(p->lw);
  return lub_of_block(LUB_PACKED, b);
}

static lub_value pack_structure(lua_State *L, lworker *lw, int index, const char *what) {
  int top = lua_gettop(L);
  packer p = start_pack(L, lw, what);
  if (!pack_any(&p, index, NULL)) {
    lua_settop(L, top);
    p = start_pack(L, lw, what);
    (void)meet_modules(&p);
    (void)pack_any(&p, index, NULL); /* knowing the modules, it does not give up again */
  }
  return finish_pack(&p);
}

lub_value lub_pack(lua_State *L, int index, const char *what) {
  uint8_t flags;
  lub_object *o;
  lub_value v = {0};
  if (lua_isinteger(L, index)) return (lub_value){.type = LUB_INT, .as.i = lua_tointeger(L, index)};
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
    case LUA_TNIL: return v;
    case LUA_TBOOLEAN: return lub_bool(lua_toboolean(L, index));
    case LUA_TNUMBER: return lub_num(lua_tonumber(L, index));
    case LUA_TLIGHTUSERDATA: return (lub_value){.type = LUB_POINTER, .as.p = lua_touserdata(L, index)};
    case LUA_TUSERDATA:
      if ((o = object_of(L, index, &flags))) return lub_of_object(o, flags);
      break;
    case LUA_TSTRING: {
      size_t n;
      const char *s = lua_tolstring(L, index, &n);
      if (lub_string(lub_lworker(L)->core->engine, s, n, &v))
        luaL_error(L, "not enough memory to send a string of %I bytes", (LUAI_UACINT)n);
      return v;
    }
    default: break;
  }
  return pack_structure(L, lub_lworker(L), index, what);
}

/* False: start over. Arguments are numbered by their place on the stack, results from 1. */
static bool pack_items(packer *p, int first, int n, bool arguments, char what[32]) {
  p->what = what;
  add_size(p, (size_t)n);
  for (int i = 0; i < n; i++) {
    (void)snprintf(what, 32, "%s %d", arguments ? "argument" : "result", arguments ? first + i : i + 1);
    p->spawned = arguments && i == 0;
    if (!pack_any(p, first + i, NULL)) return false;
  }
  return true;
}

lub_value lub_pack_list(lua_State *L, int first, int n, const char *function) {
  char what[32] = "";
  lworker *lw = lub_lworker(L);
  int top = lua_gettop(L);
  packer p = start_pack(L, lw, what);
  if (!pack_items(&p, first, n, function != NULL, what)) {
    lua_settop(L, top);
    p = start_pack(L, lw, what);
    (void)meet_modules(&p);
    (void)pack_items(&p, first, n, function != NULL, what);
  }
  return finish_pack(&p);
}

/* ---- lub.register --------------------------------------------------------------------------------------- */

/* lub.register(name, metatable): tables with this metatable may cross, to workers that registered a metatable
 * under the same name; they get that one. A name is one metatable's: that of another, which had it before, has none then. */
int lub_register(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) lub_arg_error(L, "register", 1, "a name (a string)");
  if (!lua_istable(L, 2)) lub_arg_error(L, "register", 2, "a metatable");
  lua_settop(L, 2);
  (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 3) == LUA_TTABLE && !lua_rawequal(L, 4, 2)) { /* its objects would arrive as others */
    lua_pushnil(L);
    lua_rawset(L, 3);
  }
  lua_settop(L, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, 3);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_rawset(L, 3);
  return 0;
}
