/* turns.c - see turns.h. */
#include "turns.h"

#include "engine.h"

uint32_t lub_engine_choose(lub_engine *e, lub_choice_kind kind, uint32_t n, const uint64_t *fibers) {
  if (n < 2) return 0;
  lub_choice c = {.kind = kind, .n = n, .fibers = fibers};
  uint32_t chosen = e->opts.choose(e->opts.ud, &c);
  return chosen < n ? chosen : 0;
}

/* ---- who is ready ------------------------------------------------------------------------------------------- */

/* False without memory. */
static bool add(lub_engine *e, lub_fiber *f) {
  lub_turns *t = &e->turns;
  if (t->n == t->room) {
    uint32_t room = t->room ? 2 * t->room : 16;
    lub_fiber **ready = e->mem.realloc(e->mem.ud, t->ready, room * sizeof(lub_fiber *));
    if (ready) t->ready = ready;
    uint64_t *ids = ready ? e->mem.realloc(e->mem.ud, t->ids, room * sizeof *ids) : NULL;
    if (!ids) return false;
    t->ids = ids;
    t->room = room;
  }
  t->ready[t->n] = f;
  t->ids[t->n++] = f->wait.id;
  return true;
}

static void add_all(lub_engine *e, const lub_fifo *q) {
  for (lub_fiber *f = q->first; f; f = f->ready_next)
    if (!add(e, f)) return;
}

/* A worker that was asked something, or has ended, has its turn at once: nobody can tell the difference. */
static lub_worker *gather(lub_engine *e, lub_list *queue) {
  for (lub_link *k = lub_list_first(queue); k; k = lub_list_next(queue, k)) {
    lub_worker *w = lub_container(k, lub_worker, link);
    bool ready = lub_worker_has_ready(w);
    if (!ready || atomic_load(&w->requested)) return w;
    add_all(e, &w->ready);
    add_all(e, &w->preempted);
  }
  return NULL;
}

static void gather_siblings(lub_engine *e, lub_worker *w, const lub_fiber *but) {
  if (w->thaw_ns || !lub_worker_has_ready(w)) return;
  const lub_fifo *const queues[] = {&w->ready, &w->preempted};
  for (int i = 0; i < 2; i++)
    for (lub_fiber *f = queues[i]->first; f; f = f->ready_next)
      if (f != but && !add(e, f)) return;
}

/* ---- turns ---------------------------------------------------------------------------------------------------- */

/* Perhaps inside the slice of another, which drives. */
static void run(lub_engine *e, lub_worker *w, lub_fiber *f) {
  lub_worker *before = lub_worker_current();
  lub_list_remove(&w->link);
  atomic_fetch_sub(&e->waiting, 1);
  w->chosen = f;
  uint64_t id = f ? f->wait.id : 0; /* it may be gone when it has run */
  if (id) e->turns.current = id;
  if (id) lub_turns_tell(&e->turns, w, id, true);
  lub_carriers_run_slice(w);
  lub_worker_set_current(before);
  if (id) lub_turns_tell(&e->turns, NULL, id, false);
}

/* Runs workers that were asked something until there are only fibers to choose from. */
static void gather_queued(lub_engine *e) {
  lub_worker *w;
  do {
    e->turns.n = 0;
    w = gather(e, &e->queue);
    if (!w) w = gather(e, &e->preempted);
    if (w) run(e, w, NULL);
  } while (w);
}

lub_fiber *lub_turns_next(lub_engine *e) {
  lub_turns *t = &e->turns;
  lub_fiber *f = t->chosen;
  t->moves++;
  t->chosen = NULL;
  if (f) return f;
  lub_worker *driving = lub_worker_current(); /* inside its slice others run: see lub_turns_run */
  gather_queued(e);
  if (driving && driving->engine == e) gather_siblings(e, driving, NULL);
  return t->n ? t->ready[lub_engine_choose(e, LUB_CHOOSE_FIBER, t->n, t->ids)] : NULL;
}

void lub_turns_run(lub_engine *e, lub_fiber *f) { run(e, f->worker, f); }

bool lub_turns_point(lub_fiber *f) {
  lub_worker *w = f->worker;
  lub_engine *e = w->engine;
  lub_turns *t = &e->turns;
  t->moves++;
  t->n = 0;
  if (!add(e, f)) return false;
  gather_siblings(e, w, f);
  lub_worker *asked = gather(e, &e->queue);
  if (!asked) asked = gather(e, &e->preempted);
  if (asked && t->n < 2) return false; /* it has its turn when f waits */
  uint32_t chosen = lub_engine_choose(e, LUB_CHOOSE_SWITCH, t->n, t->ids);
  if (chosen) t->chosen = t->ready[chosen];
  return chosen != 0;
}

uint32_t lub_turns_fire(lub_engine *e) {
  int64_t now_ns = lub_engine_now_ns(e);
  uint32_t fired = lub_timers_run_weak(&e->timers, now_ns), due = lub_timers_due(&e->timers, now_ns);
  if (!due && !fired) fired = lub_timers_run_weak(&e->timers, now_ns);
  if (due) {
    lub_timers_run_one(&e->timers, now_ns, lub_engine_choose(e, LUB_CHOOSE_TIMER, due, NULL));
    fired++;
  }
  lub_engine_ask_judge(e);
  return fired;
}

/* ---- frozen workers -------------------------------------------------------------------------------------------- */

static void thaw(lub_worker *w) {
  w->thaw_ns = 0;
  w->in_call = false;
  if (!lub_link_queued(&w->link)) return; /* it has nothing to do; or it drives */
  lub_list_remove(&w->link);
  lub_carriers_queue(w->engine, w, false);
}

static void thaws(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  (void)due_ns;
  (void)now_ns;
  thaw(lub_container(t, lub_worker, thaw));
}

static const lub_timer_kind thaw_kind = {.fire = thaws};

lub_status lub_turns_freeze(lub_worker *w, int64_t until_ns, bool in_call) {
  lub_engine *e = w->engine;
  if (w->thaw_ns >= until_ns || w->ended) return LUB_OK;
  if (lub_timer_reserve(&e->timers, &w->thaw, &thaw_kind)) return LUB_NOMEM;
  if (!w->thaw_ns && lub_link_queued(&w->link)) {
    lub_list_remove(&w->link);
    atomic_fetch_sub(&e->waiting, 1);
    lub_turns_set_aside(w);
  }
  w->thaw_ns = until_ns;
  w->in_call = in_call;
  (void)lub_engine_start_timer(e, &w->thaw, until_ns);
  return LUB_OK;
}

void lub_turns_set_aside(lub_worker *w) { lub_list_push(&w->engine->turns.frozen, &w->link); }

void lub_turns_thaw(lub_engine *e) {
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k)) {
    lub_worker *w = lub_container(k, lub_worker, all);
    if (!w->thaw_ns) continue;
    (void)lub_timer_stop(&e->timers, &w->thaw);
    thaw(w);
  }
}

void lub_turns_close(lub_engine *e) {
  lub_free(&e->mem, e->turns.ready);
  lub_free(&e->mem, e->turns.ids);
}
