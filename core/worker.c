/* worker.c - see worker.h. */
#include "worker.h"

#include <stdio.h>
#include <string.h>

#include "chan.h"
#include "engine.h"

enum { LOOK_EVERY = 61 }; /* fibers between two looks at the clock (Go's schedtick) */

static _Thread_local lub_worker *current;

lub_worker *lub_worker_current(void) { return current; }
void lub_worker_set_current(lub_worker *w) { current = w; }

void lub_interrupted(void) {
  lub_worker *w = current;
  if (!w || !w->interrupt) return;
  bool others_wait = w->ready || atomic_load_explicit(&w->inbox, memory_order_relaxed) ||
                     atomic_load_explicit(&w->requested, memory_order_relaxed) ||
                     atomic_load_explicit(&w->engine->waiting, memory_order_relaxed) > 0;
  if (!others_wait) return; /* alone, it may run as long as it likes */
  atomic_store_explicit(&w->preempt, true, memory_order_relaxed);
  w->interrupt(w);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void free_worker(lub_object *o) {
  lub_worker *w = lub_container(o, lub_worker, obj);
  if (w->free_data) w->free_data(w);
  lub_chan_drop(w->done);
  lub_free(&w->engine->mem, w->name);
  lub_free(&w->engine->mem, w);
}

lub_status lub_worker_open(lub_engine *e, const char *name, bool pinned, lub_worker **out) {
  lub_worker *w = lub_alloc(&e->mem, sizeof *w);
  if (!w) return LUB_NOMEM;
  *w = (lub_worker){.engine = e, .pinned = pinned};
  size_t n = strlen(name) + 1;
  if (!(w->name = lub_alloc(&e->mem, n))) goto no_name;
  memcpy(w->name, name, n);
  if (lub_chan_open(e, 0, name, &w->done)) goto no_done;
  atomic_init(&w->obj.refs, 2);
  w->obj.free = free_worker;
  atomic_init(&w->state, pinned ? LUB_RUNNING : LUB_IDLE);
  w->id = atomic_fetch_add_explicit(&e->worker_ids, 1, memory_order_relaxed) + 1;
  lub_list_init(&w->fibers);
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->workers, &w->all);
  if (pinned) {
    lub_list_push(&e->pinned, &w->pin);
    e->awake++;
  }
  pthread_mutex_unlock(&e->lock);
  *out = w;
  return LUB_OK;
no_done:
  lub_free(&e->mem, w->name);
no_name:
  lub_free(&e->mem, w);
  return LUB_NOMEM;
}

void lub_worker_end(lub_worker *w) {
  lub_engine *e = w->engine;
  lub_assert(lub_list_empty(&w->fibers));
  atomic_store(&w->ended, true);
  pthread_mutex_lock(&e->lock);
  lub_list_remove(&w->all);
  if (w->pinned) {
    lub_list_remove(&w->pin);
    lub_engine_asleep_locked(e);
  }
  pthread_mutex_unlock(&e->lock);
  (void)lub_chan_close(w->done);
  lub_object_drop(&w->obj);
}

void lub_worker_ref(lub_worker *w) { lub_object_ref(&w->obj); }
void lub_worker_drop(lub_worker *w) { lub_object_drop(&w->obj); }
const char *lub_worker_name(const lub_worker *w) { return w->name; }
uint64_t lub_worker_id(const lub_worker *w) { return w->id; }

lub_status lub_worker_join(lub_worker *w, double wait) {
  lub_value none;
  lub_status status = lub_chan_recv(w->done, &none, wait);
  return status == LUB_CLOSED ? LUB_OK : status;
}

/* ---- waking ------------------------------------------------------------------------------------------- */

/* Sees to it that w runs, or looks again. The caller holds a reference. */
static void notify(lub_worker *w) {
  int s = atomic_load(&w->state);
  for (;;) {
    if (s == LUB_QUEUED || s == LUB_NOTIFIED) return;
    if (s == LUB_ASLEEP) {
      pthread_mutex_lock(&w->engine->lock);
      if (atomic_compare_exchange_strong(&w->state, &s, LUB_RUNNING)) {
        lub_engine_awake_locked(w->engine);
        w->asleep->woken = true;
        pthread_cond_signal(&w->asleep->wakeup);
        s = LUB_QUEUED;
      }
      pthread_mutex_unlock(&w->engine->lock);
    } else if (s == LUB_IDLE) {
      if (!atomic_compare_exchange_weak(&w->state, &s, LUB_QUEUED)) continue;
      lub_engine_queue(w->engine, w);
      return;
    } else if (atomic_compare_exchange_weak(&w->state, &s, LUB_NOTIFIED)) {
      return;
    }
  }
}

void lub_worker_start(lub_worker *w) { notify(w); }

static void append_ready(lub_worker *w, lub_fiber *f) {
  f->ready_next = NULL;
  if (w->ready)
    w->ready_last->ready_next = f;
  else
    w->ready = f;
  w->ready_last = f;
}

void lub_fiber_inbox(lub_fiber *f) {
  lub_fiber *head = atomic_load_explicit(&f->worker->inbox, memory_order_relaxed);
  do f->ready_next = head; /* release: pairs with look_into_inbox */
  while (!atomic_compare_exchange_weak_explicit(&f->worker->inbox, &head, f, memory_order_release,
                                                memory_order_relaxed));
}

void lub_fiber_ready(lub_fiber *f) {
  lub_worker *w = f->worker;
  if (w == current) {
    append_ready(w, f);
    return;
  }
  lub_object_ref(&w->obj); /* once the fiber is in the inbox, w may run it, end, and be freed */
  lub_fiber_inbox(f);
  notify(w);
  lub_object_drop(&w->obj);
}

static void look_into_inbox(lub_worker *w) {
  if (!atomic_load_explicit(&w->inbox, memory_order_relaxed)) return;
  lub_fiber *newest = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire), *oldest = NULL;
  while (newest) {
    lub_fiber *next = newest->ready_next;
    newest->ready_next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest) {
    lub_fiber *next = oldest->ready_next;
    append_ready(w, oldest);
    oldest = next;
  }
}

bool lub_worker_must_leave(lub_worker *w) {
  return atomic_load_explicit(&w->preempt, memory_order_relaxed) ||
         atomic_load_explicit(&w->requested, memory_order_relaxed);
}

bool lub_worker_has_ready(lub_worker *w) {
  look_into_inbox(w);
  return w->ready != NULL;
}

lub_fiber *lub_worker_next(lub_worker *w) {
  atomic_store_explicit(&w->steps, w->steps + 1, memory_order_relaxed);
  if (++w->pops % LOOK_EVERY == 0 && lub_timers_next(&w->engine->timers) != LUB_NEVER)
    lub_timers_run(&w->engine->timers, lub_engine_now_ns(w->engine));
  look_into_inbox(w); /* at every switch, or a slow sibling would keep others' wakes waiting */
  lub_fiber *f = w->ready;
  if (f) w->ready = f->ready_next;
  return f;
}

void lub_worker_drive(lub_worker *w, bool begin) {
  if (!w->pinned) return;
  lub_engine *e = w->engine;
  pthread_mutex_lock(&e->lock);
  w->thread = pthread_self();
  atomic_store(&w->driven, begin);
  if (begin && e->watching) pthread_cond_signal(&e->watch);
  pthread_mutex_unlock(&e->lock);
}

void lub_worker_sleep(lub_worker *w, lub_wait *root) {
  lub_engine *e = w->engine;
  lub_sleeper s = {.wait = root};
  pthread_cond_init(&s.wakeup, NULL);
  pthread_mutex_lock(&e->lock);
  w->asleep = &s;
  int running = LUB_RUNNING;
  if (atomic_compare_exchange_strong(&w->state, &running, LUB_ASLEEP)) {
    lub_list_push(&e->sleepers, &s.link);
    lub_engine_asleep_locked(e);
    while (!s.woken) pthread_cond_wait(&s.wakeup, &e->lock);
    lub_list_remove(&s.link);
    if (e->watching) pthread_cond_signal(&e->watch);
  } else {
    atomic_store(&w->state, LUB_RUNNING); /* notified: look again */
  }
  w->asleep = NULL;
  pthread_mutex_unlock(&e->lock);
  pthread_cond_destroy(&s.wakeup);
}

/* ---- asking it to end --------------------------------------------------------------------------------- */

static void ask(lub_worker *w, atomic_bool *what, const char *why) {
  lub_object_ref(&w->obj);
  pthread_mutex_lock(&w->engine->lock);
  if (!atomic_exchange(what, true)) (void)snprintf(w->why, sizeof w->why, "%s", why ? why : "");
  pthread_mutex_unlock(&w->engine->lock);
  atomic_store(&w->requested, true);
  notify(w);
  lub_object_drop(&w->obj);
}

void lub_worker_cancel(lub_worker *w, const char *why) { ask(w, &w->cancelled, why); }
void lub_worker_kill(lub_worker *w, const char *why) { ask(w, &w->killed, why); }

void lub_workers_report(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  uint32_t n = 0;
  for (lub_link *k = lub_list_first(&e->workers); k; k = lub_list_next(&e->workers, k)) n++;
  lub_worker **all = lub_alloc(&e->mem, (n + 1) * sizeof(lub_worker *));
  n = 0;
  for (lub_link *k = all ? lub_list_first(&e->workers) : NULL; k; k = lub_list_next(&e->workers, k)) {
    all[n] = lub_container(k, lub_worker, all);
    lub_object_ref(&all[n++]->obj);
  }
  pthread_mutex_unlock(&e->lock);
  for (uint32_t i = 0; i < n; i++) { /* notify takes the engine's lock itself */
    atomic_store(&all[i]->report, true);
    atomic_store(&all[i]->requested, true);
    notify(all[i]);
    lub_object_drop(&all[i]->obj);
  }
  lub_free(&e->mem, all);
}

bool lub_workers_end(lub_engine *e, double wait) {
  for (;;) {
    pthread_mutex_lock(&e->lock);
    lub_link *k = lub_list_first(&e->workers);
    lub_worker *w = k ? lub_container(k, lub_worker, all) : NULL;
    if (w) lub_object_ref(&w->obj);
    e->holds++; /* the caller acts: no deadlock while it waits */
    pthread_mutex_unlock(&e->lock);
    if (w) lub_worker_kill(w, "the engine closes");
    lub_status status = w ? lub_worker_join(w, wait) : LUB_OK;
    if (w) lub_object_drop(&w->obj);
    pthread_mutex_lock(&e->lock);
    e->holds--;
    pthread_mutex_unlock(&e->lock);
    if (!w || status) return !w;
  }
}

/* ---- fibers ------------------------------------------------------------------------------------------- */

static void wake_fiber(lub_wait *w) { lub_fiber_ready((lub_fiber *)(void *)w); }

lub_status lub_fiber_init(lub_fiber *f, lub_worker *w) {
  *f = (lub_fiber){.worker = w};
  f->wait.engine = w->engine;
  f->wait.wake = wake_fiber;
  f->wait.id = atomic_fetch_add_explicit(&w->engine->fiber_ids, 1, memory_order_relaxed) + 1;
  lub_list_push(&w->fibers, &f->link);
  return LUB_OK;
}

void lub_fiber_close(lub_fiber *f) {
  lub_assert(!f->wait.parked);
  lub_timer_forget(&f->worker->engine->timers, &f->wait.timer);
  lub_list_remove(&f->link);
}
