/* worker.c - see worker.h. */
#include "worker.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "chan.h"
#include "engine.h"

enum {
  LOOK_EVERY = 61,        /* fibers between two looks at the clock and at those preempted (Go's schedtick) */
  OTHERS_NS = 10000000,   /* what their siblings get between two of these */
  GRACE_NS = 10000000,    /* from a kill to the zombie */
  GRACES = 20,            /* ... for one that is not seen inside a C call: it may have been given no CPU */
  CLOSING_NS = 100000000, /* the same for one that runs its close handlers */
  PATIENCE = 20,          /* ... with zombies, in GRACE_NS, of who waits for all to end */
  COMPLAIN_NS = 1000000000, /* time for a parent to join what failed */
};

LUB_THREAD_LOCAL lub_worker *lub_worker_here;

void lub_interrupted(void) {
  lub_worker *w = lub_worker_here;
  if (!w || !w->interrupt) return;
  if (w->engine->opts.choose) { /* who chooses knows its points; a sim has a guard */
    if (w->engine->sim) w->interrupt(w);
    return;
  }
  int slice = lub_carriers_slice();
  bool lent = slice == LUB_SLICE_IS_LENT, over = slice == LUB_SLICE_IS_OVER || lent;
  bool ends = over || slice == LUB_SLICE_ENDS;
  bool others_wait = w->ready.first || (w->preempted.first && !lent) ||
                     atomic_load_explicit(&w->inbox, memory_order_relaxed) ||
                     lub_engine_others_wait(w->engine, lent) || (lent && lub_carriers_keep_a_timer());
  bool asked = atomic_load_explicit(&w->requested, memory_order_relaxed) ||
               atomic_load_explicit(&w->closing, memory_order_relaxed);
  if (!asked && !(ends && others_wait)) { /* alone, it may run as long as it likes */
    lub_carriers_stay();
    return;
  }
  /* who is only asked something keeps its slice: it would be behind the others, however little it has had */
  if (ends) atomic_store_explicit(&w->preempt, true, memory_order_relaxed);
  if (asked || over) w->interrupt(w);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void grace_is_over(lub_timer *t, int64_t due_ns, int64_t now_ns);
static const lub_timer_kind grace_kind = {.fire = grace_is_over};

static void free_worker(lub_object *o) {
  lub_worker *w = lub_container(o, lub_worker, obj);
  lub_engine *e = w->engine;
  lub_timer_forget(&e->timers, &w->grace);
  lub_timer_forget(&e->timers, &w->thaw);
  if (w->free_data) w->free_data(w);
  lub_chan_drop(w->done);
  lub_free(&e->mem, w->name);
  lub_free(&e->mem, w);
}

lub_status lub_worker_open(lub_engine *e, const char *name, bool pinned, lub_worker **out) {
  lub_worker *w = lub_alloc(&e->mem, sizeof *w);
  if (!w) return LUB_NOMEM;
  *w = (lub_worker){.engine = e, .pinned = pinned};
  size_t n = strlen(name) + 1;
  if (!(w->name = lub_alloc(&e->mem, n))) goto no_name;
  memcpy(w->name, name, n);
  if (lub_chan_open(e, 0, name, &w->done)) goto no_done;
  w->done->of_worker = true;
  if (lub_timer_reserve(&e->timers, &w->grace, &grace_kind)) goto no_timer; /* a kill must not fail */
  atomic_init(&w->obj.refs, 2);
  w->obj.free = free_worker;
  atomic_init(&w->clock, &w->own);
  atomic_init(&w->over_steps, UINT32_MAX);
  atomic_init(&w->state,
              LUB_RUNNING); /* by who opens it: it is in the list, and may be killed, before it starts */
  w->id = atomic_fetch_add_explicit(&e->worker_ids, 1, memory_order_relaxed) + 1;
  lub_list_init(&w->fibers);
  lub_list_init(&w->asks);
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->workers, &w->all);
  if (e->ending && !pinned) {
    atomic_store(&w->killed, true);
    atomic_store(&w->requested, true);
  }
  if (pinned) {
    w->tid = lub_thread_id();
    lub_list_push(&e->pinned, &w->pin);
    lub_engine_awake_locked(e);
  }
  pthread_mutex_unlock(&e->lock);
  *out = w;
  return LUB_OK;
no_timer:
  lub_chan_drop(w->done);
no_done:
  lub_free(&e->mem, w->name);
no_name:
  lub_free(&e->mem, w);
  return LUB_NOMEM;
}

bool lub_worker_decide(lub_worker *w, int fate) {
  int alive = LUB_ALIVE;
  /* release: a result is published with it; pairs with the acquire of whoever reads the result */
  if (!atomic_compare_exchange_strong(&w->fate, &alive, fate)) return false;
  (void)lub_chan_close(w->done);
  return true;
}

void lub_worker_end(lub_worker *w) {
  lub_engine *e = w->engine;
  lub_assert(lub_list_empty(&w->fibers));
  if (atomic_load(&w->killed)) (void)lub_timer_stop(&e->timers, &w->grace);
  (void)lub_worker_decide(w, LUB_ENDED);
  w->ended = true;
  pthread_mutex_lock(&e->lock);
  if (w->zombie) e->zombies--;
  w->zombie = false;
  lub_list_remove(&w->all);
  if (lub_link_queued(
          &w->link)) { /* it ends outside a slice: the guest of a sim, which wakes its fibers to close them */
    lub_list_remove(&w->link);
    if (!w->thaw_ns) atomic_fetch_sub(&e->waiting, 1);
  }
  pthread_cond_broadcast(&e->gone);
  if (w->pinned) {
    lub_list_remove(&w->pin);
    lub_engine_asleep_locked(e);
  }
  pthread_mutex_unlock(&e->lock);
  for (lub_ask *a; (a = lub_worker_asked(w, NULL));) lub_ask_drop(w, a); /* they may refer to w */
}

/* ---- killing, and what was not joined ---------------------------------------------------------------------- */

/* A kill that is not obeyed: the worker is inside a C call. It is dead to all others from now on. */
static void grace_is_over(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  lub_worker *w = lub_container(t, lub_worker, grace);
  int state = atomic_load(&w->state);
  if (atomic_load(&w->fate) != LUB_ALIVE) return;
  bool closing = atomic_load(&w->closing) && now_ns - due_ns < CLOSING_NS;
  bool runs = state == LUB_RUNNING || state == LUB_NOTIFIED || w->in_call;
  bool starves =
      runs && w->engine->opts.carriers > 0 && w->graces++ < GRACES && !lub_watcher_sees_in_c(w->engine, w);
  if (closing || !runs || starves) {
    lub_timer_again(&w->engine->timers, t, now_ns + (closing ? CLOSING_NS : GRACE_NS));
    return;
  }
  if (!lub_worker_decide(w, LUB_FATE_KILLED)) return;
  pthread_mutex_lock(&w->engine->lock);
  /* if the kill came while it ended, it may have ended since; it is not freed: that waits for the timers' lock */
  if (lub_link_queued(&w->all)) {
    w->zombie = true;
    w->engine->zombies++;
  }
  pthread_cond_broadcast(&w->engine->gone);
  pthread_mutex_unlock(&w->engine->lock);
}

void lub_worker_complain(lub_worker *w, const char *text) {
  lub_engine *e = w->engine;
  size_t n = strlen(text) + 1;
  char *copy = lub_alloc(&e->mem, n);
  if (!copy) {
    atomic_fetch_add(&e->failures, 1);
    if (e->opts.log) e->opts.log(e->opts.ud, text);
    return;
  }
  memcpy(copy, text, n);
  lub_object_ref(&w->obj);
  pthread_mutex_lock(&e->lock);
  w->complaint = copy;
  w->complain_ns = lub_engine_now_ns(e) + COMPLAIN_NS;
  lub_list_push(&e->complaints, &w->complains);
  if (e->watcher_runs) pthread_cond_signal(&e->watch);
  pthread_mutex_unlock(&e->lock);
}

static lub_worker *next_complaint(lub_engine *e, bool all, int64_t *again_ns) {
  pthread_mutex_lock(&e->lock);
  lub_link *k = lub_list_first(&e->complaints);
  lub_worker *w = k ? lub_container(k, lub_worker, complains) : NULL;
  *again_ns = w ? w->complain_ns : LUB_NEVER;
  if (w && !all && !atomic_load(&w->joined) && w->complain_ns > lub_engine_now_ns(e)) w = NULL;
  if (w) lub_list_remove(&w->complains);
  pthread_mutex_unlock(&e->lock);
  return w;
}

int64_t lub_engine_complain(lub_engine *e, bool all) {
  lub_worker *w;
  int64_t again_ns;
  while ((w = next_complaint(e, all, &again_ns))) {
    if (!atomic_load(&w->joined)) {
      atomic_fetch_add(&e->failures, 1);
      if (e->opts.log) e->opts.log(e->opts.ud, w->complaint);
    }
    lub_free(&e->mem, w->complaint);
    lub_object_drop(&w->obj);
  }
  return again_ns;
}

/* ---- waking ------------------------------------------------------------------------------------------- */

/* w runs, and is to look again. It may be by another clock meanwhile: then it has. */
static void call(lub_worker *w) { atomic_store(&lub_worker_clock(w)->called, true); }

/* Sees to it that w runs, or looks again. The caller holds a reference. */
static void notify(lub_worker *w) {
  int s = atomic_load(&w->state);
  for (;;) {
    if (s == LUB_NOTIFIED) call(w);
    if (s == LUB_QUEUED || s == LUB_NOTIFIED) return;
    if (s == LUB_ASLEEP) {
      pthread_mutex_lock(&w->engine->lock);
      if (atomic_compare_exchange_strong(&w->state, &s, LUB_RUNNING)) {
        lub_engine_awake_locked(w->engine);
        lub_sleeper_wake_locked(w->asleep);
        s = LUB_QUEUED;
      }
      pthread_mutex_unlock(&w->engine->lock);
    } else if (s == LUB_IDLE) {
      if (!atomic_compare_exchange_weak(&w->state, &s, LUB_QUEUED)) continue;
      lub_carriers_queue(w->engine, w, false);
      return;
    } else if (atomic_compare_exchange_weak(&w->state, &s, LUB_NOTIFIED)) {
      call(w);
      return;
    }
  }
}

void lub_worker_start(lub_worker *w) {
  atomic_store(&w->state, LUB_QUEUED);
  lub_carriers_queue(w->engine, w, false);
}

static void append(lub_fifo *q, lub_fiber *f) {
  f->ready_next = NULL;
  if (q->first) q->last->ready_next = f;
  else q->first = f;
  q->last = f;
}

/* The one behind is fetched meanwhile: it was made ready long ago, and runs next. */
static lub_fiber *take(lub_fifo *q) {
  lub_fiber *f = q->first;
  if (!f) return NULL;
  q->first = f->ready_next;
  if (q->first) lub_prefetch(&q->first->ready_next);
  return f;
}

static void enter(lub_fiber *f, lub_state state) {
  if (lub_unlikely(f->wait.life)) lub_engine_enter(f->worker->engine, f->wait.life, state);
}

void lub_fiber_inbox(lub_fiber *f) {
  enter(f, LUB_STATE_RUNNABLE);
  lub_fiber *head = atomic_load_explicit(&f->worker->inbox, memory_order_relaxed);
  do f->ready_next = head; /* release: pairs with look_into_inbox */
  while (!atomic_compare_exchange_weak_explicit(&f->worker->inbox, &head, f, memory_order_release,
                                                memory_order_relaxed));
}

void lub_fiber_preempted(lub_fiber *f) {
  enter(f, LUB_STATE_RUNNABLE);
  append(&f->worker->preempted, f);
}

void lub_fiber_held(lub_fiber *f) { append(&f->worker->preempted, f); }

void lub_fiber_ready(lub_fiber *f) {
  lub_worker *w = f->worker;
  if (w == lub_worker_here) {
    enter(f, LUB_STATE_RUNNABLE);
    append(&w->ready, f);
    atomic_store_explicit(&lub_worker_clock(w)->siblings, true, memory_order_relaxed);
    return;
  }
  int idle = LUB_IDLE;
  if (atomic_load_explicit(&w->state, memory_order_relaxed) == LUB_IDLE &&
      atomic_compare_exchange_strong(&w->state, &idle, LUB_QUEUED)) {
    enter(f, LUB_STATE_RUNNABLE); /* nobody runs it before it is queued: its ready queue is ours */
    append(&w->ready, f);
    lub_carriers_queue(w->engine, w, false);
    return;
  }
  lub_object_ref(&w->obj); /* once the fiber is in the inbox, w may run it, end, and be freed */
  lub_fiber_inbox(f);
  notify(w);
  lub_object_drop(&w->obj);
}

static void look_into_inbox(lub_worker *w) {
  if (lub_likely(!atomic_load_explicit(&w->inbox, memory_order_relaxed))) return;
  lub_fiber *newest = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire), *oldest = NULL;
  while (newest) {
    lub_fiber *next = newest->ready_next;
    newest->ready_next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest) {
    lub_fiber *next = oldest->ready_next;
    append(&w->ready, oldest);
    oldest = next;
  }
}

static size_t count_parked(const lub_fifo *q) {
  size_t n = 0;
  for (const lub_fiber *f = q->first; f; f = f->ready_next) n += f->wait.parked;
  return n;
}

void lub_worker_await_wakes(lub_worker *w, size_t n) {
  for (;;) { /* a waker is between two instructions, or has lost its CPU there */
    look_into_inbox(w);
    if (count_parked(&w->ready) == n) return;
    sched_yield();
  }
}

bool lub_fiber_withdraw(lub_fiber *f) {
  if (!lub_wait_claim(&f->wait)) return false; /* what claims a wait wakes it: we do not */
  f->wait.status = LUB_CANCELLED;
  enter(f, LUB_STATE_BUSY);
  (void)lub_wait_finish(&f->wait);
  if (f->wait.waiters == &f->one && f->one.send && f->one.value.type != LUB_SEVERAL)
    lub_value_drop(&f->one.value);
  return true;
}

void lub_worker_forget_ready(lub_worker *w) {
  look_into_inbox(w);
  w->ready.first = w->preempted.first = NULL;
}

bool lub_worker_has_ready(lub_worker *w) {
  look_into_inbox(w);
  return w->ready.first || w->preempted.first;
}

static bool take_out(lub_fifo *q, lub_fiber *f) {
  lub_fiber *before = NULL, *k = q->first;
  while (k && k != f) {
    before = k;
    k = k->ready_next;
  }
  if (!k) return false;
  if (before) before->ready_next = f->ready_next;
  else q->first = f->ready_next;
  if (q->last == f) q->last = before;
  return true;
}

static lub_fiber *take_chosen(lub_worker *w) {
  lub_fiber *f = w->chosen;
  w->chosen = NULL;
  if (!f || (!take_out(&w->ready, f) && !take_out(&w->preempted, f))) return NULL;
  enter(f, LUB_STATE_BUSY);
  return f;
}

/* By a clock that a fiber cannot stop. */
static bool is_hogs_turn(const lub_worker *w) {
  lub_engine *e = w->engine;
  return !e->real_clock || lub_engine_coarse_ns(e) - w->lent_ns >= OTHERS_NS;
}

lub_fiber *lub_worker_next(lub_worker *w) {
  if (lub_unlikely(w->engine->opts.choose)) return take_chosen(w);
  lub_clock *clock = lub_worker_clock(w);
  uint32_t step = w->own.steps + 1;
  atomic_store_explicit(&w->own.steps, step, memory_order_relaxed);
  atomic_store_explicit(&clock->steps, clock->steps + 1, memory_order_relaxed);
  lub_fiber *f = NULL;
  bool hog = false;
  if (lub_unlikely(w->hog)) w->lent_ns = lub_engine_coarse_ns(w->engine);
  if (lub_unlikely(step % LOOK_EVERY == 0)) {
    lub_engine_look_at_timers(w->engine);
    if (w->preempted.first && is_hogs_turn(w)) f = take(&w->preempted);
    hog = f != NULL;
  }
  if (lub_unlikely(atomic_load_explicit(&clock->called, memory_order_relaxed)))
    (void)atomic_exchange(&clock->called, false); /* first: who calls meanwhile is seen, or the call stays */
  look_into_inbox(w); /* at every switch, or a slow sibling would keep others' wakes waiting */
  if (lub_likely(!f)) f = take(&w->ready);
  if (!f) {
    f = take(&w->preempted);
    hog = f != NULL;
  }
  if (lub_unlikely(hog || w->hog)) lub_carriers_lend(hog);
  w->hog = hog;
  atomic_store_explicit(&clock->siblings, w->ready.first || w->preempted.first, memory_order_relaxed);
  if (f) enter(f, LUB_STATE_BUSY);
  return f;
}

void lub_worker_drive(lub_worker *w, bool begin) {
  if (!w->pinned) return;
  lub_engine *e = w->engine;
  /* also at the end: the watcher may be about to signal the thread, which may end next */
  pthread_mutex_lock(&e->lock);
  if (begin) {
    w->thread = pthread_self();
    w->tid = lub_thread_id();
    w->cpu = lub_cpu_clock();
  }
  atomic_store(&w->driven, begin);
  pthread_mutex_unlock(&e->lock);
  if (begin) lub_watcher_rouse(e);
}

/* Fires timers too, when that is this thread's duty. */
void lub_worker_sleep(lub_worker *w, lub_wait *root) {
  lub_engine *e = w->engine;
  lub_sleeper s;
  lub_sleeper_init(&s, root);
  pthread_mutex_lock(&e->lock);
  w->asleep = &s; // cppcheck-suppress autoVariables; taken back below
  int running = LUB_RUNNING;
  if (atomic_compare_exchange_strong(&w->state, &running, LUB_ASLEEP)) {
    lub_list_push(&e->sleepers, &s.link);
    lub_carriers_leave_place_locked(e);
    lub_engine_asleep_locked(e);
    while (!s.woken) {
      lub_sleep_locked(e, &s, LUB_NEVER);
      if (s.woken) break;
      lub_engine_awake_locked(e);
      pthread_mutex_unlock(&e->lock);
      lub_engine_run_timers(e);
      pthread_mutex_lock(&e->lock);
      if (s.woken) {
        e->awake--;                /* counted by us and by the wake */
      } else if (w->ready.first) { /* our own timers have woken a fiber, in this thread: without a notice */
        atomic_store(&w->state, LUB_RUNNING);
        break;
      } else {
        lub_engine_asleep_locked(e);
      }
    }
    lub_list_remove(&s.link);
  } else {
    atomic_store(&w->state, LUB_RUNNING); /* notified: look again */
  }
  w->asleep = NULL;
  pthread_mutex_unlock(&e->lock);
  lub_sleeper_close(&s);
  lub_watcher_rouse(e);
}

/* ---- asking it to end --------------------------------------------------------------------------------- */

static void ask(lub_worker *w, atomic_bool *what, const char *why) {
  pthread_mutex_lock(&w->engine->lock);
  if (!atomic_exchange(what, true)) (void)snprintf(w->why, sizeof w->why, "%s", why ? why : "");
  pthread_mutex_unlock(&w->engine->lock);
  atomic_store(&w->requested, true);
  notify(w);
}

void lub_worker_cancel(lub_worker *w, const char *why) {
  if (atomic_load(&w->fate) != LUB_ALIVE || lub_gate_enter(w->engine, NULL)) return;
  ask(w, &w->cancelled, why);
  lub_gate_leave(w->engine);
}

void lub_worker_kill(lub_worker *w, const char *why) {
  lub_engine *e = w->engine;
  if (atomic_load(&w->fate) != LUB_ALIVE || lub_gate_enter(e, NULL)) return;
  ask(w, &w->killed, why);
  lub_carriers_interrupt(e, w);
  (void)lub_engine_start_timer(e, &w->grace, lub_engine_now_ns(e) + GRACE_NS);
  lub_gate_leave(e);
}

lub_status lub_worker_join(lub_worker *w, double wait) {
  atomic_store(&w->joined, true);
  lub_value none;
  lub_status status = lub_chan_recv(w->done, &none, wait);
  return status == LUB_CLOSED ? LUB_OK : status;
}

lub_chan *lub_worker_done(lub_worker *w) {
  atomic_store(&w->joined, true);
  return w->done;
}

void lub_worker_ref(lub_worker *w) { lub_object_ref(&w->obj); }
void lub_worker_drop(lub_worker *w) { lub_object_drop(&w->obj); }
const char *lub_worker_name(const lub_worker *w) { return w->name; }
uint64_t lub_worker_id(const lub_worker *w) { return w->id; }

/* ---- all of them ---------------------------------------------------------------------------------------- */

/* The one with the least number above id, or NULL; with a reference. */
static lub_worker *next_worker(lub_engine *e, uint64_t id) {
  lub_worker *next = NULL;
  pthread_mutex_lock(&e->lock);
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k)) {
    lub_worker *w = lub_container(k, lub_worker, all);
    if (w->id > id && (!next || w->id < next->id)) next = w;
  }
  if (next) lub_object_ref(&next->obj);
  pthread_mutex_unlock(&e->lock);
  return next;
}

/* Without memory for a list of them: who has to be killed is. */
static void each_by_number(lub_engine *e, void (*f)(lub_worker *w, void *ud), void *ud) {
  uint64_t id = 0;
  for (lub_worker *w; (w = next_worker(e, id)); lub_object_drop(&w->obj)) {
    id = w->id;
    f(w, ud);
  }
}

void lub_workers_each(lub_engine *e, void (*f)(lub_worker *w, void *ud), void *ud) {
  pthread_mutex_lock(&e->lock);
  size_t n = 0;
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k)) n++;
  lub_worker **all = lub_alloc(&e->mem, (n + 1) * sizeof(lub_worker *));
  n = 0;
  for (lub_link *k = all ? lub_list_first(&e->workers) : NULL; k; k = lub_list_next(&e->workers, k)) {
    all[n] = lub_container(k, lub_worker, all);
    lub_object_ref(&all[n++]->obj);
  }
  pthread_mutex_unlock(&e->lock);
  if (!all) each_by_number(e, f, ud);
  for (size_t i = 0; i < n; i++) {
    f(all[i], ud);
    lub_object_drop(&all[i]->obj);
  }
  lub_free(&e->mem, all);
}

size_t lub_workers_count(lub_engine *e) {
  size_t n = 0;
  pthread_mutex_lock(&e->lock);
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k)) n++;
  pthread_mutex_unlock(&e->lock);
  return n;
}

void lub_ask_drop(lub_worker *w, lub_ask *ask) {
  lub_chan_drop(ask->to);
  if (ask->about) lub_object_drop(ask->about);
  lub_free(&w->engine->mem, ask);
}

static lub_ask *find_ask_locked(lub_worker *w, const lub_object *about) {
  for (lub_link *k = lub_list_first(&w->asks); k; k = lub_list_next(&w->asks, k)) {
    lub_ask *a = lub_container(k, lub_ask, link);
    if (a->about == about) return a;
  }
  return NULL;
}

/* One that nobody has answered gives way to a younger of its kind: who has asked it waits no more. */
static bool put_ask(lub_worker *w, lub_ask *ask) {
  pthread_mutex_lock(&w->engine->lock);
  bool there = lub_link_queued(&w->all); /* it has not ended */
  lub_ask *old = there ? find_ask_locked(w, ask->about) : NULL;
  if (old) lub_list_remove(&old->link);
  if (there) lub_list_push(&w->asks, &ask->link);
  pthread_mutex_unlock(&w->engine->lock);
  if (old) lub_ask_drop(w, old);
  return there;
}

static lub_status ask_one(lub_worker *w, lub_object *about, lub_chan *to) {
  lub_ask *ask = lub_alloc(&w->engine->mem, sizeof *ask);
  if (!ask) return LUB_NOMEM;
  *ask = (lub_ask){.about = about, .to = to};
  lub_chan_ref(to);
  if (about) lub_object_ref(about);
  if (!put_ask(w, ask)) {
    lub_ask_drop(w, ask);
    return LUB_CLOSED;
  }
  atomic_store(&w->requested, true);
  notify(w);
  lub_carriers_interrupt(w->engine, w);
  return LUB_OK;
}

lub_ask *lub_worker_asked(lub_worker *w, const lub_object *about) {
  lub_link *first;
  pthread_mutex_lock(&w->engine->lock);
  lub_ask *ask = about ? find_ask_locked(w, about) : NULL;
  if (!about && (first = lub_list_first(&w->asks))) ask = lub_container(first, lub_ask, link);
  if (ask) lub_list_remove(&ask->link);
  pthread_mutex_unlock(&w->engine->lock);
  return ask;
}

lub_status lub_worker_ask(lub_worker *w, lub_object *about, lub_chan **out) {
  lub_chan *ch;
  if (lub_chan_open(w->engine, 1, "report", &ch)) return LUB_NOMEM;
  lub_status status = atomic_load(&w->fate) == LUB_ALIVE ? ask_one(w, about, ch) : LUB_CLOSED;
  if (status == LUB_NOMEM) {
    lub_chan_drop(ch);
    return status;
  }
  if (status == LUB_CLOSED) (void)lub_chan_close(ch);
  *out = ch;
  return LUB_OK;
}

typedef struct asked {
  lub_chan *ch;
  size_t n;
  bool scarce; /* there was no memory to ask one */
} asked;

static void ask_each(lub_worker *w, void *ud) {
  asked *a = ud;
  if (a->n == a->ch->cap) return; /* started since they were counted */
  lub_status status = ask_one(w, NULL, a->ch);
  a->n += status == LUB_OK;
  a->scarce |= status == LUB_NOMEM;
}

lub_status lub_workers_report(lub_engine *e, lub_chan **out, size_t *n) {
  asked a = {.n = 0};
  if (lub_chan_open(e, lub_workers_count(e) + 1, "report", &a.ch)) return LUB_NOMEM;
  lub_workers_each(e, ask_each, &a);
  if (a.scarce) { /* a report that leaves some out would be false */
    lub_chan_drop(a.ch);
    return LUB_NOMEM;
  }
  *out = a.ch;
  *n = a.n;
  return LUB_OK;
}

static void kill_one(lub_worker *w, void *ud) { lub_worker_kill(w, ud); }

static void kill_all(lub_engine *e) {
  char why[] = "the engine closes";
  lub_workers_each(e, kill_one, why);
}

static void set_ending(lub_engine *e, int change) {
  pthread_mutex_lock(&e->lock);
  e->ending += change;
  pthread_mutex_unlock(&e->lock);
}

static bool only_zombies_locked(lub_engine *e) {
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k))
    if (!lub_container(k, lub_worker, all)->zombie) return false;
  return true;
}

bool lub_workers_end(lub_engine *e, double wait) {
  int64_t deadline = lub_engine_deadline(e, wait);
  bool ended = false, over = false;
  int patience = PATIENCE;
  if (e->opts.choose) lub_turns_thaw(e);
  set_ending(e, 1); /* before they are counted: none that opens later lives */
  kill_all(e);
  while (!over) {
    pthread_mutex_lock(&e->lock);
    ended = lub_list_empty(&e->workers);
    int64_t now_ns = lub_engine_now_ns(e), until_ns = deadline;
    if (!ended && only_zombies_locked(e)) {
      /* inside C calls; or in Lua, on a machine so busy that the kill has not come through yet */
      if (patience-- == 0) over = true;
      if (now_ns + GRACE_NS < until_ns) until_ns = now_ns + GRACE_NS;
    }
    over = over || ended || now_ns >= deadline;
    if (!over && e->threads) lub_engine_wait_locked(e, &e->gone, until_ns);
    pthread_mutex_unlock(&e->lock);
    if (!over && !e->threads) (void)lub_engine_step(e, 0);
  }
  set_ending(e, -1);
  return ended;
}

lub_status lub_engine_end_workers(lub_engine *e, double wait) {
  const lub_worker *w = lub_worker_here;
  if (w && w->engine == e && !w->pinned) return LUB_BUSY;
  return lub_workers_end(e, wait) ? LUB_OK : LUB_TIMEOUT;
}

/* ---- fibers ------------------------------------------------------------------------------------------- */

void lub_fiber_init(lub_fiber *f, lub_worker *w) {
  *f = (lub_fiber){.worker = w};
  f->wait.id = atomic_fetch_add_explicit(&w->engine->fiber_ids, 1, memory_order_relaxed) + 1;
  lub_list_push(&w->fibers, &f->link);
}

void lub_fiber_close(lub_fiber *f) {
  lub_assert(!f->wait.parked);
  lub_fiber_leave(f);
}

void lub_fiber_leave(lub_fiber *f) {
  lub_timer_forget(&f->worker->engine->timers, &f->wait.timer);
  if (f->wait.life) atomic_load(&f->worker->engine->judging)->ended(f->wait.life);
  f->wait.life = NULL;
  lub_list_remove(&f->link);
}
