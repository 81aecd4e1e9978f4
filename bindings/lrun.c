/* lrun.c - how a worker runs its fibers: parking by lua_yieldk, driving siblings where Lua cannot yield, kills from outside. */
#include <stdlib.h>
#include <string.h>

#include "llub.h"
#include "sim.h"

enum { MAX_DRIVES = 40 }; /* of the 200 C calls that Lua allows inside each other each takes three to five */

/* ---- before and after a wait ------------------------------------------------------------------------------ */

/* A poll that finds nothing tells so each time: the string is looked up once. */
void lub_push_status(lua_State *L, lub_status status) {
  int *ref = &lub_lworker(L)->reasons[status];
  if (*ref) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
  } else {
    lua_pushstring(L, lub_strerror(status));
    lua_pushvalue(L, -1);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
}

/* Who reads it may be in another state, where an address means nothing. */
void lub_push_error(lua_State *L, int index) {
  if (lua_isstring(L, index)) {
    lua_pushvalue(L, index);
    return;
  }
  if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) {
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return;
    lua_pop(L, 1);
  }
  lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
}

int lub_push_reason(lua_State *L, lub_status status) {
  lua_pushnil(L);
  lub_push_status(L, status);
  return 2;
}

static int die_again(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lub_die(L, lub_lworker(L));
}

int lub_die(lua_State *L, lworker *lw) {
  lw->running->kill = true;
  if (!lub_can_yield(L, lw) || !lua_checkstack(L, 2)) {
    lub_arm_kill(L, lw);
    return luaL_error(L, "killed");
  }
  return lua_yieldk(L, lub_hold(L, lw), 0, die_again);
}

/* An error that no fiber of a host's state joined: its main fiber gets it, once. The script may go on. */
static void raise_failure(lua_State *L, lworker *lw) {
  size_t n;
  lub_value v = lw->result;
  const char *text = lub_text(&v, &n);
  if (text) lua_pushlstring(L, text, n);
  else lua_pushliteral(L, "not enough memory");
  lw->result = (lub_value){0};
  lw->failed = false;
  lub_value_drop(&v);
  lua_error(L);
}

lub_status lub_may_not_wait(lua_State *L, lworker *lw, int64_t *deadline) {
  const lfiber *f = lw->running;
  lub_worker *w = lw->core;
  if (lw->judging) luaL_error(L, "%s cannot wait, start or send anything", lw->judging);
  if (f->kill || lub_is_fenced(lw)) {
    bool closing = f->closing || (lub_can_yield(L, lw) && lub_is_in_handler(L, lw));
    if (!closing) (void)lub_die(L, lw);
    /* the handlers of a zombie must not be heard */
    if (atomic_load(&w->fate) == LUB_FATE_KILLED) luaL_error(L, "killed");
    *deadline = 0;
    return LUB_KILLED;
  }
  if (lw->failed && f == lw->main && w->pinned) raise_failure(L, lw);
  if (!f->cancelled && !atomic_load_explicit(&w->cancelled, memory_order_relaxed)) return LUB_OK;
  *deadline = 0;
  return LUB_CANCELLED;
}

lub_status lub_outcome(lua_State *L, lworker *lw, lub_status status) {
  if (status == LUB_DEADLOCK)
    luaL_error(L, "deadlock: every fiber waits, and nothing can wake one%s%s", lw->waits ? "\n" : "",
               lw->waits ? lw->waits : "");
  if (status == LUB_KILLED && !lw->running->closing) (void)lub_die(L, lw);
  if (status == LUB_FAILED) raise_failure(L, lw);
  return status;
}

/* ---- parking ------------------------------------------------------------------------------------------- */

static bool in_finalizer(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++)
    if (lua_getinfo(L, "n", &ar) && ar.name && !strcmp(ar.name, "__gc") && !strcmp(ar.namewhat, "metamethod"))
      return true;
  return false;
}

/* Why the running fiber may not drive, or NULL. */
static const char *unfit_to_drive(lua_State *L, const lworker *lw) {
  if (lw->depth >= MAX_DRIVES) return "too many operations wait inside each other where Lua cannot yield";
  return in_finalizer(L) ? "cannot wait in a finalizer" : NULL;
}

static void drive(lua_State *L, lworker *lw, lfiber *f);

int lub_park(lua_State *L, lworker *lw, lua_KContext ctx, lua_KFunction k) {
  lfiber *f = lw->running;
  if (lub_unlikely(!lub_can_yield(L, lw))) {
    drive(L, lw, f);
    return k(L, LUA_OK, ctx);
  }
  return lua_yieldk(L, lub_hold(L, lw), ctx, k);
}

/* ---- the points of a sim --------------------------------------------------------------------------------------- */

bool lub_at_point(lua_State *L, lworker *lw, const char *function) {
  lfiber *f = lw->running;
  if (lw->judging) return false; /* inside an operation of f, which may be on its way back to it */
  bool back = f->at_point;
  f->at_point = false;
  if (!back && (f->closing || f->kill || !lub_can_yield(L, lw))) return false;
  bool leave = !back && (lub_turns_point(&f->core) || lub_sim_tired(lw));
  lub_sim_note(L, lw, function, !leave);
  return leave;
}

static int come_back(lua_State *L, int status, lua_KContext operation) {
  (void)status;
  return ((lua_CFunction)operation)(L);
}

int lub_leave_at_point(lua_State *L, lworker *lw, lua_CFunction operation) {
  lfiber *f = lw->running;
  f->at_point = true;
  lub_fiber_preempted(&f->core);
  return lua_yieldk(L, lub_hold(L, lw), (lua_KContext)operation, come_back);
}

/* ---- fibers -------------------------------------------------------------------------------------------- */

/* With the anchors on top: pushes a coroutine with room for n values; true: the pool's first. */
static bool push_coroutine(lua_State *L, const lworker *lw, int n) {
  bool pooled = lw->npool > 0;
  if (pooled) lua_rawgeti(L, -1, lw->pool + 1);
  else lua_newthread(L);
  if (!lua_checkstack(lua_tothread(L, -1), n)) luaL_error(L, "go: too many arguments");
  return pooled;
}

/* A fiber has two places in the anchors, one behind the other, for its handle and its coroutine; the first of free ones
 * holds the next. (Its handle could hold the coroutine, but debug.getuservalue would show it.)
 * With f's handle, the anchors and its coroutine on top: they are alive until it ends. Pops the last two. The places are
 * chosen only now: before, a finalizer may have started a fiber. */
static void anchor(lua_State *L, lworker *lw, lfiber *f, bool pooled) {
  int *chain = pooled ? &lw->pool : &lw->free_place, next = 0;
  bool reuses = *chain != 0;
  f->place = reuses ? *chain : lw->places + 1;
  f->co = lua_tothread(L, -1);
  if (reuses) {
    lua_rawgeti(L, -2, f->place);
    next = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_rawseti(L, -2, f->place + 1);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, f->place);
  lua_pop(L, 1);
  lw->npool -= pooled;
  if (reuses) *chain = next;
  else lw->places += 2;
}

lfiber *lub_fiber_new(lua_State *L, lworker *lw, lua_State *co, int nargs) {
  bool pooled = false;
  lfiber *f = lua_newuserdatauv(L, sizeof *f, 1);
  memset(f, 0, sizeof *f);
  f->magic = LUB_FIBER_MAGIC;
  f->ended = true;
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->fiber_type);
  lua_setmetatable(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->anchors);
  if (co) {
    lua_pushthread(co);
    if (co != L) lua_xmove(co, L, 1);
  } else {
    pooled = push_coroutine(L, lw, nargs + 4);
  }
  anchor(L, lw, f, pooled);
  lub_slice(f->co, lw);
  f->nvalues = nargs;
  lub_fiber_init(&f->core, lw->core);
  f->ended = false;
  if (lw->sim) lub_sim_born(L, lw, f);
  return f;
}

void lub_fiber_push(lua_State *L, lworker *lw, const lfiber *f) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->anchors);
  lua_rawgeti(L, -1, f->place);
  lua_remove(L, -2);
}

/* Calls fn(f) for its result, or the error: in the state's main coroutine, since an error in f's, which has ended, would
 * have nobody to catch it. Nothing can yield there. */
static bool call_for(lworker *lw, lfiber *f, lua_CFunction fn) {
  lua_State *L = lw->L, *innermost = lw->innermost;
  lub_go_on_in(lw, L);
  lua_pushcfunction(L, fn);
  lua_pushlightuserdata(L, f);
  bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK;
  lub_go_on_in(lw, innermost);
  lub_disarm_kill(L, lw); /* one that came meanwhile */
  return ok;
}

/* Several results, from the top of the coroutine, lie in a table. */
static int gather_results(lua_State *L) {
  lfiber *f = lua_touserdata(L, 1);
  int n = f->nvalues;
  luaL_checkstack(L, n + 4, "too many results");
  lua_createtable(L, n, 0);
  lua_xmove(f->co, L, n);
  for (int i = n; i > 0; i--) lua_rawseti(L, 2, i);
  return 1;
}

/* Pushes what is left of f. */
static void push_rest(lua_State *L, lworker *lw, lfiber *f) {
  if (f->nvalues == 0) {
    lua_pushnil(L);
  } else if (f->nvalues == 1) {
    lua_xmove(f->co, L, 1);
  } else {
    if (call_for(lw, f, gather_results)) return;
    f->failed = true; /* no memory for the results: that is the result */
    f->nvalues = 0;
    if (!f->killed) lub_lworker_fail(lw, lua_tostring(L, -1));
  }
}

/* Whether f's coroutine may serve another fiber. */
static bool is_reusable(const lworker *lw, const lfiber *f) {
  /* an error that a hook has raised leaves a coroutine without any */
  return !f->main && !f->exposed && !f->failed && !f->unwinds && lw->npool < LUB_POOL &&
         lua_status(f->co) == LUA_OK && !f->core.wait.armed;
}

/* With the anchors on top: lets go of f, but of a main fiber, whose results the worker's end needs. */
static void let_go(lua_State *L, lworker *lw, lfiber *f) {
  if (is_reusable(lw, f)) {
    if (lua_gethook(f->co)) lua_sethook(f->co, NULL, 0, 0);
    lua_settop(f->co, 0);
    lua_pushinteger(L, lw->pool);
    lua_rawseti(L, -2, f->place);
    lw->pool = f->place;
    lw->npool++;
  } else if (!f->main) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, f->place + 1);
    lua_pushinteger(L, lw->free_place);
    lua_rawseti(L, -2, f->place);
    lw->free_place = f->place;
  }
  f->co = NULL;
}

/* f runs, though its coroutine has ended: it is alive as long as there are results to be gathered. */
static void end_fiber(lworker *lw, lfiber *f) {
  lua_State *L = lw->L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, lw->anchors);
  lua_rawgeti(L, -1, f->place);
  push_rest(L, lw, f);
  lua_setiuservalue(L, -2, 1);
  f->ended = true;
  lub_fiber_close(&f->core);
  lua_insert(L, -2);
  let_go(L, lw, f);
  if (f->extra) lub_wake_joiners(&f->extra->joiners);
  lub_free_fiber(f);
  lua_pop(L, 2);
}

/* Ends the wait of one that will not go on, which was claimed. */
static void leave_wait(lfiber *f) {
  lub_wait *w = &f->core.wait;
  if (!w->parked) return;
  (void)lub_wait_finish(w);
  for (uint32_t i = 0; i < w->count; i++) lub_value_drop(&w->waiters[i].value);
  w->count = 0;
  if (f->extra) lub_drop_batch(f->extra->batch);
}

/* f is in no queue of its worker. */
static void close_from_outside(lworker *lw, lfiber *f) {
  lfiber *before = lw->running;
  bool chain_before = lw->chain_ok;
  leave_wait(f);
  f->closing = f->killed = true;
  lw->running = f;
  lw->chain_ok = false;
  bool closing_before = atomic_exchange(&lw->core->closing, true);
  lw->closing_ns = lub_engine_now_ns(lw->core->engine);
  lua_State *innermost_before = lw->innermost;
  lub_close_chain(lw, f->co);
  lub_go_on_in(lw, innermost_before);
  atomic_store(&lw->core->closing, closing_before);
  lua_settop(f->co, 0);
  lua_pushnil(f->co);
  lua_rawgeti(f->co, LUA_REGISTRYINDEX,
              lw->reasons[LUB_KILLED]); /* it is there: a kill must not need memory */
  f->nvalues = 2;
  end_fiber(lw, f);
  lw->chain_ok = chain_before;
  lw->running = before;
}

void lub_fiber_site(lworker *lw, const lfiber *f, lua_Debug *ar) {
  lua_State *L = lw->L;
  *ar = (lua_Debug){.short_src = "?"};
  lub_fiber_push(L, lw, f);
  if (lua_getiuservalue(L, -1, 1) == LUA_TFUNCTION) lua_getinfo(L, ">S", ar);
  else lua_pop(L, 1);
  lua_pop(L, 1);
}

static void push_site(lua_State *L, lworker *lw, const lfiber *f) {
  lua_Debug ar;
  if (f->line == 0) {
    lua_pushliteral(L, "[C]");
    return;
  }
  lub_fiber_site(lw, f, &ar);
  lua_pushfstring(L, "%s:%d", ar.short_src, f->line);
}

static int describe_error(lua_State *L) {
  lfiber *f = lua_touserdata(L, 1);
  lworker *lw = f->core.worker->data;
  lua_pushvalue(f->co, -1);
  lua_xmove(f->co, L, 1);
  lub_push_error(L, 2);
  luaL_traceback(L, f->co, lua_tostring(L, -1), 0);
  lua_replace(L, 2);
  lua_settop(L, 2);
  lua_pushfstring(L, "%s\n[worker '%s', ", lua_tostring(L, -1), lw->core->name);
  if (f->main) {
    lua_pushfstring(L, "fiber 'main', started at %s]", lw->site);
  } else {
    push_site(L, lw, f);
    lua_pushfstring(L, "fiber '%I', started at %s]", (LUAI_UACINT)f->core.wait.id, lua_tostring(L, -1));
    lua_remove(L, -2);
  }
  lua_concat(L, 2);
  return 1;
}

/* The error lies on top of f->co. It survives the closing of its variables. */
static void end_failed(lworker *lw, lfiber *f) {
  lua_State *L = lw->L;
  if (lw->guest && !lw->failed && (f == lw->main || !f->joined)) lub_sim_failed(lw, f->co);
  f->failed = true;
  if (!lua_checkstack(f->co, 4)) lua_settop(f->co, 1);
  (void)call_for(lw, f, describe_error);
  lua_pushvalue(f->co, -1);
  lua_xmove(f->co, L, 1);
  lua_State *innermost_before = lw->innermost;
  lub_close_chain(lw, f->co);
  lub_go_on_in(lw, innermost_before);
  lua_settop(f->co, 0);
  lua_pushnil(f->co);
  lua_xmove(L, f->co, 1);
  f->nvalues = 2;
  if (f == lw->main || !f->joined) lub_lworker_fail(lw, lua_tostring(L, -1));
  end_fiber(lw, f);
  lua_pop(L, 1);
}

/* f, which runs, has come back from its coroutine otherwise than by parking. */
static void leave_fiber(lworker *lw, lfiber *f, int status) {
  if (f->kill) { /* while it was held; or the kill came as an error, where Lua could not yield */
    close_from_outside(lw, f);
  } else if (status == LUA_OK) {
    end_fiber(lw, f);
  } else {
    if (status == LUA_YIELD) lua_pushliteral(f->co, "attempt to yield from outside a coroutine");
    end_failed(lw, f);
  }
}

/* Inline: a yield is a longjmp, after which the CPU mispredicts every return. */
static inline void run_fiber(lua_State *from, lworker *lw, lfiber *f) {
  if (lub_unlikely(f->kill && !f->drives)) {
    close_from_outside(lw, f);
    return;
  }
  lfiber *running_before = lw->running;
  bool chain_before = lw->chain_ok;
  int nargs = f->nvalues;
  if (lub_likely(f->begun)) {
    if (lub_unlikely(nargs)) lua_pop(f->co, nargs); /* the marks */
    nargs = 0;
  }
  f->begun = true;
  lw->running = f;
  lw->chain_ok = true;
  lua_State *outer = lw->innermost;
  if (outer) lub_go_on_in(lw, NULL); /* a hook that was armed is not for this fiber: who had it has parked */
  lw->innermost = f->co;
  atomic_signal_fence(memory_order_seq_cst);
  lub_arm_for_request(lw, f->co);
  int status = lua_resume(f->co, from, nargs, &f->nvalues);
  lub_go_on_in(lw, NULL);
  lw->innermost = outer;
  if (lub_unlikely(lw->forced)) lub_left_from_hook(lw, f->co, status, &f->nvalues);
  lw->chain_ok = false; /* what f's end still calls cannot yield */
  bool held = status == LUA_YIELD && lw->held;
  if (held) lw->held = false;
  if (lub_unlikely(!held || f->kill)) leave_fiber(lw, f, status);
  lw->chain_ok = chain_before;
  lw->running = running_before;
}

void lub_fibers_run(lworker *lw) {
  lub_worker *w = lw->core;
  lfiber *f;
  if (atomic_load_explicit(&w->killed, memory_order_relaxed)) return;
  while ((f = (lfiber *)(void *)lub_worker_next(w))) {
    run_fiber(lw->L, lw, f);
    if (lub_unlikely(lw->main->ended || lw->failed)) break;
    lub_look_at_requests(lw);
    if (lub_unlikely(lub_worker_must_leave(w))) break;
  }
}

/* One turn of whoever is chosen; when nobody can run, the sim goes on, or f learns that nothing can wake it. */
static void drive_in_sim(lua_State *L, lworker *lw, lfiber *f) {
  lub_engine *e = lw->core->engine;
  if (!lub_sim_may_drive(lw)) lub_fiber_kill(lw, f, "");
  lfiber *next = (lfiber *)(void *)lub_turns_next(e); /* it may have run others */
  lub_here = lw;
  if (!next) {
    if (!lub_sim_idle(lw)) (void)lub_wait_abort(&f->core.wait, LUB_DEADLOCK);
  } else if (next->core.worker != lw->core) {
    lub_turns_run(e, &next->core);
    lub_here = lw;
  } else {
    uint64_t id = next->core.wait.id;
    lw->core->chosen = &next->core;
    (void)lub_worker_next(lw->core);
    lub_turns_tell(&e->turns, lw->core, id, true);
    if (next->drives) next->turn = true;
    else run_fiber(L, lw, next);
    lub_turns_tell(&e->turns, NULL, id, false);
  }
}

/* Whether what is left of it only has to be closed. A sim whose body has returned sees who can still end. */
static bool is_over(const lworker *lw) {
  return !lw->core->pinned && !lw->guest && (lw->main->ended || lw->failed);
}

/* Where Lua cannot yield: runs the worker's other fibers until f's turn comes. */
static void drive(lua_State *L, lworker *lw, lfiber *f) {
  lub_worker *before = lub_worker_current();
  const char *unfit = unfit_to_drive(L, lw);
  if (unfit && lub_fiber_withdraw(&f->core)) luaL_error(L, "%s", unfit);
  lub_worker_set_current(lw->core);
  if (lw->depth++ == 0) lub_worker_drive(lw->core, true);
  f->drives = true;
  f->turn = false;
  while (!f->turn) {
    lub_look_at_requests(lw);
    bool over = is_over(lw);
    if (over) lub_fiber_kill(lw, f, "");
    if (lw->sim) {
      drive_in_sim(L, lw, f);
      continue;
    }
    lfiber *next = (lfiber *)(void *)lub_worker_next(lw->core);
    if (!next) lub_worker_sleep(lw->core, &f->core.wait);
    else if (next->drives) next->turn = true;
    else if (!over) run_fiber(L, lw, next);
  }
  if (f->core.wait.status == LUB_DEADLOCK && !lw->sim) { /* whose own report says it */
    free(lw->waits);
    lw->waits = lub_report_text(lw->core->engine); /* while f still waits */
  }
  lub_arm_for_request(lw, L);
  if (f->kill && !f->closing) lub_arm_kill(L, lw); /* which came after what it waited for */
  f->drives = f->turn = false;
  if (--lw->depth == 0) lub_worker_drive(lw->core, false);
  lub_worker_set_current(before);
}

static void remember_why(lworker *lw, lfiber *f, const char *why) {
  const lub_allocator *mem = &lw->core->engine->mem;
  size_t n = strlen(why) + 1;
  lextra *x = n > 1 ? lub_fiber_extra(f) : NULL;
  char *copy = x ? lub_alloc(mem, n) : NULL;
  if (!copy) return;
  memcpy(copy, why, n);
  lub_free(mem, x->why);
  x->why = copy;
}

void lub_fiber_cancel(lworker *lw, lfiber *f, const char *why) {
  if (f->ended || f->cancelled) return;
  f->cancelled = true;
  remember_why(lw, f, why);
  if (f->extra && f->extra->cancel) (void)lub_chan_close(f->extra->cancel);
  if (f->core.wait.parked) (void)lub_wait_abort(&f->core.wait, LUB_CANCELLED);
}

void lub_fiber_kill(lworker *lw, lfiber *f, const char *why) {
  if (f->ended || f->kill) return;
  f->kill = true;
  remember_why(lw, f, why);
  if (f->core.wait.parked) (void)lub_wait_abort(&f->core.wait, LUB_KILLED);
}

/* Whether its coroutine runs, or has resumed another that does; or is that of a host. */
static bool is_below(const lworker *lw, const lfiber *f) {
  return f == lw->running || f->drives || (f->main && lw->core->pinned);
}

static void leave(lfiber *f) {
  lub_fiber_leave(&f->core);
  f->ended = true;
  f->nvalues = 0; /* no results: what was counted were its arguments */
  lub_free_fiber(f);
}

void lub_fiber_close_all(lworker *lw) {
  lub_link *k;
  size_t parked = 0;
  for (k = lub_list_first(&lw->core->fibers); k; k = lub_list_next(&lw->core->fibers, k)) {
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    f->kill = true;
    if (!f->core.wait.parked || f->turn) continue;
    (void)lub_wait_abort(&f->core.wait, LUB_KILLED); /* or somebody else has claimed it */
    parked++;
  }
  lub_worker_await_wakes(lw->core, parked);
  lub_worker_forget_ready(lw->core);
  /* all before the first is closed, which may be the last that holds a channel */
  for (k = lub_list_first(&lw->core->fibers); k; k = lub_list_next(&lw->core->fibers, k))
    leave_wait((lfiber *)(void *)lub_container(k, lub_fiber, link));
  while ((k = lub_list_first(&lw->core->fibers))) {
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    if (is_below(lw, f)) leave(f);
    else close_from_outside(lw, f);
  }
}

void lub_meet_requests(lworker *lw) {
  lub_worker *w = lw->core;
  atomic_store(&w->requested, false);
  lub_report_answer(lw);
  bool kill = atomic_load(&w->killed);
  if (!kill && !atomic_load(&w->cancelled)) return;
  lw->ending = true;
  char why[sizeof w->why];
  pthread_mutex_lock(&w->engine->lock);
  memcpy(why, w->why, sizeof why);
  pthread_mutex_unlock(&w->engine->lock);
  for (lub_link *k = lub_list_first(&w->fibers); k; k = lub_list_next(&w->fibers, k)) {
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    if (kill) lub_fiber_kill(lw, f, why);
    else lub_fiber_cancel(lw, f, why);
  }
}
