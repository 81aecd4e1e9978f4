/* lsnapshot.c - h, what a policy or a pulse script may look at: a heart at one instant. Fields are made when they are
 * asked for: most policies look at one or two of them. */
#include <string.h>

#include "llub.h"

typedef struct lsnapshot {
  lub_snapshot at;
  lub_heart *heart;   /* no reference: it is valid while its worker has asked no more than */
  uint64_t questions; /* ... these */
} lsnapshot;

static const char TYPE[] = "lub.snapshot";

typedef enum field {
  NAME,
  STATE,
  AGE,
  STATE_AGE,
  UNIT,
  UNIT_AGE,
  UNITS,
  BEATS,
  INTERVAL,
  LIMIT,
  MISSES,
  MEAN,
  SD,
  MIN,
  MAX,
  SAMPLES,
  WINDOW,
  PROGRESS,
  PROGRESS_AGE,
  VERDICT,
  STARTUP,
  MEMBERS,
  NOW,
  FIELDS
} field;

static const char *const field_names[FIELDS] = {
    "name",     "state",    "age",          "state_age", "unit",    "unit_age", "units", "beats",
    "interval", "limit",    "misses",       "mean",      "sd",      "min",      "max",   "samples",
    "window",   "progress", "progress_age", "verdict",   "startup", "members",  "now"};

void lub_push_value_of(lua_State *L, lub_heart *h, lub_status (*get)(lub_heart *h, lub_value *out)) {
  lub_value v;
  if (get(h, &v)) luaL_error(L, "heart: not enough memory");
  lub_take(L, &v);
}

void lub_set_number(lua_State *L, const char *name, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, name);
}

double *lub_push_intervals(lua_State *L, lub_heart *h, size_t *n) {
  const lub_intervals *s = atomic_load(&h->intervals);
  size_t most = s ? s->size : 0;
  double *all = lua_newuserdatauv(L, (most + 1) * sizeof *all, 0);
  *n = lub_heart_window(h, all, most);
  return all;
}

static void push_window(lua_State *L, lub_heart *h) {
  size_t n;
  const double *all = lub_push_intervals(L, h, &n);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_pushnumber(L, all[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_remove(L, -2);
}

static void push_members(lua_State *L, lub_heart *h) {
  const lheart *own = lub_heart_hung(h);
  uint32_t n = own ? own->nmembers : 0;
  lua_createtable(L, (int)n, 0);
  for (uint32_t i = 0; i < n; i++) {
    lub_snapshot at;
    lub_heart_look(own->members[i], &at);
    lub_push_snapshot(L, own->members[i], &at);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_field(lua_State *L, const lsnapshot *s, field f) {
  const lub_snapshot *h = &s->at;
  switch (f) {
    case NAME: lua_pushstring(L, h->name); break;
    case STATE: lua_pushstring(L, lub_state_name(h->state)); break;
    case AGE: lua_pushnumber(L, h->age); break;
    case STATE_AGE: lua_pushnumber(L, h->state_age); break;
    case UNIT: lub_push_value_of(L, s->heart, lub_heart_unit); break;
    case UNIT_AGE: lua_pushnumber(L, h->unit_age); break;
    case UNITS: lua_pushinteger(L, (lua_Integer)h->units); break;
    case BEATS: lua_pushinteger(L, (lua_Integer)h->beats); break;
    case INTERVAL: lua_pushnumber(L, h->interval); break;
    case LIMIT: lua_pushnumber(L, h->limit); break;
    case MISSES: lua_pushinteger(L, (lua_Integer)h->misses); break;
    case MEAN: lua_pushnumber(L, h->mean); break;
    case SD: lua_pushnumber(L, h->sd); break;
    case MIN: lua_pushnumber(L, h->min); break;
    case MAX: lua_pushnumber(L, h->max); break;
    case SAMPLES: lua_pushinteger(L, (lua_Integer)h->samples); break;
    case WINDOW: push_window(L, s->heart); break;
    case PROGRESS: lub_push_value_of(L, s->heart, lub_heart_progress); break;
    case PROGRESS_AGE: lua_pushnumber(L, h->progress_age); break;
    case VERDICT: lua_pushstring(L, h->verdict); break;
    case STARTUP: lua_pushboolean(L, h->startup); break;
    case MEMBERS: push_members(L, s->heart); break;
    case NOW: lua_pushnumber(L, h->now); break;
    case FIELDS: lua_pushnil(L); break;
  }
}

static lsnapshot *check_snapshot(lua_State *L) {
  lsnapshot *s = luaL_checkudata(L, 1, TYPE);
  if (s->questions != lub_lworker(L)->questions)
    luaL_error(L, "a snapshot is valid during the call that got it only");
  return s;
}

/* h[key]; upvalue 1: the fields' numbers by name */
static int snapshot_index(lua_State *L) {
  lsnapshot *s = check_snapshot(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER) return 0;
  push_field(L, s, (field)lua_tointeger(L, -1));
  return 1;
}

static int snapshot_newindex(lua_State *L) {
  return luaL_error(L, "a snapshot cannot be changed (field '%s')", luaL_tolstring(L, 2, NULL));
}

static int next_field(lua_State *L) {
  lsnapshot *s = check_snapshot(L);
  lua_Integer at = -1;
  if (!lua_isnil(L, 2)) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNUMBER) at = lua_tointeger(L, -1);
  }
  for (at++; at < FIELDS; at++) {
    lua_pushstring(L, field_names[at]);
    push_field(L, s, (field)at);
    if (!lua_isnil(L, -1)) return 2;
  }
  return 0;
}

static int snapshot_pairs(lua_State *L) {
  (void)check_snapshot(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, next_field, 1);
  lua_pushvalue(L, 1);
  return 2;
}

void lub_push_snapshot(lua_State *L, lub_heart *h, const lub_snapshot *at) {
  lsnapshot *s = lua_newuserdatauv(L, sizeof *s, 1); /* its user value: what it must keep alive */
  s->at = *at;
  s->heart = h;
  s->questions = lub_lworker(L)->questions;
  if (luaL_newmetatable(L, TYPE)) {
    lua_createtable(L, 0, FIELDS);
    for (int i = 0; i < FIELDS; i++) {
      lua_pushinteger(L, i);
      lua_setfield(L, -2, field_names[i]);
    }
    static const luaL_Reg meta[] = {{"__index", snapshot_index},
                                    {"__newindex", snapshot_newindex},
                                    {"__pairs", snapshot_pairs},
                                    {NULL, NULL}};
    luaL_setfuncs(L, meta, 1);
  }
  lua_setmetatable(L, -2);
}

void lub_end_snapshots(lworker *lw) { lw->questions++; }
