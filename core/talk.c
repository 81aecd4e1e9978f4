/* talk.c - see talk.h. */
#include "talk.h"

#include <sys/resource.h>

#include "engine.h"

enum {
  WINDOW = 256,        /* talks to be seen at least */
  WINDOW_MOST = 4096,  /* ... and as long as it pays */
  TIMES = 2,           /* that it did not pay, one after the other: once may be the machine's fault */
  KEPT = 2,            /* ticks, the first time */
  AGAIN_MOST = 2,      /* ... doubled so often: 20 ms */
  LONG_PS = 1000000,   /* between two talks: being apart cannot cost much of it */
  COMPUTES_NS = 50000, /* so long a slice is one of somebody who computes */
  TALKS_NS = 2000,     /* ... unless there was a talk at least so often */
  ENOUGH_NS = 1000000, /* that is measured alone: it has to hold senders and receivers */
  NAP_NS = 500000,     /* of CPU: who sleeps more often does not only wait for a lock now and then */
};

static uint32_t talks_of(lub_carrier *c) {
  return atomic_load_explicit(&c->clock.talks, memory_order_relaxed);
}

/* Unsigned: where nobody knows what a thread has used, it has used nothing. */
static uint64_t clock_ns(clockid_t clock) { return (uint64_t)lub_clock_ns(clock); }

/* How often this thread has slept. */
static uint64_t naps(void) {
#ifdef RUSAGE_THREAD
  struct rusage u;
  if (!getrusage(RUSAGE_THREAD, &u)) return (uint64_t)u.ru_nvcsw;
#endif
  return 0;
}

static void begin(lub_carrier *c, lub_carrier *victim) {
  lub_scales *s = &c->scales;
  s->victim = victim;
  s->talks = talks_of(c);
  s->victims = victim ? talks_of(victim) : 0;
  s->began_ns = clock_ns(CLOCK_MONOTONIC);
  if (victim) return;
  s->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  s->naps = naps();
}

void lub_talk_stole(lub_carrier *c, lub_place *p) {
  lub_engine *e = c->engine;
  lub_scales *s = &c->scales;
  lub_carrier *victim = NULL;
  if (s->from == p || s->alone) return;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->threads && !victim; i++) {
    lub_carrier *other = &e->carriers[i];
    if (atomic_load(&other->place) == p && other->lives) victim = other;
  }
  pthread_mutex_unlock(&e->lock);
  s->from = victim ? p : NULL;
  if (!victim) return;
  s->due = WINDOW;
  s->times = 0;
  begin(c, victim);
}

static uint64_t ps_of(uint64_t ns, uint32_t talks) { return ns * 1000 / talks; }

/* ---- together ---------------------------------------------------------------------------------------------------- */

/* Whether somebody computes: he did in the slice that has just ended, and in one shortly before. One may have lost its CPU
 * meanwhile. */
static bool computes(lub_carrier *c) {
  lub_scales *s = &c->scales;
  int64_t now_ns = lub_clock_ns(CLOCK_MONOTONIC), ns = s->slice_ns ? now_ns - s->slice_ns : 0;
  uint32_t talks = talks_of(c) - s->slice_talks;
  s->slice_ns = now_ns;
  s->slice_talks += talks;
  if (ns > COMPUTES_NS && talks < ns / TALKS_NS) s->computed += 2;
  else if (s->computed) s->computed--;
  return s->computed > 2;
}

void lub_talk_pause(lub_carrier *c) {
  lub_scales *s = &c->scales;
  s->slice_ns = 0;
  if (!s->alone) return;
  s->began_ns -= clock_ns(CLOCK_MONOTONIC);
  s->naps -= naps();
}

void lub_talk_go_on(lub_carrier *c) {
  lub_scales *s = &c->scales;
  if (!s->alone) return;
  s->began_ns += clock_ns(CLOCK_MONOTONIC);
  s->naps += naps();
}

/* What c has spent alone. It is CPU, for others may hold a thread up, unless it sleeps in its slices, inside calls: that is
 * what another carrier would not wait for. */
static uint64_t spent_ns(const lub_scales *s) {
  uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - s->cpu_ns;
  return (naps() - s->naps) * NAP_NS < cpu_ns ? cpu_ns : clock_ns(CLOCK_MONOTONIC) - s->began_ns;
}

static void let_go(lub_carrier *c, lub_place *p) {
  atomic_store(&p->again, 0);
  atomic_store(&p->kept, 0);
  c->scales.alone = false;
  c->scales.computed = 0;
}

/* Of all since p began to keep its workers. */
static void measure_alone(lub_carrier *c, lub_place *p) {
  lub_scales *s = &c->scales;
  bool over = !atomic_load(&p->kept);
  if (!s->alone) {
    s->from = NULL;
    s->alone = true;
    s->due = WINDOW;
    begin(c, NULL);
    return;
  }
  uint32_t talks = talks_of(c) - s->talks;
  if (talks < s->due && !over) return;
  s->due = talks + WINDOW;
  s->alone = !over;
  uint64_t ns = spent_ns(s);
  if (talks >= WINDOW && ns >= ENOUGH_NS) atomic_store(&p->alone_ps, ps_of(ns, talks));
}

/* ---- apart ------------------------------------------------------------------------------------------------------- */

/* A quarter of what it costs alone, or less, is less than it can be: it has changed. */
static bool pays(uint64_t apart_ps, uint64_t alone_ps) {
  return apart_ps > LONG_PS || (apart_ps > alone_ps / 4 && apart_ps < alone_ps - alone_ps / 16);
}

/* By what c has seen since it looked last, of itself and of its victim. */
static bool is_enough(lub_carrier *c, uint32_t talks) {
  lub_scales *s = &c->scales;
  uint32_t victims = talks_of(s->victim) - s->victims;
  uint64_t alone_ps = atomic_load(&s->from->alone_ps);
  uint64_t apart_ps = ps_of(clock_ns(CLOCK_MONOTONIC) - s->began_ns, talks + victims);
  begin(c, s->victim);
  if (victims < talks / 8 || pays(apart_ps, alone_ps)) {
    if (s->due < WINDOW_MOST) s->due *= 2;
    s->times = 0;
    atomic_store(&s->from->again, 0);
    return false;
  }
  s->due = WINDOW;
  return !alone_ps || ++s->times == TIMES;
}

/* False: somebody was first, and p keeps its own. Or he has found the same: then it is kept already. */
static bool decide(lub_engine *e, lub_place *p, lub_place *from) {
  pthread_mutex_lock(&e->lock);
  bool own = atomic_load(&p->kept);
  if (!own && !atomic_load(&from->kept)) {
    int again = atomic_load(&from->again);
    atomic_store(&from->kept, KEPT << again);
    atomic_store(&from->again, again < AGAIN_MOST ? again + 1 : AGAIN_MOST);
  }
  pthread_mutex_unlock(&e->lock);
  return !own;
}

/* ---- between two slices ------------------------------------------------------------------------------------------ */

lub_place *lub_talk_weigh(lub_carrier *c, lub_place *p) {
  lub_scales *s = &c->scales;
  lub_place *from = s->from;
  bool kept = atomic_load(&p->kept);
  if (kept && computes(c)) {
    let_go(c, p);
    return p;
  }
  if (kept || s->alone) {
    measure_alone(c, p);
    return NULL;
  }
  uint32_t talks = talks_of(c) - s->talks;
  if (!from || talks < s->due) return NULL; /* before it looks at what the victim writes all the time */
  bool both_are_there = atomic_load(&s->victim->place) == from && p != from;
  bool ends = !both_are_there || is_enough(c, talks);
  if (ends) s->from = NULL;
  return both_are_there && ends && decide(c->engine, p, from) ? from : NULL;
}

bool lub_talk_tick(lub_place *p) {
  int kept = atomic_load(&p->kept), less = atomic_load(&p->idle) ? 0 : kept - 1;
  return kept && atomic_compare_exchange_strong(&p->kept, &kept, less) && !less;
}
