/* lpolicy.c - the scripts of hearts: policies and pulses. A script is made in the state that opens the heart, so that
 * its errors are told there; the function crosses once into the judge's state, whatever the number of hearts that it
 * serves, and runs there with a budget. Both states keep it in a table, so that it serves later hearts too, but no more
 * than UNUSED that no open heart has, beside as many as there are used ones. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "llub.h"

enum {
  INSTRUCTIONS = 1000000, /* what one answer may cost */
  MEMORY = 8 << 20,       /* bytes, likewise */
  UNUSED = 16,
};

struct lpolicy {
  lub_object obj;
  const lub_allocator *mem;
  lub_value function; /* packed; nil: it has crossed for good */
  atomic_uint
      hearts; /* that are open and have it; GONE: a state has let go of it, nobody may take it up again */
  atomic_bool asked; /* it runs now */
  atomic_bool failed;
  uint32_t window; /* what its script wants to know */
  double estimate;
};

#define GONE UINT_MAX

static const char CACHE[] = "lub.policies", TYPE[] = "lub.policy";
/* In a state in which a sim runs: the cache of its own engine; every box that the sim made. */
static const char OUTER[] = "lub.policies.outer", OF_SIM[] = "lub.policies.sim";

void lub_policy_drop(lpolicy *p) {
  if (p) lub_object_drop(&p->obj);
}

void lub_policy_leave(lpolicy *p) {
  /* release: pairs with is_used. Whoever finds 0 knows that these hearts are marked as closed */
  if (p) atomic_fetch_sub_explicit(&p->hearts, 1, memory_order_release);
}

static bool take_up(lpolicy *p) {
  unsigned n = atomic_load(&p->hearts);
  while (n != GONE)
    if (atomic_compare_exchange_weak(&p->hearts, &n, n + 1)) return true;
  return false;
}

/* If not, nobody will use it any more. */
static bool is_used(lpolicy *p) {
  unsigned n = 0;
  return !atomic_compare_exchange_strong(&p->hearts, &n, GONE) && n != GONE;
}

static void free_policy(lub_object *o) {
  lpolicy *p = lub_container(o, lpolicy, obj);
  lub_value_drop(&p->function);
  lub_free(p->mem, p);
}

/* ---- where it is kept -------------------------------------------------------------------------------------- */

static void empty_box(lpolicy **box) {
  lub_policy_drop(*box);
  *box = NULL;
}

static int policy_gc(lua_State *L) {
  empty_box(lua_touserdata(L, 1));
  return 0;
}

/* Pushes a box for one reference, which its collection gives back; the judge's has the function for a user value. */
static lpolicy **push_box(lua_State *L) {
  lpolicy **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  if (luaL_newmetatable(L, TYPE)) {
    lua_pushcfunction(L, policy_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return box;
}

/* Pushes the table of boxes, by key: the function or the script (push_key), in the judge's state the policy itself. */
static void push_cache(lua_State *L) {
  if (luaL_getsubtable(L, LUA_REGISTRYINDEX, CACHE)) return;
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k"); /* ephemeral: goes with the function */
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

/* Before one more comes into the cache at `cache`: lets go of what is not used, whenever it may be half of all. */
static void make_room(lua_State *L, int cache) {
  lworker *lw = lub_lworker(L);
  if (lw->policies++ < lw->policies_most) return;
  uint32_t used = 0;
  for (lua_pushnil(L); lua_next(L, cache); lua_pop(L, 1)) {
    lpolicy **box = lua_touserdata(L, -1);
    if (is_used(*box)) {
      used++;
      continue;
    }
    empty_box(box);
    lua_pushvalue(L, -2);
    lua_pushnil(L);
    lua_rawset(L, cache);
  }
  lw->policies = used + 1;
  lw->policies_most = 2 * used + UNUSED;
}

/* ---- where a heart is opened ------------------------------------------------------------------------------- */

static int check_made(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  if (lua_type(L, 3) != LUA_TFUNCTION)
    luaL_error(L, "%s: expected a function of the heart's snapshot, got %s", lua_tostring(L, 1),
               luaL_typename(L, 3));
  return 2;
}

static int call_maker(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  if (lua_type(L, 3) != LUA_TFUNCTION)
    luaL_error(L, "%s: expected a script that returns a function of its options, got %s", lua_tostring(L, 1),
               luaL_typename(L, 3));
  if (lua_isnil(L, 2)) lua_newtable(L);
  else lua_pushvalue(L, 2);
  lua_callk(L, 1, 2, ctx, check_made);
  return check_made(L, LUA_OK, ctx);
}

/* (path, options or nil) -> the function that the script makes, what that wants. What it does may last. */
static int run_script(lua_State *L) {
  if (luaL_loadfilex(L, lua_tostring(L, 1), "t")) return lua_error(L);
  lua_callk(L, 0, 1, 0, call_maker);
  return call_maker(L, LUA_OK, 0);
}

static double wanted(lua_State *L, const char *name) {
  double n = 0;
  if (lua_istable(L, -1) && lua_getfield(L, -1, name) == LUA_TNUMBER) n = lua_tonumber(L, -1);
  if (lua_istable(L, -2)) lua_pop(L, 1);
  return n >= 0 && n <= LUB_WINDOW_MAX ? n : 0;
}

/* On top: the function, and what it wants. Pushes the box. */
static lpolicy *make_policy(lua_State *L, const char *what) {
  const lub_allocator *mem = &lub_lworker(L)->core->engine->mem;
  double window = wanted(L, "window"), estimate = wanted(L, "estimate");
  lua_pop(L, 1);
  lpolicy **box = push_box(L);
  if (lub_lworker(L)->guest) {
    lua_getfield(L, LUA_REGISTRYINDEX, OF_SIM);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
  }
  lpolicy *p = lub_alloc(mem, sizeof *p);
  if (!p) luaL_error(L, "heart: not enough memory for a policy");
  *p = (lpolicy){.mem = mem, .window = (uint32_t)window, .estimate = estimate};
  atomic_init(&p->obj.refs, 1);
  atomic_init(&p->hearts, 1);
  p->obj.free = free_policy;
  *box = p;
  p->function = lub_pack(L, -2, what);
  return p;
}

/* Pushes what tells one script with its options from another: the function itself, or the two packed. */
static void push_key(lua_State *L, int index, int opts, const char *what) {
  if (lua_type(L, index) == LUA_TFUNCTION) {
    lua_pushvalue(L, index);
    return;
  }
  lua_pushfstring(L, "%s_opts", what);
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, opts);
  lua_rawseti(L, -2, 2);
  lub_value v = lub_pack(L, -1, lua_tostring(L, -2));
  const lub_block *b = lub_value_block(&v);
  bool plain = b->nobjects == 0;
  if (plain) lua_pushlstring(L, b->bytes, b->nbytes);
  else lua_pushvalue(L, -1); /* a new table: it is like no other */
  lub_value_drop(&v);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

int lub_policy_make(lua_State *L, int index, int opts, const char *what, lua_KContext ctx, lua_KFunction k) {
  luaL_checkstack(L, 12, NULL);
  push_key(L, index, opts, what);
  push_cache(L);
  lua_pushvalue(L, -2);
  lpolicy *const *box = lua_rawget(L, -2) == LUA_TUSERDATA ? lua_touserdata(L, -1) : NULL;
  bool there = box && atomic_load(&(*box)->hearts) != GONE;
  lua_pop(L, 2);
  if (there || lua_type(L, index) == LUA_TFUNCTION) {
    lua_pushvalue(L, index);
    lua_pushnil(L);
    return LUA_OK;
  }
  lua_pushcfunction(L, run_script);
  lua_pushvalue(L, index);
  lua_pushvalue(L, opts);
  return lua_pcallk(L, 2, 2, 0, ctx, k);
}

int lub_policy_unmade(lua_State *L, const char *what) {
  if (lua_type(L, -1) != LUA_TSTRING) return lua_error(L);
  return luaL_error(L, "heart: %s: %s", what, lua_tostring(L, -1));
}

lpolicy *lub_policy_of(lua_State *L, int made, int opts, const char *what, lub_heart_options *wants) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 12, NULL);
  push_cache(L);
  lua_pushvalue(L, made);
  lpolicy *p = lua_rawget(L, top + 1) == LUA_TUSERDATA ? *(lpolicy **)lua_touserdata(L, -1) : NULL;
  if (!p || !take_up(p)) {
    lua_pushvalue(L, made + 1);
    lua_pushvalue(L, made + 2);
    if (lua_type(L, -2) == LUA_TSTRING) { /* it was there, but others have let go of it meanwhile */
      lua_settop(L, top + 1);
      lua_pushcfunction(L, run_script);
      lua_pushvalue(L, made + 1);
      lua_pushvalue(L, opts);
      if (lua_pcall(L, 2, 2, 0)) (void)lub_policy_unmade(L, what);
    }
    p = make_policy(L, what);
    make_room(L, top + 1);
    lua_pushvalue(L, made);
    lua_pushvalue(L, -2);
    lua_rawset(L, top + 1);
  }
  lua_settop(L, top);
  if (wants && p->window) wants->window = p->window;
  if (wants && p->estimate > 0) wants->estimate = p->estimate;
  lub_object_ref(&p->obj);
  return p;
}

/* A policy belongs to an engine: it has crossed into the state of that one's judge. */
void lub_begin_policies(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, CACHE);
  lua_setfield(L, LUA_REGISTRYINDEX, OUTER);
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, CACHE);
  push_cache(L);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, OF_SIM);
  lua_pop(L, 1);
}

void lub_end_policies(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, OF_SIM);
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
    lua_rawgeti(L, -1, i);
    empty_box(lua_touserdata(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, OUTER);
  lua_setfield(L, LUA_REGISTRYINDEX, CACHE);
}

/* ---- where it is asked ----------------------------------------------------------------------------------------- */

static int traceback(lua_State *L) {
  lub_push_error(L, 1);
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  return 1;
}

/* What p->function is to be made of: a copy, for a judge that may come after this one; but what refers to others, which may be
 * a heart that has p, crosses for good. LUB_CLOSED: it has. */
static lub_status give_function(lpolicy *p, lub_value *out) {
  if (p->function.type == LUB_NIL) return LUB_CLOSED;
  if (p->function.type == LUB_PACKED && lub_value_block(&p->function)->nobjects == 0)
    return lub_value_copy(&p->function, out);
  *out = p->function;
  p->function = lub_nil();
  return LUB_OK;
}

/* Pushes the function, which crosses when this state's judge first asks it. */
static int cross(lua_State *L) {
  lpolicy *p = lua_touserdata(L, 1);
  push_cache(L);
  if (lua_rawgetp(L, 2, p) == LUA_TNIL) {
    lub_value function;
    make_room(L, 2);
    lpolicy **box = push_box(L);
    lub_status status = give_function(p, &function);
    if (status == LUB_CLOSED) luaL_error(L, "it went with the judge's worker, which has ended");
    if (status) luaL_error(L, "not enough memory");
    lub_take(L, &function);
    lua_setiuservalue(L, 4, 1);
    lua_pushvalue(L, 4);
    lua_rawsetp(L, 2, p);
    lub_object_ref(&p->obj);
    *box = p;
  }
  lua_getiuservalue(L, -1, 1);
  return 1;
}

static const struct {
  const char *name, *failed;
  int nresults;
} roles[] = {
    [LUB_ROLE_POLICY] = {"a policy", "its policy has failed, the built-in one takes its place", 3},
    [LUB_ROLE_PULSE] = {"a pulse script", "its pulse script has failed, the interval stays as it is", 1},
};

void lub_policy_refuse(lua_State *L, lworker *lw, lpolicy *p, lub_heart *h, lub_role role, const char *why) {
  const lub_options *o = &lw->core->engine->opts;
  atomic_store(&p->failed, true);
  lua_pushfstring(L, "heart '%s': %s: %s", lub_heart_name(h), roles[role].failed, why);
  if (o->log) o->log(o->ud, lua_tostring(L, -1));
  lua_pop(L, 1);
}

void lub_policy_give_up(lpolicy *p, lub_heart *h, lub_role role) {
  char text[256];
  if (!atomic_load(&p->asked) || atomic_exchange(&p->failed, true)) return;
  (void)snprintf(text, sizeof text,
                 "heart '%s': %s: it has been running for 2 seconds, perhaps inside a C call",
                 lub_heart_name(h), roles[role].failed);
  lub_judge_log(h->engine->judge, text);
}

bool lub_policy_ask(lua_State *L, lworker *lw, lpolicy *p, lub_heart *h, lub_role role) {
  /* closed: the judge may have let go of it since */
  if (atomic_load(&p->failed) || atomic_load(&h->flags) & LUB_HEART_CLOSED) {
    lua_pop(L, 1);
    return false;
  }
  int base = lua_gettop(L);
  lua_pushcfunction(L, traceback);
  lua_pushcfunction(L, cross);
  lua_pushlightuserdata(L, p);
  int status = lua_pcall(L, 1, 1, base + 1);
  if (status == LUA_OK) {
    lua_pushvalue(L, base);
    size_t limit = lw->memory_limit;
    lw->memory_limit = lw->memory + MEMORY;
    atomic_store(&p->asked, true);
    status = lub_judged_call(L, lw, roles[role].name, INSTRUCTIONS, 1, roles[role].nresults, base + 1);
    atomic_store(&p->asked, false);
    lw->memory_limit = limit;
  }
  lub_end_snapshots(lw);
  if (status) {
    if (!atomic_load(&lw->core->killed)) lub_policy_refuse(L, lw, p, h, role, lua_tostring(L, -1));
    lua_settop(L, base - 1);
    return false;
  }
  lua_remove(L, base + 1);
  lua_remove(L, base);
  return true;
}
