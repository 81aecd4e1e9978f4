/* lchan.c - channels, views, select and time in Lua. */
#include <string.h>

#include "llub.h"

typedef struct lchan { /* ORDER LCHAN: object_of in lvalue.c reads it */
  lub_chan *ch;
  int view;
} lchan;

static const char *const view_names[] = {"chan", "sender", "receiver"};

void lub_arg_error(lua_State *L, const char *function, int arg, const char *expected) {
  const char *got = luaL_tolstring(L, arg, NULL);
  luaL_error(L, "%s: argument %d: expected %s, got %s%s%s", function, arg, expected,
             lua_isnone(L, arg) ? "nothing" : luaL_typename(L, arg),
             lua_type(L, arg) == LUA_TNUMBER ? " " : "", lua_type(L, arg) == LUA_TNUMBER ? got : "");
  abort();
}

double lub_check_seconds(lua_State *L, int arg, const char *function) {
  if (lua_type(L, arg) != LUA_TNUMBER) lub_arg_error(L, function, arg, "seconds (a number)");
  double s = lua_tonumber(L, arg);
  if (isnan(s)) lub_arg_error(L, function, arg, "seconds, not NaN,");
  return s;
}

int64_t lub_check_wait(lua_State *L, lworker *lw, int arg, const char *function) {
  if (lua_isnoneornil(L, arg)) return LUB_NEVER;
  return lub_engine_deadline(lw->core->engine, lub_check_seconds(L, arg, function));
}

/* Handles are interned: one userdata for a channel and view in a worker. */
void lub_push_chan(lua_State *L, lub_chan *ch, int view) {
  lua_getfield(L, LUA_REGISTRYINDEX, "lub.handles");
  char *key = (char *)ch + view; /* channels are larger than three bytes */
  if (lua_rawgetp(L, -1, key) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lchan *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->ch = NULL;
  box->view = view;
  luaL_setmetatable(L, LUB_CHAN_TYPE);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, key);
  lub_chan_ref(ch);
  box->ch = ch;
  lua_remove(L, -2);
}

static lchan *check_chan(lua_State *L, int arg, const char *function) {
  lchan *box = luaL_testudata(L, arg, LUB_CHAN_TYPE);
  if (!box) lub_arg_error(L, function, arg, "a channel");
  return box;
}

static lchan *check_view(lua_State *L, int arg, const char *function, int forbidden) {
  lchan *box = check_chan(L, arg, function);
  if (box->view == forbidden)
    luaL_error(L, "%s: channel '%s' is a %s here: it cannot %s", function, box->ch->name, view_names[box->view],
               forbidden == LUB_VIEW_SEND ? "receive" : "send or close");
  return box;
}

/* Level-triggered: a cancelled fiber does not park again. */
static bool is_cancelled(lworker *lw) {
  return lw->running->cancelled || atomic_load_explicit(&lw->core->cancelled, memory_order_relaxed);
}

static lub_status closed_send(lua_State *L, lub_chan *ch) {
  return (lub_status)luaL_error(L, "send on closed channel '%s'", ch->name);
}

static int push_sent(lua_State *L, lub_chan *ch, lub_status status) {
  if (status == LUB_CLOSED) closed_send(L, ch);
  if (status == LUB_NOMEM) return luaL_error(L, "not enough memory to wait");
  if (status != LUB_OK) return lub_push_reason(L, status);
  lua_pushboolean(L, 1);
  return 1;
}

static int sent(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_status status = lub_finish(L, lw);
  if (f->core.one.value.type != LUB_NIL) lub_value_drop(&f->core.one.value);
  return push_sent(L, (lub_chan *)ctx, status);
}

static int chan_send(lua_State *L) {
  lchan *box = check_view(L, 1, "send", LUB_VIEW_RECV);
  lworker *lw = lub_lworker(L);
  if (lua_isnoneornil(L, 2)) lub_arg_error(L, "send", 2, "a value that is not nil");
  int64_t deadline = lub_check_wait(L, lw, 3, "send");
  bool cancelled = is_cancelled(lw);
  if (atomic_load_explicit(&lw->core->killed, memory_order_relaxed)) deadline = 0;
  lub_value v = lub_pack(L, 2, "argument 1");
  lub_status status = lub_wait_send(&lw->running->core.wait, &lw->running->core.one, box->ch, &v,
                                    cancelled || lw->running->closing ? 0 : deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)box->ch, sent);
  if (status != LUB_OK) lub_value_drop(&v);
  if (status == LUB_TIMEOUT && deadline) {
    lub_running(L, lw);
    status = LUB_CANCELLED;
  }
  return push_sent(L, box->ch, status);
}

/* Pushes a received value and frees it, also when pushing raises. */
static int push_value(lua_State *L, lub_value *v) {
  if (v->type < LUB_STRING) {
    lub_unpack(L, v);
    return 1;
  }
  lub_value *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (lub_value){0};
  luaL_setmetatable(L, "lub.value");
  *box = *v;
  v->type = LUB_NIL;
  lub_unpack(L, box);
  lub_value_drop(box);
  lua_remove(L, -2);
  return 1;
}

static int value_gc(lua_State *L) {
  lub_value_drop(lua_touserdata(L, 1));
  return 0;
}

static int push_received(lua_State *L, lub_status status, lub_value *v) {
  if (status == LUB_NOMEM) return luaL_error(L, "not enough memory to wait");
  return status == LUB_OK ? push_value(L, v) : lub_push_reason(L, status);
}

static int received(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lub_status status = lub_finish(L, lw);
  return push_received(L, status, &lw->running->core.one.value);
}

static int receive(lua_State *L, lchan *box, int64_t deadline) {
  lworker *lw = lub_lworker(L);
  lub_value v;
  bool refused = is_cancelled(lw) || lw->running->closing;
  lub_status status = lub_wait_recv(&lw->running->core.wait, &lw->running->core.one, box->ch, &v,
                                    refused ? 0 : deadline);
  if (status == LUB_PARK) return lub_park(L, lw, 0, received);
  if (status == LUB_TIMEOUT && deadline && refused) {
    lub_running(L, lw);
    status = LUB_CANCELLED;
  }
  return push_received(L, status, &v);
}

static int chan_recv(lua_State *L) {
  lchan *box = check_view(L, 1, "recv", LUB_VIEW_SEND);
  return receive(L, box, lub_check_wait(L, lub_lworker(L), 2, "recv"));
}

static int chan_iterate(lua_State *L) { return receive(L, check_view(L, 1, "recv", LUB_VIEW_SEND), LUB_NEVER); }

static int chan_close(lua_State *L) {
  lchan *box = check_view(L, 1, "close", LUB_VIEW_RECV);
  if (lub_chan_close(box->ch)) return luaL_error(L, "close of closed channel '%s'", box->ch->name);
  return 0;
}

static int chan_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lub_chan_len(check_chan(L, 1, "#")->ch));
  return 1;
}

static int chan_capacity(lua_State *L) {
  lua_pushinteger(L, check_chan(L, 1, "capacity")->ch->cap);
  return 1;
}

static int chan_closed(lua_State *L) {
  lua_pushboolean(L, lub_chan_closed(check_chan(L, 1, "closed")->ch));
  return 1;
}

static int chan_name(lua_State *L) {
  lua_pushstring(L, check_chan(L, 1, "name")->ch->name);
  return 1;
}

static int chan_tostring(lua_State *L) {
  lchan *box = check_chan(L, 1, "tostring");
  lua_pushfstring(L, "%s '%s' (%d/%d%s)", view_names[box->view], box->ch->name, (int)lub_chan_len(box->ch),
                  (int)box->ch->cap, lub_chan_closed(box->ch) ? ", closed" : "");
  return 1;
}

static int chan_sender(lua_State *L) {
  lub_push_chan(L, check_view(L, 1, "sender", LUB_VIEW_RECV)->ch, LUB_VIEW_SEND);
  return 1;
}

static int chan_receiver(lua_State *L) {
  lub_push_chan(L, check_view(L, 1, "receiver", LUB_VIEW_SEND)->ch, LUB_VIEW_RECV);
  return 1;
}

static int chan_eq(lua_State *L) {
  lchan *a = luaL_testudata(L, 1, LUB_CHAN_TYPE), *b = luaL_testudata(L, 2, LUB_CHAN_TYPE);
  lua_pushboolean(L, a && b && a->ch == b->ch);
  return 1;
}

static int chan_gc(lua_State *L) {
  lchan *box = lua_touserdata(L, 1);
  lworker *lw = lub_lworker(L);
  if (!box->ch) return 0;
  /* a parked fiber's stack refers to its channels: one that goes has waiters only when the state closes */
  lub_chan_lock(box->ch);
  bool waited_for = !lub_list_empty(&box->ch->recvq) || !lub_list_empty(&box->ch->sendq);
  lub_chan_unlock(box->ch);
  if (waited_for && lw->core->pinned && atomic_load(&box->ch->obj.refs) == 1) lub_pinned_close(lw);
  lub_chan_drop(box->ch);
  box->ch = NULL;
  return 0;
}

/* channel << value: a send, for select. The value is copied when select runs. */
static int chan_case(lua_State *L) {
  check_view(L, 1, "<<", LUB_VIEW_RECV);
  if (lua_isnil(L, 2)) lub_arg_error(L, "<<", 2, "a value that is not nil");
  lua_newuserdatauv(L, 1, 2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  luaL_setmetatable(L, LUB_CASE_TYPE);
  return 1;
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
  if (!lua_isnoneornil(L, 2) && lua_type(L, 2) != LUA_TSTRING) lub_arg_error(L, "chan", 2, "a name (a string)");
  lub_engine *e = lub_lworker(L)->core->engine;
  char number[32];
  (void)snprintf(number, sizeof number, "#%llu", (unsigned long long)atomic_load(&e->chan_ids) + 1);
  lub_chan *ch;
  if (lub_chan_open(e, (size_t)capacity, luaL_optstring(L, 2, number), &ch))
    return luaL_error(L, "chan: not enough memory for a capacity of %I", (LUAI_UACINT)capacity);
  lub_push_chan(L, ch, LUB_VIEW_BOTH); /* raises only without memory for the handle */
  lub_chan_drop(ch);
  return 1;
}

/* ---- select -------------------------------------------------------------------------------------------- */

static void drop_cases(lfiber *f) {
  for (uint32_t i = 0; i < f->ncases; i++)
    if (f->cases[i].value.type != LUB_NIL) lub_value_drop(&f->cases[i].value);
  f->ncases = 0;
}

/* from, value, index */
static int push_selected(lua_State *L, lfiber *f, lub_status status, uint32_t at) {
  if (status == LUB_NOMEM) return luaL_error(L, "select: not enough memory to wait");
  if (status != LUB_OK && status != LUB_CLOSED) {
    drop_cases(f);
    return lub_push_reason(L, status);
  }
  lub_waiter *one = &f->cases[at];
  int arg = (int)at + 1;
  if (one->send && status == LUB_CLOSED) {
    lub_chan *ch = one->ch;
    drop_cases(f);
    closed_send(L, ch);
  }
  if (one->send) lua_getiuservalue(L, arg, 1);
  else lua_pushvalue(L, arg);
  lub_value v = one->value;
  bool was_send = one->send;
  one->value.type = LUB_NIL;
  drop_cases(f);
  if (was_send) lua_pushboolean(L, 1);
  else if (status == LUB_CLOSED) lua_pushnil(L);
  else push_value(L, &v);
  lua_pushinteger(L, arg);
  return 3;
}

static int selected(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_status status = lub_finish(L, lw);
  return push_selected(L, f, status, f->core.wait.index);
}

static void make_room(lua_State *L, lfiber *f, uint32_t n) {
  if (n <= f->room) return;
  const lub_allocator *mem = &f->owner->core->engine->mem;
  lub_waiter *cases = mem->realloc(mem->ud, f->cases, n * sizeof *cases);
  if (cases) f->cases = cases;
  uint32_t *order = cases ? mem->realloc(mem->ud, f->order, 2 * n * sizeof *order) : NULL;
  if (order) f->order = order;
  if (!order) luaL_error(L, "select: not enough memory for %d cases", (int)n);
  f->room = n;
}

static int choose(lua_State *L, bool ordered, const char *function) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  int n = lua_gettop(L), number = 0;
  int64_t deadline = LUB_NEVER;
  if (n > 0) make_room(L, f, (uint32_t)n);
  drop_cases(f);
  for (int i = 1; i <= n; i++) {
    lub_waiter *one = &f->cases[i - 1];
    *one = (lub_waiter){0};
    f->ncases = (uint32_t)i;
    if (lua_isnil(L, i)) continue;
    if (lua_type(L, i) == LUA_TNUMBER) {
      if (number) return luaL_error(L, "%s: arguments %d and %d are both numbers: one wait is allowed", function,
                                    number, i);
      number = i;
      deadline = lub_check_wait(L, lw, i, function);
      continue;
    }
    if (luaL_testudata(L, i, LUB_CASE_TYPE)) {
      lua_getiuservalue(L, i, 1);
      one->ch = ((lchan *)lua_touserdata(L, -1))->ch;
      one->send = true;
      lua_getiuservalue(L, i, 2);
      char what[32];
      (void)snprintf(what, sizeof what, "argument %d", i);
      one->value = lub_pack(L, -1, what);
      lua_pop(L, 2);
      continue;
    }
    lchan *box = luaL_testudata(L, i, LUB_CHAN_TYPE);
    if (!box) lub_arg_error(L, function, i, "a channel, channel << value, nil or seconds");
    one->ch = check_view(L, i, function, LUB_VIEW_SEND)->ch;
  }
  uint32_t at = 0;
  bool refused = is_cancelled(lw) || f->closing;
  lub_status status = lub_wait_select(&f->core.wait, f->cases, (uint32_t)n, f->order,
                                      ordered ? NULL : &lw->random, refused ? 0 : deadline, &at);
  if (status == LUB_PARK) return lub_park(L, lw, 0, selected);
  if (status == LUB_TIMEOUT && deadline && refused) {
    lub_running(L, lw);
    status = LUB_CANCELLED;
  }
  return push_selected(L, f, status, at);
}

static int lub_select_random(lua_State *L) { return choose(L, false, "select"); }
static int lub_select_prefer(lua_State *L) { return choose(L, true, "prefer"); }

/* ---- time ---------------------------------------------------------------------------------------------- */

static int now(lua_State *L) {
  lua_pushnumber(L, lub_engine_now(lub_lworker(L)->core->engine));
  return 1;
}

static int slept(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lub_status status = lub_finish(L, lub_lworker(L));
  if (status != LUB_TIMEOUT) return lub_push_reason(L, status);
  lua_pushboolean(L, 1);
  return 1;
}

/* lub.sleep(s) -> true | nil, "cancelled" */
static int sleep_for(lua_State *L) {
  lworker *lw = lub_lworker(L);
  double s = lub_check_seconds(L, 1, "sleep");
  lfiber *f = lub_running(L, lw);
  if (is_cancelled(lw)) return lub_push_reason(L, LUB_CANCELLED);
  int64_t deadline = lub_engine_deadline(lw->core->engine, s);
  if (lub_wait_sleep(&f->core.wait, deadline ? deadline : 1) != LUB_PARK)
    return luaL_error(L, "sleep: not enough memory");
  return lub_park(L, lw, 0, slept);
}

static int open_tick(lua_State *L, const char *name, double first, double period) {
  lub_chan *ch;
  double most = 9e9;
  if (first > most) first = most;
  if (period > most) period = most;
  int64_t period_ns = (int64_t)(period * 1e9);
  if (period > 0 && period_ns == 0) period_ns = 1;
  if (lub_tick_open(lub_lworker(L)->core->engine, name, first > 0 ? (int64_t)(first * 1e9) : 0, period_ns, &ch))
    return luaL_error(L, "%s: not enough memory", name);
  lub_push_chan(L, ch, LUB_VIEW_BOTH);
  lub_chan_drop(ch);
  return 1;
}

static double check_period(lua_State *L, int arg, const char *function) {
  double s = lub_check_seconds(L, arg, function);
  if (!(s > 0)) lub_arg_error(L, function, arg, "a period of more than 0 seconds");
  return s;
}

static int tick(lua_State *L) {
  double s = check_period(L, 1, "tick");
  return open_tick(L, "tick", s, s);
}

/* lub.after(s): the channel. With a function see lworker.c. */
static int after(lua_State *L) { return open_tick(L, "after", lub_check_seconds(L, 1, "after"), 0); }

static lub_chan *check_timer(lua_State *L, const char *function) {
  lub_chan *ch = check_chan(L, 1, function)->ch;
  if (!ch->tick) luaL_error(L, "%s: channel '%s' has no timer", function, ch->name);
  return ch;
}

static int timer_stop(lua_State *L) {
  lua_pushboolean(L, lub_tick_stop(check_timer(L, "stop")));
  return 1;
}

static int timer_reset(lua_State *L) {
  lub_chan *ch = check_timer(L, "reset");
  double s = *ch->name == 't' ? check_period(L, 2, "reset") : lub_check_seconds(L, 2, "reset");
  if (s > 9e9) s = 9e9;
  lua_pushboolean(L, lub_tick_reset(ch, s > 0 ? (int64_t)(s * 1e9) + (s < 1e-9) : 0));
  return 1;
}

void lub_open_chan(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"send", chan_send},         {"recv", chan_recv},     {"close", chan_close}, {"capacity", chan_capacity},
      {"closed", chan_closed},     {"name", chan_name},     {"sender", chan_sender}, {"receiver", chan_receiver},
      {"stop", timer_stop},        {"reset", timer_reset},  {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__len", chan_len},   {"__tostring", chan_tostring}, {"__eq", chan_eq},
                                  {"__gc", chan_gc},     {"__shl", chan_case},          {"__call", chan_iterate},
                                  {NULL, NULL}};
  luaL_newmetatable(L, LUB_CHAN_TYPE);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "lub.chan");
  lua_setfield(L, -2, "__metatable");
  luaL_newmetatable(L, LUB_CASE_TYPE);
  luaL_newmetatable(L, "lub.value");
  lua_pushcfunction(L, value_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L); /* handles, by channel and view; weak, so that unused ones go */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.handles");
  lua_settop(L, 0);
}

const luaL_Reg lub_chan_functions[] = {
    {"chan", new_chan}, {"select", lub_select_random}, {"prefer", lub_select_prefer}, {"now", now},
    {"sleep", sleep_for}, {"tick", tick}, {"after", after}, {NULL, NULL}};
