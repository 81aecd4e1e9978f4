/* lcoroutine.c - coroutines as Lua's own, but for the engine's yields, which pass outward to the fiber's end.
 *
 * A coroutine that the engine holds (parked or preempted), and that a script might resume, has two marks on top of its
 * stack: the coroutine inside it that is held too (or nil), and HELD. Whoever resumes it takes them off. */
#include "llub.h"

static char HELD;

bool lub_is_held(lua_State *co) {
  return lua_status(co) == LUA_YIELD && lua_gettop(co) >= 2 && lua_touserdata(co, -1) == &HELD;
}

void lub_mark_held(lua_State *co, lua_State *inner) {
  if (inner) {
    lua_pushthread(inner);
    lua_xmove(inner, co, 1);
  } else {
    lua_pushnil(co);
  }
  lua_pushlightuserdata(co, &HELD);
}

lua_State *lub_innermost(lua_State *co) {
  while (lub_is_held(co) && lua_isthread(co, -2)) co = lua_tothread(co, -2);
  return co;
}

/* co was left from a hook. */
void lub_left_from_hook(lworker *lw, lua_State *co, int status, int *nresults) {
  if (status != LUA_YIELD || !lw->held) return;
  lw->forced = false;
  *nresults = lub_hold(co, lw); /* lua_checkstack was done by the hook */
}

#if LUA_VERSION_RELEASE_NUM >= 50406
static int close_thread(lua_State *co, lua_State *from) { return lua_closethread(co, from); }
#else
static int close_thread(lua_State *co, lua_State *from) {
  (void)from;
  return lua_resetthread(co);
}
#endif

/* The same for a coroutine that the script closes: its handlers run on it, and may run too long. */
static int close_inside(lua_State *L, lua_State *co) {
  lworker *lw = lub_lworker(L);
  lua_State *outer = lw->innermost;
  bool chain_before = lw->chain_ok;
  lw->chain_ok = false;
  lub_go_on_in(lw, co);
  int status = close_thread(co, L);
  lub_go_on_in(lw, outer);
  lw->chain_ok = chain_before;
  if (lw->running->kill) lub_arm_kill(L, lw); /* as in `resumed` */
  return status;
}

/* In a loop, not by recursion: a script may nest deeper than the C stack. */
void lub_close_chain(lworker *lw, lua_State *co) {
  for (;;) {
    lua_State *outer = co, *inner = co;
    while (lub_is_held(inner) && lua_isthread(inner, -2)) {
      outer = inner;
      inner = lua_tothread(inner, -2);
    }
    lub_go_on_in(lw, inner); /* its handlers may run too long */
    (void)close_thread(inner, NULL);
    if (lua_gethook(inner)) lua_sethook(inner, NULL, 0, 0);
    if (inner == co) return;
    lua_pop(outer, 2); /* its marks spoke of the one that is gone */
    lub_mark_held(outer, NULL);
  }
}

/* ---- resume -------------------------------------------------------------------------------------------- */

static int resumed(lua_State *L, lworker *lw, lua_State *co, int nargs, lua_KContext wrap);

static int fail_resume(lua_State *L, lua_State *co, bool wrap, int status) {
  if (!wrap) {
    lua_xmove(co, L, 1); /* co may be L itself */
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
  }
  int own = lua_status(co), closed = status; /* an error of co itself, or of resuming what cannot be */
  if (own != LUA_OK && own != LUA_YIELD) closed = close_inside(L, co);
  lua_xmove(co, L, 1);
  if (closed != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int resume_again(lua_State *L, int status, lua_KContext wrap) {
  (void)status;
  lua_State *co = lua_tothread(L, wrap ? lua_upvalueindex(1) : 1);
  lua_settop(L, wrap ? 0 : 1);
  lua_pop(co, 2); /* the marks */
  return resumed(L, lub_lworker(L), co, 0, wrap);
}

static int resumed(lua_State *L, lworker *lw, lua_State *co, int nargs, lua_KContext wrap) {
  int nresults;
  lua_State *outer = lw->innermost;
  bool chain_before = lw->chain_ok;
  lw->chain_ok = lub_can_yield(L, lw);
  lub_go_on_in(lw, co);
  lub_kill_follows(co, lw);
  int status = lua_resume(co, L, nargs, &nresults);
  lub_go_on_in(lw, outer);
  if (lub_unlikely(lw->forced)) lub_left_from_hook(lw, co, status, &nresults);
  lw->chain_ok = chain_before;
  bool closes = wrap && status > LUA_YIELD; /* which comes first, and is told to go on here as well */
  if (lub_unlikely(lw->running->kill && !lw->held && !closes)) lub_arm_kill(L, lw);
  if (status == LUA_YIELD) {
    if (lw->held) {
      lub_mark_held(L, co);
      return lua_yieldk(L, 2, wrap, resume_again);
    }
  } else if (status != LUA_OK) {
    return fail_resume(L, co, wrap, status);
  }
  if (!lua_checkstack(L, nresults + 1)) {
    lua_pop(co, nresults);
    lua_pushliteral(L, "too many results to resume");
    lua_xmove(L, co, 1);
    return fail_resume(L, co, wrap, LUA_ERRRUN);
  }
  if (!wrap) lua_pushboolean(L, 1);
  lua_xmove(co, L, nresults);
  return wrap ? nresults : nresults + 1;
}

static int begin_resume(lua_State *L, lua_State *co, int nargs, bool wrap) {
  const char *why = lub_is_held(co) ? "cannot resume non-suspended coroutine" : NULL;
  if (!why && !lua_checkstack(co, nargs + 2)) why = "too many arguments to resume";
  if (why) {
    if (wrap) return luaL_error(L, "%s", why);
    lua_pushboolean(L, 0);
    lua_pushstring(L, why);
    return 2;
  }
  lua_xmove(L, co, nargs);
  return resumed(L, lub_lworker(L), co, nargs, wrap);
}

static lua_State *check_co(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "thread");
  return co;
}

static int co_resume(lua_State *L) { return begin_resume(L, check_co(L), lua_gettop(L) - 1, false); }

static int wrap_call(lua_State *L) {
  return begin_resume(L, lua_tothread(L, lua_upvalueindex(1)), lua_gettop(L), true);
}

static int co_create(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int co_wrap(lua_State *L) {
  co_create(L);
  lua_pushcclosure(L, wrap_call, 1);
  return 1;
}

/* ---- the rest -------------------------------------------------------------------------------------------- */

static bool at_top_of_fiber(lua_State *L) { return lub_lworker(L)->running->co == L; }

static int co_yield(lua_State *L) {
  if (at_top_of_fiber(L)) { /* Lua's message tells no line */
    lua_pushliteral(L, "attempt to yield from outside a coroutine");
    return lua_error(L);
  }
  return lua_yield(L, lua_gettop(L));
}

static const char *co_state(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (L == co) return "running";
  if (lub_is_held(co)) return "normal";
  switch (lua_status(co)) {
    case LUA_YIELD: return "suspended";
    case LUA_OK:
      if (lua_getstack(co, 0, &ar)) return "normal";
      return lua_gettop(co) ? "suspended" : "dead";
    default: return "dead";
  }
}

static int co_status(lua_State *L) {
  lua_pushstring(L, co_state(L, check_co(L)));
  return 1;
}

static int co_close(lua_State *L) {
  lua_State *co = check_co(L);
  const char *state = co_state(L, co);
  if (*state == 'r' || *state == 'n') return luaL_error(L, "cannot close a %s coroutine", state);
  if (close_inside(L, co) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

static int co_running(lua_State *L) {
  bool top = at_top_of_fiber(L);
  if (top) lub_lworker(L)->running->exposed = true;
  lua_pushthread(L);
  lua_pushboolean(L, top);
  return 2;
}

static int co_isyieldable(lua_State *L) {
  lua_State *co = lua_isnone(L, 1) ? L : check_co(L);
  lua_pushboolean(L, lua_isyieldable(co) && !at_top_of_fiber(co));
  return 1;
}

static const luaL_Reg functions[] = {
    {"create", co_create}, {"wrap", co_wrap},     {"resume", co_resume},   {"yield", co_yield},
    {"close", co_close},   {"status", co_status}, {"running", co_running}, {"isyieldable", co_isyieldable},
    {NULL, NULL}};

int lub_open_coroutines(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}

/* The library of a host's state: the script may hold the table already, so its functions change in place. */
void lub_replace_coroutines(lua_State *L) {
  luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 0);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
