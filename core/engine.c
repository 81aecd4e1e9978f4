/* engine.c - carriers and their queue, the watcher of stuck carriers, who sleeps and who is told.
 * After Go's runtime/proc.go: an M here is a thread, a P a place; the watcher is sysmon. */
#include "engine.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "chan.h"

enum {
  TICK_NS = 2500000,  /* the watcher's period while anything runs */
  LONG_TICKS = 4,     /* a slice of 10 ms is long */
  SPIN = 200,         /* looks at the queue before a carrier sleeps */
  IDLE_TICKS = 8,     /* quiet ticks after which the watcher sleeps too */
};

static const char *const texts[] = {
#define LUB_STATUS_TEXT(name, text) text,
    LUB_STATUS_MAP(LUB_STATUS_TEXT)
#undef LUB_STATUS_TEXT
};

const char *lub_strerror(lub_status status) {
  return (unsigned)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}

/* ---- time --------------------------------------------------------------------------------------------- */

static int64_t real_clock(void *ud) {
  (void)ud;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t lub_engine_now_ns(lub_engine *e) { return e->opts.clock(e->opts.ud); }
double lub_engine_now(lub_engine *e) { return (double)lub_engine_now_ns(e) / 1e9; }

int64_t lub_engine_deadline(lub_engine *e, double wait) {
  if (!(wait > 0)) return 0;
  if (wait > 9e9) return LUB_NEVER; /* 285 years */
  return lub_engine_now_ns(e) + (int64_t)(wait * 1e9);
}

bool lub_engine_start_timer(lub_engine *e, lub_timer *t, int64_t when_ns) {
  bool earliest, running = lub_timer_start(&e->timers, t, when_ns, &earliest);
  if (earliest) {
    pthread_mutex_lock(&e->lock);
    if (e->sleeping) pthread_cond_broadcast(&e->work); /* the keeper must sleep shorter */
    pthread_mutex_unlock(&e->lock);
  }
  return running;
}

/* Waits for a signal, at most until deadline. */
static void wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns) {
  if (deadline_ns == LUB_NEVER) {
    pthread_cond_wait(c, m);
    return;
  }
  struct timespec t = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
  (void)pthread_cond_timedwait(c, m, &t);
}

/* ---- who sleeps, and the deadlock --------------------------------------------------------------------- */

void lub_engine_awake_locked(lub_engine *e) { e->awake++; }

static bool all_parked(lub_engine *e) {
  return e->awake == 0 && e->holds == 0 && !e->stopping && lub_list_empty(&e->queue) &&
         lub_timers_next(&e->timers) == LUB_NEVER;
}

void lub_engine_asleep_locked(lub_engine *e) {
  e->awake--;
  if (!all_parked(e)) return;
  for (lub_link *k = lub_list_first(&e->sleepers); k; k = lub_list_next(&e->sleepers, k)) {
    lub_sleeper *s = lub_container(k, lub_sleeper, link);
    if (!lub_wait_claim(s->wait)) continue;
    s->wait->status = LUB_DEADLOCK;
    s->woken = true;
    e->awake++;
    if (s->wait->id) { /* a fiber's, not a host thread's */
      lub_fiber *f = lub_container(s->wait, lub_fiber, wait);
      lub_fiber_inbox(f);
      atomic_store(&f->worker->state, LUB_RUNNING);
    }
    pthread_cond_signal(&s->wakeup);
    return;
  }
}

void lub_engine_hold(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  e->holds++;
  pthread_mutex_unlock(&e->lock);
}

void lub_engine_release(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  e->holds--;
  e->awake++;
  lub_engine_asleep_locked(e);
  pthread_mutex_unlock(&e->lock);
}

static void wake_host(lub_wait *w) {
  lub_host_wait *h = (lub_host_wait *)(void *)w;
  lub_engine *e = w->engine;
  pthread_mutex_lock(&e->lock);
  h->sleeper.woken = true;
  pthread_cond_signal(&h->sleeper.wakeup);
  pthread_mutex_unlock(&e->lock);
}

void lub_host_wait_init(lub_host_wait *h, lub_engine *e) {
  *h = (lub_host_wait){.wait = {.engine = e, .wake = wake_host}};
  h->sleeper.wait = &h->wait;
  pthread_cond_init(&h->sleeper.wakeup, NULL);
}

lub_status lub_host_wait_block(lub_host_wait *h) {
  lub_engine *e = h->wait.engine;
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->sleepers, &h->sleeper.link);
  e->awake++;
  lub_engine_asleep_locked(e);
  while (!h->sleeper.woken) pthread_cond_wait(&h->sleeper.wakeup, &e->lock);
  if (h->wait.status == LUB_DEADLOCK) e->awake--;
  lub_list_remove(&h->sleeper.link);
  pthread_mutex_unlock(&e->lock);
  return lub_wait_finish(&h->wait);
}

void lub_host_wait_close(lub_host_wait *h) {
  lub_timer_forget(&h->wait.engine->timers, &h->wait.timer);
  pthread_cond_destroy(&h->sleeper.wakeup);
}

/* ---- carriers ----------------------------------------------------------------------------------------- */

static void *carry(void *arg);

void lub_engine_queue(lub_engine *e, lub_worker *w) {
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->queue, &w->link);
  atomic_fetch_add_explicit(&e->waiting, 1, memory_order_relaxed);
  if (e->sleeping) pthread_cond_signal(&e->work);
  pthread_mutex_unlock(&e->lock);
}

static lub_worker *take_queued_locked(lub_engine *e) {
  lub_link *k = lub_list_pop(&e->queue);
  if (!k) return NULL;
  atomic_fetch_sub_explicit(&e->waiting, 1, memory_order_relaxed);
  return lub_container(k, lub_worker, link);
}

static lub_status start_thread_locked(lub_engine *e) {
  lub_carrier *c = &e->carriers[e->threads];
  c->engine = e;
  if (pthread_create(&c->thread, NULL, carry, c)) return LUB_THREAD;
  e->threads++;
  e->awake++;
  return LUB_OK;
}

/* Runs w for one slice. */
static void run_slice(lub_worker *w) {
  lub_engine *e = w->engine;
  lub_object_ref(&w->obj);
  atomic_store(&w->state, LUB_RUNNING);
  atomic_store_explicit(&w->preempt, false, memory_order_relaxed);
  lub_worker_set_current(w);
  w->run(w);
  lub_worker_set_current(NULL);
  int running = LUB_RUNNING;
  if (!atomic_load(&w->ended) &&
      (w->ready || !atomic_compare_exchange_strong(&w->state, &running, LUB_IDLE))) {
    atomic_store(&w->state, LUB_QUEUED);
    lub_engine_queue(e, w);
  }
  lub_object_drop(&w->obj);
}

/* The next worker for this carrier; NULL: the engine stops. */
static lub_worker *find_work(lub_carrier *c) {
  lub_engine *e = c->engine;
  for (;;) {
    lub_timers_run(&e->timers, lub_timers_next(&e->timers) == LUB_NEVER ? 0 : lub_engine_now_ns(e));
    for (int i = 0; i < SPIN && !atomic_load_explicit(&e->waiting, memory_order_relaxed); i++) lub_pause();
    pthread_mutex_lock(&e->lock);
    if (atomic_load(&c->stuck)) { /* its place has been filled: it is one more spare, up to the next need */
      atomic_store(&c->stuck, false);
      e->stuck--;
    }
    bool surplus = e->threads - e->stuck - e->sleeping > e->places;
    lub_worker *w = e->stopping || surplus ? NULL : take_queued_locked(e);
    if (!w && !e->stopping) {
      bool keeper = !e->keeper;
      int64_t until = keeper ? lub_timers_next(&e->timers) : LUB_NEVER;
      if (keeper) e->keeper = true;
      e->sleeping++;
      lub_engine_asleep_locked(e);
      if (until > lub_engine_now_ns(e)) wait_until(&e->work, &e->lock, until);
      e->sleeping--;
      e->awake++;
      if (keeper) e->keeper = false;
    }
    bool stop = e->stopping;
    if (w && e->watching) pthread_cond_signal(&e->watch);
    pthread_mutex_unlock(&e->lock);
    if (w || stop) return w;
  }
}

static void *carry(void *arg) {
  lub_carrier *c = arg;
  lub_worker *w;
  while ((w = find_work(c))) {
    atomic_store(&c->current, w);
    run_slice(w);
    atomic_store(&c->current, NULL);
    atomic_fetch_add(&c->slices, 1);
  }
  return NULL;
}

/* ---- the watcher -------------------------------------------------------------------------------------- */

static bool used_cpu(lub_carrier *c) {
  clockid_t id;
  struct timespec t;
  if (pthread_getcpuclockid(c->thread, &id) || clock_gettime(id, &t)) return true;
  int64_t cpu_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec, used_ns = cpu_ns - c->seen_cpu_ns;
  c->seen_cpu_ns = cpu_ns;
  return used_ns > TICK_NS / 10;
}

/* The thread of a pinned worker that runs fibers: one that does not switch is interrupted. */
static bool watch_pinned_locked(lub_engine *e, lub_worker *w) {
  if (!atomic_load(&w->driven) || atomic_load(&w->state) == LUB_ASLEEP) return false;
  uint32_t steps = atomic_load(&w->steps);
  w->ticks = steps == w->seen_steps ? w->ticks + 1 : 0;
  w->seen_steps = steps;
  if (w->ticks >= LONG_TICKS && w->ticks % LONG_TICKS == 0 && e->opts.preempt_signal)
    (void)pthread_kill(w->thread, e->opts.preempt_signal);
  return true;
}

/* c->current may be freed meanwhile: it is compared, never followed. Whether a signal is due is decided
 * in lub_interrupted, on the carrier itself. */
static bool watch_carrier_locked(lub_engine *e, lub_carrier *c) {
  lub_worker *w = atomic_load(&c->current);
  uint32_t slices = atomic_load(&c->slices);
  if (!w || slices != c->seen_slices) {
    c->seen_slices = slices;
    c->ticks = 0;
    return w != NULL;
  }
  c->ticks++;
  if (c->ticks < LONG_TICKS) return true;
  /* a thread that used no CPU is blocked in a C call: a signal would only break that call */
  if (e->opts.preempt_signal && c->ticks % LONG_TICKS == 0 && used_cpu(c))
    (void)pthread_kill(c->thread, e->opts.preempt_signal);
  bool others_wait = !lub_list_empty(&e->queue);
  if (c->ticks > LONG_TICKS && others_wait && !e->sleeping && !atomic_load(&c->stuck)) {
    if (e->threads < e->max_threads && start_thread_locked(e) == LUB_OK) {
      atomic_store(&c->stuck, true);
      e->stuck++;
    } else if (!e->bound_told) {
      e->bound_told = true;
      if (e->opts.log) e->opts.log(e->opts.ud, "every carrier is inside a C call and the bound on threads "
                                               "(max_carriers) is reached: workers wait until one returns");
    }
  }
  return true;
}

static void *watch(void *arg) {
  lub_engine *e = arg;
  int quiet = 0;
  pthread_mutex_lock(&e->lock);
  while (!e->stopping) {
    e->watching = quiet >= IDLE_TICKS;
    wait_until(&e->watch, &e->lock,
               e->watching ? LUB_NEVER : real_clock(NULL) + TICK_NS);
    if (e->watching) quiet = 0; /* who woke it may not show as running yet: look some ticks longer */
    e->watching = false;
    bool busy = false;
    for (int i = 0; i < e->threads; i++) busy |= watch_carrier_locked(e, &e->carriers[i]);
    for (lub_link *k = lub_list_first(&e->pinned); k; k = lub_list_next(&e->pinned, k))
      busy |= watch_pinned_locked(e, lub_container(k, lub_worker, pin));
    quiet = busy ? 0 : quiet + 1;
    pthread_mutex_unlock(&e->lock);
    if (busy) lub_timers_run(&e->timers, lub_engine_now_ns(e));
    pthread_mutex_lock(&e->lock);
  }
  pthread_mutex_unlock(&e->lock);
  return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void *libc_realloc(void *ud, void *block, size_t nbytes) {
  (void)ud;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

static void stop_threads(lub_engine *e, int threads, bool watcher) {
  pthread_mutex_lock(&e->lock);
  e->stopping = true;
  pthread_cond_broadcast(&e->work);
  pthread_cond_broadcast(&e->watch);
  pthread_mutex_unlock(&e->lock);
  if (watcher) pthread_join(e->watcher, NULL); /* first: it is the only one who starts more carriers */
  if (e->threads > threads) threads = e->threads;
  for (int i = 0; i < threads; i++) pthread_join(e->carriers[i].thread, NULL);
}

static void free_engine(lub_engine *e) {
  while (e->names) {
    lub_name *n = e->names;
    e->names = n->next;
    lub_value_drop(&n->value);
    lub_free(&e->mem, n);
  }
  lub_timers_close(&e->timers);
  pthread_cond_destroy(&e->work);
  pthread_cond_destroy(&e->watch);
  pthread_mutex_destroy(&e->lock);
  lub_allocator mem = e->mem;
  lub_free(&mem, e->carriers);
  lub_free(&mem, e);
}

lub_status lub_engine_open(const lub_options *opts, lub_engine **out) {
  lub_options o = opts ? *opts : (lub_options){0};
  if (o.carriers < -1 || o.carriers > 4096 || o.max_carriers < 0 || o.max_carriers > 65536) return LUB_INVALID;
  if (!o.realloc) o.realloc = libc_realloc;
  if (!o.clock) o.clock = real_clock;
  if (o.carriers == 0) o.carriers = (int)sysconf(_SC_NPROCESSORS_ONLN);
  lub_engine *e = o.realloc(o.ud, NULL, sizeof *e);
  if (!e) return LUB_NOMEM;
  *e = (lub_engine){.mem = {o.realloc, o.ud}, .opts = o, .holds = 1};
  e->places = o.carriers > 0 ? o.carriers : 0;
  e->max_threads = o.max_carriers > e->places ? o.max_carriers : e->places + 256;
  size_t nbytes = (size_t)e->max_threads * sizeof *e->carriers;
  if (!(e->carriers = lub_alloc(&e->mem, nbytes))) {
    o.realloc(o.ud, e, 0);
    return LUB_NOMEM;
  }
  memset(e->carriers, 0, nbytes);
  lub_list_init(&e->queue);
  lub_list_init(&e->workers);
  lub_list_init(&e->pinned);
  lub_list_init(&e->sleepers);
  lub_timers_init(&e->timers, &e->mem);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->work, &monotonic);
  pthread_cond_init(&e->watch, &monotonic);
  pthread_condattr_destroy(&monotonic);
  lub_status status = LUB_OK;
  pthread_mutex_lock(&e->lock);
  for (int i = 0; i < e->places && status == LUB_OK; i++) status = start_thread_locked(e);
  pthread_mutex_unlock(&e->lock);
  bool watcher = status == LUB_OK && e->places && !pthread_create(&e->watcher, NULL, watch, e);
  if (status != LUB_OK || (e->places && !watcher)) {
    stop_threads(e, e->threads, watcher);
    free_engine(e);
    return LUB_THREAD;
  }
  *out = e;
  return LUB_OK;
}

lub_status lub_engine_close(lub_engine *e) {
  lub_worker *w = lub_worker_current();
  if (w && w->engine == e && !w->pinned) return LUB_BUSY;
  stop_threads(e, e->threads, e->places > 0);
  free_engine(e);
  return LUB_OK;
}

lub_status lub_engine_step(lub_engine *e, double wait) {
  if (e->places) return LUB_INVALID;
  int64_t deadline = lub_engine_deadline(e, wait);
  for (;;) {
    uint32_t fired = lub_timers_run(&e->timers, lub_engine_now_ns(e));
    pthread_mutex_lock(&e->lock);
    lub_worker *w = take_queued_locked(e);
    if (!w && !fired) {
      bool parked = all_parked(e);
      int64_t next = lub_timers_next(&e->timers), until = deadline < next ? deadline : next;
      if (parked || until <= lub_engine_now_ns(e)) {
        bool due = !parked && next <= lub_engine_now_ns(e);
        pthread_mutex_unlock(&e->lock);
        if (due) continue;
        return parked ? LUB_DEADLOCK : LUB_TIMEOUT;
      }
      e->sleeping++;
      wait_until(&e->work, &e->lock, until);
      e->sleeping--;
    }
    pthread_mutex_unlock(&e->lock);
    if (w) run_slice(w);
    if (w || fired) return LUB_OK;
  }
}

int lub_engine_carriers(lub_engine *e) { return e->places; }

int lub_engine_threads(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  int n = e->threads;
  pthread_mutex_unlock(&e->lock);
  return n;
}

/* ---- names and strings --------------------------------------------------------------------------------- */

lub_status lub_string(lub_engine *e, const char *text, size_t nbytes, lub_value *out) {
  if (nbytes <= LUB_SHORT_MAX) {
    *out = (lub_value){.type = LUB_SHORT};
    out->s.len = (uint8_t)nbytes;
    memcpy(out->s.text, text, nbytes);
    return LUB_OK;
  }
  lub_block *b = lub_block_new(&e->mem, nbytes, 0);
  if (!b) return LUB_NOMEM;
  memcpy(b->bytes, text, nbytes);
  *out = lub_of_block(LUB_STRING, b);
  return LUB_OK;
}

static lub_name **find_name(lub_engine *e, const char *name) {
  lub_name **at = &e->names;
  while (*at && strcmp((*at)->name, name)) at = &(*at)->next;
  return at;
}

lub_status lub_engine_publish(lub_engine *e, const char *name, lub_value *v) {
  size_t n = strlen(name) + 1;
  lub_name *made = v->type == LUB_NIL ? NULL : lub_alloc(&e->mem, sizeof *made + n);
  if (!made && v->type != LUB_NIL) return LUB_NOMEM;
  pthread_mutex_lock(&e->lock);
  lub_name **at = find_name(e, name), *old = *at;
  if (old) *at = old->next;
  if (made) {
    made->value = *v;
    memcpy(made->name, name, n);
    made->next = e->names;
    e->names = made;
  }
  pthread_mutex_unlock(&e->lock);
  v->type = LUB_NIL;
  if (old) lub_value_drop(&old->value);
  lub_free(&e->mem, old);
  return LUB_OK;
}

lub_status lub_engine_lookup(lub_engine *e, const char *name, lub_value *out) {
  pthread_mutex_lock(&e->lock);
  lub_name *n = *find_name(e, name);
  lub_status status = n ? lub_value_copy(&n->value, out) : LUB_INVALID;
  pthread_mutex_unlock(&e->lock);
  return status;
}
