/* sim.c - see lubdub.h. */
#include "sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "judge.h"

enum { FAIR_AFTER = 10000, SETTLE_MAX = 1000000, PCT_LENGTH = 1000, CHANGES_MAX = 16 };
#define STICKY 0.875
#define LONGEST 3e8 /* seconds */

typedef struct priority { /* of a fiber, by its id */
  uint64_t rank;          /* the highest runs; 0: none yet */
  uint64_t ran;           /* when it was chosen last */
} priority;

struct lub_sim {
  lub_engine *engine;
  lub_gate gate;
  lub_options host; /* whose log, verdict and record it is */
  void *binding;
  void (*end)(void *binding);
  bool (*rest)(void *binding);
  int64_t now_ns;
  bool stopped, spoilt;
  bool late; /* the clock moved while a fiber ran */
  lub_allocator mem;
  lub_faults faults;
  bool fault; /* what was drawn for the choice under way */
  uint64_t steps, hash;
  lub_strategy strategy;
  double sticky;
  uint64_t fair_after, lowest;
  lub_random random;
  uint64_t changes[CHANGES_MAX]; /* the choices at which a priority changes */
  uint32_t nchanges;
  uint32_t *prefix;
  size_t nprefix;
  lub_sim_choice *made;
  size_t nmade, room;
  priority *priorities;
  size_t npriorities;
};

static void *take(lub_sim *s, void *block, size_t nbytes) {
  return s->host.realloc(s->host.ud, block, nbytes);
}

static void *libc_realloc(void *ud, void *block, size_t nbytes) {
  (void)ud;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

/* ---- strategies ------------------------------------------------------------------------------------------ */

static priority *priority_of(lub_sim *s, uint64_t id) {
  if (id >= s->npriorities) {
    size_t wanted = (size_t)id * 2 + 64;
    priority *grown = take(s, s->priorities, wanted * sizeof *grown);
    if (!grown) return NULL;
    memset(grown + s->npriorities, 0, (wanted - s->npriorities) * sizeof *grown);
    s->priorities = grown;
    s->npriorities = wanted;
  }
  priority *p = &s->priorities[id];
  if (!p->rank) p->rank = (lub_random_next(&s->random) >> 2) + s->lowest;
  return p;
}

static bool is_of_fibers(const lub_choice *c) {
  return c->kind == LUB_CHOOSE_FIBER || c->kind == LUB_CHOOSE_SWITCH;
}

/* The one with the highest priority, or the one that has waited longest. */
static uint32_t best(lub_sim *s, const lub_choice *c, bool fair) {
  uint32_t at = 0;
  uint64_t most = 0;
  for (uint32_t i = 0; i < c->n; i++) {
    const priority *p = priority_of(s, c->fibers[i]);
    uint64_t merit = !p ? 0 : fair ? UINT64_MAX - p->ran : p->rank;
    if (merit <= most) continue;
    most = merit;
    at = i;
  }
  return at;
}

static uint32_t by_priority(lub_sim *s, const lub_choice *c) {
  uint32_t at = best(s, c, false);
  for (uint32_t i = 0; i < s->nchanges; i++) {
    if (s->changes[i] != s->nmade) continue;
    priority *p = priority_of(s, c->fibers[at]);
    if (p) p->rank = --s->lowest;
    return best(s, c, false);
  }
  return at;
}

static double chance(lub_sim *s) { return (double)(lub_random_next(&s->random) >> 11) * 0x1p-53; }

static uint32_t decide(lub_sim *s, const lub_choice *c) {
  if (s->nmade < s->nprefix) return s->prefix[s->nmade] < c->n ? s->prefix[s->nmade] : 0;
  if (is_of_fibers(c) && s->nmade >= s->fair_after) return best(s, c, true);
  if (s->strategy == LUB_SIM_FIRST) return 0;
  if (c->kind == LUB_CHOOSE_FAULT) return s->fault;
  if (is_of_fibers(c)) {
    if (s->strategy == LUB_SIM_PCT) return by_priority(s, c);
    if (s->strategy == LUB_SIM_STICKY && c->kind == LUB_CHOOSE_SWITCH) {
      if (chance(s) < s->sticky) return 0;
      return 1 + lub_random_below(&s->random, c->n - 1);
    }
  }
  return lub_random_below(&s->random, c->n);
}

/* ---- choices ------------------------------------------------------------------------------------------------ */

static void fold(lub_sim *s, uint64_t x) {
  uint64_t mixed = s->hash ^ x;
  s->hash = lub_splitmix(&mixed);
}

static void keep(lub_sim *s, const lub_sim_choice *c) {
  if (s->nmade == s->room) {
    size_t room = s->room ? 2 * s->room : 256;
    lub_sim_choice *grown = take(s, s->made, room * sizeof *grown);
    if (!grown) {
      s->spoilt = true;
      return;
    }
    s->made = grown;
    s->room = room;
  }
  s->made[s->nmade++] = *c;
}

static uint32_t choose(void *ud, const lub_choice *c) {
  lub_sim *s = ud;
  uint32_t taken = decide(s, c);
  uint64_t fiber = is_of_fibers(c) ? c->fibers[taken] : s->engine->turns.current;
  priority *p = is_of_fibers(c) ? priority_of(s, fiber) : NULL;
  if (p) p->ran = s->nmade + 1;
  keep(s, &(lub_sim_choice){(uint32_t)c->kind, c->n, taken, fiber, s->now_ns});
  fold(s, (uint64_t)c->kind << 56 ^ (uint64_t)c->n << 28 ^ taken);
  fold(s, fiber ^ (uint64_t)s->now_ns << 16);
  return taken;
}

uint32_t lub_sim_choose(lub_sim *s, uint32_t n) {
  lub_choice c = {.kind = LUB_CHOOSE_OTHER, .n = n};
  return n < 2 ? 0 : choose(s, &c);
}

/* ---- faults -------------------------------------------------------------------------------------------------- */

/* A point that is off is a choice too: the number of choices does not depend on the seed, nor on what was drawn. */
static bool fires(lub_sim *s, const char *name, double p, bool always_on) {
  lub_choice c = {.kind = LUB_CHOOSE_FAULT, .n = 2};
  s->fault = lub_faults_draw(&s->faults, name, p, always_on);
  return choose(s, &c);
}

bool lub_sim_fault(lub_sim *s, const char *name, double p) {
  return !s->faults.off && p > 0 && fires(s, name, p, false);
}

bool lub_sim_chance(lub_sim *s, const char *name, double p) {
  if (s->faults.off || !(p > 0)) return false;
  return p >= 1 || fires(s, name, p, true);
}

bool lub_sim_is_healed(const lub_sim *s) { return s->faults.off; }

void lub_sim_heal(lub_sim *s) {
  s->faults.off = true;
  lub_turns_thaw(s->engine);
}

/* ---- what was chosen ----------------------------------------------------------------------------------------- */

const lub_sim_choice *lub_sim_choices(lub_sim *s, size_t *n) {
  *n = s->spoilt ? 0 : s->nmade;
  return s->made;
}

uint64_t lub_sim_hash(lub_sim *s) { return s->hash; }
uint64_t lub_sim_steps(lub_sim *s) { return s->steps; }

/* ---- time ---------------------------------------------------------------------------------------------------- */

static int64_t clock_of(void *ud) { return ((lub_sim *)ud)->now_ns; }
int64_t lub_sim_now_ns(lub_sim *s) { return s->now_ns; }
double lub_sim_now(lub_sim *s) { return (double)s->now_ns / 1e9; }
void lub_sim_stop_clock(lub_sim *s, bool stop) { s->stopped = stop; }
void lub_sim_jump(lub_sim *s, int64_t by_ns) { s->now_ns += by_ns; }

void lub_sim_spend(lub_sim *s, int64_t ns) {
  if (s->stopped) return;
  s->now_ns += ns;
  s->late = true;
}

void lub_sim_suspend(lub_sim *s, int64_t by_ns) {
  int64_t from_ns = s->now_ns;
  lub_sim_jump(s, by_ns);
  if (s->engine->judge) lub_judge_stood(s->engine->judge, from_ns, s->now_ns);
}

static lub_status step(lub_sim *s, int64_t until_ns) {
  s->steps++;
  if (lub_gate_stranger(&s->gate)) return LUB_FOREIGN;
  while (s->late && lub_turns_fire(s->engine)) continue;
  s->late = false;
  if (lub_carriers_step(s->engine)) return LUB_OK;
  lub_status status = lub_engine_step(s->engine, 0);
  if (status != LUB_TIMEOUT && status != LUB_DEADLOCK) return status;
  if (lub_gate_await(s->engine) || (s->rest && s->rest(s->binding))) return LUB_OK;
  int64_t next_ns = lub_timers_next(&s->engine->timers);
  if (s->stopped) return LUB_TIMEOUT;
  if (next_ns > until_ns) return status;
  if (status == LUB_DEADLOCK && until_ns == LUB_NEVER) return status; /* hearts alone do not move the clock */
  if (next_ns > s->now_ns) s->now_ns = next_ns;
  return LUB_OK;
}

bool lub_sim_go_on(lub_sim *s) {
  if (lub_turns_fire(s->engine) || lub_gate_await(s->engine) || (s->rest && s->rest(s->binding))) return true;
  int64_t next_ns = lub_timers_next(&s->engine->timers);
  if (s->stopped || !lub_timers_could_wake(&s->engine->timers)) return false;
  if (next_ns > s->now_ns) s->now_ns = next_ns;
  return true;
}

lub_status lub_sim_step(lub_sim *s) { return step(s, LUB_NEVER); }

lub_status lub_sim_settle(lub_sim *s) {
  for (uint32_t i = 0; i < SETTLE_MAX; i++) {
    lub_status status = step(s, s->now_ns);
    if (status != LUB_OK) return status == LUB_FOREIGN ? status : LUB_OK;
  }
  return LUB_INVALID;
}

lub_status lub_sim_pass(lub_sim *s, double seconds) {
  if (!(seconds >= 0) || seconds > LONGEST) return LUB_INVALID;
  int64_t until_ns = s->now_ns + (int64_t)llround(seconds * 1e9);
  int64_t instant_ns = s->now_ns;
  uint32_t steps = 0; /* at this instant */
  while (step(s, until_ns) == LUB_OK) {
    if (s->now_ns != instant_ns) steps = 0;
    if (++steps > SETTLE_MAX) return LUB_INVALID;
    instant_ns = s->now_ns;
  }
  s->now_ns = until_ns;
  return lub_sim_settle(s);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

lub_engine *lub_sim_engine(lub_sim *s) { return s->engine; }
const char *lub_sim_foreign(lub_sim *s) { return lub_gate_stranger(&s->gate); }
void lub_sim_set_binding(lub_sim *s, void *binding, void (*end)(void *binding)) {
  s->binding = binding;
  s->end = end;
}
void *lub_sim_binding(lub_sim *s) { return s->binding; }
void lub_sim_at_rest(lub_sim *s, bool (*rest)(void *binding)) { s->rest = rest; }

static void *engine_realloc(void *ud, void *block, size_t nbytes) { return take(ud, block, nbytes); }

static void engine_log(void *ud, const char *message) {
  lub_sim *s = ud;
  if (s->host.log) s->host.log(s->host.ud, message);
}

static void engine_verdict(void *ud, const lub_verdict *v) {
  lub_sim *s = ud;
  s->host.verdict(s->host.ud, v);
}

static void engine_record(void *ud, const lub_event *event) {
  lub_sim *s = ud;
  s->host.record(s->host.ud, event);
}

static void free_sim(lub_sim *s) {
  lub_faults_close(&s->faults);
  (void)take(s, s->made, 0);
  (void)take(s, s->priorities, 0);
  (void)take(s, s->prefix, 0);
  (void)take(s, s, 0);
}

static lub_status prepare(lub_sim *s, const lub_sim_options *o) {
  uint32_t depth = o->depth ? o->depth : 2, length = o->length ? o->length : PCT_LENGTH;
  s->strategy = o->strategy;
  s->sticky = o->sticky > 0 ? o->sticky : STICKY;
  s->fair_after = o->fair_after ? o->fair_after : FAIR_AFTER;
  s->lowest = UINT64_MAX / 4; /* ranks begin above, and fall below */
  s->hash = o->seed;
  s->mem = (lub_allocator){engine_realloc, s};
  s->faults = (lub_faults){.mem = &s->mem, .seed = ~o->seed, .off = o->no_faults};
  lub_random_seed(&s->random, o->seed);
  for (uint32_t i = 1; i < depth; i++) s->changes[s->nchanges++] = lub_random_below(&s->random, length);
  if (!o->nprefix) return LUB_OK;
  if (!(s->prefix = take(s, NULL, o->nprefix * sizeof *s->prefix))) return LUB_NOMEM;
  memcpy(s->prefix, o->prefix, o->nprefix * sizeof *s->prefix);
  s->nprefix = o->nprefix;
  return LUB_OK;
}

lub_status lub_sim_open(const lub_sim_options *o, lub_sim **out) {
  lub_options host = o->engine ? *o->engine : (lub_options){0};
  if (!host.realloc) host.realloc = libc_realloc;
  if (o->depth > CHANGES_MAX || !(o->sticky >= 0 && o->sticky <= 1) || (unsigned)o->strategy > LUB_SIM_PCT)
    return LUB_INVALID;
  lub_sim *s = host.realloc(host.ud, NULL, sizeof *s);
  if (!s) return LUB_NOMEM;
  *s = (lub_sim){.host = host};
  lub_options e = {.carriers = -1,
                   .realloc = engine_realloc,
                   .clock = clock_of,
                   .log = engine_log,
                   .choose = choose,
                   .verdict = host.verdict ? engine_verdict : NULL,
                   .record = host.record ? engine_record : NULL,
                   .ud = s,
                   .seed = o->seed ? o->seed : 1};
  lub_status status = prepare(s, o);
  if (status == LUB_OK) status = lub_engine_open(&e, &s->engine);
  if (status != LUB_OK) {
    free_sim(s);
    return status;
  }
  s->engine->sim = s;
  lub_gate_init(&s->gate);
  s->engine->gate = &s->gate;
  lub_engine_release(s->engine); /* nobody else acts */
  *out = s;
  return LUB_OK;
}

static void end_binding(lub_sim *s) {
  if (!s->end || lub_engine_end_workers(s->engine, LUB_FOREVER) != LUB_OK) return;
  s->end(s->binding);
  s->rest = NULL;
  lub_sim_set_binding(s, NULL, NULL);
}

lub_status lub_sim_close(lub_sim *s) {
  end_binding(s);
  lub_status status = lub_engine_close(s->engine);
  lub_gate_open(&s->gate);
  if (status != LUB_OK) return status;
  lub_gate_close(&s->gate);
  free_sim(s);
  return LUB_OK;
}
