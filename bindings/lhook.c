/* lhook.c - what reaches a fiber in the midst of Lua, by a hook: preemption and kills, the slices of a sim, the budget of a
 * policy. */
#include <signal.h>
#include <string.h>

#include "llub.h"
#include "sim.h"

/* What the close handlers of a killed fiber get; those of one that unwinds so many instructions too, for sims. */
enum { CLOSING_NS = 100000000, HANDLERS = 1000000, LOOK_EVERY = 64 };

static void leave_hook(lua_State *L, lua_Debug *ar);

static bool has_hook(lua_State *L) { return lua_gethook(L) == leave_hook; }

static void set_kill_hook(lua_State *L) { lua_sethook(L, leave_hook, LUA_MASKCALL | LUA_MASKCOUNT, 1); }

/* Whether a handler runs in u->L, and has resumed what runs. */
static bool is_below_handler(const lunwinding *u) {
  lua_Debug at;
  return u->handler && lua_status(u->L) == LUA_OK && lua_getstack(u->L, u->handler - 1, &at);
}

void lub_arm_kill(lua_State *L, lworker *lw) {
  lfiber *f = lw->running;
  lunwinding *u = &lw->unwinding;
  if (!f->unwinds) *u = (lunwinding){.left = HANDLERS, .since_ns = lub_engine_now_ns(lw->core->engine)};
  f->unwinds = true;
  if (L != u->L && !is_below_handler(u)) *u = (lunwinding){.L = L, .left = u->left, .since_ns = u->since_ns};
  set_kill_hook(L);
}

void lub_kill_follows(lua_State *co, const lworker *lw) {
  if (lub_unlikely(lw->running->unwinds)) set_kill_hook(co);
}

void lub_disarm_kill(lua_State *L, const lworker *lw) {
  if (has_hook(L) && lw->hooked != L) lua_sethook(L, NULL, 0, 0);
}

/* An error raised in a hook calls the message handler of an xpcall with hooks switched off: one that loops could not be
 * stopped any more. Lua's own way past handlers is the error for memory: so ask for more than there can be. */
static void unwind(lua_State *L, lworker *lw) {
  lub_arm_kill(L, lw); /* again at every instruction, so that no pcall stops it */
  lw->unwinding.handler = 0;
  lw->collected = true;
  (void)lua_newuserdatauv(L, LUB_TOO_MUCH, 0);
  luaL_error(L, "killed");
}

static int depth_of(lua_State *L) {
  lua_Debug ar;
  int depth = 1, more = 1;
  while (lua_getstack(L, more, &ar)) more *= 2;
  while (depth < more) {
    int middle = depth + (more - depth) / 2;
    if (lua_getstack(L, middle, &ar)) depth = middle + 1;
    else more = middle;
  }
  return depth;
}

/* Whether what runs was called where errors are caught, or by nobody: when a coroutine is closed. */
static bool is_called_by_catcher(lua_State *L, const lworker *lw) {
  lua_Debug at;
  if (!lua_getstack(L, 1, &at)) return true;
  if (!lua_checkstack(L, 1)) return false;
  (void)lua_getinfo(L, "f", &at);
  lua_CFunction f = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return f && (f == lw->base.pcall || f == lw->base.xpcall);
}

bool lub_is_in_handler(lua_State *L, lworker *lw) {
  const lunwinding *u = &lw->unwinding;
  lua_Debug at;
  if (!lw->running->unwinds || !u->handler) return false;
  return L == u->L ? lua_getstack(L, u->handler - 1, &at) : is_below_handler(u);
}

/* Whether a killed fiber goes on inside a close handler that its error has called. That begins with a call, whereas who has
 * caught the error goes on with an instruction of its own, below the handler. */
static bool goes_on_in_handler(lua_State *L, lworker *lw, const lua_Debug *ar) {
  lunwinding *u = &lw->unwinding;
  lua_Debug at;
  if (!lw->running->unwinds) return false;
  bool called = L == u->L && ar->event != LUA_HOOKCOUNT && is_called_by_catcher(L, lw);
  if (called && (!u->handler || !lua_getstack(L, u->handler, &at))) u->handler = depth_of(L);
  if (u->left % LOOK_EVERY == 0 && lub_engine_now_ns(lw->core->engine) - u->since_ns > CLOSING_NS)
    u->left = 0;
  return u->left > 0 && u->left-- && lub_is_in_handler(L, lw);
}

/* The running fiber makes way, or, if it is killed, is closed as soon as it is out. Inside a sort or the like somebody else
 * serves the others; a kill unwinds as an error, up to where Lua can yield. */
static void leave(lua_State *L, lworker *lw, const lua_Debug *ar) {
  lfiber *f = lw->running;
  if (f->kill && goes_on_in_handler(L, lw, ar)) {
    set_kill_hook(L);
    return;
  }
  if (!lub_can_yield(L, lw)) {
    if (f->kill) unwind(L, lw);
    return;
  }
  if (!lua_checkstack(L, 2)) return;
  if (!f->kill) lub_fiber_preempted(&f->core);
  lw->held = lw->forced = true;
  lua_yield(L, 0);
}

static void leave_hook(lua_State *L, lua_Debug *ar) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  if (lw->hooked == L) lua_sethook(L, lw->saved_hook.f, lw->saved_hook.mask, lw->saved_hook.count);
  else lua_sethook(L, NULL, 0, 0);
  lw->hooked = NULL;
  lub_look_at_requests(lw); /* here: nobody has to make way for a question */
  bool over = lub_guard_is_over(L, lw);
  if (over) f->kill = true;
  if (f->closing) { /* its handlers have had their time */
    if (!over && lub_engine_now_ns(lw->core->engine) - lw->closing_ns < CLOSING_NS) return;
    unwind(L, lw);
  }
  if (lub_is_fenced(lw)) f->kill = true;
  int slice = lub_carriers_slice();
  bool makes_way = slice == LUB_SLICE_IS_OVER || slice == LUB_SLICE_IS_LENT;
  if (f->kill || makes_way) leave(L, lw, ar);
}

/* ---- sims ------------------------------------------------------------------------------------------------------ */

/* There is no watcher in a sim, nor may its time be that of a machine: instructions are counted. Who has run a whole count
 * in this turn computes, and has spent LUB_SLICE_NS. */
static void slice_hook(lua_State *L, lua_Debug *ar) {
  lworker *lw = lub_lworker(L);
  lfiber *f = lw->running;
  lub_sim *s = lw->core->engine->sim;
  uint64_t step = lub_sim_steps(s) + 1; /* never 0 */
  bool computes = lw->sliced == step;
  lw->sliced = step;
  if (!computes) return;
  lub_sim_spend(s, LUB_SLICE_NS);
  if (f->closing && lub_sim_now_ns(s) - lw->closing_ns >= CLOSING_NS) unwind(L, lw);
  if (f->closing) return;
  if (!lub_can_yield(L, lw) && (!lub_sim_may_drive(lw) || lub_is_fenced(lw))) f->kill = true;
  leave(L, lw, ar);
}

void lub_slice(lua_State *L, const lworker *lw) {
  int count = lub_sim_slice(lw);
  if (count) lua_sethook(L, slice_hook, LUA_MASKCOUNT, count);
}

/* ---- arming ---------------------------------------------------------------------------------------------------- */

/* What counts is the hook that L has: debug.sethook may have replaced ours, or, when the signal came inside it, half
 * of ours. */
static void arm_hook(lworker *lw, lua_State *L) {
  if (!has_hook(L)) {
    lw->saved_hook.f = lua_gethook(L);
    lw->saved_hook.mask = lua_gethookmask(L);
    lw->saved_hook.count = lua_gethookcount(L);
  } else if (lw->hooked != L) { /* a kill has armed it */
    lw->saved_hook.f = NULL;
  }
  /* anew, if it is there: Lua may have read that nothing is to be counted, and then counted */
  lua_sethook(L, leave_hook, lw->running->unwinds ? LUA_MASKCALL | LUA_MASKCOUNT : LUA_MASKCOUNT, 1);
  lw->hooked = L;
}

/* Whoever runs may go on for now. A policy has a count of instructions of its own, which our hook would begin anew. */
static bool goes_on(const lworker *lw) {
  return lw->sim ? !lub_guard_interrupts(lw) : lw->judging && !atomic_load(&lw->core->killed);
}

void lub_worker_interrupt(lub_worker *w) {
  lworker *lw = w->data;
  lua_State *L = lw->innermost;
  if (goes_on(lw)) return;
  if (L && (!lw->hooked || lw->hooked == L)) arm_hook(lw, L); /* otherwise lub_hook_follows does, at once */
}

/* A hook that was armed on a coroutine which then went on in another, or was left by it, before the hook came to run,
 * follows: left behind, it would be waited for while the other runs for ever. */
void lub_hook_follows(lworker *lw, lua_State *co) {
  lua_State *before = lw->hooked;
  if (has_hook(before)) lua_sethook(before, lw->saved_hook.f, lw->saved_hook.mask, lw->saved_hook.count);
  if (co) arm_hook(lw, co);
  else lw->hooked = NULL;
}

void lub_arm_hook_for_request(lworker *lw, lua_State *co) {
  lw->innermost = NULL; /* no signal comes between */
  arm_hook(lw, co);
  lw->innermost = co;
}

/* ---- budgets --------------------------------------------------------------------------------------------------- */

static void out_of_budget(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, out_of_budget, LUA_MASKCOUNT, 1); /* again, so that no pcall stops it */
  luaL_error(L, "it ran for more than %d instructions", lub_lworker(L)->budget);
}

int lub_judged_call(lua_State *L, lworker *lw, const char *what, int instructions, int nargs, int nresults,
                    int handler) {
  lua_Hook hook = lua_gethook(L);
  int mask = lua_gethookmask(L), count = lua_gethookcount(L);
  lw->judging = what;
  lw->budget = instructions;
  lua_sethook(L, out_of_budget, LUA_MASKCOUNT, instructions);
  int status = lua_pcall(L, nargs, nresults, handler);
  lua_sethook(L, hook, mask, count);
  lw->judging = NULL;
  return status;
}

/* ---- the signal ------------------------------------------------------------------------------------------------ */

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
