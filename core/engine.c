/* engine.c - the life of an engine, its time, its names; who sleeps, and who is told of a deadlock. */
#include "engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tick.h"

enum {
  MANY = 16,          /* timers at once: more are due soon */
  GATHER_NS = 200000, /* ... and wait for each other */
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

int64_t lub_clock_ns(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t)) return LUB_NEVER;
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t real_clock(void *ud) {
  (void)ud;
  return lub_clock_ns(CLOCK_MONOTONIC);
}

int64_t lub_engine_now_ns(lub_engine *e) { return e->opts.clock(e->opts.ud); }
double lub_engine_now(lub_engine *e) { return (double)lub_engine_now_ns(e) / 1e9; }

#ifdef CLOCK_MONOTONIC_COARSE
int64_t lub_engine_kernel_tick_ns(lub_engine *e) {
  return e->real_clock ? lub_clock_ns(CLOCK_MONOTONIC_COARSE) : lub_engine_now_ns(e);
}
#else
int64_t lub_engine_kernel_tick_ns(lub_engine *e) { return lub_engine_now_ns(e); }
#endif

int64_t lub_engine_deadline(lub_engine *e, double wait) {
  if (!(wait > 0)) return 0;
  if (wait > 9e9) return LUB_NEVER; /* 285 years */
  return lub_engine_now_ns(e) + lub_span_ns(wait);
}

void lub_engine_wait_locked(lub_engine *e, pthread_cond_t *c, int64_t deadline_ns) {
  if (deadline_ns == LUB_NEVER) {
    pthread_cond_wait(c, &e->lock);
    return;
  }
  if (!e->real_clock) { /* a lent clock may run at a pace of its own: look again soon */
    int64_t left_ns = deadline_ns - lub_engine_now_ns(e);
    deadline_ns = real_clock(NULL) + (left_ns < 1000000 ? left_ns : 1000000);
  }
  struct timespec t = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
  (void)pthread_cond_timedwait(c, &e->lock, &t);
}

/* If nobody keeps the next timer, somebody else who sleeps looks at them again. */
void lub_engine_stir_locked(lub_engine *e, const lub_sleeper *self) {
  if (lub_engine_next_timer(e) >= e->keeper_ns) return;
  lub_link *k = lub_list_first(lub_list_empty(&e->idlers) ? &e->sleepers : &e->idlers);
  if (k && self && k == &self->link) k = lub_list_next(&e->sleepers, k);
  if (k) pthread_cond_signal(&lub_container(k, lub_sleeper, link)->wakeup);
}

/* The next timer is another one. */
static void tell_keeper(lub_engine *e) {
  const lub_worker *w = lub_worker_current();
  if (w && w->engine == e)
    return; /* such a thread keeps the timers before it sleeps; meanwhile the watcher does */
  pthread_mutex_lock(&e->lock);
  lub_engine_stir_locked(e, NULL);
  pthread_mutex_unlock(&e->lock);
}

bool lub_engine_start_timer(lub_engine *e, lub_timer *t, int64_t when_ns) {
  bool earliest, running = lub_timer_start(&e->timers, t, when_ns, &earliest);
  if (earliest) tell_keeper(e);
  return running;
}

lub_status lub_engine_begin_timer(lub_engine *e, lub_timer *t, const lub_timer_kind *kind, int64_t when_ns) {
  bool earliest = false;
  lub_status status = lub_timer_begin(&e->timers, t, kind, when_ns, &earliest);
  if (earliest) tell_keeper(e);
  return status;
}

void lub_engine_enter(lub_engine *e, lub_life *l, lub_state state) {
  int64_t now = lub_engine_now_ns(e);
  lub_state before = (lub_state)atomic_load_explicit(&l->state, memory_order_relaxed);
  lub_life_enter(l, state, now);
  if ((e->opts.record || atomic_load_explicit(&e->hurries, memory_order_relaxed)) && before != state)
    atomic_load(&e->judging)->moved(l, before, state, now);
}

void lub_engine_ask_judge(lub_engine *e) {
  if (atomic_load_explicit(&e->judge_is_due, memory_order_relaxed)) atomic_load(&e->judging)->ask(e);
}

static uint32_t fire_timers(lub_engine *e, uint32_t (*run)(lub_timers *ts, int64_t now_ns)) {
  if (lub_timers_next(&e->timers) == LUB_NEVER) return 0;
  int64_t now_ns = lub_engine_now_ns(e);
  uint32_t fired = run(&e->timers, now_ns);
  if (fired >= MANY && e->real_clock)
    atomic_store_explicit(&e->gather_ns, now_ns + GATHER_NS, memory_order_relaxed);
  lub_engine_ask_judge(e);
  return fired;
}

uint32_t lub_engine_run_timers(lub_engine *e) { return fire_timers(e, lub_timers_run); }
void lub_engine_look_at_timers(lub_engine *e) { (void)fire_timers(e, lub_timers_try); }

int64_t lub_engine_next_timer(lub_engine *e) {
  int64_t next = lub_timers_next(&e->timers);
  int64_t gather = atomic_load_explicit(&e->gather_ns, memory_order_relaxed);
  return next < gather ? gather : next;
}

/* ---- who sleeps, and the deadlock --------------------------------------------------------------------- */

void lub_sleeper_init(lub_sleeper *s, lub_wait *wait) {
  *s = (lub_sleeper){.wait = wait};
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s->wakeup, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

void lub_sleeper_close(lub_sleeper *s) { pthread_cond_destroy(&s->wakeup); }

void lub_sleep_locked(lub_engine *e, lub_sleeper *s, int64_t until_ns) {
  bool keeper = false;
  while (!s->woken) {
    int64_t next = lub_engine_next_timer(e), now = lub_engine_now_ns(e);
    keeper = next < e->keeper_ns;
    if ((keeper && next <= now) || until_ns <= now) return;
    if (keeper) e->keeper_ns = next;
    lub_engine_wait_locked(e, &s->wakeup, keeper && next < until_ns ? next : until_ns);
    if (keeper && e->keeper_ns == next) e->keeper_ns = LUB_NEVER;
  }
  /* the timers need another keeper. A carrier comes back to sleep, or the watcher sees it busy; a host's thread not */
  if (keeper && s->wait) lub_engine_stir_locked(e, s);
}

static bool all_parked_locked(lub_engine *e) {
  return e->awake == 0 && e->holds == 0 && !atomic_load(&e->stopping) && !lub_carriers_have_work_locked(e);
}

static bool fail_sleeper_locked(lub_engine *e, lub_sleeper *s) {
  if (!s->wait || !lub_wait_claim(s->wait)) return false;
  s->wait->status = LUB_DEADLOCK;
  lub_engine_awake_locked(e);
  if (s->wait->id) {
    lub_fiber *f = lub_container(s->wait, lub_fiber, wait);
    lub_fiber_inbox(f);
    atomic_store(&f->worker->state, LUB_RUNNING);
  }
  lub_sleeper_wake_locked(s);
  return true;
}

/* Whether nothing can ever wake anybody. Releases the lock meanwhile: the timers' comes before it. */
static bool parked_for_ever_locked(lub_engine *e) {
  while (all_parked_locked(e)) {
    uint32_t changes = e->changes;
    e->awake++;
    pthread_mutex_unlock(&e->lock);
    bool could_wake = lub_timers_could_wake(&e->timers);
    pthread_mutex_lock(&e->lock);
    e->awake--;
    if (could_wake) return false;
    if (changes == e->changes) return all_parked_locked(e);
  }
  return false;
}

void lub_engine_asleep_locked(lub_engine *e) {
  e->awake--;
  e->changes++;
  if (!parked_for_ever_locked(e)) return;
  bool told = false;
  for (lub_link *k = lub_list_first(&e->sleepers); k; k = lub_list_next(&e->sleepers, k)) {
    lub_sleeper *s = lub_container(k, lub_sleeper, link);
    /* all threads of the host: what the first does then is not known to the engine, and the others would sleep on */
    if (s->wait && !s->wait->id) told |= fail_sleeper_locked(e, s);
  }
  for (lub_link *k = lub_list_first(&e->sleepers); k && !told; k = lub_list_next(&e->sleepers, k))
    told = fail_sleeper_locked(e, lub_container(k, lub_sleeper, link));
}

void lub_engine_hold(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  e->holds++;
  pthread_mutex_unlock(&e->lock);
}

void lub_engine_release(lub_engine *e) {
  if (lub_gate_enter(e, NULL)) return;
  pthread_mutex_lock(&e->lock);
  e->holds--;
  e->awake++;
  lub_engine_asleep_locked(e);
  pthread_mutex_unlock(&e->lock);
  lub_gate_leave(e);
}

/* ---- host threads ----------------------------------------------------------------------------------------- */

void lub_host_wait_wake(lub_host_wait *h) {
  lub_engine *e = h->engine;
  pthread_mutex_lock(&e->lock);
  lub_engine_awake_locked(e);
  lub_sleeper_wake_locked(&h->sleeper);
  pthread_mutex_unlock(&e->lock);
}

void lub_host_wait_init(lub_host_wait *h, lub_engine *e) {
  *h = (lub_host_wait){.engine = e};
  lub_sleeper_init(&h->sleeper, &h->wait);
}

/* The thread counts as awake from here to its sleep, and from its wake to the end of this function. */
lub_status lub_host_wait_block(lub_host_wait *h) {
  lub_engine *e = h->engine;
  lub_sleeper *s = &h->sleeper;
  pthread_mutex_lock(&e->lock);
  if (!s->woken) {
    lub_list_push(&e->sleepers, &s->link);
    lub_engine_awake_locked(e);
    lub_engine_asleep_locked(e);
    while (!s->woken) {
      lub_sleep_locked(e, s, LUB_NEVER);
      if (s->woken) break;
      lub_engine_awake_locked(e);
      pthread_mutex_unlock(&e->lock);
      lub_engine_run_timers(e);
      pthread_mutex_lock(&e->lock);
      if (s->woken) e->awake--; /* counted by us and by the wake */
      else lub_engine_asleep_locked(e);
    }
    lub_list_remove(&s->link);
  }
  e->awake--; /* what it does next is its host's business: see lub_engine_hold */
  pthread_mutex_unlock(&e->lock);
  return lub_wait_finish(&h->wait);
}

void lub_host_wait_close(lub_host_wait *h) {
  lub_timer_forget(&h->engine->timers, &h->wait.timer);
  lub_sleeper_close(&h->sleeper);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void *libc_realloc(void *ud, void *block, size_t nbytes) {
  (void)ud;
  if (nbytes) return realloc(block, nbytes);
  free(block);
  return NULL;
}

static void drain(lub_chan *ch) {
  lub_chan_ref(ch);
  lub_chan_drain(ch);
  lub_chan_drop(ch);
}

/* Channels that only lie in each other's buffers, or in their own, go with the engine. */
static void free_lost_chans(lub_engine *e) {
  lub_list all;
  lub_link *k;
  lub_chan *ch;
  for (uint32_t id = 0; (ch = lub_tick_next(e, &id));) drain(ch);
  lub_list_init(&all);
  lub_list_splice(&all, &e->chans);
  while ((k = lub_list_pop(&all))) {
    lub_list_push(&e->chans, k);
    drain(lub_container(k, lub_chan, link));
  }
}

static void free_names(lub_engine *e) {
  while (e->names) {
    lub_name *n = e->names;
    e->names = n->next;
    lub_value_drop(&n->value);
    lub_free(&e->mem, n);
  }
}

/* Who keeps a reference would use the engine when it drops it: the engine stays, and names the first. */
static bool is_referenced(lub_engine *e) {
  const char *kind = "heart", *name = e->judge ? atomic_load(&e->judging)->free(e) : NULL;
  if (!name) {
    uint32_t id = 0;
    lub_link *k = lub_list_first(&e->chans);
    const lub_chan *ch = k ? lub_container(k, lub_chan, link) : lub_tick_next(e, &id);
    if (!ch) return false;
    kind = ch->of_worker ? "worker" : "channel";
    name = ch->name;
  }
  char text[160];
  (void)snprintf(text, sizeof text, "the engine cannot close: %s '%.64s' is still referenced", kind, name);
  if (e->opts.log) e->opts.log(e->opts.ud, text);
  return true;
}

static void free_engine(lub_engine *e) {
  lub_turns_close(e);
  lub_timers_close(&e->timers);
  pthread_cond_destroy(&e->watch);
  pthread_cond_destroy(&e->gone);
  pthread_mutex_destroy(&e->lock);
  lub_allocator mem = e->mem;
  lub_free(&mem, e);
}

static void init_engine(lub_engine *e, const lub_options *o) {
  *e = (lub_engine){.mem = {o->realloc, o->ud}, .opts = *o, .holds = 1, .keeper_ns = LUB_NEVER};
  e->real_clock = o->clock == real_clock;
  lub_list *lists[] = {&e->queue,  &e->preempted, &e->workers,    &e->pinned, &e->sleepers,
                       &e->idlers, &e->spares,    &e->complaints, &e->chans,  &e->turns.frozen};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) lub_list_init(lists[i]);
  lub_lock_init(&e->chans_lock);
  lub_timers_init(&e->timers, &e->mem);
  pthread_mutex_init(&e->lock, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&e->watch, &monotonic);
  pthread_cond_init(&e->gone, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

lub_status lub_engine_open(const lub_options *opts, lub_engine **out) {
  lub_options o = opts ? *opts : (lub_options){0};
  if (o.carriers < -1 || o.carriers > LUB_CARRIERS_MAX || o.max_carriers < 0 ||
      o.max_carriers > LUB_THREADS_MAX || (o.choose && o.carriers != -1))
    return LUB_INVALID;
  if (!o.realloc) o.realloc = libc_realloc;
  if (!o.clock) o.clock = real_clock;
  if (o.carriers == 0) o.carriers = lub_cpus();
  if (o.max_carriers == 0) o.max_carriers = o.carriers + 256;
  lub_engine *e = o.realloc(o.ud, NULL, sizeof *e);
  if (!e) return LUB_NOMEM;
  init_engine(e, &o);
  lub_status status = lub_carriers_open(e);
  if (status != LUB_OK) {
    free_engine(e);
    return status;
  }
  *out = e;
  return LUB_OK;
}

lub_status lub_engine_close(lub_engine *e) {
  lub_worker *w = lub_worker_current();
  if (w && w->engine == e && !w->pinned) return LUB_BUSY;
  if (!lub_workers_end(e, LUB_FOREVER)) return LUB_BUSY;
  lub_carriers_close(e);
  (void)lub_engine_complain(e, true);
  free_names(e);
  if (e->judge) atomic_load(&e->judging)->close(e);
  free_lost_chans(e);
  if (is_referenced(e)) return LUB_BUSY;
  free_engine(e);
  return LUB_OK;
}

/* When a host-run engine must look at its timers, or log what nobody has joined. */
static int64_t next_duty_locked(lub_engine *e) {
  int64_t timer_ns = lub_timers_next(&e->timers);
  lub_link *k = lub_list_first(&e->complaints);
  int64_t complain_ns = k ? lub_container(k, lub_worker, complains)->complain_ns : LUB_NEVER;
  return timer_ns < complain_ns ? timer_ns : complain_ns;
}

/* Sleeps as an idle carrier does: whoever queues a worker wakes it. The thread counts as awake before and after. */
static lub_status sleep_in_step(lub_engine *e, lub_sleeper *s, int64_t deadline) {
  lub_status status = LUB_PARK;
  pthread_mutex_lock(&e->lock);
  lub_list_push(&e->idlers, &s->link);
  atomic_fetch_add(&e->idle, 1);
  s->woken = false;
  e->awake--;
  e->changes++;
  if (!lub_carriers_have_work_locked(e)) {
    int64_t duty_ns = next_duty_locked(e);
    if (parked_for_ever_locked(e)) status = LUB_DEADLOCK;
    else lub_sleep_locked(e, s, deadline < duty_ns ? deadline : duty_ns);
    if (status == LUB_PARK && !s->woken && lub_engine_now_ns(e) >= deadline) status = LUB_TIMEOUT;
  }
  if (s->woken) { /* the wake has taken us from the list, and counted us as a carrier */
    atomic_fetch_sub(&e->searching, 1);
  } else {
    lub_list_remove(&s->link);
    atomic_fetch_sub(&e->idle, 1);
    lub_engine_awake_locked(e);
  }
  pthread_mutex_unlock(&e->lock);
  return status;
}

lub_status lub_engine_step(lub_engine *e, double wait) {
  if (e->opts.carriers > 0) return LUB_INVALID;
  int64_t deadline = lub_engine_deadline(e, wait);
  lub_sleeper s;
  lub_sleeper_init(&s, NULL);
  lub_status status = LUB_PARK;
  pthread_mutex_lock(&e->lock);
  lub_engine_awake_locked(e); /* others may wait for what this step runs */
  pthread_mutex_unlock(&e->lock);
  while (status == LUB_PARK) {
    bool chosen = e->opts.choose; /* then who can run comes before what is due */
    uint32_t fired = chosen ? 0 : lub_engine_run_timers(e);
    (void)lub_engine_complain(e, false);
    if (lub_carriers_step(e) || fired || (chosen && lub_turns_fire(e))) status = LUB_OK;
    else status = sleep_in_step(e, &s, deadline);
  }
  pthread_mutex_lock(&e->lock);
  lub_engine_asleep_locked(e);
  pthread_mutex_unlock(&e->lock);
  lub_sleeper_close(&s);
  return status;
}

double lub_engine_timeout(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  bool ready = lub_carriers_have_work_locked(e);
  int64_t next_ns = next_duty_locked(e);
  pthread_mutex_unlock(&e->lock);
  int64_t now_ns = lub_engine_now_ns(e);
  if (ready || next_ns <= now_ns) return 0;
  return next_ns == LUB_NEVER ? LUB_FOREVER : (double)(next_ns - now_ns) / 1e9;
}

int lub_engine_carriers(lub_engine *e) { return e->nplaces; }

int lub_engine_threads(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  int n = e->threads;
  pthread_mutex_unlock(&e->lock);
  return n;
}

int lub_engine_failures(lub_engine *e) { return atomic_load(&e->failures); }

int lub_engine_zombies(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  int n = e->zombies;
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
