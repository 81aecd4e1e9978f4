/* lhook.c - what reaches a fiber in the midst of Lua, by a hook: preemption and kills, the slices of a sim, the budget of a
 * policy. */
#include <signal.h>
#include <string.h>

#include "llub.h"
#include "sim.h"

/* What the close handlers of a killed fiber get; of one that unwinds, in instructions. */
enum { CLOSING_NS = 100000000, HANDLERS = 1000000 };

static void leave_hook(lua_State *L, lua_Debug *ar);

static bool has_hook(lua_State *L) { return lua_gethook(L) == leave_hook; }

static void set_kill_hook(lua_State *L) { lua_sethook(L, leave_hook, LUA_MASKCALL | LUA_MASKCOUNT, 1); }

void lub_arm_kill(lua_State *L, lworker *lw) {
  lfiber *f = lw->running;
  if (!f->unwinds) lw->unwinding = (lunwinding){.left = HANDLERS};
  f->unwinds = true;
  if (L != lw->unwinding.L) lw->unwinding.handler = 0;
  lw->unwinding.L = L;
  set_kill_hook(L);
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

/* Whether a killed fiber is inside a close handler that its error has called: a call comes first of all then, whereas who
 * has caught the error goes on with an instruction of its own, below the handler. */
static bool is_in_handler(lua_State *L, lworker *lw, const lua_Debug *ar) {
  lunwinding *u = &lw->unwinding;
  lua_Debug at;
  if (!lw->running->unwinds) return false;
  bool called = L == u->L && ar->event != LUA_HOOKCOUNT;
  if (called && (!u->handler || !lua_getstack(L, u->handler, &at))) u->handler = depth_of(L);
  return u->handler && u->left-- > 0 && (L != u->L || lua_getstack(L, u->handler - 1, &at));
}

/* The running fiber makes way, or, if it is killed, is closed as soon as it is out. Inside a sort or the like somebody else
 * serves the others; a kill unwinds as an error, up to where Lua can yield. */
static void leave(lua_State *L, lworker *lw, const lua_Debug *ar) {
  lfiber *f = lw->running;
  if (f->kill && is_in_handler(L, lw, ar)) {
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
  lua_sethook(L, leave_hook, LUA_MASKCOUNT, 1);
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
