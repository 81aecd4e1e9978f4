/* lrun.c - the only file that knows how a worker owns Lua: fibers as coroutines, parking by lua_yieldk,
 * driving siblings where Lua cannot yield, yields forced by a hook, kills from outside.
 *
 * A coroutine that the engine holds (parked or preempted) has two marks on top of its stack: the coroutine
 * inside it that is held too (or nil), and HELD. Whoever resumes it takes them off. */
#include <signal.h>
#include <string.h>

#include "llub.h"

enum { MAX_DRIVES = 100 };

static char HELD, KEY;

static void end_fiber(lworker *lw, lfiber *f, int status);
static void run_fiber(lua_State *from, lworker *lw, lfiber *f);
static void look_at_requests(lworker *lw);

lworker *lub_lworker(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &KEY);
  lworker *lw = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return lw;
}

/* ---- held coroutines ----------------------------------------------------------------------------------- */

static bool is_held(lua_State *co) {
  return lua_status(co) == LUA_YIELD && lua_gettop(co) >= 2 && lua_islightuserdata(co, -1) &&
         lua_touserdata(co, -1) == &HELD;
}

static void mark_held(lua_State *co, lua_State *inner) {
  if (inner) {
    lua_pushthread(inner);
    lua_xmove(inner, co, 1);
  } else {
    lua_pushnil(co);
  }
  lua_pushlightuserdata(co, &HELD);
}

static int resume(lworker *lw, lua_State *from, lua_State *co, int nargs, int *nresults) {
  lua_State *outer = lw->innermost;
  lw->innermost = co;
  int status = lua_resume(co, from, nargs, nresults);
  lw->innermost = outer;
  if (lw->hooked == co) { /* it left before the hook came to run */
    lua_sethook(co, lw->saved_hook.f, lw->saved_hook.mask, lw->saved_hook.count);
    lw->hooked = NULL;
  }
  if (status == LUA_YIELD && lw->held && lw->forced) {
    lw->forced = false;
    mark_held(co, NULL); /* lua_checkstack was done by the hook */
  }
  return status;
}

lua_State *lub_innermost(lua_State *co) {
  while (is_held(co) && lua_isthread(co, -2)) co = lua_tothread(co, -2);
  return co;
}

static bool can_yield(lua_State *L, lworker *lw) {
  return lw->chain_ok && L == lw->innermost && lua_isyieldable(L);
}

/* ---- parking ------------------------------------------------------------------------------------------- */

lfiber *lub_running(lua_State *L, lworker *lw) {
  lfiber *f = lw->running;
  if (f->closing) luaL_error(L, "cannot wait in a __close handler of a killed fiber");
  return f;
}

static void drive(lua_State *L, lworker *lw, lfiber *f) {
  if (lw->depth >= MAX_DRIVES)
    luaL_error(L, "more than %d operations wait inside each other where Lua cannot yield", MAX_DRIVES);
  lub_worker *before = lub_worker_current();
  lub_worker_set_current(lw->core);
  if (lw->depth++ == 0) lub_worker_drive(lw->core, true);
  f->drives = true;
  f->turn = false;
  while (!f->turn) {
    look_at_requests(lw);
    lfiber *next = (lfiber *)(void *)lub_worker_next(lw->core);
    if (!next) lub_worker_sleep(lw->core, &f->core.wait);
    else if (next->drives) next->turn = true;
    else run_fiber(L, lw, next);
  }
  f->drives = false;
  if (--lw->depth == 0) lub_worker_drive(lw->core, false);
  lub_worker_set_current(before);
}

int lub_park(lua_State *L, lworker *lw, lua_KContext ctx, lua_KFunction k) {
  if (!can_yield(L, lw)) {
    drive(L, lw, lw->running);
    return k(L, LUA_OK, ctx);
  }
  lw->held = true;
  mark_held(L, NULL);
  return lua_yieldk(L, 2, ctx, k);
}

lub_status lub_finish(lua_State *L, lworker *lw) {
  lub_status status = lub_wait_finish(&lw->running->core.wait);
  if (status == LUB_DEADLOCK) luaL_error(L, "deadlock: every fiber waits, and nothing can wake one");
  return status;
}

int lub_push_reason(lua_State *L, lub_status status) {
  lua_pushnil(L);
  lua_pushstring(L, lub_strerror(status));
  return 2;
}

/* ---- preemption ---------------------------------------------------------------------------------------- */

static void leave_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lworker *lw = lub_lworker(L);
  lw->hooked = NULL;
  lua_sethook(L, lw->saved_hook.f, lw->saved_hook.mask, lw->saved_hook.count);
  if (!can_yield(L, lw)) {
    if (lw->running->kill) luaL_error(L, "killed");
    return; /* inside a sort or the like: a spare carrier serves the others */
  }
  if (lw->running->closing || !lua_checkstack(L, 2)) return;
  lub_fiber_ready(&lw->running->core);
  lw->held = lw->forced = true;
  lua_yield(L, 0);
}

/* In a signal handler, on the thread that runs w. lua_sethook may be called there (as lua.c does). */
static void interrupt(lub_worker *w) {
  lworker *lw = w->data;
  lua_State *L = lw->innermost;
  if (!L || lw->hooked) return;
  lw->saved_hook.f = lua_gethook(L);
  lw->saved_hook.mask = lua_gethookmask(L);
  lw->saved_hook.count = lua_gethookcount(L);
  lw->hooked = L;
  lua_sethook(L, leave_hook, LUA_MASKCOUNT, 1);
}

static void on_signal(int sig) {
  (void)sig;
  lub_interrupted();
}

void lub_set_signal(void) {
  struct sigaction old, act;
  memset(&act, 0, sizeof act);
  act.sa_handler = on_signal;
  act.sa_flags = SA_RESTART;
  if (!sigaction(SIGURG, NULL, &old) && old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) return;
  sigaction(SIGURG, &act, NULL);
}

/* ---- fibers -------------------------------------------------------------------------------------------- */

/* Makes a fiber of co, on which a function and nargs arguments lie. Pushes its handle. */
lfiber *lub_fiber_new(lua_State *L, lworker *lw, lua_State *co, int nargs) {
  lfiber *f = lua_newuserdatauv(L, sizeof *f, 1);
  memset(f, 0, sizeof *f);
  f->ended = true;
  luaL_setmetatable(L, LUB_FIBER_TYPE);
  f->owner = lw;
  f->co = co;
  f->nargs = nargs;
  lua_pushthread(co);
  if (co != L) lua_xmove(co, L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, f); /* alive: anchored until it ends */
  (void)lub_fiber_init(&f->core, lw->core);
  f->ended = false;
  return f;
}

/* Closes the coroutines that co holds, innermost first, then co. */
static int close_chain(lua_State *co) {
  if (is_held(co)) {
    lua_State *inner = lua_tothread(co, -2);
    if (inner) (void)close_chain(inner);
  }
  return lua_resetthread(co);
}

static void close_from_outside(lworker *lw, lfiber *f) {
  lfiber *before = lw->running;
  if (f->core.wait.parked) {
    (void)lub_wait_abort(&f->core.wait, LUB_KILLED);
    (void)lub_wait_finish(&f->core.wait);
    for (uint32_t i = 0; i < f->core.wait.count; i++)
      if (f->core.wait.waiters[i].value.type != LUB_NIL) lub_value_drop(&f->core.wait.waiters[i].value);
  }
  f->closing = f->killed = true;
  lw->running = f;
  (void)close_chain(f->co);
  lw->running = before;
  lua_settop(f->co, 0);
  lua_pushnil(f->co);
  lua_pushstring(f->co, "killed");
  f->nresults = 2;
  end_fiber(lw, f, LUA_OK);
}

static void worker_failed(lworker *lw, const char *error) {
  lub_engine *e = lw->core->engine;
  if (lw->failed) return;
  lw->failed = true;
  lub_value_drop(&lw->result);
  if (lub_string(e, error, strlen(error), &lw->result)) lw->result = (lub_value){0};
}

/* f->co holds nresults results, or an error on top when status says so. */
static void end_fiber(lworker *lw, lfiber *f, int status) {
  lua_State *L = lw->L;
  f->ended = true;
  if (status != LUA_OK) {
    f->failed = true;
    const char *msg = luaL_tolstring(f->co, -1, NULL);
    luaL_traceback(L, f->co, msg, 0);
    lfiber *before = lw->running;
    lw->running = f;
    lua_pop(f->co, 1);
    lua_pushvalue(f->co, -1);
    lua_xmove(f->co, L, 1); /* the error value survives the closing */
    (void)lua_resetthread(f->co);
    lw->running = before;
    lua_settop(f->co, 0);
    lua_pushnil(f->co);
    lua_xmove(L, f->co, 1);
    f->nresults = 2;
    if (f == lw->main || !f->joined) {
      lua_pushfstring(L, "%s\n[worker '%s', fiber '%s', started at %s]", lua_tostring(L, -1), lw->core->name,
                      f->name, *f->site ? f->site : lw->site);
      worker_failed(lw, lua_tostring(L, -1));
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lub_fiber_close(&f->core);
  if (f->done) (void)lub_chan_close(f->done);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, f);
}

static void run_fiber(lua_State *from, lworker *lw, lfiber *f) {
  if (f->kill && !f->drives) {
    close_from_outside(lw, f);
    return;
  }
  lfiber *running_before = lw->running;
  bool chain_before = lw->chain_ok;
  int nargs = f->nargs;
  if (nargs < 0) {
    nargs = 0;
    lua_pop(f->co, 2); /* the marks */
  }
  f->nargs = -1;
  lw->running = f;
  lw->chain_ok = true;
  int status = resume(lw, from, f->co, nargs, &f->nresults);
  lw->chain_ok = chain_before;
  lw->running = running_before;
  if (status == LUA_YIELD && lw->held) {
    lw->held = false;
    if (f->kill) close_from_outside(lw, f);
    return;
  }
  if (status == LUA_YIELD) {
    lua_pushliteral(f->co, "attempt to yield from outside a coroutine");
    status = LUA_ERRRUN;
  }
  end_fiber(lw, f, status);
}

void lub_fiber_cancel(lworker *lw, lfiber *f, const char *why) {
  (void)lw;
  if (f->ended || f->cancelled) return;
  f->cancelled = true;
  (void)snprintf(f->why, sizeof f->why, "%s", why);
  if (f->cancel) (void)lub_chan_close(f->cancel);
  if (f->core.wait.parked) (void)lub_wait_abort(&f->core.wait, LUB_CANCELLED);
}

void lub_fiber_kill(lworker *lw, lfiber *f, const char *why) {
  if (f->ended || f->kill) return;
  f->kill = true;
  (void)snprintf(f->why, sizeof f->why, "%s", why);
  if (f->core.wait.parked) (void)lub_wait_abort(&f->core.wait, LUB_KILLED);
  (void)lw;
}

static void look_at_requests(lworker *lw) {
  lub_worker *w = lw->core;
  if (!atomic_load_explicit(&w->requested, memory_order_relaxed)) return;
  atomic_store(&w->requested, false);
  if (atomic_exchange(&w->report, false)) lub_report(lw, stderr);
  bool kill = atomic_load(&w->killed);
  for (lub_link *k = lub_list_first(&w->fibers), *next; k; k = next) {
    next = lub_list_next(&w->fibers, k);
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    if (kill) lub_fiber_kill(lw, f, w->why);
    else if (atomic_load(&w->cancelled)) lub_fiber_cancel(lw, f, w->why);
  }
}

/* ---- workers ------------------------------------------------------------------------------------------- */

static void close_fibers(lworker *lw) {
  lub_link *k;
  while ((k = lub_list_first(&lw->core->fibers)))
    close_from_outside(lw, (lfiber *)(void *)lub_container(k, lub_fiber, link));
  lw->core->ready = NULL;
}

static void free_lworker(lub_worker *w) {
  lworker *lw = w->data;
  lub_value_drop(&lw->result);
  lub_free(&w->engine->mem, lw);
}

void lub_lworker_drop_buffers(lworker *lw) {
  lub_free(&lw->core->engine->mem, lw->pack);
  lub_free(&lw->core->engine->mem, lw->objects);
  lw->pack = NULL;
  lw->objects = NULL;
}

static int pack_results(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lw->result = lub_pack_list(L, 1, lua_gettop(L), NULL);
  return 0;
}

static void end_worker(lworker *lw) {
  lfiber *f = lw->main;
  lua_State *L = lw->L;
  if (f->ended && !f->failed && !f->killed && !lw->failed) {
    lua_pushcfunction(L, pack_results);
    luaL_checkstack(L, f->nresults + 4, NULL);
    lua_xmove(f->co, L, f->nresults);
    if (lua_pcall(L, f->nresults, 0, 0)) worker_failed(lw, lua_tostring(L, -1));
  } else if (f->killed) {
    lw->failed = true;
    (void)lub_string(lw->core->engine, "killed", 6, &lw->result);
  }
  close_fibers(lw);
  lua_close(L);
  lub_lworker_drop_buffers(lw);
  lw->L = NULL;
  lub_worker_end(lw->core);
}

static void run_worker(lub_worker *w) {
  lworker *lw = w->data;
  lfiber *f;
  look_at_requests(lw);
  while ((f = (lfiber *)(void *)lub_worker_next(w))) {
    run_fiber(lw->L, lw, f);
    if (lw->main->ended || lw->failed) break;
    if (lub_worker_must_leave(w)) break;
  }
  if (lw->main->ended || lw->failed) end_worker(lw);
}

static void *limited_alloc(void *ud, void *block, size_t old, size_t nbytes) {
  lworker *lw = ud;
  if (!block) old = 0;
  if (nbytes > old && lw->memory_limit && lw->memory + (nbytes - old) > lw->memory_limit) return NULL;
  if (!nbytes) {
    free(block);
    lw->memory -= old;
    return NULL;
  }
  void *grown = realloc(block, nbytes);
  if (grown) lw->memory = lw->memory - old + nbytes;
  return grown;
}

static int set_up(lua_State *L) {
  lworker *lw = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushlightuserdata(L, lw);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &KEY);
  if (!lw->core->pinned) luaL_openlibs(L);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.classes");
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_getfield(L, -1, "dump");
  lua_setfield(L, LUA_REGISTRYINDEX, "lub.dump");
  lua_settop(L, 0);
  lub_open_coroutines(L);
  lub_open_chan(L);
  lub_open_fiber(L);
  lub_open_worker(L);
  if (!lw->core->pinned) luaL_requiref(L, "lubdub", luaopen_lubdub, 0);
  return 0;
}

lub_status lub_lworker_open(lub_engine *e, const char *name, lua_State *host, lworker **out) {
  lworker *lw = lub_alloc(&e->mem, sizeof *lw);
  if (!lw) return LUB_NOMEM;
  memset(lw, 0, sizeof *lw);
  lub_worker *w;
  if (lub_worker_open(e, name, host != NULL, &w)) {
    lub_free(&e->mem, lw);
    return LUB_NOMEM;
  }
  lw->core = w;
  w->data = lw;
  w->free_data = free_lworker;
  w->run = run_worker;
  w->interrupt = interrupt;
  lub_random_seed(&lw->random, e->opts.seed ? e->opts.seed + w->id : (uint64_t)lub_engine_now_ns(e) ^ w->id);
  lw->L = host ? host : lua_newstate(limited_alloc, lw);
  bool ok = lw->L != NULL;
  if (ok) {
    lua_State *L = lw->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, set_up);
    lua_pushlightuserdata(L, lw);
    ok = lua_pcall(L, 1, 0, 0) == LUA_OK;
    if (ok && host) {
      lw->main = lw->running = lub_fiber_new(L, lw, L, 0);
      (void)snprintf(lw->main->name, sizeof lw->main->name, "main");
      lw->innermost = L;
      lw->main->nargs = -1;
    }
    lua_settop(L, top);
  }
  if (!ok) {
    if (lw->L && !host) lua_close(lw->L);
    lub_lworker_drop_buffers(lw);
    lub_worker_end(w);
    lub_worker_drop(w);
    return LUB_NOMEM;
  }
  *out = lw;
  return LUB_OK;
}

/* The host's state closes: what runs in it ends, the state itself is the host's. Finalizers come in any
 * order then, so the first that finds something still waiting calls this; later calls do nothing. */
void lub_pinned_close(lworker *lw) {
  if (lw->closed) return;
  lw->closed = true;
  lub_list_remove(&lw->main->core.link);
  lub_timer_forget(&lw->core->engine->timers, &lw->main->core.wait.timer);
  lw->main->ended = true;
  close_fibers(lw);
}

/* ---- coroutines, as Lua's own, but for the engine's yields, which pass outward -------------------------- */

static int resumed(lua_State *L, lworker *lw, lua_State *co, int nargs, lua_KContext wrap, lua_KFunction k);

static int fail_resume(lua_State *L, lua_State *co, bool wrap, int status) {
  if (!wrap) {
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
  }
  int own = lua_status(co), closed = status; /* an error of co itself, or of resuming what cannot be */
  if (own != LUA_OK && own != LUA_YIELD) closed = lua_resetthread(co);
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
  lworker *lw = lub_lworker(L);
  lua_State *co = lua_tothread(L, wrap ? lua_upvalueindex(1) : 1);
  lua_settop(L, 1);
  lua_pop(co, 2); /* the marks */
  return resumed(L, lw, co, 0, wrap, resume_again);
}

static int resumed(lua_State *L, lworker *lw, lua_State *co, int nargs, lua_KContext wrap, lua_KFunction k) {
  int nresults;
  bool chain_before = lw->chain_ok;
  lw->chain_ok = can_yield(L, lw);
  int status = resume(lw, L, co, nargs, &nresults);
  lw->chain_ok = chain_before;
  if (status == LUA_YIELD && lw->held) {
    mark_held(L, co);
    return lua_yieldk(L, 2, wrap, k);
  }
  if (status != LUA_OK && status != LUA_YIELD) return fail_resume(L, co, wrap, status);
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

/* Why co cannot be resumed, or NULL. */
static const char *unfit(lua_State *co) {
  if (is_held(co)) return "cannot resume non-suspended coroutine";
  if (lua_status(co) == LUA_OK && lua_gettop(co) == 0) return "cannot resume dead coroutine";
  return NULL;
}

static int begin_resume(lua_State *L, lua_State *co, int nargs, bool wrap) {
  const char *why = unfit(co);
  if (!why && !lua_checkstack(co, nargs + 2)) why = "too many arguments to resume";
  if (why) {
    if (!wrap) {
      lua_pushboolean(L, 0);
      lua_pushstring(L, why);
      return 2;
    }
    return luaL_error(L, "%s", why);
  }
  lua_xmove(L, co, nargs);
  return resumed(L, lub_lworker(L), co, nargs, wrap, resume_again);
}

static lua_State *check_co(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

static int co_resume(lua_State *L) { return begin_resume(L, check_co(L), lua_gettop(L) - 1, false); }

static int wrap_call(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  return begin_resume(L, co, lua_gettop(L), true);
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

static bool at_top_of_fiber(lua_State *L) { return lub_lworker(L)->running->co == L; }

static int co_yield(lua_State *L) {
  if (at_top_of_fiber(L)) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

static const char *co_state(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (L == co) return "running";
  if (is_held(co)) return "normal";
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
  if (lua_resetthread(co) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

static int co_running(lua_State *L) {
  lua_pushthread(L);
  lua_pushboolean(L, at_top_of_fiber(L));
  return 2;
}

static int co_isyieldable(lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_pushboolean(L, lua_isyieldable(co) && !at_top_of_fiber(co));
  return 1;
}

void lub_open_coroutines(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"create", co_create}, {"wrap", co_wrap},   {"resume", co_resume},   {"yield", co_yield},
      {"close", co_close},   {"status", co_status}, {"running", co_running}, {"isyieldable", co_isyieldable},
      {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
