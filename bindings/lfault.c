/* lfault.c - lubdub.faultcore: what a run of a sim is put through (faults), and what must hold all the while (invariants).
 * Whether a fault fires that leaves a choice is one of the run's; the rest is done when it is asked for. */
#include <math.h>
#include <string.h>

#include "llub.h"
#include "sim.h"

#define LONGEST 3e8 /* seconds */
enum { COPIES_MAX = 1000 };

typedef struct rule { /* what happens to the signs of life of a heart */
  struct rule *next;
  double drop;
  int64_t delay_ns;
  uint32_t copies;
  char name[]; /* of the point, which begins with "beat:", then of the heart */
} rule;

typedef struct letter { /* a sign of life on its way */
  struct letter *next;
  lub_timer timer;
  lub_heart *heart; /* a reference */
  lub_sign sign;
  bool has_value, due;
  lub_value value;
} letter;

struct lfaults {
  const lub_allocator *mem;
  lub_engine *engine;
  rule *rules;
  letter *letters; /* newest first */
  int invariants;
};

static const char INVARIANTS[] = "lub.invariants", OF_BEATS[] = "beat:";

/* ---- inside a sim ------------------------------------------------------------------------------------------- */

static lworker *check_sim(lua_State *L, const char *function) {
  lworker *lw = lub_lworker(L);
  if (!lw->sim) luaL_error(L, "%s: not inside a sim", function);
  return lw;
}

static lub_sim *sim_of(const lworker *lw) { return lw->core->engine->sim; }

static lfaults *faults_of(lua_State *L, const lworker *lw, const char *function) {
  lfaults **place = lub_sim_faults(lw), *f = *place;
  const lub_allocator *mem = &lw->core->engine->mem;
  if (f) return f;
  if (!(f = lub_alloc(mem, sizeof *f))) luaL_error(L, "%s: not enough memory", function);
  *f = (lfaults){.mem = mem, .engine = lw->core->engine};
  return *place = f;
}

static double check_probability(lua_State *L, int arg, const char *function) {
  double p = lua_tonumber(L, arg);
  if (lua_type(L, arg) != LUA_TNUMBER || !(p >= 0 && p <= 1))
    lub_arg_error(L, function, arg, "a probability (a number from 0 to 1)");
  return p;
}

static int64_t check_span(lua_State *L, int arg, const char *function) {
  double s = lub_check_seconds(L, arg, function);
  if (!(s >= 0) || s > LONGEST) lub_arg_error(L, function, arg, "seconds (from 0 to 3e8)");
  return (int64_t)llround(s * 1e9);
}

/* fault(name [, p = 0.25]) -> whether the point fires now; outside a sim none does */
static int point(lua_State *L) {
  lworker *lw = lub_lworker(L);
  if (lua_type(L, 1) != LUA_TSTRING) lub_arg_error(L, "fault", 1, "the name of a point (a string)");
  double p = lua_isnoneornil(L, 2) ? 0.25 : check_probability(L, 2, "fault");
  lub_check_surplus(L, 2, "fault");
  bool fires = lw->sim && lub_sim_fault(sim_of(lw), lua_tostring(L, 1), p);
  if (fires) lub_sim_note(L, lw, lua_pushfstring(L, "fault '%s'", lua_tostring(L, 1)), true);
  lua_pushboolean(L, fires);
  return 1;
}

/* ---- signs of life that are lost, late or doubled ------------------------------------------------------------ */

static rule *find_rule(const lfaults *f, const char *heart) {
  rule *r = f->rules;
  while (r && strcmp(r->name + sizeof OF_BEATS - 1, heart) != 0) r = r->next;
  return r;
}

/* The rule for the heart, or name of hearts, at argument 1. */
static rule *check_rule(lua_State *L, const char *function) {
  const lworker *lw = check_sim(L, function);
  lub_heart *h = lub_test_heart(L, 1);
  if (!h && lua_type(L, 1) != LUA_TSTRING) lub_arg_error(L, function, 1, "a heart, or the name of hearts");
  const char *heart = h ? lub_heart_name(h) : lua_tostring(L, 1);
  lfaults *f = faults_of(L, lw, function);
  rule *r = find_rule(f, heart);
  if (r) return r;
  size_t n = strlen(heart) + 1;
  if (!(r = lub_alloc(f->mem, sizeof *r + sizeof OF_BEATS + n)))
    luaL_error(L, "%s: not enough memory", function);
  *r = (rule){.next = f->rules};
  memcpy(r->name, OF_BEATS, sizeof OF_BEATS);
  memcpy(r->name + sizeof OF_BEATS - 1, heart, n);
  return f->rules = r;
}

/* drop_beats(heart, p): each of its signs of life is lost with probability p */
static int drop_beats(lua_State *L) {
  (void)check_sim(L, "drop_beats");
  double p = check_probability(L, 2, "drop_beats");
  lub_check_surplus(L, 2, "drop_beats");
  check_rule(L, "drop_beats")->drop = p;
  return 0;
}

/* delay_beats(heart, s): they come so much later */
static int delay_beats(lua_State *L) {
  (void)check_sim(L, "delay_beats");
  int64_t ns = check_span(L, 2, "delay_beats");
  lub_check_surplus(L, 2, "delay_beats");
  check_rule(L, "delay_beats")->delay_ns = ns;
  return 0;
}

/* duplicate_beats(heart, n): each comes n times more */
static int duplicate_beats(lua_State *L) {
  int exact;
  (void)check_sim(L, "duplicate_beats");
  lua_Integer n = lua_tointegerx(L, 2, &exact);
  if (lua_type(L, 2) != LUA_TNUMBER || !exact || n < 0 || n > COPIES_MAX)
    lub_arg_error(L, "duplicate_beats", 2, "a number of copies (an integer from 0 to 1000)");
  lub_check_surplus(L, 2, "duplicate_beats");
  check_rule(L, "duplicate_beats")->copies = (uint32_t)n;
  return 0;
}

static void arrives(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  (void)due_ns;
  (void)now_ns;
  lub_container(t, letter, timer)->due = true;
}

/* As the timers of hearts: alone it does not move the clock. */
static bool wakes_nobody(lub_timer *t) {
  (void)t;
  return false;
}

static const lub_timer_kind arrival = {.fire = arrives, .could_wake = wakes_nobody};

static void free_letter(lfaults *f, letter *m) {
  lub_timer_forget(&f->engine->timers, &m->timer);
  lub_value_drop(&m->value);
  lub_heart_drop(m->heart);
  lub_free(f->mem, m);
}

/* Without memory it is lost. */
static void post(lfaults *f, lub_heart *h, lub_sign sign, const lub_value *v, int64_t delay_ns) {
  letter *m = lub_alloc(f->mem, sizeof *m);
  if (!m) return;
  lub_heart_ref(h);
  *m = (letter){.heart = h, .sign = sign, .has_value = v != NULL};
  if ((v && lub_value_copy(v, &m->value)) || lub_timer_reserve(&f->engine->timers, &m->timer, &arrival)) {
    free_letter(f, m);
    return;
  }
  m->next = f->letters;
  f->letters = m;
  (void)lub_engine_start_timer(f->engine, &m->timer, lub_engine_now_ns(f->engine) + delay_ns);
}

/* Gives h a copy of a sign of life. Without memory it is lost. */
static void repeat(lub_heart *h, lub_sign sign, const lub_value *v) {
  lub_value copy = {0};
  if (v && lub_value_copy(v, &copy)) return;
  (void)lub_give_sign(h, sign, v ? &copy : NULL);
  lub_value_drop(&copy);
}

bool lub_fault_sign(const lworker *lw, lub_heart *h, lub_sign sign, lub_value *v) {
  lfaults *f = *lub_sim_faults(lw);
  const rule *r = f ? find_rule(f, lub_heart_name(h)) : NULL;
  lub_sim *s = sim_of(lw);
  if (!r || lub_sim_is_healed(s) || atomic_load(&h->flags) & LUB_HEART_CLOSED) return false;
  bool lost = lub_sim_chance(s, r->name, r->drop), late = r->delay_ns > 0;
  for (uint32_t i = 0; i < r->copies && !lost; i++) {
    if (late) post(f, h, sign, v, r->delay_ns);
    else repeat(h, sign, v);
  }
  if (!lost && !late) return false;
  if (!lost) post(f, h, sign, v, r->delay_ns);
  if (v) lub_value_drop(v);
  return true;
}

static letter *oldest_due(lfaults *f) {
  letter **last = NULL;
  for (letter **place = &f->letters; *place; place = &(*place)->next)
    if ((*place)->due) last = place;
  letter *m = last ? *last : NULL;
  if (m) *last = m->next;
  return m;
}

bool lub_deliver_signs(lfaults *f) {
  bool any = false;
  for (letter *m; (m = oldest_due(f)); any = true) {
    (void)lub_give_sign(m->heart, m->sign, m->has_value ? &m->value : NULL);
    free_letter(f, m);
  }
  return any;
}

/* ---- workers that stand, and time that jumps ------------------------------------------------------------------ */

/* What a fault returns: whether it was done; none is any more after heal. */
static int push_done(lua_State *L, bool done) {
  lua_pushboolean(L, done);
  return 1;
}

static int thawed(lua_State *L, int status, lua_KContext nresults) {
  (void)status;
  lworker *lw = lub_lworker(L);
  int64_t deadline = LUB_NEVER;
  (void)lub_may_wait(L, lw, &deadline); /* killed meanwhile? */
  return (int)nresults;
}

/* The running fiber leaves until its worker is frozen no longer; then the values on top are its results. */
static int stand(lua_State *L, lworker *lw, int64_t ns, bool in_call, int nresults, const char *function) {
  lub_fiber *f = &lw->running->core;
  if (!lub_can_yield(L, lw)) return luaL_error(L, "%s: not where Lua cannot yield", function);
  luaL_checkstack(L, 2, NULL);
  if (lub_turns_freeze(lw->core, lub_engine_now_ns(lw->core->engine) + ns, in_call))
    return luaL_error(L, "%s: not enough memory", function);
  if (in_call) lub_fiber_held(f);
  else lub_fiber_preempted(f);
  return lua_yieldk(L, lub_hold(L, lw), nresults, thawed);
}

/* freeze(worker, s): its fibers, which get no CPU, run no more for so long; nil: of the calling one */
static int freeze(lua_State *L) {
  lworker *lw = check_sim(L, "freeze");
  lub_worker *w = lw->core;
  int64_t deadline = LUB_NEVER, ns = check_span(L, 2, "freeze");
  if (!lua_isnil(L, 1)) {
    lub_worker **box = luaL_testudata(L, 1, LUB_WORKER_TYPE);
    if (!box || !*box) lub_arg_error(L, "freeze", 1, "a worker, or nil for this one");
    w = *box;
  }
  lub_check_surplus(L, 2, "freeze");
  lub_status refused = lub_may_wait(L, lw, &deadline);
  if (refused) return lub_push_reason(L, refused);
  if (lub_sim_is_healed(sim_of(lw)) || ns == 0) return push_done(L, false);
  if (w == lw->core) {
    lua_pushboolean(L, 1);
    return stand(L, lw, ns, false, 1, "freeze");
  }
  if (lub_turns_freeze(w, lub_engine_now_ns(w->engine) + ns, false))
    return luaL_error(L, "freeze: not enough memory");
  return push_done(L, true);
}

typedef struct frost {
  int64_t until_ns;
  lub_status status;
} frost;

static void freeze_if_judge(lub_worker *w, void *ud) {
  frost *f = ud;
  if (((lworker *)w->data)->judge) f->status = lub_turns_freeze(w, f->until_ns, false);
}

/* freeze_judge(s): no policy is asked for so long */
static int freeze_judge(lua_State *L) {
  lworker *lw = check_sim(L, "freeze_judge");
  lub_engine *e = lw->core->engine;
  int64_t deadline = LUB_NEVER;
  frost f = {.until_ns = lub_engine_now_ns(e) + check_span(L, 1, "freeze_judge")};
  lub_check_surplus(L, 1, "freeze_judge");
  (void)lub_may_wait(L, lw, &deadline);
  if (lub_sim_is_healed(sim_of(lw))) return push_done(L, false);
  lub_start_judge(L, lw); /* there may be no heart yet */
  lub_workers_each(e, freeze_if_judge, &f);
  if (f.status) luaL_error(L, "freeze_judge: not enough memory");
  return push_done(L, true);
}

/* jump_clock(s): as a machine that was suspended. What fell due meanwhile comes late, and hearts are excused */
static int jump_clock(lua_State *L) {
  lworker *lw = check_sim(L, "jump_clock");
  int64_t ns = check_span(L, 1, "jump_clock");
  int64_t deadline = LUB_NEVER;
  lub_check_surplus(L, 1, "jump_clock");
  (void)lub_may_wait(L, lw, &deadline);
  if (lub_sim_is_healed(sim_of(lw))) return push_done(L, false);
  lub_sim_suspend(sim_of(lw), ns);
  return push_done(L, true);
}

/* At index 1 the seconds, then the results of the call. */
static int called(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lworker *lw = lub_lworker(L);
  int64_t ns = (int64_t)llround(lua_tonumber(L, 1) * 1e9);
  int n = lua_gettop(L) - 1;
  if (lub_sim_is_healed(sim_of(lw)) || ns == 0) return n;
  return stand(L, lw, ns, true, n, "slow_call");
}

/* slow_call(fn, s) -> what fn() returns: a C call that takes so long; its worker does nothing else meanwhile */
static int slow_call(lua_State *L) {
  lworker *lw = check_sim(L, "slow_call");
  int64_t deadline = LUB_NEVER;
  if (lua_type(L, 1) != LUA_TFUNCTION) lub_arg_error(L, "slow_call", 1, "a function");
  (void)check_span(L, 2, "slow_call");
  lub_check_surplus(L, 2, "slow_call");
  (void)lub_may_wait(L, lw, &deadline);
  lua_settop(L, 2);
  lua_insert(L, 1);
  lua_callk(L, 0, LUA_MULTRET, 0, called);
  return called(L, LUA_OK, 0);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static void end_scarcity(lworker *lw) {
  if (lw->scarce.f && lw->L) lua_setallocf(lw->L, lw->scarce.f, lw->scarce.ud);
  lw->scarce.f = NULL;
}

/* Lua collects everything and asks again before it raises: that fails, too. */
static void *scarce_alloc(void *ud, void *block, size_t old, size_t nbytes) {
  lworker *lw = ud;
  lua_Alloc f = lw->scarce.f;
  bool grows = nbytes > (block ? old : 0);
  if (grows && lw->scarce.left == 0) {
    end_scarcity(lw);
    if (nbytes == lw->scarce.failed) return NULL;
  } else if (grows && --lw->scarce.left == 0) {
    lw->scarce.failed = nbytes;
    return NULL;
  }
  return f(lw->scarce.ud, block, old, nbytes);
}

/* alloc(n): the n-th allocation of this worker from now on fails */
static int alloc(lua_State *L) {
  lworker *lw = check_sim(L, "alloc");
  int exact;
  lua_Integer n = lua_tointegerx(L, 1, &exact);
  if (lua_type(L, 1) != LUA_TNUMBER || !exact || n < 1)
    lub_arg_error(L, "alloc", 1, "which allocation (an integer >= 1)");
  lub_check_surplus(L, 1, "alloc");
  (void)faults_of(L, lw, "alloc"); /* which end it */
  if (lub_sim_is_healed(sim_of(lw))) return push_done(L, false);
  if (!lw->scarce.f) {
    lw->scarce.f = lua_getallocf(L, &lw->scarce.ud);
    lua_setallocf(L, scarce_alloc, lw);
  }
  lw->scarce.left = (uint64_t)n;
  return push_done(L, true);
}

/* ---- the end of all faults ---------------------------------------------------------------------------------------- */

static void end_scarcity_of(lub_worker *w, void *ud) {
  (void)ud;
  end_scarcity(w->data);
}

/* heal(): no fault fires any more, what lasts is over; signs of life that are on their way come when they are due */
static int heal(lua_State *L) {
  const lworker *lw = check_sim(L, "heal");
  lub_check_surplus(L, 0, "heal");
  lub_sim_heal(sim_of(lw));
  lub_workers_each(lw->core->engine, end_scarcity_of, NULL);
  return 0;
}

void lub_end_faults(lworker *body, lfaults *f) {
  lub_workers_each(f->engine, end_scarcity_of, NULL);
  if (body) end_scarcity(body);
  if (body && f->invariants) { /* only a body has some */
    lua_pushnil(body->L);
    lua_setfield(body->L, LUA_REGISTRYINDEX, INVARIANTS);
  }
  for (rule *r; (r = f->rules); lub_free(f->mem, r)) f->rules = r->next;
  for (letter *m; (m = f->letters); free_letter(f, m)) f->letters = m->next;
  lub_free(f->mem, f);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------ */

enum { INSTRUCTIONS = 100000000 }; /* of all that are checked at one time: a second, or less */

/* always(fn): fn is called whenever nobody can run; what it raises ends the run */
static int always(lua_State *L) {
  const lworker *lw = check_sim(L, "always");
  if (lua_type(L, 1) != LUA_TFUNCTION) lub_arg_error(L, "always", 1, "a function");
  lub_check_surplus(L, 1, "always");
  if (!lw->guest) return luaL_error(L, "always: only in the worker that runs the sim's body");
  lfaults *f = faults_of(L, lw, "always");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, INVARIANTS);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, f->invariants + 1);
  f->invariants++;
  return 0;
}

/* The message handler: the error itself is kept as the run's. */
static int keep_error(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lua_settop(L, 1);
  lub_sim_failed(lw, L);
  lub_push_error(L, 1);
  lub_lworker_fail(lw, lua_tostring(L, -1));
  lua_settop(L, 1);
  return 1;
}

static int check_all(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, INVARIANTS);
  for (lua_Integer i = 1; lua_rawgeti(L, 1, i) == LUA_TFUNCTION; i++) lua_call(L, 0, 0);
  return 0;
}

/* Nobody runs: the body's state is free. Its main fiber, which waits, lends its name. */
bool lub_invariants_hold(const lfaults *f, lworker *body) {
  if (!f->invariants || body->main->ended || body->failed) return true;
  lworker *here = lub_here;
  lfiber *running = body->running;
  lua_State *innermost = body->innermost, *L = body->L;
  if (!lua_checkstack(L, 8)) return true;
  lub_here = body;
  body->running = body->main;
  lub_go_on_in(body, L);
  lua_pushcfunction(L, keep_error);
  lua_pushcfunction(L, check_all);
  bool hold = lub_judged_call(L, body, "an invariant", INSTRUCTIONS, 0, 0, -2) == LUA_OK;
  lua_pop(L, hold ? 1 : 2);
  if (!hold) lub_lworker_fail(body, "always: not enough memory"); /* unless the handler could say more */
  lub_go_on_in(body, innermost);
  body->running = running;
  lub_here = here;
  return hold;
}

int luaopen_lubdub_faultcore(lua_State *L) {
  static const luaL_Reg functions[] = {{"point", point},
                                       {"heal", heal},
                                       {"always", always},
                                       {"drop_beats", drop_beats},
                                       {"delay_beats", delay_beats},
                                       {"duplicate_beats", duplicate_beats},
                                       {"freeze", freeze},
                                       {"freeze_judge", freeze_judge},
                                       {"jump_clock", jump_clock},
                                       {"slow_call", slow_call},
                                       {"alloc", alloc},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
