/* lnext.c - next and pairs in a sim: the same order in every run, though Lua's own depends on addresses and on a seed
 * that differs in every process.
 *
 * Keys come in this order: integers from 1, other numbers, strings, booleans, channels, workers, fibers; the last three by
 * their numbers in the engine. What is left, tables and functions mostly, has nothing to go by: it comes last, in Lua's
 * order, which the run's outcome tells. As the order is total, what comes after a key depends on nothing else: next is free
 * to answer without knowing whose loop it serves. While a table is a sequence it looks at the next integer. Beyond that it
 * keeps the keys, sorted when they are first needed, for as long as the table is being walked; those that are added
 * meanwhile are not seen, as Lua does not promise either.
 *
 * To walk a whole table costs 5 times what it costs in Lua 5.4.4 when it is a sequence, and 6 to 11 times when its keys must
 * be sorted (3 to 100,000 of them). next(t) alone looks at all keys, unless there is a t[1]. */
#include <stdlib.h>
#include <string.h>

#include "lsimstate.h"

typedef enum kind { POSITIVE, NUMBER, STRING, BOOLEAN, CHANNEL, WORKER, FIBER, REFERENCE } kind;

typedef struct lkey {
  kind kind;
  bool is_float;
  int kept; /* strings and handles: where the list of the walk has it */
  union {
    lua_Integer i; /* POSITIVE, NUMBER without is_float, BOOLEAN */
    uint64_t id;   /* CHANNEL: with the view; WORKER, FIBER */
    size_t n;      /* STRING */
  } as;
  union {
    lua_Number n; /* NUMBER: also of an integer */
    const char *s;
  } by;
} lkey;

typedef struct lwalk { /* its user value lists what the keys point to */
  lkey from;           /* keys up to here are not among them */
  size_t n, at;        /* how many; the one that was given last is before `at` */
  bool references;     /* the table has such keys too */
  lkey keys[];
} lwalk;

/* ---- keys ----------------------------------------------------------------------------------------------------------- */

/* Of a userdata. Ids count in one engine: what is of another has no place. */
static void read_handle(lua_State *L, int index, const lub_engine *e, lkey *k) {
  const lchan *chan = lub_test_chan(L, index);
  lub_worker **w = luaL_testudata(L, index, LUB_WORKER_TYPE);
  const lfiber *f = lub_test_fiber(L, index);
  k->kind = REFERENCE;
  if (chan && chan->ch && chan->ch->engine == e) {
    k->kind = CHANNEL;
    k->as.id = chan->ch->id * 4 + (uint64_t)chan->view;
  } else if (w && *w && (*w)->engine == e) {
    k->kind = WORKER;
    k->as.id = (*w)->id;
  } else if (f && f->core.worker && f->core.worker->engine == e) {
    k->kind = FIBER;
    k->as.id = f->core.wait.id;
  }
}

static lkey read_key(lua_State *L, int index, const lub_engine *e) {
  lkey k = {.kind = REFERENCE};
  int exact;
  switch (lua_type(L, index)) {
    case LUA_TNUMBER:
      k.as.i = lua_tointegerx(L, index, &exact); /* a float with an integer's value is that key */
      k.kind = exact && k.as.i > 0 ? POSITIVE : NUMBER;
      k.is_float = !exact;
      k.by.n = lua_tonumber(L, index);
      break;
    case LUA_TSTRING:
      k.kind = STRING;
      k.by.s = lua_tolstring(L, index, &k.as.n);
      break;
    case LUA_TBOOLEAN:
      k.kind = BOOLEAN;
      k.as.i = lua_toboolean(L, index);
      break;
    case LUA_TUSERDATA: read_handle(L, index, e, &k); break;
    default: break;
  }
  return k;
}

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int order_strings(const lkey *a, const lkey *b) {
  int order = memcmp(a->by.s, b->by.s, a->as.n < b->as.n ? a->as.n : b->as.n);
  return order ? order : ORDER(a->as.n, b->as.n);
}

/* Integers beyond 2^53 may be equal to a float when they are made one: they come before it. */
static int order_numbers(const lkey *a, const lkey *b) {
  int order = ORDER(a->by.n, b->by.n);
  if (order || a->is_float != b->is_float) return order ? order : a->is_float - b->is_float;
  return a->is_float ? 0 : ORDER(a->as.i, b->as.i);
}

static int order(const void *a_, const void *b_) {
  const lkey *a = a_, *b = b_;
  if (a->kind != b->kind) return ORDER(a->kind, b->kind);
  switch (a->kind) {
    case NUMBER: return order_numbers(a, b);
    case STRING: return order_strings(a, b);
    case POSITIVE:
    case BOOLEAN: return ORDER(a->as.i, b->as.i);
    default: return ORDER(a->as.id, b->as.id);
  }
}

/* ---- walks ---------------------------------------------------------------------------------------------------------- */

static char WALKS; /* by table, in the registry; weak */

void lub_sim_end_walks(lua_State *L) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &WALKS);
}

static bool is_behind(const lkey *k, const lkey *from) { return k->kind != REFERENCE && order(k, from) > 0; }

static size_t count_keys(lua_State *L, int table, const lkey *from, const lub_engine *e) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (from->kind > POSITIVE) {
      n++; /* too many does no harm */
    } else {
      lkey k = read_key(L, -2, e);
      n += is_behind(&k, from);
    }
  }
  return n;
}

/* walks[table] = walk, or nil if there is none at that index. */
static void keep_walk(lua_State *L, int table, int walk) {
  lub_push_weak(L, &WALKS);
  lua_pushvalue(L, table);
  if (walk) lua_pushvalue(L, walk);
  else lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Pushes the walk that is kept for the table, or nothing. */
static lwalk *push_walk(lua_State *L, int table) {
  lub_push_weak(L, &WALKS);
  lua_pushvalue(L, table);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  lwalk *walk = lua_touserdata(L, -1);
  if (!walk) lua_pop(L, 1);
  return walk;
}

/* Pushes a walk over the keys behind `from`, and keeps it. */
static lwalk *begin_walk(lua_State *L, int table, const lkey *from, const lub_engine *e) {
  size_t room = count_keys(L, table, from, e);
  lwalk *walk = lua_newuserdatauv(L, sizeof *walk + room * sizeof *walk->keys, 1);
  *walk = (lwalk){.from = *from};
  int kept = 0, list = lua_gettop(L) + 1;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    lkey k = read_key(L, list + 1, e);
    walk->references |= k.kind == REFERENCE;
    if (!is_behind(&k, from) || walk->n == room) continue; /* a finalizer may have added some meanwhile */
    if (k.kind >= STRING && k.kind != BOOLEAN) {
      k.kept = ++kept;
      lua_pushvalue(L, list + 1);
      lua_rawseti(L, list, kept);
    }
    walk->keys[walk->n++] = k;
  }
  lua_setiuservalue(L, -2, 1);
  qsort(walk->keys, walk->n, sizeof *walk->keys, order);
  keep_walk(L, table, list - 1);
  return walk;
}

/* Where the first key behind k is. */
static size_t find(const lwalk *walk, const lkey *k) {
  size_t low = 0, high = walk->n;
  if (walk->at > 0 && !order(&walk->keys[walk->at - 1], k)) return walk->at;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (order(&walk->keys[middle], k) > 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

/* Of the walk on top. */
static void push_key(lua_State *L, const lkey *k) {
  switch (k->kind) {
    case POSITIVE: lua_pushinteger(L, k->as.i); break;
    case BOOLEAN: lua_pushboolean(L, (int)k->as.i); break;
    case NUMBER:
      if (k->is_float) lua_pushnumber(L, k->by.n);
      else lua_pushinteger(L, k->as.i);
      break;
    default:
      lua_getiuservalue(L, -1, 1);
      lua_rawgeti(L, -1, k->kept);
      lua_remove(L, -2);
  }
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

/* Replaces the key on top by the next that has no place in the order, of nil by the first, and pushes its value. */
static bool next_reference(lua_State *L, int table, const lub_engine *e) {
  while (lua_next(L, table)) {
    if (read_key(L, -2, e).kind == REFERENCE) return true;
    lua_pop(L, 1);
  }
  return false;
}

static void tell(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lsimstate *s = lub_sim_state(lw);
  if (s->met_references && !s->strict) return; /* once in a run is enough */
  s->met_references = true;
  lub_sim_uncontrolled(L, lw, "iteration over reference keys");
}

/* Replaces the key on top, nil, by the first, and pushes its value. Sorts nothing: it is asked also by who only wants to
 * know whether there is one. */
static bool first(lua_State *L, int table, const lub_engine *e) {
  int best = lua_gettop(L);
  lkey least = {.kind = REFERENCE};
  if (push_walk(L, table)) { /* of another loop; the next step makes a new one */
    keep_walk(L, table, 0);
    lua_pop(L, 1);
  }
  if (lua_rawgeti(L, table, 1) != LUA_TNIL) {
    lua_pushinteger(L, 1);
    lua_replace(L, best);
    return true;
  }
  lua_pop(L, 1);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    lkey k = read_key(L, -2, e);
    bool reference = k.kind == REFERENCE;
    if (reference ? !lua_isnil(L, best) : least.kind != REFERENCE && order(&k, &least) > 0) continue;
    least = k;
    lua_pushvalue(L, -2);
    lua_replace(L, best);
  }
  if (lua_isnil(L, best)) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushvalue(L, best);
  lua_rawget(L, table);
  return true;
}

/* Raises if the key on top, which the table has not, never was there, as far as Lua can tell. */
static void check_key(lua_State *L, int table) {
  lua_pushvalue(L, -1);
  bool there = lua_rawget(L, table) != LUA_TNIL;
  lua_pop(L, 1);
  if (there) return;
  lua_pushvalue(L, -1);
  if (lua_next(L, table)) lua_pop(L, 2);
}

/* Replaces the key on top, k, by the next, and pushes its value. */
static bool next_in_order(lua_State *L, int table, const lkey *k, const lub_engine *e) {
  int key = lua_gettop(L);
  lwalk *walk = push_walk(L, table);
  if (walk && order(k, &walk->from) < 0) {
    lua_pop(L, 1);
    walk = NULL;
  }
  if (!walk) {
    check_key(L, table);
    walk = begin_walk(L, table, k, e);
  }
  for (walk->at = find(walk, k); walk->at < walk->n;) {
    push_key(L, &walk->keys[walk->at++]);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) != LUA_TNIL) {
      lua_replace(L, key + 1);
      lua_replace(L, key);
      return true;
    }
    lua_pop(L, 2);
  }
  bool references = walk->references;
  keep_walk(L, table, 0);
  lua_settop(L, key - 1);
  lua_pushnil(L);
  if (references) return next_reference(L, table, e);
  lua_pop(L, 1);
  return false;
}

int lub_ordered_next(lua_State *L, int table, bool tells) {
  const lub_engine *e = lub_lworker(L)->core->engine;
  luaL_checkstack(L, 12, NULL);
  if (lua_isnil(L, -1)) return first(L, table, e);
  lkey k = read_key(L, -1, e);
  if (k.kind == REFERENCE) {
    if (!next_reference(L, table, e)) return false;
    if (tells) tell(L);
    return true;
  }
  if (k.kind == POSITIVE && k.as.i < LUA_MAXINTEGER) {
    if (lua_rawgeti(L, table, k.as.i + 1) != LUA_TNIL) {
      lua_pushinteger(L, k.as.i + 1);
      lua_replace(L, -3);
      return true;
    }
    lua_pop(L, 1);
  }
  return next_in_order(L, table, &k, e);
}

/* ---- for scripts ------------------------------------------------------------------------------------------------------ */

static int own(lua_State *L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

int lub_sim_next(lua_State *L) {
  if (!lub_looked_at(L)->sim) return own(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (lub_ordered_next(L, 1, true)) return 2;
  lua_pushnil(L);
  return 1;
}

/* Upvalue 2: next. */
int lub_sim_pairs(lua_State *L) {
  bool ours = lub_looked_at(L)->sim && !lua_isnone(L, 1);
  if (ours && luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pop(L, 1);
    ours = false;
  }
  if (!ours) return own(L);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}
