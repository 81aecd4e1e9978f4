/* chans.c - channels and select. */
#include "bare.h"

parked *push_parked(parkeds *q) {
  if (q->n == q->room) {
    uint32_t room = q->room ? 2 * q->room : 2;
    parked *all = must(malloc(room * sizeof *all));
    for (uint32_t i = 0; i < q->n; i++) all[i] = q->all[(q->first + i) & (q->room - 1)];
    free(q->all);
    *q = (parkeds){all, 0, q->n, room};
  }
  return &q->all[(q->first + q->n++) & (q->room - 1)];
}

word to_word(lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TBOOLEAN) return (word){type, lua_toboolean(L, index)};
  if (type == LUA_TNUMBER) return (word){type, lua_tointeger(L, index)};
  abort();
}

void push_word(lua_State *L, word w) {
  if (w.type == LUA_TBOOLEAN) lua_pushboolean(L, (int)w.i);
  else lua_pushinteger(L, w.i);
}

void move(lua_State *from, lua_State *to) {
  if (*state_of(from) == *state_of(to)) {
    lua_xmove(from, to, 1);
  } else {
    push_word(to, to_word(from, -1));
    lua_pop(from, 1);
  }
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static void leave(parkeds *q, lua_State *co) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < q->n; i++) {
    parked p = q->all[(q->first + i) & (q->room - 1)];
    if (p.co != co) q->all[(q->first + kept++) & (q->room - 1)] = p;
  }
  q->n = kept;
}

/* A select gives the channel, the value and the case; it leaves the other channels. */
static void leave_select(lua_State *co, int at, int cases) {
  for (int i = 1; i <= cases; i++)
    if (i != at) leave(&to_chan(co, i)->receivers, co);
  lua_pushvalue(co, at);
  lua_insert(co, -2);
  lua_pushinteger(co, at);
}

/* The value on top of L goes to the first that waits for it. */
static void hand_over(lua_State *L, chan *ch) {
  parked p = *pop_parked(&ch->receivers);
  int cases = lua_gettop(p.co);
  move(L, p.co);
  if (p.at) leave_select(p.co, p.at, cases);
  make_ready(p.co, p.at ? 3 : 1);
}

static void release_sender(lua_State *co) {
  lua_pushboolean(co, 1);
  make_ready(co, 1);
}

static bool is_there(const chan *ch) { return ch->n || ch->senders.n || ch->closed; }

/* Pushes what is there. */
static void take(lua_State *L, chan *ch) {
  if (ch->n) {
    push_word(L, ch->words[ch->first]);
    ch->first = ch->first + 1 == ch->capacity ? 0 : ch->first + 1;
    ch->n--;
    if (!ch->senders.n) return;
    lua_State *co = pop_parked(&ch->senders)->co;
    uint32_t last = ch->first + ch->n++;
    ch->words[last < ch->capacity ? last : last - ch->capacity] = to_word(co, -1);
    release_sender(co);
  } else if (ch->senders.n) {
    lua_State *co = pop_parked(&ch->senders)->co;
    move(co, L);
    release_sender(co);
  } else {
    lua_pushnil(L);
  }
}

/* ---- methods ------------------------------------------------------------------------------------------------------ */

static int chan_send(lua_State *L) {
  chan *ch = to_chan(L, 1);
  if (ch->receivers.n) {
    hand_over(L, ch);
  } else if (ch->n < ch->capacity) {
    uint32_t last = ch->first + ch->n++;
    ch->words[last < ch->capacity ? last : last - ch->capacity] = to_word(L, 2);
  } else {
    *push_parked(&ch->senders) = (parked){L, 0};
    return lua_yield(L, 0);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int chan_recv(lua_State *L) {
  chan *ch = to_chan(L, 1);
  if (is_there(ch)) {
    take(L, ch);
    return 1;
  }
  *push_parked(&ch->receivers) = (parked){L, 0};
  return lua_yield(L, 0);
}

static int chan_close(lua_State *L) {
  chan *ch = to_chan(L, 1);
  ch->closed = true;
  while (ch->receivers.n) {
    lua_State *co = pop_parked(&ch->receivers)->co;
    lua_pushnil(co);
    make_ready(co, 1);
  }
  return 0;
}

static uint32_t random_below(uint32_t n) {
  static uint64_t seed = 1;
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((seed >> 32) * n >> 32);
}

/* select(ch, ... [, 0]); its upvalue tells a timeout. */
static int select_chans(lua_State *L) {
  int n = lua_gettop(L);
  bool waits = lua_isuserdata(L, n);
  if (!waits) n--;
  int from = n > 1 ? (int)random_below((uint32_t)n) : 0;
  for (int i = 0; i < n; i++) {
    int at = (from + i) % n + 1;
    chan *ch = to_chan(L, at);
    if (!is_there(ch)) continue;
    lua_pushvalue(L, at);
    take(L, ch);
    lua_pushinteger(L, at);
    return 3;
  }
  if (!waits) {
    lua_pushnil(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    return 2;
  }
  for (int i = 1; i <= n; i++) *push_parked(&to_chan(L, i)->receivers) = (parked){L, i};
  return lua_yield(L, 0);
}

static char CHANS; /* the metatable, in the registry */

void push_chan(lua_State *L, chan *ch) {
  *(chan **)lua_newuserdatauv(L, sizeof ch, 0) = ch;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &CHANS);
  lua_setmetatable(L, -2);
}

static int new_chan(lua_State *L) {
  uint32_t capacity = (uint32_t)luaL_optinteger(L, 1, 0);
  chan *ch = must(calloc(1, sizeof *ch + capacity * sizeof(word)));
  ch->capacity = capacity;
  ch->words = (word *)(void *)(ch + 1);
  push_chan(L, ch);
  return 1;
}

void open_chans(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"send", chan_send}, {"recv", chan_recv}, {"close", chan_close}, {NULL, NULL}};
  static const luaL_Reg events[] = {{"__call", chan_recv}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"chan", new_chan}, {"select", select_chans}, {NULL, NULL}};
  lua_pushliteral(L, "timeout");
  luaL_setfuncs(L, functions, 1);
  open_type(L, &CHANS, methods, events);
}
