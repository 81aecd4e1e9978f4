/* talk.c - see talk.h. */
#include "talk.h"

#include "engine.h"

enum {
  WINDOW = 256,        /* talks to be seen at least */
  WINDOW_MOST = 4096,  /* ... and as long as it pays */
  TIMES = 3,           /* that it did not pay, one after the other: once may be the machine's fault */
  KEPT = 2,            /* ticks, the first time */
  AGAIN_MOST = 2,      /* ... doubled so often: 20 ms */
  LONG_PS = 2000000,   /* of CPU between two talks: being apart cannot cost much of it */
  ENOUGH_NS = 1000000, /* of CPU that is measured alone: it has to hold senders and receivers */
};

static uint32_t talks_of(lub_carrier *c) {
  return atomic_load_explicit(&c->clock.talks, memory_order_relaxed);
}

/* Unsigned: where nobody knows the CPU that threads have used, nothing has been used. */
static uint64_t used_ns(lub_carrier *c) {
  const lub_carrier *victim = c->scales.victim;
  uint64_t ns = (uint64_t)lub_thread_cpu_ns(c->thread);
  return victim ? ns + (uint64_t)lub_thread_cpu_ns(victim->thread) : ns;
}

static void begin(lub_carrier *c, lub_carrier *victim) {
  lub_scales *s = &c->scales;
  s->victim = victim;
  s->talks = talks_of(c);
  s->victims = victim ? talks_of(victim) : 0;
  s->cpu_ns = used_ns(c);
}

void lub_talk_stole(lub_carrier *c, lub_place *p) {
  lub_engine *e = c->engine;
  lub_scales *s = &c->scales;
  lub_carrier *victim = NULL;
  if (s->from == p || s->alone) return;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->threads && !victim; i++) {
    lub_carrier *other = &e->carriers[i];
    if (atomic_load(&other->place) == p && other->sleeper) victim = other;
  }
  pthread_mutex_unlock(&e->lock);
  s->from = victim ? p : NULL;
  if (!victim) return;
  s->due = WINDOW;
  s->times = 0;
  begin(c, victim);
}

static uint64_t ps_of(uint64_t ns, uint32_t talks) { return ns * 1000 / talks; }

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
  uint64_t ns = used_ns(c) - s->cpu_ns;
  if (talks >= WINDOW && ns >= ENOUGH_NS) atomic_store(&p->alone_ps, ps_of(ns, talks));
}

/* Half of what it costs alone, or less, is less than it can be: it has changed. */
static bool pays(uint64_t apart_ps, uint64_t alone_ps) {
  return apart_ps > LONG_PS || (apart_ps > alone_ps / 2 && apart_ps < alone_ps * 2 - alone_ps / 8);
}

lub_place *lub_talk_weigh(lub_carrier *c, lub_place *p) {
  lub_scales *s = &c->scales;
  lub_place *from = s->from;
  if (s->alone || atomic_load_explicit(&p->kept, memory_order_relaxed)) {
    measure_alone(c, p);
    return NULL;
  }
  uint32_t talks = talks_of(c) - s->talks;
  if (!from || talks < s->due) return NULL;
  uint32_t victims = talks_of(s->victim) - s->victims;
  uint64_t apart_ps = ps_of(used_ns(c) - s->cpu_ns, talks + victims);
  begin(c, s->victim);
  if (atomic_load(&s->victim->place) != from || p == from) {
    s->from = NULL;
    return NULL;
  }
  uint64_t alone_ps = atomic_load(&from->alone_ps);
  if (victims < talks / 8 || pays(apart_ps, alone_ps)) {
    if (s->due < WINDOW_MOST) s->due *= 2;
    s->times = 0;
    atomic_store(&from->again, 0);
    return NULL;
  }
  s->due = WINDOW;
  if (alone_ps && ++s->times < TIMES) return NULL;
  int again = atomic_load(&from->again);
  atomic_store(&from->kept, KEPT << again);
  atomic_store(&from->again, again < AGAIN_MOST ? again + 1 : AGAIN_MOST);
  s->from = NULL;
  return from;
}

bool lub_talk_tick(lub_place *p) {
  int kept = atomic_load(&p->kept);
  if (kept) atomic_store(&p->kept, kept - 1);
  return kept == 1;
}
