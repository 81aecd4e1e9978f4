/* lvalue.c - Lua values to messages and back. Numbers, booleans, handles and short strings travel in the
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

#include <stdarg.h>
#include <string.h>

#include "llub.h"

enum { MAX_DEPTH = 200, FEW = 16, LONG_STRING = 128, KEEP_BYTES = 1 << 16, KEEP_MET = 1 << 10 };

enum { SHARED = 0x80 }; /* ORDER TAGS: fits beside every tag */
typedef enum tag {
  T_NIL,
  T_FALSE,
  T_TRUE,
  T_INT,
  T_NUM,
  T_POINTER,
  T_STR,
  T_HANDLE,
  T_ENV,
  T_REF,
  T_TABLE,
  T_OBJECT,
  T_MODULE,
  T_FUNCTION,
  T_UPVALUE,
  T_LIBRARY,
  T_METHOD
} tag;

/* How a value was reached, for the error message. */
typedef struct path {
  const struct path *up;
  const char *upvalue; /* its name, or NULL */
  int key;             /* stack index of the key; 0: the value is a key itself */
} path;

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

/* ---- errors that name the way --------------------------------------------------------------------------- */

typedef struct text {
  char s[4000]; /* of PATH_HEAD + PATH_TAIL names, every byte escaped */
  size_t n;
} text;

enum {
  PATH_HEAD = 8,
  PATH_TAIL = 8,
  NAME_SHOWN = 40
}; /* what is longer is abbreviated; ends fit into text */

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(t->s + t->n, sizeof t->s - t->n, format, args);
  va_end(args);
  if (n > 0) t->n += (size_t)n < sizeof t->s - t->n ? (size_t)n : sizeof t->s - t->n - 1;
}

/* n, or less: where a name of n bytes is cut, never inside a UTF-8 character. */
static size_t cut(const char *s, size_t n) {
  if (n <= NAME_SHOWN) return n;
  for (n = NAME_SHOWN; n > NAME_SHOWN - 4 && (s[n] & 0xC0) == 0x80;) n--;
  return n;
}

static void put_name(text *t, const char *s, size_t n) {
  size_t shown = cut(s, n);
  put(t, "%.*s%s", (int)shown, s, shown < n ? "..." : "");
}

static bool is_identifier(const char *s, size_t n) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  return n > 0 && !(*s >= '0' && *s <= '9') && strspn(s, letters) == n;
}

static void put_quoted(text *t, const char *s, size_t n) {
  size_t shown = cut(s, n);
  put(t, "[\"");
  for (size_t i = 0; i < shown; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c == '"' || c == '\\') put(t, "\\%c", c);
    else if (c < ' ' || c == 127) put(t, "\\%03d", c);
    else put(t, "%c", c);
  }
  put(t, "%s\"]", shown < n ? "..." : "");
}

static void put_key(text *t, lua_State *L, int key) {
  size_t n;
  const char *s = lua_type(L, key) == LUA_TSTRING ? lua_tolstring(L, key, &n) : NULL;
  if (s && is_identifier(s, n)) {
    put(t, ".");
    put_name(t, s, n);
  } else if (s) put_quoted(t, s, n);
  else if (lua_isinteger(L, key)) put(t, "[%lld]", (long long)lua_tointeger(L, key));
  else if (lua_type(L, key) == LUA_TNUMBER) put(t, "[%.14g]", lua_tonumber(L, key));
  else if (lua_isboolean(L, key)) put(t, "[%s]", lua_toboolean(L, key) ? "true" : "false");
  else put(t, "[a %s]", luaL_typename(L, key));
}

static void put_step(text *t, lua_State *L, const path *step, bool after_word) {
  if (after_word) put(t, " ");
  if (!step->upvalue) {
    if (step->key) put_key(t, L, step->key);
    else put(t, "[a key]");
    return;
  }
  put(t, "%supvalue '", t->n && !after_word ? " " : "");
  put_name(t, step->upvalue, strlen(step->upvalue));
  put(t, "'");
}

static void put_path(text *t, packer *p, const path *at) {
  const path *steps[MAX_DEPTH + 1];
  int n = 0;
  for (; at && n <= MAX_DEPTH; at = at->up) steps[n++] = at;
  bool bare = p->spawned && n > 0 && steps[n - 1]->upvalue;
  put(t, "%s", bare ? "" : p->what);
  for (int i = n - 1; i >= 0; i--) {
    bool outer = i < n - PATH_HEAD, inner = i < PATH_TAIL;
    if (outer && !inner) {
      if (i == PATH_TAIL) put(t, " ... ");
      continue;
    }
    bool after_word = i == n - 1 ? t->n > 0 && t->s[t->n - 1] != ']' : steps[i + 1]->upvalue != NULL;
    put_step(t, p->L, steps[i], after_word);
  }
}

static _Noreturn void refuse(packer *p, const path *at, const char *what) {
  text t = {.n = 0};
  put_path(&t, p, at);
  if (t.n) luaL_error(p->L, "cannot send %s (at %s)", what, t.s);
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

static bool is_one_of(const char *name, const char *const *names) {
  while (*names && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

/* How sure the receiver finds a function there too: aliases in modules and globals are the script's own. */
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

typedef struct home { /* the strings live in the tables that hold the function */
  const char *module, *name;
  int rank;
} home;

/* Of two that are as good, one is always the same. */
static bool is_better(const home *a, const home *b) {
  if (a->rank != b->rank || !b->name) return a->rank > b->rank;
  int order = strcmp(a->module, b->module);
  return order ? order < 0 : strcmp(a->name, b->name) < 0;
}

/* Looks in the table on top, a module's, for the function at index. */
static void look_in(lua_State *L, int index, const char *module, home *best) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_rawequal(L, -1, index)) {
      const char *name = lua_tostring(L, -2);
      const home other = {.module = module, .name = name, .rank = rank(module, name)};
      if (is_better(&other, best)) *best = other;
    }
    lua_pop(L, 1);
  }
}

static home find_in_modules(lua_State *L, int index) {
  home best = {0};
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

/* Pushes the methods of a handle's type, or something that is no table. */
static void push_methods(lua_State *L, const char *type) {
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

/* ch.send, file.read and the like. */
static home find_in_methods(lua_State *L, int index) {
  static const char *const types[] = {LUB_CHAN_MAGIC, LUB_FIBER_TYPE, LUB_WORKER_TYPE, LUA_FILEHANDLE};
  home best = {0};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    push_methods(L, types[i]);
    if (lua_istable(L, -1)) look_in(L, index, types[i], &best);
    lua_pop(L, 1);
  }
  return best;
}

static void pack_c_function(packer *p, int index, const path *at) {
  tag t = T_LIBRARY;
  home found = find_in_modules(p->L, index);
  if (!found.name) {
    t = T_METHOD;
    found = find_in_methods(p->L, index);
  }
  if (!found.name && p->lw->guest && lub_sim_own(p->L, index, &found.module, &found.name))
    t = strcmp(found.module, LUA_FILEHANDLE) != 0 ? T_LIBRARY : T_METHOD;
  if (!found.name) refuse(p, at, "a foreign C function");
  add_string(p, t, found.module, strlen(found.module));
  add_string(p, T_STR, found.name, strlen(found.name));
}

/* ---- packing -------------------------------------------------------------------------------------------- */

/* Packs the value at index, an absolute one. False: start over, knowing the modules. */
static bool pack_any(packer *p, int index, const path *at);

static void enter(packer *p, const path *at) {
  if (++p->depth > MAX_DEPTH) refuse(p, at, "a value nested more than 200 levels deep");
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
static bool pack_entries(packer *p, int index, const path *at) {
  lua_State *L = p->L;
  uint32_t count[2] = {0, 0};
  add(p, count, sizeof count);
  size_t counts = p->out->len - sizeof count;
  lua_pushnil(L);
  int key = lua_gettop(L);
  const path of_key = {.up = at}, of_value = {.up = at, .key = key};
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

static bool pack_table(packer *p, int index, const path *at) {
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
static bool pack_upvalue(packer *p, int function, int i, const char *name, const path *at) {
  const path here = {.up = at, .upvalue = *name ? name : "?"};
  if (met_before(p, lua_upvalueid(p->L, function, i))) return true;
  add_tag(p, T_UPVALUE);
  return pack_any(p, lua_gettop(p->L), &here);
}

static bool pack_function(packer *p, int index, const path *at) {
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

static void pack_handle(packer *p, int index, const path *at) {
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

static bool pack_any(packer *p, int index, const path *at) {
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

/* ---- the way back --------------------------------------------------------------------------------------- */

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
  if (method) push_methods(L, module);
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

/* ---- lub.register --------------------------------------------------------------------------------------- */

/* lub.register(name, metatable): tables with this metatable may cross, to workers that registered a metatable
 * under the same name; they get that one. */
int lub_register(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) lub_arg_error(L, "register", 1, "a name (a string)");
  if (!lua_istable(L, 2)) lub_arg_error(L, "register", 2, "a metatable");
  lua_settop(L, 2);
  (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, 3);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_rawset(L, 3);
  return 0;
}
