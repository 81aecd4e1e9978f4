/* carrier.c - see carrier.h.
 *
 * IDLE. No wake is lost between a carrier that goes idle and a thread that queues a worker: the one adds itself to
 * `idle` and then reads the queues' lengths, the other adds to a length and then reads `idle`; all four are
 * sequentially consistent, so at least one sees the other. For what a place keeps (talk.h) nobody is woken but by who ends
 * the keeping; its own carrier does not go idle before its queue is empty, and who gives workers back to it reads whether it
 * has. */
#include "carrier.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "engine.h"

enum {
  ALARM_NS = 100000, /* the watcher may be so late before a hog hears of it from the kernel */
  BRIEF_NS = 50000,  /* too short to tell whether a thread computes */
  SPIN = 100,        /* looks around before a carrier sleeps */
  TIMER_TURNS = 8,   /* slices between two looks at the clock */
  FAIR_TURNS = 16,   /* ... before the queue comes before `next` */
  GLOBAL_TURNS = 61, /* ... before the engine's queue comes before the place's (Go's schedtick) */
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

/* For the carrier that has p, or, without it, one that has an empty place. */
static bool have_work(lub_engine *e, const lub_place *p) {
  if (atomic_load(&e->waiting) || (p && atomic_load(&p->length))) return true;
  for (int i = 0; i < e->nplaces; i++)
    if (lub_place_offers(&e->places[i])) return true;
  return false;
}

bool lub_carriers_have_work_locked(lub_engine *e) {
  bool any = atomic_load(&e->waiting);
  for (int i = 0; i < e->nplaces && !any; i++) any = lub_place_is_waited_at(&e->places[i]);
  return any;
}

bool lub_carriers_run_beside(const lub_engine *e) {
  int others = e->nplaces - (self && self->engine == e);
  return e->opts.carriers > 0 && atomic_load_explicit(&e->idle, memory_order_relaxed) < others;
}

bool lub_engine_others_wait(lub_engine *e, bool woken) {
  lub_place *p = self ? atomic_load_explicit(&self->place, memory_order_relaxed) : NULL;
  if (self && !p) return true; /* it seemed to be in a call that blocks, and somebody has its place */
  return atomic_load_explicit(woken ? &e->woken : &e->waiting, memory_order_relaxed) > 0 ||
         lub_place_is_waited_at(p);
}

clockid_t lub_cpu_clock(void) {
  clockid_t clock;
  return pthread_getcpuclockid(pthread_self(), &clock) ? -1 : clock;
}

long lub_thread_id(void) {
#ifdef __linux__
  return syscall(SYS_gettid);
#else
  return 0;
#endif
}

void lub_thread_prompt(void) {
#ifdef __linux__
  (void)prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL); /* ns */
#endif
}

/* ---- waking carriers --------------------------------------------------------------------------------------- */

/* Who is to be signalled, or NULL. */
static lub_sleeper *take_idler_locked(lub_engine *e) {
  lub_link *k = e->idlers.root.prev; /* the newest: its caches are warm */
  if (k == &e->idlers.root) return NULL;
  lub_list_remove(k);
  atomic_fetch_sub(&e->idle, 1);
  atomic_fetch_add(&e->searching, 1);
  lub_engine_awake_locked(e);
  lub_sleeper *s = lub_container(k, lub_sleeper, link);
  s->woken = true;
  return s;
}

static bool wake_idler_locked(lub_engine *e) {
  lub_sleeper *s = take_idler_locked(e);
  if (s) pthread_cond_signal(&s->wakeup);
  return s;
}

/* Those that run use all CPUs: one more would only take its share from them. */
static bool is_crowded(lub_engine *e) {
  return lub_unlikely(atomic_load(&e->crowded)) && e->nplaces - atomic_load(&e->idle) >= e->cpus &&
         !atomic_load(&e->hogs);
}

/* Whether another carrier should run. What lies where one runs can wait for that, if it is crowded. */
static bool need_another(lub_engine *e) {
  if (atomic_load(&e->idle) == 0) return false;
  if (!is_crowded(e) || atomic_load(&e->waiting)) return have_work(e, NULL);
  bool need = false;
  for (int i = 0; i < e->nplaces && !need; i++)
    need = atomic_load(&e->places[i].idle) && lub_place_offers(&e->places[i]);
  return need;
}

/* One at a time: who finds work wakes the next (Go's wakep). */
static void wake_one(lub_engine *e) {
  if (atomic_load(&e->idle) == 0 || atomic_load(&e->searching) > 0) {
    if (e->opts.carriers < 0 && e->opts.wake) e->opts.wake(e->opts.ud); /* nobody sleeps in a step */
    return;
  }
  pthread_mutex_lock(&e->lock);
  lub_sleeper *s = atomic_load(&e->searching) == 0 ? take_idler_locked(e) : NULL;
  bool stays = e->threads; /* a carrier's does, a thread's that steps not */
  if (s && !stays) pthread_cond_signal(&s->wakeup);
  pthread_mutex_unlock(&e->lock);
  if (s && stays) pthread_cond_signal(&s->wakeup); /* or it would wake to wait for the lock */
}

/* ---- hogs -------------------------------------------------------------------------------------------------- */

/* When the calling thread's hog is to leave: when it has had its share, if somebody waits, else for the next timer. */
static int64_t hog_ends_ns(int64_t now_ns) {
  if (!lub_engine_others_wait(self->engine, true)) return lub_engine_next_timer(self->engine);
  return now_ns + LUB_LENT_NS - (lub_clock_ns(CLOCK_THREAD_CPUTIME_ID) - atomic_load(&self->began_ns));
}

/* The watcher tells it then; should that be late, the alarm. */
static void mind_hog(void) {
  lub_engine *e = self->engine;
  if (atomic_load(&e->idle) || !e->real_clock) return; /* who is idle sees to timers, and to who waits */
  int64_t ends_ns = hog_ends_ns(lub_engine_now_ns(e));
  if (ends_ns == LUB_NEVER) return;
  lub_watcher_mind_hog(e, ends_ns);
  (void)lub_carriers_set_alarm(self, ends_ns);
}

/* Nobody has told it, but it is time. If it is not yet, the alarm comes again. */
static bool hog_is_over(void) {
  lub_engine *e = self->engine;
  if (!atomic_load(&self->hogs) || !e->real_clock) return false;
  int64_t now_ns = lub_engine_now_ns(e), ends_ns = hog_ends_ns(now_ns);
  if (ends_ns > now_ns && ends_ns < LUB_NEVER && atomic_load(&self->alarm.set))
    (void)lub_carriers_set_alarm(self, ends_ns);
  return ends_ns <= now_ns;
}

void lub_carriers_lend(bool lent) {
  if (!self) return;
  if (lent) atomic_store(&self->began_ns, lub_clock_ns(CLOCK_THREAD_CPUTIME_ID));
  if (lub_likely(atomic_load_explicit(&self->hogs, memory_order_relaxed) == lent)) return;
  atomic_store(&self->hogs, lent);
  atomic_fetch_add(&self->engine->hogs, lent ? 1 : -1);
  if (lent) {
    mind_hog();
    return;
  }
  lub_alarm_stop(&self->alarm);
  lub_engine_look_at_timers(self->engine);
}

/* ---- queueing ---------------------------------------------------------------------------------------------- */

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
    lub_watcher_make_way(e);
    return;
  }
  /* what this thread did to w is seen by the carrier that takes it */
  lub_worker *second = atomic_exchange(&p->next, w);
  /* lost meanwhile: who has it now may have found nothing, and sleep */
  if (lub_unlikely(atomic_load(&self->place) != p)) {
    lub_worker *mine = lub_place_pop_next(p);
    if (second) push_global(e, second, false);
    if (mine) push_global(e, mine, false);
    wake_one(e);
    return;
  }
  if (lub_unlikely(atomic_load_explicit(&self->hogs, memory_order_relaxed))) mind_hog();
  if (lub_likely(!second))
    return; /* it runs here, soon: waking another carrier would cost more than it waits */
  lub_place_push(p, second);
  if (!atomic_load(&p->kept) && !is_crowded(e)) wake_one(e);
}

/* ---- a carrier's life --------------------------------------------------------------------------------------- */

void lub_carriers_run_slice(lub_worker *w) {
  lub_engine *e = w->engine;
  atomic_store(&w->state, LUB_RUNNING);
  atomic_store_explicit(&w->preempt, false, memory_order_relaxed);
  atomic_store_explicit(&w->clock, self ? &self->clock : &w->own, memory_order_relaxed);
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
  if (lub_unlikely(turn % TIMER_TURNS == 0)) lub_engine_look_at_timers(e);
  /* who had its slice comes first every second time: hogs always wait */
  if (lub_unlikely(turn % GLOBAL_TURNS == 0)) w = pop_global(e, turn / GLOBAL_TURNS % 2);
  if (lub_unlikely(!w && turn % FAIR_TURNS == 0)) w = lub_place_pop(p);
  if (lub_likely(!w)) w = lub_place_pop_next(p);
  if (!w) w = lub_place_pop(p);
  return w ? w : pop_global(e, false);
}

static lub_worker *steal(lub_engine *e, lub_place *p) {
  for (int k = 1; k < e->nplaces; k++) {
    lub_place *from = &e->places[(p - e->places + k) % e->nplaces];
    lub_worker *w = lub_place_steal(p, from);
    if (!w) continue;
    lub_talk_stole(self, from);
    return w;
  }
  return NULL;
}

/* All that waits at p, to be kept there. Its carrier may have gone to sleep. */
static void give_back(lub_engine *e, lub_place *p, lub_place *to) {
  lub_worker *w;
  while ((w = lub_place_pop_next(p)) || (w = lub_place_pop(p))) lub_place_push(to, w);
  if (!atomic_load(&to->idle)) return; /* IDLE */
  atomic_store(&to->kept, 0);
  wake_one(e);
}

static inline void weigh(lub_carrier *c) {
  lub_place *p = atomic_load_explicit(&c->place, memory_order_relaxed);
  bool kept = p && atomic_load_explicit(&p->kept, memory_order_relaxed);
  if (lub_likely(!kept && !c->scales.from && !c->scales.alone)) return;
  lub_place *to = p ? lub_talk_weigh(c, p) : NULL;
  if (to && to != p) give_back(c->engine, p, to);
  else if (to && lub_place_offers(p)) wake_one(c->engine);
}

/* Looks around for a while if others run, who may soon have work for two. */
static lub_worker *search(lub_engine *e, lub_place *p) {
  int rounds = atomic_load(&e->idle) + atomic_load(&e->searching) < e->nplaces ? SPIN : 1;
  for (int i = 0; i < rounds; i++) {
    lub_worker *w = pop_global(e, false);
    if (!w) w = steal(e, p);
    if (w) return w;
    lub_pause();
  }
  return NULL;
}

/* Waits as a spare for a place. False: the engine stops. */
static bool wait_for_place(lub_carrier *c) {
  lub_engine *e = c->engine;
  c->scales = (lub_scales){0};
  pthread_mutex_lock(&e->lock);
  if (!atomic_load(&c->place) && !atomic_load(&e->stopping)) {
    lub_list_push(&e->spares, &c->sleeper.link);
    c->sleeper.woken = false;
    lub_engine_stir_locked(e, NULL); /* a spare keeps no timers */
    lub_engine_asleep_locked(e);
    while (!c->sleeper.woken) pthread_cond_wait(&c->sleeper.wakeup, &e->lock);
    if (lub_link_queued(&c->sleeper.link)) lub_list_remove(&c->sleeper.link);
  }
  pthread_mutex_unlock(&e->lock);
  return !atomic_load(&e->stopping);
}

/* Sleeps until there may be work; fires timers if that is this carrier's duty. */
static void idle(lub_carrier *c) {
  lub_engine *e = c->engine;
  lub_sleeper *s = &c->sleeper;
  lub_place *p = NULL;
  lub_talk_pause(c);
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->idlers, &s->link);
  s->woken = false;
  atomic_fetch_add(&e->idle, 1); /* IDLE */
  if ((p = atomic_load(&c->place))) atomic_store(&p->idle, true);
  /* without its place it would take a wake that is meant for whoever has it */
  if (!p || have_work(e, p) || atomic_load(&e->stopping)) {
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
  if (p) atomic_store(&p->idle, false);
  pthread_mutex_unlock(&e->lock);
  lub_talk_go_on(c);
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
    if (lub_unlikely(searched) && need_another(e)) wake_one(e);
    return w;
  }
}

static void *carry(void *arg) {
  lub_carrier *c = arg;
  lub_worker *w;
  pthread_mutex_lock(&c->engine->lock);
  c->lives = true;
  c->tid = lub_thread_id();
  c->cpu = lub_cpu_clock();
  if (c->engine->opts.preempt_signal) lub_alarm_open(&c->alarm, c->tid, c->engine->opts.preempt_signal);
  pthread_mutex_unlock(&c->engine->lock);
  self = c;
  lub_thread_prompt();
  while ((w = find_work(c))) {
    atomic_store(&c->current, w);
    lub_watcher_rouse(c->engine);
    atomic_store_explicit(&c->over, LUB_SLICE_GOES_ON, memory_order_relaxed);
    lub_carriers_run_slice(w);
    /* the watcher may see them late */
    atomic_store_explicit(&c->slices, c->slices + 1, memory_order_relaxed);
    atomic_store_explicit(&c->current, NULL, memory_order_release);
    weigh(c);
  }
  pthread_mutex_lock(&c->engine->lock);
  c->lives = false;
  lub_alarm_close(&c->alarm);
  pthread_mutex_unlock(&c->engine->lock);
  return NULL;
}

static lub_status start_thread_locked(lub_engine *e, lub_place *p) {
  lub_carrier *c = &e->carriers[e->threads];
  *c = (lub_carrier){.engine = e};
  atomic_init(&c->place, p);
  lub_sleeper_init(&c->sleeper, NULL);
  if (pthread_create(&c->thread, NULL, carry, c)) {
    lub_sleeper_close(&c->sleeper);
    return LUB_THREAD;
  }
  e->threads++;
  lub_engine_awake_locked(e);
  return LUB_OK;
}

static void tell_bound_locked(lub_engine *e) {
  static const char reached[] = "every carrier is inside a C call and the bound on threads (max_carriers) is "
                                "reached: workers wait until a call returns";
  static const char refused[] = "a carrier is inside a C call and no thread can be started in its place: "
                                "workers may have to wait until the call returns";
  if (!e->bound_told && e->opts.log)
    e->opts.log(e->opts.ud, e->threads == e->max_threads ? reached : refused);
  e->bound_told = true;
}

void lub_carriers_replace_locked(lub_engine *e, lub_carrier *c) {
  lub_place *p = atomic_load(&c->place);
  lub_link *k = lub_list_pop(&e->spares);
  if (k) {
    lub_sleeper *s = lub_container(k, lub_sleeper, link);
    for (int i = 0; i < e->threads; i++)
      if (&e->carriers[i].sleeper == s) atomic_store(&e->carriers[i].place, p);
    lub_engine_awake_locked(e);
    lub_sleeper_wake_locked(s);
  } else if (e->threads == e->max_threads || start_thread_locked(e, p) != LUB_OK) {
    tell_bound_locked(e);
    return;
  }
  atomic_store(&c->place, NULL);
}

void lub_carriers_leave_place_locked(lub_engine *e) {
  if (self && self->engine == e && e->threads && atomic_load(&self->place))
    lub_carriers_replace_locked(e, self);
}

void lub_carriers_offer_locked(lub_engine *e, lub_place *p) {
  atomic_store(&p->kept, 0);
  if (atomic_load(&e->idle) == 0) return;
  lub_worker *w = lub_place_pop_next(p);
  if (w) lub_place_push(p, w);
  if (have_work(e, NULL)) (void)wake_idler_locked(e);
}

void lub_carriers_crowd_locked(lub_engine *e, bool crowded) {
  if (atomic_exchange(&e->crowded, crowded) && need_another(e)) (void)wake_idler_locked(e);
}

void lub_carriers_tick_locked(lub_engine *e, lub_place *p) {
  if (lub_talk_tick(p) && !is_crowded(e) && lub_place_offers(p)) (void)wake_idler_locked(e);
}

void lub_carriers_interrupt(lub_engine *e, lub_worker *w) {
  if (!e->opts.preempt_signal) return;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->threads || i == 0; i++) /* one steps where there are no threads */
    if (atomic_load(&e->carriers[i].current) == w && (!e->threads || e->carriers[i].lives))
      (void)pthread_kill(e->carriers[i].thread, e->opts.preempt_signal);
  pthread_mutex_unlock(&e->lock);
}

/* By what its thread has used since it was last asked; a short while ago it was as it is. Two may ask at once: then one of
 * them sees a shorter while. */
static bool computes(lub_carrier *c, int64_t now_ns) {
  int64_t spent_ns = now_ns - atomic_load(&c->asked_ns);
  if (spent_ns < BRIEF_NS) return atomic_load(&c->computes);
  int64_t cpu_ns = lub_clock_ns(c->cpu), used_ns = cpu_ns - atomic_exchange(&c->asked_cpu_ns, cpu_ns);
  atomic_store(&c->asked_ns, now_ns);
  atomic_store(&c->computes, used_ns >= spent_ns / 2);
  return used_ns >= spent_ns / 2;
}

bool lub_carriers_set_alarm(lub_carrier *c, int64_t when_ns) {
  bool set = computes(c, lub_engine_now_ns(c->engine));
  if (set) lub_alarm_set(&c->alarm, when_ns + ALARM_NS);
  else lub_alarm_stop(&c->alarm);
  return set;
}

bool lub_carriers_keep_a_timer(void) {
  lub_engine *e = self ? self->engine : NULL;
  return e && e->real_clock && atomic_load(&self->hogs) && lub_engine_next_timer(e) <= lub_engine_now_ns(e);
}

int lub_carriers_slice(void) {
  const lub_worker *w = lub_worker_current();
  if (!self)
    return w && atomic_load(&w->over_steps) == atomic_load(&w->own.steps) ? LUB_SLICE_IS_OVER
                                                                          : LUB_SLICE_GOES_ON;
  int over = atomic_load(&self->over);
  bool another =
      over == LUB_SLICE_IS_OVER && atomic_load(&self->over_steps) != atomic_load(&self->clock.steps);
  if (another) return LUB_SLICE_ENDS; /* that fiber has gone */
  if (over == LUB_SLICE_GOES_ON && hog_is_over()) return LUB_SLICE_IS_LENT;
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
  e->cpus = lub_cpus();
  atomic_store(&e->crowded, e->nplaces > e->cpus); /* until it is seen that they leave some */
  if (e->opts.max_carriers < e->nplaces) e->opts.max_carriers = e->nplaces;
  e->max_threads = e->opts.max_carriers;
  if (!(e->places = lub_alloc(&e->mem, (size_t)e->nplaces * sizeof *e->places))) return LUB_NOMEM;
  for (int i = 0; i < e->nplaces; i++) lub_place_init(&e->places[i]);
  size_t nbytes = (size_t)e->max_threads * sizeof *e->carriers;
  if (!(e->carriers = lub_alloc(&e->mem, nbytes))) return LUB_NOMEM;
  memset(e->carriers, 0, nbytes);
  e->carriers[0].engine = e;
  atomic_store(&e->carriers[0].place, &e->places[0]);
  return LUB_OK;
}

static void free_places(lub_engine *e) {
  for (int i = 0; i < e->nplaces && e->places; i++) lub_place_close(&e->places[i]);
  for (int i = 0; i < e->threads; i++) lub_sleeper_close(&e->carriers[i].sleeper);
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
  if (status == LUB_OK) status = lub_watcher_open_locked(e);
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
  pthread_mutex_unlock(&e->lock);
  lub_watcher_close(e); /* first: it starts more carriers */
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
