/* carrier.c - see carrier.h.
 *
 * IDLE. No wake is lost between a carrier that goes idle and a thread that queues a worker: the one adds itself to
 * `idle` and then reads the queues' lengths, the other adds to a length and then reads `idle`; all four are
 * sequentially consistent, so at least one sees the other. */
#include "carrier.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "engine.h"

enum {
  TICK_NS = 2500000,        /* the watcher's period while anything runs */
  LITTLE_NS = TICK_NS / 10, /* of CPU between two looks: it does not compute */
  LONG_TICKS = 4,           /* a slice of 10 ms is long */
  LONG_NS = LONG_TICKS * TICK_NS,
  STARVED_NS = 20000000, /* without CPU: hearts are told of */
  QUIET_LOOKS = 3,       /* with twice the time between them each, after which the watcher sleeps too */
  SPIN = 100,            /* looks around before a carrier sleeps */
  TIMER_TURNS = 8,       /* slices between two looks at the clock */
  FAIR_TURNS = 16,       /* ... before the queue comes before `next` */
  GLOBAL_TURNS = 61,     /* ... before the engine's queue comes before the place's (Go's schedtick) */
  STEAL_MAX = 32,
  LENT_NS = 1000000, /* of CPU that a lent slice gets at least */
};

static LUB_THREAD_LOCAL lub_carrier *self;

/* ---- queues --------------------------------------------------------------------------------------------- */

static void push_global(lub_engine *e, lub_worker *w, bool again) {
  pthread_mutex_lock(&e->lock);
  lub_list_push(again ? &e->preempted : &e->queue, &w->link);
  if (!again && !e->opts.choose) atomic_fetch_add(&e->woken, 1);
  atomic_fetch_add(&e->waiting, 1); /* IDLE */
  pthread_mutex_unlock(&e->lock);
}

/* Those that were woken come before those that had their slice, unless it is the others' turn. */
static lub_worker *pop_global(lub_engine *e, bool others) {
  if (atomic_load_explicit(&e->waiting, memory_order_relaxed) == 0) return NULL;
  pthread_mutex_lock(&e->lock);
  lub_link *k = others ? lub_list_pop(&e->preempted) : NULL;
  if (!k && (k = lub_list_pop(&e->queue))) atomic_fetch_sub(&e->woken, 1);
  if (!k && !others) k = lub_list_pop(&e->preempted);
  if (k) atomic_fetch_sub(&e->waiting, 1);
  pthread_mutex_unlock(&e->lock);
  return k ? lub_container(k, lub_worker, link) : NULL;
}

static void push_place(lub_place *p, lub_worker *w) {
  pthread_mutex_lock(&p->lock);
  lub_list_push(&p->queue, &w->link);
  atomic_fetch_add(&p->length, 1); /* IDLE */
  pthread_mutex_unlock(&p->lock);
}

static lub_worker *pop_place(lub_place *p) {
  if (atomic_load_explicit(&p->length, memory_order_relaxed) == 0) return NULL;
  pthread_mutex_lock(&p->lock);
  lub_link *k = lub_list_pop(&p->queue);
  if (k) atomic_fetch_sub(&p->length, 1);
  pthread_mutex_unlock(&p->lock);
  return k ? lub_container(k, lub_worker, link) : NULL;
}

static lub_worker *pop_next(lub_place *p) {
  if (!atomic_load_explicit(&p->next, memory_order_relaxed)) return NULL;
  return atomic_exchange_explicit(&p->next, NULL, memory_order_acq_rel);
}

/* Half of what waits at `from` (Go's runqsteal); the first to run now, the rest to `to`. */
static lub_worker *steal(lub_place *to, lub_place *from) {
  if (atomic_load(&from->length) == 0) return NULL;
  lub_link *taken[STEAL_MAX];
  int n = 0;
  pthread_mutex_lock(&from->lock);
  int half = (atomic_load(&from->length) + 1) / 2;
  while (n < half && n < STEAL_MAX) taken[n++] = lub_list_pop(&from->queue);
  atomic_fetch_sub(&from->length, n);
  pthread_mutex_unlock(&from->lock);
  for (int i = 1; i < n; i++) push_place(to, lub_container(taken[i], lub_worker, link));
  return n ? lub_container(taken[0], lub_worker, link) : NULL;
}

static bool have_work(lub_engine *e) {
  if (atomic_load(&e->waiting)) return true;
  for (int i = 0; i < e->nplaces; i++)
    if (atomic_load(&e->places[i].length)) return true;
  return false;
}

/* Whether a worker waits at p, which may be nobody's. */
static bool is_waited_at(const lub_place *p) {
  return p && (atomic_load(&p->length) || atomic_load(&p->next));
}

bool lub_carriers_have_work_locked(lub_engine *e) {
  bool any = have_work(e);
  for (int i = 0; i < e->nplaces && !any; i++) any = atomic_load(&e->places[i].next) != NULL;
  return any;
}

bool lub_engine_others_wait(lub_engine *e, bool woken) {
  lub_place *p = self ? atomic_load_explicit(&self->place, memory_order_relaxed) : NULL;
  if (self && !p) return true; /* it seemed to be in a call that blocks, and somebody has its place */
  return atomic_load_explicit(woken ? &e->woken : &e->waiting, memory_order_relaxed) > 0 || is_waited_at(p);
}

long lub_thread_id(void) {
#ifdef __linux__
  return syscall(SYS_gettid);
#else
  return 0;
#endif
}

/* ---- waking carriers --------------------------------------------------------------------------------------- */

static bool wake_idler_locked(lub_engine *e) {
  lub_link *k = e->idlers.root.prev; /* the newest: its caches are warm */
  if (k == &e->idlers.root) return false;
  lub_list_remove(k);
  atomic_fetch_sub(&e->idle, 1);
  atomic_fetch_add(&e->searching, 1);
  lub_engine_awake_locked(e);
  lub_sleeper_wake_locked(lub_container(k, lub_sleeper, link));
  return true;
}

/* What a thread has used; LUB_NEVER: nobody knows. */
static int64_t cpu_ns(pthread_t thread) {
  clockid_t id;
  struct timespec t;
  if (pthread_getcpuclockid(thread, &id) || clock_gettime(id, &t)) return LUB_NEVER;
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whether a thread sleeps in the kernel: one that has used no CPU may as well have been given none. */
static bool sleeps(long tid) {
#ifdef __linux__
  char path[64], text[256], *state = NULL;
  (void)snprintf(path, sizeof path, "/proc/self/task/%ld/stat", tid);
  FILE *f = fopen(path, "re");
  if (!f) return true;
  if (fgets(text, sizeof text, f)) state = strrchr(text, ')'); /* (name) state */
  (void)fclose(f);
  return !state || state[1] != ' ' || state[2] != 'R';
#else
  (void)tid;
  return true;
#endif
}

/* If c has lent its slice to who computes, and that has had some: somebody else wants it now. One that sleeps is inside a
 * call, which a signal would only break. */
static bool end_lent_locked(lub_engine *e, lub_carrier *c) {
  if (!atomic_load(&c->hogs) || !atomic_load(&c->place) || !e->opts.preempt_signal) return false;
  if (cpu_ns(c->thread) - atomic_load(&c->began_ns) < LENT_NS || sleeps(c->tid)) return false;
  bool over = atomic_load(&c->over) == LUB_SLICE_IS_OVER;
  if (!over || atomic_load(&c->over_steps) != atomic_load(&c->steps)) /* else it leaves all the sooner */
    atomic_store(&c->over, LUB_SLICE_IS_LENT);
  return !pthread_kill(c->thread, e->opts.preempt_signal);
}

/* Every place is taken: one who had more than his share leaves his, first of those who have not been told yet. If none has
 * had any, the watcher sees to it. */
static void make_way_locked(lub_engine *e) {
  for (int told = 0; told <= 1; told++)
    for (int i = 0; i < e->threads; i++)
      if ((atomic_load(&e->carriers[i].over) != LUB_SLICE_GOES_ON) == told &&
          end_lent_locked(e, &e->carriers[i]))
        return;
}

/* If it will not look before then. */
static void wake_watcher_locked(lub_engine *e, int64_t due_ns) {
  if (due_ns < atomic_load(&e->watch_ns)) pthread_cond_signal(&e->watch);
}

/* The calling carrier has a hog, which looks neither at timers nor at who waits: the watcher must, in time. */
static void leave_to_watcher(lub_engine *e) {
  if (atomic_load(&e->idle)) return; /* such a one sees to both */
  int64_t due_ns = lub_engine_next_timer(e);
  if (lub_engine_others_wait(e, true)) due_ns = lub_engine_now_ns(e) + LENT_NS;
  if (due_ns >= atomic_load(&e->watch_ns)) return;
  pthread_mutex_lock(&e->lock);
  wake_watcher_locked(e, due_ns);
  pthread_mutex_unlock(&e->lock);
}

/* One at a time: who finds work wakes the next (Go's wakep). */
static void wake_one(lub_engine *e) {
  if (atomic_load(&e->idle) == 0 || atomic_load(&e->searching) > 0) {
    if (e->opts.carriers < 0 && e->opts.wake) e->opts.wake(e->opts.ud); /* nobody sleeps in a step */
    return;
  }
  pthread_mutex_lock(&e->lock);
  if (atomic_load(&e->searching) == 0) (void)wake_idler_locked(e);
  pthread_mutex_unlock(&e->lock);
}

void lub_carriers_queue(lub_engine *e, lub_worker *w, bool again) {
  lub_place *p = self && self->engine == e ? atomic_load_explicit(&self->place, memory_order_relaxed) : NULL;
  if (lub_unlikely(e->opts.choose && w->thaw_ns)) {
    lub_turns_set_aside(w);
    return;
  }
  if (lub_unlikely(!p || again || e->opts.choose)) {
    push_global(e, w, again);
    wake_one(e);
    if (again || atomic_load(&e->idle) || atomic_load(&e->hogs) == 0) return;
    pthread_mutex_lock(&e->lock);
    make_way_locked(e);
    wake_watcher_locked(e, lub_engine_now_ns(e) + LENT_NS); /* nobody may have made way yet */
    pthread_mutex_unlock(&e->lock);
    return;
  }
  /* acq_rel: what this thread did to w is seen by the carrier that takes it */
  lub_worker *second = atomic_exchange_explicit(&p->next, w, memory_order_acq_rel);
  if (lub_unlikely(atomic_load_explicit(&self->hogs, memory_order_relaxed))) leave_to_watcher(e);
  if (lub_likely(!second))
    return; /* it runs here, soon: waking another carrier would cost more than it waits */
  push_place(p, second);
  wake_one(e);
}

void lub_carriers_watch(lub_engine *e) {
  if (lub_likely(!atomic_load(&e->watching))) return;
  pthread_mutex_lock(&e->lock);
  atomic_store(&e->watching, false); /* it may be about to sleep, busy without the lock */
  pthread_cond_signal(&e->watch);
  pthread_mutex_unlock(&e->lock);
}

/* ---- a carrier's life --------------------------------------------------------------------------------------- */

void lub_carriers_lend(bool lent) {
  if (!self) return;
  if (lent) atomic_store(&self->began_ns, cpu_ns(self->thread));
  if (lub_likely(atomic_load_explicit(&self->hogs, memory_order_relaxed) == lent)) return;
  atomic_store(&self->hogs, lent);
  atomic_fetch_add(&self->engine->hogs, lent ? 1 : -1);
  if (lent) leave_to_watcher(self->engine);
}

void lub_carriers_run_slice(lub_worker *w) {
  lub_engine *e = w->engine;
  atomic_store(&w->state, LUB_RUNNING);
  atomic_store_explicit(&w->preempt, false, memory_order_relaxed);
  w->clock = self ? &self->steps : &w->steps;
  lub_worker_set_current(w);
  w->run(w);
  lub_carriers_lend(false);
  lub_worker_set_current(NULL);
  if (lub_unlikely(w->ended)) {
    lub_object_drop(&w->obj); /* it is alive no more */
    return;
  }
  int running = LUB_RUNNING;
  bool again = w->ready.first || w->preempted.first; /* it left early */
  /* once it is idle, another may run it, and it may be gone */
  if (lub_likely(!again && atomic_compare_exchange_strong(&w->state, &running, LUB_IDLE))) return;
  atomic_store(&w->state, LUB_QUEUED);
  lub_carriers_queue(e, w, again);
}

static lub_worker *take_own(lub_engine *e, lub_carrier *c, lub_place *p) {
  lub_worker *w = NULL;
  uint32_t turn = ++c->turns;
  if (lub_unlikely(turn % TIMER_TURNS == 0)) lub_engine_run_timers(e);
  if (lub_unlikely(turn % GLOBAL_TURNS == 0)) w = pop_global(e, true);
  if (lub_unlikely(!w && turn % FAIR_TURNS == 0)) w = pop_place(p);
  if (lub_likely(!w)) w = pop_next(p);
  if (!w) w = pop_place(p);
  return w ? w : pop_global(e, false);
}

/* Looks around for a while if others run, who may soon have work for two. */
static lub_worker *search(lub_engine *e, lub_place *p) {
  int rounds = atomic_load(&e->idle) + atomic_load(&e->searching) < e->nplaces ? SPIN : 1;
  for (int i = 0; i < rounds; i++) {
    lub_worker *w = pop_global(e, false);
    for (int k = 1; k < e->nplaces && !w; k++) w = steal(p, &e->places[(p - e->places + k) % e->nplaces]);
    if (w) return w;
    lub_pause();
  }
  return NULL;
}

/* Waits as a spare for a place. False: the engine stops. */
static bool wait_for_place(lub_carrier *c) {
  lub_engine *e = c->engine;
  pthread_mutex_lock(&e->lock);
  if (!atomic_load(&c->place) && !atomic_load(&e->stopping)) {
    lub_list_push(&e->spares, &c->sleeper->link);
    c->sleeper->woken = false;
    lub_engine_stir_locked(e, NULL); /* a spare keeps no timers */
    lub_engine_asleep_locked(e);
    while (!c->sleeper->woken) pthread_cond_wait(&c->sleeper->wakeup, &e->lock);
    if (lub_link_queued(&c->sleeper->link)) lub_list_remove(&c->sleeper->link);
  }
  pthread_mutex_unlock(&e->lock);
  return !atomic_load(&e->stopping);
}

/* Sleeps until there may be work; fires timers if that is this carrier's duty. */
static void idle(lub_carrier *c) {
  lub_engine *e = c->engine;
  lub_sleeper *s = c->sleeper;
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->idlers, &s->link);
  s->woken = false;
  atomic_fetch_add(&e->idle, 1); /* IDLE */
  /* without its place it would take a wake that is meant for whoever has it */
  if (have_work(e) || atomic_load(&e->stopping) || !atomic_load(&c->place)) {
    lub_list_remove(&s->link);
    atomic_fetch_sub(&e->idle, 1);
  } else {
    lub_engine_asleep_locked(e);
    lub_sleep_locked(e, s, LUB_NEVER);
    if (s->woken) { /* the wake has taken it from the list, and counted it */
      atomic_fetch_sub(&e->searching, 1);
    } else { /* a timer is due */
      lub_list_remove(&s->link);
      atomic_fetch_sub(&e->idle, 1);
      lub_engine_awake_locked(e);
    }
  }
  pthread_mutex_unlock(&e->lock);
  lub_engine_run_timers(e);
}

/* The next worker for this carrier; NULL: the engine stops. */
static lub_worker *find_work(lub_carrier *c) {
  lub_engine *e = c->engine;
  bool searched = false; /* who queued something meanwhile relied on us: see wake_one */
  for (;;) {
    lub_place *p = atomic_load(&c->place);
    if (lub_unlikely(atomic_load_explicit(&e->stopping, memory_order_relaxed))) return NULL;
    if (lub_unlikely(!p)) {
      if (!wait_for_place(c)) return NULL;
      searched = true;
      continue;
    }
    lub_worker *w = take_own(e, c, p);
    if (lub_unlikely(!w)) {
      atomic_fetch_add(&e->searching, 1);
      w = search(e, p);
      atomic_fetch_sub(&e->searching, 1);
      searched = true;
    }
    if (lub_unlikely(!w)) {
      idle(c);
      continue;
    }
    if (lub_unlikely(searched) && atomic_load(&e->idle) && have_work(e)) wake_one(e);
    return w;
  }
}

static void *carry(void *arg) {
  lub_carrier *c = arg;
  lub_sleeper sleeper;
  lub_worker *w;
  lub_sleeper_init(&sleeper, NULL);
  pthread_mutex_lock(&c->engine->lock);
  c->sleeper = &sleeper;
  c->tid = lub_thread_id();
  pthread_mutex_unlock(&c->engine->lock);
  self = c;
#ifdef __linux__
  (void)prctl(PR_SET_TIMERSLACK, 1000UL); /* ns: timers to the point */
#endif
  while ((w = find_work(c))) {
    atomic_store(&c->current, w);
    lub_carriers_watch(c->engine);
    atomic_store_explicit(&c->over, LUB_SLICE_GOES_ON, memory_order_relaxed);
    lub_carriers_run_slice(w);
    /* the watcher may see them late */
    atomic_store_explicit(&c->slices, c->slices + 1, memory_order_relaxed);
    atomic_store_explicit(&c->current, NULL, memory_order_release);
  }
  pthread_mutex_lock(&c->engine->lock);
  c->sleeper = NULL;
  pthread_mutex_unlock(&c->engine->lock);
  lub_sleeper_close(&sleeper);
  return NULL;
}

static lub_status start_thread_locked(lub_engine *e, lub_place *p) {
  lub_carrier *c = &e->carriers[e->threads];
  *c = (lub_carrier){.engine = e};
  atomic_init(&c->place, p);
  if (pthread_create(&c->thread, NULL, carry, c)) return LUB_THREAD;
  e->threads++;
  lub_engine_awake_locked(e);
  return LUB_OK;
}

/* ---- the watcher -------------------------------------------------------------------------------------- */

/* Since the last look, *seen_ns. */
static int64_t used_cpu_ns(pthread_t thread, int64_t *seen_ns) {
  int64_t ns = cpu_ns(thread), used_ns = ns - *seen_ns;
  if (ns == LUB_NEVER) return TICK_NS;
  *seen_ns = ns;
  return used_ns;
}

/* What a fiber has run meanwhile: CPU, or sleep inside a call. One that wants CPU and is given none does not run. */
static int64_t run_ns(int64_t used_ns, long tid) {
  return used_ns > TICK_NS / 2 || !sleeps(tid) ? used_ns : TICK_NS;
}

/* Of a long slice: the time for which its thread wanted CPU and had none. */
static void watch_cpu_locked(lub_engine *e, lub_carrier *c, int64_t used_ns) {
  c->used_ns += used_ns;
  if (c->ticks % LONG_TICKS != 0 || !e->real_clock) return;
  int64_t now_ns = lub_engine_now_ns(e), without_ns = now_ns - c->looked_ns - c->used_ns;
  c->starves = c->looked_ns && without_ns > c->used_ns && !sleeps(c->tid);
  if (c->starves) c->starved_ns += without_ns;
  c->looked_ns = now_ns;
  c->used_ns = 0;
}

/* Silence is not the fault of who was given no CPU. Releases the lock meanwhile. */
static void tell_starved_locked(lub_engine *e) {
  const lub_judging *judging = atomic_load(&e->judging);
  for (int i = 0; i < e->threads && judging; i++) {
    lub_carrier *c = &e->carriers[i];
    const lub_worker *w = atomic_load(&c->current);
    int64_t ns = c->starved_ns;
    if (ns < STARVED_NS || !w) continue;
    c->starved_ns = 0;
    pthread_mutex_unlock(&e->lock);
    judging->starved(e, w, ns);
    pthread_mutex_lock(&e->lock);
  }
}

/* The thread of a pinned worker that runs fibers: one that does not switch is interrupted. */
static bool watch_pinned_locked(lub_engine *e, lub_worker *w) {
  uint32_t steps = atomic_load(&w->steps);
  if (!atomic_load(&w->driven) || atomic_load(&w->state) == LUB_ASLEEP) {
    w->seen_steps = steps - 1; /* what it has used meanwhile does not count */
    return false;
  }
  int64_t used_ns = used_cpu_ns(w->thread, &w->seen_cpu_ns);
  w->ran_ns = steps == w->seen_steps ? w->ran_ns + run_ns(used_ns, w->tid) : 0;
  w->seen_steps = steps;
  if (w->ran_ns < LONG_NS || !e->opts.preempt_signal) return true;
  w->ran_ns = 0;
  atomic_store(&w->over_steps, steps);
  (void)pthread_kill(w->thread, e->opts.preempt_signal);
  return true;
}

/* Gives c's place to a spare; c becomes one when its slice ends. */
static void replace_locked(lub_engine *e, lub_carrier *c) {
  lub_place *p = atomic_load(&c->place);
  lub_link *k = lub_list_pop(&e->spares);
  if (k) {
    lub_sleeper *s = lub_container(k, lub_sleeper, link);
    for (int i = 0; i < e->threads; i++)
      if (e->carriers[i].sleeper == s) atomic_store(&e->carriers[i].place, p);
    lub_engine_awake_locked(e);
    lub_sleeper_wake_locked(s);
  } else if (e->threads == e->max_threads || start_thread_locked(e, p) != LUB_OK) {
    if (!e->bound_told && e->opts.log)
      e->opts.log(e->opts.ud, "every carrier is inside a C call and the bound on threads (max_carriers) is "
                              "reached: workers wait until a call returns");
    e->bound_told = true;
    return;
  }
  atomic_store(&c->place, NULL);
}

void lub_carriers_leave_place_locked(lub_engine *e) {
  if (self && self->engine == e && e->threads && atomic_load(&self->place)) replace_locked(e, self);
}

/* A worker that was woken here and waits behind a slice that goes on: others may take it from now on. */
static void offer_next_locked(lub_engine *e, lub_place *p) {
  if (atomic_load(&e->idle) == 0) return;
  lub_worker *w = pop_next(p);
  if (w) push_place(p, w);
  if (have_work(e)) (void)wake_idler_locked(e);
}

/* What its handler will find: the slice ends, or is over for the fiber that runs. */
static void tell_over(lub_carrier *c, bool now, uint32_t steps) {
  if (now) atomic_store(&c->over_steps, steps);
  if (now || atomic_load(&c->over) != LUB_SLICE_IS_OVER)
    atomic_store(&c->over, now ? LUB_SLICE_IS_OVER : LUB_SLICE_ENDS);
}

/* c->current may be freed meanwhile: it is compared, never followed. Whether a signal is due is decided
 * in lub_interrupted, on the carrier itself. */
static bool watch_carrier_locked(lub_engine *e, lub_carrier *c) {
  lub_worker *w = atomic_load(&c->current);
  lub_place *p = atomic_load(&c->place);
  uint32_t slices = atomic_load(&c->slices);
  uint32_t steps = atomic_load(&c->steps);
  int64_t used_ns = w ? used_cpu_ns(c->thread, &c->seen_cpu_ns) : 0;
  bool same = steps == c->seen_steps;
  c->seen_steps = steps;
  if (!w || slices != c->seen_slices) {
    c->seen_slices = slices;
    c->ticks = 0;
    c->blocked = c->moved = c->signalled = c->starves = false;
    c->looked_ns = c->starved_ns = c->ran_ns = c->told_ns = 0;
    return w != NULL;
  }
  c->ticks++;
  c->ran_ns = same ? c->ran_ns + run_ns(used_ns, c->tid) : 0;
  if (!same || atomic_load(&c->over) == LUB_SLICE_GOES_ON) c->told_ns = 0; /* nobody waited then */
  if (p) offer_next_locked(e, p);
  if (c->ticks < LONG_TICKS) {
    (void)end_lent_locked(e, c); /* a fiber of its own worker may have been woken, too */
    return true;
  }
  bool burns = used_ns > LITTLE_NS;
  watch_cpu_locked(e, c, used_ns);
  c->blocked = !burns;
  /* a thread that used none is inside one call that blocks: a signal would only break that call. One that used a little
   * may go from one such call to the next for ever; what the last signal cost does not count */
  c->moved |= used_ns > (c->signalled ? LITTLE_NS : 0);
  bool others_wait = atomic_load(&e->waiting) || is_waited_at(p);
  bool over = c->ran_ns >= c->told_ns + LONG_NS; /* the fiber itself, not its siblings before it */
  bool in_c = c->told_ns ? c->ran_ns >= c->told_ns + TICK_NS : !burns && sleeps(c->tid);
  c->signalled = c->moved && e->opts.preempt_signal && ((over && others_wait) || c->ticks % LONG_TICKS == 0);
  if (c->signalled) {
    tell_over(c, over, steps);
    (void)pthread_kill(c->thread, e->opts.preempt_signal);
    c->moved = false;
    if (over) c->told_ns = c->ran_ns;
  }
  if (!e->opts.preempt_signal) in_c |= c->ticks > LONG_TICKS; /* it cannot be told to leave */
  if (p && others_wait && in_c && !atomic_load(&e->idle)) {
    replace_locked(e, c);
    if (!atomic_load(&c->place)) tell_over(c, true, steps); /* it hears of that with the next signal */
  }
  return true;
}

static bool watch_all_locked(lub_engine *e) {
  bool busy = false;
  for (int i = 0; i < e->threads; i++) busy |= watch_carrier_locked(e, &e->carriers[i]);
  for (lub_link *k = lub_list_first(&e->pinned); k; k = lub_list_next(&e->pinned, k))
    busy |= watch_pinned_locked(e, lub_container(k, lub_worker, pin));
  return busy;
}

/* No sleeper waits for the next timer: who did was woken for something else, or it was started since by a thread that
 * still runs. Or he is late. */
static void keep_timers_locked(lub_engine *e) {
  int64_t next_ns = lub_engine_next_timer(e);
  if (next_ns >= e->keeper_ns && !(e->real_clock && next_ns <= lub_engine_now_ns(e))) return;
  lub_engine_stir_locked(e, NULL);
  lub_engine_awake_locked(e);
  pthread_mutex_unlock(&e->lock);
  lub_engine_run_timers(e);
  pthread_mutex_lock(&e->lock);
  lub_engine_asleep_locked(e);
}

static int64_t complain_locked(lub_engine *e) {
  if (lub_list_empty(&e->complaints)) return LUB_NEVER;
  pthread_mutex_unlock(&e->lock);
  int64_t again_ns = lub_engine_complain(e, false);
  pthread_mutex_lock(&e->lock);
  return again_ns;
}

/* The judge of hearts may have been as late as the watcher. */
static void tell_late_locked(lub_engine *e, int64_t due_ns) {
  const lub_judging *judging = atomic_load(&e->judging);
  if (!judging || due_ns == LUB_NEVER) return;
  pthread_mutex_unlock(&e->lock);
  judging->late(e, due_ns, lub_engine_now_ns(e));
  pthread_mutex_lock(&e->lock);
}

static bool hogs_run(const lub_engine *e) { return e->real_clock && atomic_load(&e->hogs); }

/* Whether somebody was woken who waits for hogs. */
static bool hogs_are_in_the_way(lub_engine *e) {
  bool wanted = atomic_load(&e->woken);
  for (int i = 0; i < e->threads && !wanted; i++)
    wanted = atomic_load(&e->carriers[i].hogs) && is_waited_at(atomic_load(&e->carriers[i].place));
  return wanted;
}

/* When such a one or a timer needs the watcher; `latest` if not before. A host's thread may keep the timers, but, where every
 * CPU computes, be late. */
static int64_t needed_ns(lub_engine *e, int64_t latest) {
  int64_t now_ns = lub_engine_now_ns(e), due_ns = lub_engine_next_timer(e);
  if (due_ns >= e->keeper_ns && atomic_load(&e->idle)) due_ns = LUB_NEVER;
  if (hogs_are_in_the_way(e) && due_ns > now_ns + LENT_NS) due_ns = now_ns + LENT_NS;
  if (due_ns < now_ns + LITTLE_NS) due_ns = now_ns + LITTLE_NS;
  return due_ns < latest ? due_ns : latest;
}

/* Until then. While hogs run, nobody else may see to the timers, and to who waits for the hogs. */
static void pause_locked(lub_engine *e, int64_t until_ns) {
  int64_t due_ns = 0;
  while (due_ns < until_ns && !atomic_load(&e->stopping)) {
    atomic_store(&e->watch_ns, until_ns); /* first: who starts a timer meanwhile sees this, or is seen */
    due_ns = until_ns < LUB_NEVER && hogs_run(e) ? needed_ns(e, until_ns) : until_ns;
    atomic_store(&e->watch_ns, due_ns);
    lub_engine_wait_locked(e, &e->watch, due_ns);
    atomic_store(&e->watch_ns, 0);
    if (!hogs_run(e) || lub_engine_now_ns(e) >= until_ns) continue;
    due_ns = 0;
    keep_timers_locked(e);
    if (hogs_are_in_the_way(e)) make_way_locked(e);
  }
}

static void *watch(void *arg) {
  lub_engine *e = arg;
  int quiet = 0;
  pthread_mutex_lock(&e->lock);
  while (!atomic_load(&e->stopping)) {
    bool busy = watch_all_locked(e);
    tell_starved_locked(e);
    keep_timers_locked(e);
    quiet = busy ? 0 : quiet + 1;
    if (quiet == QUIET_LOOKS) {
      atomic_store(&e->watching, true); /* and look once more: pairs with lub_carriers_watch */
      continue;
    }
    int64_t complain_ns = complain_locked(e);
    bool may_sleep = quiet > QUIET_LOOKS && atomic_load(&e->watching); /* nobody has called since */
    int64_t pause_ns = TICK_NS << (quiet > QUIET_LOOKS ? 0 : quiet);
    int64_t now_ns = lub_engine_now_ns(e), until_ns = may_sleep ? LUB_NEVER : now_ns + pause_ns;
    atomic_store_explicit(&e->tick_ns, until_ns < LUB_NEVER && e->real_clock ? now_ns : 0,
                          memory_order_relaxed);
    pause_locked(e, complain_ns < until_ns ? complain_ns : until_ns);
    tell_late_locked(e, until_ns);
    if (quiet > QUIET_LOOKS) quiet = 0; /* who woke it may not show as running yet: look some ticks longer */
    if (quiet == 0) atomic_store(&e->watching, false);
  }
  pthread_mutex_unlock(&e->lock);
  return NULL;
}

bool lub_carriers_in_c(lub_engine *e, lub_worker *w) {
  bool in_c = w->in_call;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->threads && !in_c; i++) {
    lub_carrier *c = &e->carriers[i];
    /* one that lost its place was asked to leave, and did not */
    in_c = atomic_load(&c->current) == w && !c->starves &&
           (!atomic_load(&c->place) || (c->blocked && sleeps(c->tid)));
  }
  pthread_mutex_unlock(&e->lock);
  return in_c;
}

void lub_carriers_interrupt(lub_engine *e, lub_worker *w) {
  if (!e->opts.preempt_signal) return;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->threads || i == 0; i++) /* one steps where there are no threads */
    if (atomic_load(&e->carriers[i].current) == w && (!e->threads || e->carriers[i].sleeper != NULL))
      (void)pthread_kill(e->carriers[i].thread, e->opts.preempt_signal);
  pthread_mutex_unlock(&e->lock);
}

int lub_carriers_slice(void) {
  const lub_worker *w = lub_worker_current();
  if (!self)
    return w && atomic_load(&w->over_steps) == atomic_load(&w->steps) ? LUB_SLICE_IS_OVER : LUB_SLICE_GOES_ON;
  int over = atomic_load(&self->over);
  bool another = over == LUB_SLICE_IS_OVER && atomic_load(&self->over_steps) != atomic_load(&self->steps);
  if (another) return LUB_SLICE_ENDS; /* that fiber has gone */
  return over == LUB_SLICE_IS_LENT && !atomic_load(&self->hogs) ? LUB_SLICE_GOES_ON : over;
}

void lub_carriers_stay(void) {
  if (self) atomic_store(&self->over, LUB_SLICE_GOES_ON);
}

/* ---- host-run engines -------------------------------------------------------------------------------------- */

/* The host's thread may end when it has stepped: it gets signals only while `current` stands, under the lock. */
static void set_stepped(lub_carrier *c, lub_worker *w) {
  pthread_mutex_lock(&c->engine->lock);
  c->thread = pthread_self();
  atomic_store(&c->current, w);
  pthread_mutex_unlock(&c->engine->lock);
}

bool lub_carriers_step(lub_engine *e) {
  lub_carrier *before = self, *c = &e->carriers[0];
  self = c;
  lub_fiber *f = e->opts.choose ? lub_turns_next(e) : NULL;
  lub_worker *w = f ? f->worker : e->opts.choose ? NULL : take_own(e, c, atomic_load(&c->place));
  if (w) {
    if (e->opts.preempt_signal) set_stepped(c, w);
    if (f) lub_turns_run(e, f);
    else lub_carriers_run_slice(w);
    if (e->opts.preempt_signal) set_stepped(c, NULL);
  }
  self = before;
  return w != NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

int lub_cpus(void) {
#ifdef __linux__
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > LUB_CARRIERS_MAX ? LUB_CARRIERS_MAX : (int)n;
}

static lub_status make_places(lub_engine *e) {
  e->nplaces = e->opts.carriers > 0 ? e->opts.carriers : 1;
  if (e->opts.max_carriers < e->nplaces) e->opts.max_carriers = e->nplaces;
  e->max_threads = e->opts.max_carriers;
  if (!(e->places = lub_alloc(&e->mem, (size_t)e->nplaces * sizeof *e->places))) return LUB_NOMEM;
  for (int i = 0; i < e->nplaces; i++) {
    lub_place *p = &e->places[i];
    memset(p, 0, sizeof *p);
    lub_list_init(&p->queue);
    pthread_mutex_init(&p->lock, NULL);
  }
  size_t nbytes = (size_t)e->max_threads * sizeof *e->carriers;
  if (!(e->carriers = lub_alloc(&e->mem, nbytes))) return LUB_NOMEM;
  memset(e->carriers, 0, nbytes);
  e->carriers[0].engine = e;
  atomic_store(&e->carriers[0].place, &e->places[0]);
  return LUB_OK;
}

static void free_places(lub_engine *e) {
  for (int i = 0; i < e->nplaces && e->places; i++) pthread_mutex_destroy(&e->places[i].lock);
  lub_free(&e->mem, e->places);
  lub_free(&e->mem, e->carriers);
  e->places = NULL;
  e->carriers = NULL;
  e->threads = 0;
}

static lub_status start_all(lub_engine *e) {
  lub_status status = LUB_OK;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->nplaces && status == LUB_OK; i++) status = start_thread_locked(e, &e->places[i]);
  if (status == LUB_OK && pthread_create(&e->watcher, NULL, watch, e)) status = LUB_THREAD;
  e->watcher_runs = status == LUB_OK;
  pthread_mutex_unlock(&e->lock);
  return status;
}

lub_status lub_carriers_open(lub_engine *e) {
  lub_status status = make_places(e);
  if (status == LUB_OK && e->opts.carriers > 0) status = start_all(e);
  if (status != LUB_OK) lub_carriers_close(e);
  return status;
}

void lub_carriers_close(lub_engine *e) {
  if (!e->places) return; /* an engine that was kept open by references closes once more */
  pthread_mutex_lock(&e->lock);
  atomic_store(&e->stopping, true);
  pthread_cond_broadcast(&e->watch);
  pthread_mutex_unlock(&e->lock);
  if (e->watcher_runs)
    pthread_join(e->watcher, NULL); /* first: it is the only one who starts more carriers */
  pthread_mutex_lock(&e->lock);
  while (wake_idler_locked(e)) continue;
  for (lub_link *k; (k = lub_list_pop(&e->spares));) {
    lub_engine_awake_locked(e);
    lub_sleeper_wake_locked(lub_container(k, lub_sleeper, link));
  }
  pthread_mutex_unlock(&e->lock);
  for (int i = 0; i < e->threads; i++) pthread_join(e->carriers[i].thread, NULL);
  free_places(e);
}
