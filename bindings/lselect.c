/* lselect.c - select and prefer in Lua, and the cases that send. */
#include <string.h>

#include "llub.h"

const char LUB_CASE_MAGIC[] = "lub.case";

typedef struct lcase { /* user values: the channel, the value */
  const void *magic;
} lcase;

enum { SHOWN = 40 }; /* bytes of a value */

/* Pushes what a message may show of the value at `index`: not all of a long one, no half of a character. */
static void push_shown(lua_State *L, int index) {
  size_t n, most = SHOWN;
  const char *s = luaL_tolstring(L, index, &n), *quote = lua_type(L, index) == LUA_TSTRING ? "'" : "";
  while (n > SHOWN && most > 0 && (s[most] & 0xC0) == 0x80) most--;
  if (n > SHOWN) s = lua_pushfstring(L, "%s...", lua_pushlstring(L, s, most));
  lua_pushfstring(L, "%s%s%s", quote, s, quote);
}

/* chan 'jobs' (0/1) << 'a letter' */
static int case_tostring(lua_State *L) {
  const lcase *c = lua_touserdata(L, 1);
  if (!c || lua_rawlen(L, 1) != sizeof *c || c->magic != LUB_CASE_MAGIC)
    lub_arg_error(L, "tostring", 1, "channel << value");
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  (void)luaL_tolstring(L, 2, NULL);
  push_shown(L, 3);
  lua_pushfstring(L, "%s << %s", lua_tostring(L, 4), lua_tostring(L, -1));
  return 1;
}

/* Made when it is first needed, and kept in the upvalue of the function that runs: few workers have any. */
static void push_case_type(lua_State *L) {
  if (lua_isnil(L, lua_upvalueindex(1))) {
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, case_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, LUB_CASE_MAGIC);
    lua_setfield(L, -2, "__metatable");
    lua_replace(L, lua_upvalueindex(1));
  }
  lua_pushvalue(L, lua_upvalueindex(1));
}

/* channel << value: a send, for select. The value is copied when select runs.   [-0, +1, e] */
static int chan_case(lua_State *L) {
  lchan *box = lub_test_chan(L, 1);
  if (!box) lub_arg_error(L, "<<", 1, "a channel");
  if (box->view == LUB_VIEW_RECV)
    return luaL_error(L, "<<: channel '%s' is a receiver here: it cannot send", box->ch->name);
  if (lua_isnil(L, 2)) lub_arg_error(L, "<<", 2, "a value that is not nil");
  lcase *c = lua_newuserdatauv(L, sizeof *c, 2);
  c->magic = LUB_CASE_MAGIC;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  push_case_type(L);
  lua_setmetatable(L, -2);
  return 1;
}

void lub_drop_sends(lcases *cs) {
  for (uint32_t i = 0; i < cs->count; i++) lub_value_drop(&cs->one[i].value);
  cs->sends = false;
}

static lcases *make_room(lua_State *L, lfiber *f, uint32_t n, const char *function) {
  lextra *x = lub_fiber_extra(f);
  lcases *cs = x ? x->cases : NULL;
  if (lub_likely(cs && n <= cs->room)) return cs;
  const lub_allocator *mem = &f->core.worker->engine->mem;
  if (cs) lub_drop_cases(cs); /* those of a call that raised */
  size_t room = n < 4 ? 4 : n, nbytes = sizeof *cs + room * sizeof cs->one[0];
  size_t with_boxes = nbytes + room * sizeof *cs->boxes;
  cs = x ? mem->realloc(mem->ud, cs, with_boxes + 2 * room * sizeof *cs->order) : NULL;
  if (!cs) luaL_error(L, "%s: not enough memory for %d cases", function, (int)n);
  cs->room = (uint32_t)room;
  cs->count = cs->ordered = cs->known = cs->gone = 0;
  cs->sends = false;
  cs->boxes = (const void **)(void *)((char *)cs + nbytes);
  cs->order = (uint32_t *)(void *)((char *)cs + with_boxes);
  return x->cases = cs;
}

/* from, value, index */
static int push_selected(lua_State *L, lfiber *f, lub_status status, uint32_t at) {
  lcases *cs = f->extra->cases;
  if (status != LUB_OK && status != LUB_CLOSED) {
    lub_drop_cases(cs);
    if (status == LUB_NOMEM) return luaL_error(L, "select: not enough memory to wait");
    lua_pushnil(L);
    if (status == LUB_TIMEOUT) lua_pushvalue(L, lua_upvalueindex(1));
    else lub_push_status(L, status);
    return 2;
  }
  lub_waiter *one = &cs->one[at];
  int arg = (int)at + 1;
  bool send = one->send;
  lub_chan *ch = one->ch;
  lub_value v = one->value;
  one->value.type = LUB_NIL;
  lub_drop_cases(cs);
  if (send) {
    lub_value_drop(&v);
    if (status == LUB_CLOSED) return luaL_error(L, "send on closed channel '%s'", ch->name);
    lua_getiuservalue(L, arg, 1);
    lua_pushboolean(L, 1);
  } else {
    lua_pushvalue(L, arg);
    if (lub_likely(status == LUB_OK)) lub_take(L, &v);
    else lua_pushnil(L);
  }
  lua_pushinteger(L, arg);
  return 3;
}

static int selected(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_status status = lub_wait_finish(&f->core.wait);
  if (lub_unlikely(lub_must_raise(status))) {
    lub_drop_cases(f->extra->cases);
    status = lub_outcome(L, lw, status);
  }
  return push_selected(L, f, status, f->core.wait.index);
}

static void read_send(lua_State *L, int arg, lcases *cs) {
  lub_waiter *one = &cs->one[arg - 1];
  char what[32];
  lua_getiuservalue(L, arg, 1);
  one->ch = ((lchan *)lua_touserdata(L, -1))->ch;
  one->send = true;
  lua_getiuservalue(L, arg, 2);
  what[0] = 0;
  if (lua_type(L, -1) == LUA_TTABLE || lua_type(L, -1) >= LUA_TFUNCTION)
    (void)snprintf(what, sizeof what, "argument %d", arg);
  one->value = lub_pack(L, -1, what);
  cs->sends = true;
  lua_pop(L, 2);
}

static void read_receive(lua_State *L, int arg, const lchan *box, lub_waiter *one, const char *function) {
  if (box->view == LUB_VIEW_SEND)
    luaL_error(L, "%s: argument %d: channel '%s' is a sender here: it cannot receive", function, arg,
               box->ch->name);
  one->ch = box->ch;
}

static void refuse_case(lua_State *L, int arg, const char *function) {
  lub_arg_error(L, function, arg, "a channel, channel << value, nil or seconds");
}

/* A handle begins with what tells its kind. */
static void read_handle(lua_State *L, int arg, const void *const *box, lcases *cs, const char *function) {
  size_t size = lua_rawlen(L, arg); /* a light one has no length */
  const void *magic = size >= sizeof *box ? *box : NULL;
  if (size == sizeof(lchan) && magic == LUB_CHAN_MAGIC) {
    read_receive(L, arg, (const lchan *)(const void *)box, &cs->one[arg - 1], function);
    cs->boxes[arg - 1] = box;
    if (cs->known == (uint32_t)arg - 1) cs->known++;
  } else if (size == sizeof(lcase) && magic == LUB_CASE_MAGIC) read_send(L, arg, cs);
  else refuse_case(L, arg, function);
}

static int64_t read_wait(lua_State *L, lworker *lw, int arg, int *number, const char *function) {
  if (*number)
    luaL_error(L, "%s: arguments %d and %d are both numbers: one wait is allowed", function, *number, arg);
  *number = arg;
  return lub_check_wait(L, lw, arg, function);
}

/* Fills the fiber's cases from the arguments; returns the deadline. Those that are as they were in the select before cost
 * half of what the others do. */
static int64_t read_cases(lua_State *L, lworker *lw, lcases *cs, int n, const char *function) {
  int64_t deadline = LUB_NEVER;
  int number = 0, i = 1;
  lub_drop_cases(cs); /* those of a call that raised */
  if (lub_unlikely(cs->gone != lw->gone)) cs->known = 0;
  cs->gone = lw->gone;
  while (i <= n && (uint32_t)i <= cs->known && lua_touserdata(L, i) == cs->boxes[i - 1]) i++;
  cs->count = cs->known = (uint32_t)i - 1;
  bool polls =
      i == n && lua_isinteger(L, n) && lua_tointeger(L, n) <= 0; /* at a third of the price of read_wait */
  if (polls) deadline = 0;
  for (; !polls && i <= n; i++) {
    const void *const *box = lua_touserdata(L, i);
    bool is_wait = !box && lua_type(L, i) == LUA_TNUMBER;
    if (is_wait) deadline = read_wait(L, lw, i, &number, function);
    if (is_wait && i == n) break; /* as usual: then it need not be a case that is never ready */
    cs->one[i - 1] = (lub_waiter){.ch = NULL};
    cs->count = (uint32_t)i;
    if (box) read_handle(L, i, box, cs, function);
    else if (!is_wait && !lua_isnil(L, i)) refuse_case(L, i, function);
  }
  if (lub_unlikely(cs->ordered != cs->count))
    for (uint32_t k = 0; k < cs->count; k++) cs->order[k] = cs->order[cs->count + k] = k;
  cs->ordered = cs->count;
  return deadline;
}

static int choose(lua_State *L, lworker *lw, bool ordered, const char *function) {
  lfiber *f = lw->running;
  int n = lua_gettop(L);
  int64_t none = 0;
  if (lub_unlikely(lw->judging))
    (void)lub_may_not_wait(L, lw, &none); /* f may be parked: its cases are not to be touched */
  lcases *cs = make_room(L, f, (uint32_t)n, function);
  int64_t deadline = read_cases(L, lw, cs, n, function), wanted = deadline;
  uint32_t at = 0;
  lub_status refused = lub_may_wait(L, lw, &deadline);
  lub_status status = !deadline && lub_select_is_vain(cs->one, cs->count)
                          ? LUB_TIMEOUT
                          : lub_wait_select(&f->core.wait, cs->one, cs->count, cs->order,
                                            ordered ? NULL : &lw->random, deadline, &at);
  if (status == LUB_PARK) return lub_park(L, lw, 0, selected);
  if (status == LUB_TIMEOUT && refused && wanted) status = refused;
  return push_selected(L, f, status, at);
}

/* lub.select(case, ...) -> from, value, index | nil, "timeout" | nil, "cancelled"   [-0, +2|3, e] */
static int select_any(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, select_any, "select");
  return choose(L, lw, false, "select");
}

/* The same, but of several that are ready, the first named. */
static int select_first(lua_State *L) {
  lworker *lw = lub_lworker(L);
  LUB_POINT(L, lw, select_first, "prefer");
  return choose(L, lw, true, "prefer");
}

/* Adds << to the channels' metatable at the top. */
void lub_open_select(lua_State *L) {
  lua_pushnil(L);
  lua_pushcclosure(L, chan_case, 1);
  lua_setfield(L, -2, "__shl");
}

/* Their upvalue is the text of LUB_TIMEOUT, which a loop that polls is told each time. */
const luaL_Reg lub_select_functions[] = {{"select", select_any}, {"prefer", select_first}, {NULL, NULL}};
