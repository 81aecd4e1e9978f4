/* lmany.c - several values at once: send_many and recv_many of channels. What is sent is packed whole before any of it
 * goes, and lies in the fiber's batch until it has gone. */
#include <limits.h>

#include "llub.h"

enum {
  KEEP = 256,  /* values: a batch with more room is not kept */
  CHUNK = 128, /* ... that are received under one lock */
};

/* ---- sending ------------------------------------------------------------------------------------------------ */

void lub_drop_batch(lbatch *b) {
  for (uint32_t i = 0; b && i < b->count; i++) lub_value_drop(&b->values[i]);
}

static lbatch *make_room(lua_State *L, lfiber *f, lua_Unsigned n) {
  const lub_allocator *mem = &f->core.worker->engine->mem;
  lextra *x = lub_fiber_extra(f);
  lbatch *b = x ? x->batch : NULL;
  lub_drop_batch(b); /* that of a call that raised */
  if (b) b->count = 0;
  if (b && n <= b->room) return b;
  b = !x || n > UINT32_MAX ? NULL : mem->realloc(mem->ud, b, sizeof *b + n * sizeof b->values[0]);
  if (!b) luaL_error(L, "send_many: not enough memory for %I values", (LUAI_UACINT)n);
  b->room = (uint32_t)n;
  b->count = 0;
  return x->batch = b;
}

/* Packs the element on top, number i, of this type. */
static lub_value pack_element(lua_State *L, lua_Integer i, int type) {
  char what[48] = "";
  if (type == LUA_TNUMBER && lua_isinteger(L, -1))
    return (lub_value){.type = LUB_INT, .as.i = lua_tointeger(L, -1)};
  if (type == LUA_TNIL)
    luaL_error(L, "send_many: argument 1: expected values that are not nil, got nil at [%I]", (LUAI_UACINT)i);
  if (type == LUA_TTABLE || type >= LUA_TFUNCTION)
    (void)snprintf(what, sizeof what, "argument 1 [%lld]", (long long)i);
  return lub_pack(L, -1, what);
}

static lbatch *pack_elements(lua_State *L, lfiber *f) {
  lua_Unsigned n = lua_rawlen(L, 2);
  lbatch *b = make_room(L, f, n);
  for (lua_Integer i = 1; i <= (lua_Integer)n; i++) {
    b->values[b->count] = pack_element(L, i, lua_rawgeti(L, 2, i));
    b->count++; /* it may raise */
    lua_pop(L, 1);
  }
  return b;
}

/* The batch is done with. Gives how many of it were sent. */
static uint32_t leave_batch(lfiber *f) {
  lbatch *b = f->extra->batch;
  uint32_t left = f->core.one.several.left, sent = b->count - left;
  if (left) lub_drop_batch(b);
  b->count = 0;
  if (b->room > KEEP) {
    lub_free(&f->core.worker->engine->mem, b);
    f->extra->batch = NULL;
  }
  return sent;
}

static int push_sent(lua_State *L, lfiber *f, const lub_chan *ch, lub_status status) {
  uint32_t n = f->extra->batch->count, sent = leave_batch(f);
  switch (status) {
    case LUB_OK: lua_pushinteger(L, sent); return 1;
    case LUB_CLOSED:
      return luaL_error(L, "send on closed channel '%s' (%I of %I values were sent)", ch->name,
                        (LUAI_UACINT)sent, (LUAI_UACINT)n);
    case LUB_NOMEM: return luaL_error(L, "send_many: not enough memory to wait");
    default:
      (void)lub_push_reason(L, status);
      lua_pushinteger(L, sent);
      return 3;
  }
}

static int sent(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_status status = lub_wait_finish(&f->core.wait);
  if (lub_must_raise(status)) {
    lub_drop_batch(f->extra->batch);
    status = lub_outcome(L, lw, status);
  }
  return push_sent(L, f, (lub_chan *)ctx, status);
}

/* ch:send_many(t [, wait]) -> #t | nil, "timeout", sent | nil, "cancelled", sent; raises on a closed channel
 * [-0, +1|3, e] */
static int chan_send_many(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_send_many, ":send_many");
  lchan *box = lub_check_view(L, ":send_many", LUB_VIEW_RECV);
  lfiber *f = lw->running;
  if (lua_type(L, 2) != LUA_TTABLE) lub_arg_error(L, ":send_many", 2, "a table of values");
  int64_t deadline = lub_check_last_wait(L, lw, 3, ":send_many"), wanted = deadline;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  lbatch *b = pack_elements(L, f);
  lub_status status = lub_wait_send_many(&f->core.wait, &f->core.one, box->ch, b->values, b->count, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)box->ch, sent);
  if (status == LUB_TIMEOUT && refused && wanted) status = refused;
  return push_sent(L, f, box->ch, status);
}

/* ---- receiving ---------------------------------------------------------------------------------------------- */

typedef struct taken { /* from ch, and not in the table yet: values[at..n) */
  lub_chan *ch;
  size_t most, at, n;
  lub_value values[CHUNK];
} taken;

/* Makes a table of what was taken and what more can be, at most t->most. */
static int fill_table(lua_State *L) {
  taken *t = lua_touserdata(L, 1);
  size_t came = 0;
  lua_createtable(L, (int)t->most, 0); /* with room for all: numbers cannot fail from here on */
  do {
    for (; t->at < t->n; t->at++) {
      lub_value *v = &t->values[t->at];
      if (v->type == LUB_INT) {
        lua_pushinteger(L, v->as.i);
      } else {
        lub_unpack(L, v);
        lub_value_drop(v);
      }
      lua_rawseti(L, 2, (lua_Integer)++came);
    }
    t->at = 0;
    size_t more = t->most - came;
    t->n = more ? lub_chan_take(t->ch, t->values, more < CHUNK ? more : CHUNK) : 0;
  } while (t->n);
  lua_pushboolean(L, came > 0);
  return 2;
}

/* Pushes a table of at most `most` values, of which *first is one if it is not NULL. False: nobody had any, and nothing
 * is pushed. */
static bool push_taken(lua_State *L, lub_chan *ch, size_t most, lub_value *first) {
  taken t = {.ch = ch, .most = most};
  if (first) {
    t.values[t.n++] = *first;
    first->type = LUB_NIL;
  }
  lua_pushcfunction(L, fill_table);
  lua_pushlightuserdata(L, &t);
  if (lua_pcall(L, 1, 2, 0)) {
    for (; t.at < t.n; t.at++) lub_value_drop(&t.values[t.at]);
    lua_error(L);
  }
  bool any = lua_toboolean(L, -1);
  lua_pop(L, any ? 1 : 2);
  return any;
}

static size_t wanted_values(lua_State *L) {
  lua_Integer n = lua_tointeger(L, 2);
  return n < INT_MAX ? (size_t)n : INT_MAX;
}

static int push_received(lua_State *L, lub_chan *ch, lub_status status, lub_value *first) {
  if (status == LUB_OK) {
    (void)push_taken(L, ch, 1 + lub_chan_there(ch, wanted_values(L) - 1), first);
    return 1;
  }
  if (status == LUB_NOMEM) return luaL_error(L, "recv_many: not enough memory to wait");
  return lub_push_reason(L, status);
}

static int received(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  lworker *lw = lub_lworker(L);
  lub_status status = lub_finish(L, lw);
  return push_received(L, (lub_chan *)ctx, status, &lw->running->core.one.value);
}

/* ch:recv_many(n [, wait]) -> { v, ... } | nil, "closed" | nil, "timeout" | nil, "cancelled"   [-0, +1|2, e] */
static int chan_recv_many(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_recv_many, ":recv_many");
  lub_chan *ch = lub_check_view(L, ":recv_many", LUB_VIEW_SEND)->ch;
  lub_fiber *f = &lw->running->core;
  int exact;
  if (lua_tointegerx(L, 2, &exact) < 1 || !exact || lua_type(L, 2) != LUA_TNUMBER)
    lub_arg_error(L, ":recv_many", 2, "how many (an integer from 1)");
  int64_t deadline = lub_check_last_wait(L, lw, 3, ":recv_many"), wanted = deadline;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  size_t there = lub_chan_there(ch, wanted_values(L));
  if (there && push_taken(L, ch, there, NULL)) return 1;
  lub_value v;
  lub_status status = lub_wait_recv(&f->wait, &f->one, ch, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)ch, received);
  if (status == LUB_TIMEOUT && refused && wanted) status = refused;
  return push_received(L, ch, status, &v);
}

/* Adds both to the channels' methods at the top. */
void lub_open_many(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"send_many", chan_send_many}, {"recv_many", chan_recv_many}, {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
