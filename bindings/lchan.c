/* lchan.c - channels and their views in Lua. */
#include <string.h>

#include "llub.h"

const char LUB_CHAN_MAGIC[] = "lub.chan";

static const char *const view_names[] = {"chan", "sender", "receiver"};

/* ---- handles ------------------------------------------------------------------------------------------------ */

static lchan *push_box(lua_State *L, lworker *lw, uint8_t view) {
  lchan *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (lchan){.view = view};
  lub_open_chan(L, lw);
  lua_setmetatable(L, -2);
  return box;
}

/* Channels are larger than three bytes. */
static const void *key_of(const lchan *box) { return (const char *)box->ch + box->view; }

void lub_intern_chan(lua_State *L, int index, lchan *box) {
  if (box->interned || !box->ch) return;
  lub_chan_share(box->ch);
  lub_intern(L, lub_lworker(L), index, key_of(box));
  box->interned = true;
}

/* One userdata for a channel and view in a worker, as far as it can tell: a handle that never left it is in no table. */
void lub_push_chan(lua_State *L, lub_chan *ch, uint8_t view) {
  lworker *lw = lub_lworker(L);
  if (lub_push_interned(L, lw, key_of(&(lchan){.ch = ch, .view = view}))) return;
  lchan *box = push_box(L, lw, view);
  lub_chan_ref(box->ch = ch);
  box->magic = LUB_CHAN_MAGIC;
  lub_intern_chan(L, -1, box);
}

lchan *lub_push_new_chan(lua_State *L, uint8_t view) { return push_box(L, lub_lworker(L), view); }

void lub_own_chan(lua_State *L, lchan *box) {
  box->magic = LUB_CHAN_MAGIC;
  if (lub_must_intern(L, lub_lworker(L))) lub_intern_chan(L, -1, box);
}

static lchan *check_chan(lua_State *L, int arg, const char *function) {
  lchan *box = lub_test_chan(L, arg);
  if (!box) lub_arg_error(L, function, arg, "a channel");
  return box;
}

lchan *lub_refuse_view(lua_State *L, const char *function) {
  const lchan *box = check_chan(L, 1, function);
  luaL_error(L, "%s: channel '%s' is a %s here: it cannot %s", function + 1, box->ch->name,
             view_names[box->view], box->view == LUB_VIEW_SEND ? "receive" : "send or close");
  return NULL;
}

/* ---- send and receive ------------------------------------------------------------------------------------------ */

static int push_sent(lua_State *L, const lub_chan *ch, lub_status status) {
  if (lub_likely(status == LUB_OK)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  switch (status) {
    case LUB_CLOSED: return luaL_error(L, "send on closed channel '%s'", ch->name);
    case LUB_NOMEM: return luaL_error(L, "send: not enough memory to wait");
    default: return lub_push_reason(L, status);
  }
}

static int sent(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  lworker *lw = lub_lworker(L);
  lub_value *v = &lw->running->core.one.value;
  lub_status status = lub_wait_finish(&lw->running->core.wait);
  if (lub_unlikely(v->type != LUB_NIL)) lub_value_drop(v); /* it was not taken */
  if (lub_unlikely(status != LUB_OK)) status = lub_outcome(L, lw, status);
  return push_sent(L, (lub_chan *)ctx, status);
}

/* ch:send(v [, wait]) -> true | nil, "timeout" | nil, "cancelled"; raises on a closed channel   [-0, +1|2, e] */
static int chan_send(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_send, ":send");
  lchan *box = lub_check_view(L, ":send", LUB_VIEW_RECV);
  lub_fiber *f = &lw->running->core;
  bool integer = lua_isinteger(L, 2);
  if (lub_unlikely(!integer) && lua_isnoneornil(L, 2))
    lub_arg_error(L, ":send", 2, "a value that is not nil");
  int64_t deadline = lub_check_last_wait(L, lw, 3, ":send"), wanted = deadline;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  lub_value v =
      integer ? (lub_value){.type = LUB_INT, .as.i = lua_tointeger(L, 2)} : lub_pack(L, 2, "argument 1");
  lub_status status = lub_wait_send(&f->wait, &f->one, box->ch, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)box->ch, sent);
  if (lub_unlikely(status != LUB_OK)) lub_value_drop(&v);
  if (status == LUB_TIMEOUT && refused && wanted) status = refused;
  return push_sent(L, box->ch, status);
}

static int push_received(lua_State *L, lub_status status, lub_value *v) {
  if (lub_likely(status == LUB_OK)) {
    lub_take(L, v);
    return 1;
  }
  if (status == LUB_NOMEM) return luaL_error(L, "recv: not enough memory to wait");
  return lub_push_reason(L, status);
}

static int received(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lub_status status = lub_finish(L, lw);
  return push_received(L, status, &lw->running->core.one.value);
}

static int receive(lua_State *L, lchan *box, lworker *lw, int64_t deadline) {
  lub_value v;
  int64_t wanted = deadline;
  lub_fiber *f = &lw->running->core;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  lub_status status = lub_wait_recv(&f->wait, &f->one, box->ch, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, 0, received);
  if (status == LUB_TIMEOUT && refused && wanted) status = refused;
  return push_received(L, status, &v);
}

/* ch:recv([wait]) -> v | nil, "closed" | nil, "timeout" | nil, "cancelled"   [-0, +1|2, e] */
static int chan_recv(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_recv, ":recv");
  lchan *box = lub_check_view(L, ":recv", LUB_VIEW_SEND);
  return receive(L, box, lw, lub_check_last_wait(L, lw, 2, ":recv"));
}

/* for v in ch do: until it is closed and drained, or the fiber is cancelled. */
static int chan_iterate(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_iterate, ":recv");
  return receive(L, lub_check_view(L, ":recv", LUB_VIEW_SEND), lw, LUB_NEVER);
}

/* ch:close(); raises on a closed channel. */
static int chan_close(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, chan_close, ":close");
  lchan *box = lub_check_view(L, ":close", LUB_VIEW_RECV);
  int64_t deadline = 0;
  lub_check_surplus(L, 1, ":close");
  (void)lub_may_wait(L, lw, &deadline); /* fenced? */
  if (lub_chan_close(box->ch)) return luaL_error(L, "close of closed channel '%s'", box->ch->name);
  return 0;
}

/* ---- looking at them ------------------------------------------------------------------------------------------ */

static int chan_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lub_chan_len(check_chan(L, 1, "#")->ch));
  return 1;
}

static int chan_capacity(lua_State *L) {
  lub_check_surplus(L, 1, ":capacity");
  lua_pushinteger(L, (lua_Integer)lub_chan_capacity(check_chan(L, 1, ":capacity")->ch));
  return 1;
}

static int chan_closed(lua_State *L) {
  lub_check_surplus(L, 1, ":closed");
  lua_pushboolean(L, lub_chan_closed(check_chan(L, 1, ":closed")->ch));
  return 1;
}

static int chan_name(lua_State *L) {
  lub_check_surplus(L, 1, ":name");
  lua_pushstring(L, check_chan(L, 1, ":name")->ch->name);
  return 1;
}

static int chan_tostring(lua_State *L) {
  lchan *box = check_chan(L, 1, "tostring");
  lua_pushfstring(L, "%s '%s' (%I/%I%s)", view_names[box->view], box->ch->name,
                  (LUAI_UACINT)lub_chan_len(box->ch), (LUAI_UACINT)box->ch->cap,
                  lub_chan_closed(box->ch) ? ", closed" : "");
  return 1;
}

static int push_view(lua_State *L, const char *function, uint8_t view, uint8_t other) {
  lub_check_surplus(L, 1, function);
  const lchan *box = lub_check_view(L, function, other);
  if (box->view == view) lua_pushvalue(L, 1);
  else lub_push_chan(L, box->ch, view);
  return 1;
}

static int chan_sender(lua_State *L) { return push_view(L, ":sender", LUB_VIEW_SEND, LUB_VIEW_RECV); }
static int chan_receiver(lua_State *L) { return push_view(L, ":receiver", LUB_VIEW_RECV, LUB_VIEW_SEND); }

static int chan_eq(lua_State *L) {
  lchan *a = lub_test_chan(L, 1), *b = lub_test_chan(L, 2);
  lua_pushboolean(L, a && b && a->ch == b->ch);
  return 1;
}

static int chan_gc(lua_State *L) {
  lchan *box = lub_test_chan(L, 1);
  lworker *lw = lub_known_lworker(L);
  if (lw) lw->gone++;
  if (!box || !box->ch) return 0;
  if (box->interned && lw) lub_forget(L, lw, key_of(box));
  /* a parked fiber's stack refers to its channels: one that goes has waiters only when the state closes */
  lub_chan_lock(box->ch);
  bool waited_for = !lub_list_empty(&box->ch->recvq) || !lub_list_empty(&box->ch->sendq);
  lub_chan_unlock(box->ch);
  if (waited_for && lw && atomic_load(&box->ch->obj.refs) == 1) lub_close_fibers(lw);
  lub_chan_drop(box->ch);
  *box = (lchan){0};
  return 0;
}

/* lub.chan([capacity = 0 [, name]]) */
static int new_chan(lua_State *L) {
  lua_Integer capacity = 0;
  if (!lua_isnoneornil(L, 1)) {
    int exact;
    capacity = lua_tointegerx(L, 1, &exact);
    if (!exact || lua_type(L, 1) != LUA_TNUMBER || capacity < 0 || capacity > (lua_Integer)LUB_CHAN_MAX)
      lub_arg_error(L, "chan", 1, "a capacity (an integer from 0 to 2^31)");
  }
  bool is_name = lua_type(L, 2) == LUA_TSTRING && strlen(lua_tostring(L, 2)) == lua_rawlen(L, 2);
  if (!lua_isnoneornil(L, 2) && !is_name) lub_arg_error(L, "chan", 2, "a name (a string without zeros)");
  lub_check_surplus(L, 2, "chan");
  lworker *lw = lub_lworker(L);
  lchan *box = lub_push_new_chan(L, LUB_VIEW_BOTH);
  if (lub_chan_open(lw->core->engine, (size_t)capacity, lua_tostring(L, 2), &box->ch))
    return luaL_error(L, "chan: not enough memory for a capacity of %I", (LUAI_UACINT)capacity);
  lub_chan_keep(box->ch);
  lub_own_chan(L, box);
  lub_keep_outside(L, lw, sizeof *box->ch + (size_t)capacity * sizeof(lub_value));
  return 1;
}

/* Pushes the channels' metatable. What every operation looks up is put into the tables first, and they do not grow: so it
 * lies where the search for it begins. */
void lub_open_chan(lua_State *L, lworker *lw) {
  static const luaL_Reg methods[] = {
      {"send", chan_send},         {"recv", chan_recv},         {"close", chan_close},
      {"capacity", chan_capacity}, {"closed", chan_closed},     {"name", chan_name},
      {"sender", chan_sender},     {"receiver", chan_receiver}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__call", chan_iterate}, {"__len", chan_len}, {"__tostring", chan_tostring},
      {"__eq", chan_eq},        {"__gc", chan_gc},   {NULL, NULL}};
  enum { METHODS = 12, FIELDS = 9 };
  if (lw->chan_type) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, lw->chan_type);
    return;
  }
  lua_createtable(L, 0, FIELDS);
  lua_createtable(L, 0, METHODS);
  luaL_setfuncs(L, methods, 0);
  lub_open_many(L);
  lua_setfield(L, -2, "__index");
  luaL_setfuncs(L, meta, 0);
  lua_pushstring(L, LUB_CHAN_MAGIC);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, LUB_CHAN_MAGIC);
  lua_setfield(L, -2, "__metatable");
  lub_open_select(L);  /* adds << */
  lub_open_time(L);    /* adds stop and reset */
  if (lw->chan_type) { /* a finalizer that ran meanwhile has made it */
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, lw->chan_type);
    return;
  }
  lua_pushvalue(L, -1);
  lw->chan_type = luaL_ref(L, LUA_REGISTRYINDEX);
}

const luaL_Reg lub_chan_functions[] = {{"chan", new_chan}, {NULL, NULL}};
