/* watcher.c - see watcher.h. */
#include "watcher.h"

#include <signal.h>
#include <string.h>
#ifdef __linux__
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#endif

#include "engine.h"

enum {
  TICK_NS = 2500000,        /* its period while anything runs */
  LITTLE_NS = TICK_NS / 10, /* of CPU between two looks: it does not compute */
  LONG_TICKS = 4,           /* a slice of 10 ms is long */
  LONG_NS = LONG_TICKS * TICK_NS,
  STARVED_NS = 20000000, /* without CPU: hearts are told of */
  QUIET_LOOKS = 3,       /* with twice the time between them each, after which it sleeps */
};

/* ---- long slices ---------------------------------------------------------------------------------------- */

/* Whether a thread sleeps in the kernel: one that has used no CPU may as well have been given none. */
static bool sleeps(long tid) {
#ifdef __linux__
  char path[64], text[256];
  (void)snprintf(path, sizeof path, "/proc/self/task/%ld/stat", tid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) (void)close(file);
  if (n <= 0) return true;
  text[n] = 0;
  const char *state = strrchr(text, ')'); /* (name) state */
  return !state || state[1] != ' ' || state[2] != 'R';
#else
  (void)tid;
  return true;
#endif
}

/* Since the last look, *seen_ns. */
static int64_t used_cpu_ns(clockid_t clock, int64_t *seen_ns) {
  int64_t ns = lub_clock_ns(clock), used_ns = ns - *seen_ns;
  if (ns == LUB_NEVER) return TICK_NS;
  *seen_ns = ns;
  return used_ns;
}

/* What a fiber has run meanwhile: CPU, or sleep inside a call. One that wants CPU and is given none does not run. */
static int64_t run_ns(int64_t used_ns, long tid) {
  return used_ns > TICK_NS / 2 || !sleeps(tid) ? used_ns : TICK_NS;
}

/* A signal breaks a call that sleeps: only for what waits for this worker. Others get its place. */
static bool may_not_signal(lub_clock *clock, long tid) {
  return !lub_clock_is_waited_for(clock) && sleeps(tid);
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
  uint32_t steps = atomic_load(&w->own.steps);
  if (!atomic_load(&w->driven) || atomic_load(&w->state) == LUB_ASLEEP) {
    w->seen_steps = steps - 1; /* what it has used meanwhile does not count */
    return false;
  }
  int64_t used_ns = used_cpu_ns(w->cpu, &w->seen_cpu_ns);
  w->ran_ns = steps == w->seen_steps ? w->ran_ns + run_ns(used_ns, w->tid) : 0;
  w->seen_steps = steps;
  if (w->ran_ns < LONG_NS || !e->opts.preempt_signal || may_not_signal(&w->own, w->tid)) return true;
  w->ran_ns = 0;
  atomic_store(&w->over_steps, steps);
  (void)pthread_kill(w->thread, e->opts.preempt_signal);
  return true;
}

/* If c has lent its slice to who computes, and that has had some: somebody else wants it now. One that sleeps is inside a
 * call, which a signal would only break. */
static bool end_lent_locked(lub_engine *e, lub_carrier *c) {
  if (!atomic_load(&c->hogs) || !atomic_load(&c->place) || !e->opts.preempt_signal) return false;
  if (lub_clock_ns(c->cpu) - atomic_load(&c->began_ns) < LUB_LENT_NS || sleeps(c->tid)) return false;
  bool over = atomic_load(&c->over) == LUB_SLICE_IS_OVER;
  /* else it leaves all the sooner */
  if (!over || atomic_load(&c->over_steps) != atomic_load(&c->clock.steps))
    atomic_store(&c->over, LUB_SLICE_IS_LENT);
  return !pthread_kill(c->thread, e->opts.preempt_signal);
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
  uint32_t steps = atomic_load(&c->clock.steps);
  int64_t used_ns = w ? used_cpu_ns(c->cpu, &c->seen_cpu_ns) : 0;
  bool same = steps == c->seen_steps;
  c->seen_steps = steps;
  if (p) lub_carriers_tick_locked(e, p);
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
  if (p) lub_carriers_offer_locked(e, p);
  if (c->ticks < LONG_TICKS) {
    (void)end_lent_locked(e, c); /* a fiber of its own worker may have been woken, too */
    return true;
  }
  bool burns = used_ns > LITTLE_NS;
  watch_cpu_locked(e, c, used_ns);
  c->blocked = !burns;
  /* a thread that used none is inside one call that blocks. One that used a little may go from one such call to the next
   * for ever; what the last signal cost does not count */
  c->moved |= used_ns > (c->signalled ? LITTLE_NS : 0);
  bool others_wait = atomic_load(&e->waiting) || lub_place_is_waited_at(p);
  bool over = c->ran_ns >= c->told_ns + LONG_NS; /* the fiber itself, not its siblings before it */
  bool in_time = c->ticks % LONG_TICKS == 0;
  /* told 10 ms ago to end at a switch, it has switched since, and goes on: inside a C call, which its fiber cannot leave */
  bool drives = c->moved && !over && in_time && atomic_load(&c->over) == LUB_SLICE_ENDS;
  bool in_c = drives || (c->told_ns ? c->ran_ns >= c->told_ns + TICK_NS : !burns && sleeps(c->tid));
  c->signalled = c->moved && e->opts.preempt_signal && ((over && others_wait) || in_time) &&
                 !may_not_signal(&c->clock, c->tid);
  if (c->signalled) {
    tell_over(c, over, steps);
    (void)pthread_kill(c->thread, e->opts.preempt_signal);
    c->moved = false;
    if (over) c->told_ns = c->ran_ns;
  }
  if (!e->opts.preempt_signal) in_c |= c->ticks > LONG_TICKS; /* it cannot be told to leave */
  if (p && others_wait && in_c && !atomic_load(&e->idle)) {
    lub_carriers_replace_locked(e, c);
    if (!atomic_load(&c->place)) tell_over(c, true, steps); /* it hears of that with the next signal */
  }
  return true;
}

/* Whether carriers that are more than the CPUs used all of these since the last look. One that sleeps in a call does not. It is
 * seen when as many as CPUs ran at both looks; else it stays as it was. */
static void watch_crowd_locked(lub_engine *e) {
  if (e->nplaces <= e->cpus) return;
  int64_t now_ns = lub_clock_ns(CLOCK_MONOTONIC), ns = now_ns - e->shared_ns, used_ns = 0;
  for (int i = 0; i < e->threads; i++) {
    lub_carrier *c = &e->carriers[i];
    if (c->lives) used_ns += used_cpu_ns(c->cpu, &c->shared_cpu_ns);
  }
  bool full = e->nplaces - atomic_load(&e->idle) >= e->cpus;
  if (full && e->full) lub_carriers_crowd_locked(e, used_ns / 7 > ns / 8 * e->cpus);
  e->full = full;
  e->shared_ns = now_ns;
}

static bool watch_all_locked(lub_engine *e) {
  bool busy = false;
  watch_crowd_locked(e);
  for (int i = 0; i < e->threads; i++) busy |= watch_carrier_locked(e, &e->carriers[i]);
  for (lub_link *k = lub_list_first(&e->pinned); k; k = lub_list_next(&e->pinned, k))
    busy |= watch_pinned_locked(e, lub_container(k, lub_worker, pin));
  return busy;
}

bool lub_watcher_sees_in_c(lub_engine *e, lub_worker *w) {
  bool in_c = w->in_call;
  pthread_mutex_lock(&e->lock);
  long tid = w->tid;
  for (int i = 0; i < e->threads && !in_c; i++) {
    lub_carrier *c = &e->carriers[i];
    /* one that lost its place was asked to leave, and did not */
    in_c = atomic_load(&c->current) == w && !c->starves &&
           (!atomic_load(&c->place) || (c->blocked && sleeps(c->tid)));
  }
  pthread_mutex_unlock(&e->lock);
  return in_c || (w->pinned && sleeps(tid)); /* without the lock, for which that thread may sleep */
}

/* ---- between two looks, while hogs run --------------------------------------------------------------------- */

/* Every place is taken: one who had more than his share leaves his, first of those who have not been told yet; who waits at
 * a place needs that one. If none has had any, the watcher sees to it. */
static void make_way_locked(lub_engine *e) {
  bool anywhere = atomic_load(&e->woken);
  for (int told = 0; told <= 1; told++)
    for (int i = 0; i < e->threads; i++) {
      lub_carrier *c = &e->carriers[i];
      if ((atomic_load(&c->over) != LUB_SLICE_GOES_ON) == told &&
          (anywhere || lub_place_is_waited_at(atomic_load(&c->place))) && end_lent_locked(e, c))
        return;
    }
}

/* A hog that computes hears of it should the watcher be late: one at whose place somebody waits, if there is such a one. */
static void set_alarm_locked(lub_engine *e, int64_t due_ns) {
  bool set = false;
  for (int waited = 1; waited >= 0 && !set; waited--)
    for (int i = 0; i < e->threads && !set; i++) {
      lub_carrier *c = &e->carriers[i];
      lub_place *p = atomic_load(&c->place);
      if (atomic_load(&c->hogs) && c->lives && p && lub_place_is_waited_at(p) == waited)
        set = lub_carriers_set_alarm(c, due_ns);
    }
}

/* If it will not look before then. */
static void wake_watcher_locked(lub_engine *e, int64_t due_ns) {
  if (due_ns < atomic_load(&e->watch_ns)) pthread_cond_signal(&e->watch);
}

void lub_watcher_make_way(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  int64_t due_ns = lub_engine_now_ns(e) + LUB_LENT_NS; /* nobody may have made way yet */
  make_way_locked(e);
  wake_watcher_locked(e, due_ns);
  set_alarm_locked(e, due_ns);
  pthread_mutex_unlock(&e->lock);
}

void lub_watcher_mind_hog(lub_engine *e, int64_t due_ns) {
  if (due_ns >= atomic_load(&e->watch_ns)) return;
  pthread_mutex_lock(&e->lock);
  wake_watcher_locked(e, due_ns);
  pthread_mutex_unlock(&e->lock);
}

/* No sleeper waits for the next timer: who did was woken for something else, or it was started since by a thread that
 * still runs. Or he is late. */
static void keep_timers_locked(lub_engine *e) {
  int64_t next_ns = lub_engine_next_timer(e);
  if (next_ns >= e->keeper_ns && !(e->real_clock && next_ns <= lub_engine_now_ns(e))) return;
  lub_engine_stir_locked(e, NULL);
  lub_engine_awake_locked(e);
  pthread_mutex_unlock(&e->lock);
  lub_engine_look_at_timers(e);
  pthread_mutex_lock(&e->lock);
  lub_engine_asleep_locked(e);
}

static bool hogs_run(const lub_engine *e) { return e->real_clock && atomic_load(&e->hogs); }

/* Whether somebody was woken who waits for hogs. */
static bool hogs_are_in_the_way(lub_engine *e) {
  bool wanted = atomic_load(&e->woken);
  for (int i = 0; i < e->threads && !wanted; i++)
    wanted = atomic_load(&e->carriers[i].hogs) && lub_place_is_waited_at(atomic_load(&e->carriers[i].place));
  return wanted;
}

/* When such a one or a timer needs the watcher; `latest` if not before. A host's thread may keep the timers, but, where every
 * CPU computes, be late. */
static int64_t needed_ns(lub_engine *e, int64_t latest) {
  int64_t now_ns = lub_engine_now_ns(e), due_ns = lub_engine_next_timer(e);
  if (due_ns >= e->keeper_ns && atomic_load(&e->idle)) due_ns = LUB_NEVER;
  if (hogs_are_in_the_way(e) && due_ns > now_ns + LUB_LENT_NS) due_ns = now_ns + LUB_LENT_NS;
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
    if (due_ns < LUB_NEVER && hogs_run(e)) set_alarm_locked(e, due_ns);
    lub_engine_wait_locked(e, &e->watch, due_ns);
    atomic_store(&e->watch_ns, 0);
    if (!hogs_run(e) || lub_engine_now_ns(e) >= until_ns) continue;
    due_ns = 0;
    keep_timers_locked(e);
    if (hogs_are_in_the_way(e)) make_way_locked(e);
  }
}

/* ---- its thread ---------------------------------------------------------------------------------------- */

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

static void *watch(void *arg) {
  lub_engine *e = arg;
  int quiet = 0;
  lub_thread_prompt();
  pthread_mutex_lock(&e->lock);
  while (!atomic_load(&e->stopping)) {
    bool busy = watch_all_locked(e);
    tell_starved_locked(e);
    keep_timers_locked(e);
    quiet = busy ? 0 : quiet + 1;
    if (quiet == QUIET_LOOKS) {
      atomic_store(&e->watching, true); /* and look once more: pairs with lub_watcher_rouse */
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

void lub_watcher_rouse(lub_engine *e) {
  if (lub_likely(!atomic_load(&e->watching))) return;
  pthread_mutex_lock(&e->lock);
  atomic_store(&e->watching, false); /* it may be about to sleep, busy without the lock */
  pthread_cond_signal(&e->watch);
  pthread_mutex_unlock(&e->lock);
}

lub_status lub_watcher_open_locked(lub_engine *e) {
  e->watcher_runs = !pthread_create(&e->watcher, NULL, watch, e);
  return e->watcher_runs ? LUB_OK : LUB_THREAD;
}

void lub_watcher_close(lub_engine *e) {
  pthread_cond_broadcast(&e->watch);
  if (e->watcher_runs) pthread_join(e->watcher, NULL);
}
