/* heart.c - see heart.h. */
#include "heart.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "judge.h"

#define INTERVAL 0.5          /* the default, in seconds */
#define LONGEST 3e8           /* ten years: what a span may be */
#define EXTEND_MAX 10         /* limits, in one silence */
#define LAPSE_NS 600000000000 /* of a pause */

enum {
  SLOW = LUB_HEART_STARTING | LUB_HEART_SILENT | LUB_HEART_UNLEARN | LUB_HEART_HEARD | LUB_HEART_RECORDED
};

#define get(x) atomic_load_explicit(&(x), memory_order_relaxed)
/* release, so that what is written while `seq` is odd is not seen before that; acquire, likewise */
#define put(x, v) atomic_store_explicit(&(x), (v), memory_order_release)
#define see(x) atomic_load_explicit(&(x), memory_order_acquire)

/* ---- statistics ----------------------------------------------------------------------------------------- */

static void add_sums(lub_heart *h, double d, double sign) {
  put(h->sum, get(h->sum) + sign * d);
  put(h->sum2, get(h->sum2) + sign * d * d);
}

/* Sums that had values added and taken away for a whole round are made anew: no error grows. */
static void sum_again(lub_heart *h) {
  double sum = 0, sum2 = 0;
  for (uint32_t i = 0; i < h->ring->size; i++) {
    double d = (double)get(h->ring->of[i]) - get(h->base);
    sum += d;
    sum2 += d * d;
  }
  put(h->sum, sum);
  put(h->sum2, sum2);
}

/* One interval between beats; the beating thread. */
static void learn(lub_heart *h, double x) {
  lub_ring *r = h->ring;
  uint32_t n = get(h->samples);
  put(h->seq, get(h->seq) + 1);
  if (r) x = (double)(float)x;
  if (n == 0) {
    put(h->base, x);
    put(h->min, x);
    put(h->max, x);
  }
  double d = x - get(h->base);
  if (x < get(h->min)) put(h->min, x);
  if (x > get(h->max)) put(h->max, x);
  if (r) {
    uint32_t head = get(r->head);
    bool full = n == r->size;
    if (full) add_sums(h, (double)get(r->of[head]) - get(h->base), -1);
    put(r->of[head], (float)x);
    put(r->head, head + 1 == r->size ? 0 : head + 1);
    add_sums(h, d, 1);
    if (full) {
      if (head + 1 == r->size) sum_again(h);
    } else {
      put(h->samples, n + 1);
    }
  } else {
    add_sums(h, d, 1);
    put(h->samples, n + 1);
  }
  put(h->seq, get(h->seq) + 1);
}

size_t lub_heart_window(lub_heart *h, double *out, size_t most) {
  lub_ring *r = h->ring;
  if (!r) return 0;
  for (;;) {
    uint32_t seq = see(h->seq), n = see(h->samples), head = see(r->head);
    uint32_t first = n < r->size ? 0 : head, skip = n > most ? n - (uint32_t)most : 0;
    for (uint32_t i = skip; i < n; i++) out[i - skip] = (double)see(r->of[(first + i) % r->size]);
    if (!(seq & 1) && see(h->seq) == seq) return n - skip;
    sched_yield();
  }
}

static void window_bounds(lub_heart *h, uint32_t n, lub_snapshot *out) {
  for (uint32_t i = 0; i < n; i++) {
    double x = (double)see(h->ring->of[i]);
    if (i == 0 || x < out->min) out->min = x;
    if (i == 0 || x > out->max) out->max = x;
  }
}

static void look_at_statistics(lub_heart *h, lub_snapshot *out) {
  for (;;) {
    uint32_t seq = see(h->seq), n = see(h->samples);
    double sum = see(h->sum), sum2 = see(h->sum2), base = see(h->base);
    out->min = see(h->min);
    out->max = see(h->max);
    if (h->ring) window_bounds(h, n, out);
    if ((seq & 1) || see(h->seq) != seq) {
      sched_yield();
      continue;
    }
    double mean = n ? sum / n : 0, variance = n ? sum2 / n - mean * mean : 0;
    out->samples = n;
    out->mean = n ? base + mean : 0;
    out->sd = variance > 0 ? sqrt(variance) : 0;
    return;
  }
}

/* ---- signs of life --------------------------------------------------------------------------------------- */

static int64_t now_of(lub_heart *h) { return lub_engine_now_ns(h->engine); }

void lub_heart_tell(lub_heart *h, const char *what, const char *text, int64_t now_ns) {
  if (!(get(h->flags) & LUB_HEART_RECORDED)) return;
  lub_value id = {0};
  (void)(strcmp(what, "unit") == 0 ? lub_heart_unit(h, &id) : LUB_OK);
  lub_event event = {.time = (double)now_ns / 1e9,
                     .heart = h->name,
                     .id = h->id,
                     .what = what,
                     .text = text,
                     .interval = h->interval,
                     .unit = id.type ? &id : NULL};
  h->engine->opts.record(h->engine->opts.ud, &event);
  lub_value_drop(&id);
}

/* Who listens, the judge that waits for this beat. */
static void tell_of_beat(lub_heart *h, const char *what, int64_t now_ns) {
  uint32_t before =
      atomic_fetch_and(&h->flags, ~(uint32_t)(LUB_HEART_STARTING | LUB_HEART_SILENT | LUB_HEART_UNLEARN));
  if (before & (LUB_HEART_SILENT | LUB_HEART_STARTING)) lub_judge_stir(h);
  lub_heart_tell(h, what, "", now_ns);
  if (!(before & LUB_HEART_HEARD)) return;
  lub_value id = {0};
  char text[64] = "";
  size_t n;
  if (!strcmp(what, "unit")) (void)lub_heart_unit(h, &id);
  if (id.type == LUB_INT) (void)snprintf(text, sizeof text, "unit %lld", (long long)id.as.i);
  else if (id.type == LUB_NUM) (void)snprintf(text, sizeof text, "unit %.14g", id.as.n);
  else if (lub_text(&id, &n)) (void)snprintf(text, sizeof text, "unit %.50s", lub_text(&id, &n));
  lub_value_drop(&id);
  lub_heart_pulse(h, *text ? text : what);
}

static lub_status sign_of_life(lub_heart *h, const char *what) {
  uint32_t flags = get(h->flags);
  if (flags & LUB_HEART_CLOSED) return LUB_CLOSED;
  int64_t now = now_of(h), before = get(h->beat_ns);
  if (!before && h->estimate > 0) {
    learn(h, h->estimate - h->estimate / 4);
    learn(h, h->estimate + h->estimate / 4);
  }
  if (before && !(flags & LUB_HEART_UNLEARN)) learn(h, (double)(now - before) / 1e9);
  atomic_store_explicit(&h->beat_ns, now, memory_order_relaxed);
  atomic_store_explicit(&h->beats, get(h->beats) + 1, memory_order_relaxed);
  lub_life_sign(&h->life, now);
  if (flags & SLOW) tell_of_beat(h, what, now);
  return LUB_OK;
}

lub_status lub_beat(lub_heart *h) { return sign_of_life(h, "beat"); }

/* ---- units and progress ------------------------------------------------------------------------------------ */

static lub_units *units_of(lub_heart *h) {
  lub_units *u = atomic_load_explicit(&h->units, memory_order_acquire);
  if (u) return u;
  if (!(u = lub_alloc(&h->engine->mem, sizeof *u))) return NULL;
  memset(u, 0, sizeof *u);
  atomic_flag_clear(&u->lock);
  lub_units *none = NULL;
  if (atomic_compare_exchange_strong(&h->units, &none, u)) return u;
  lub_free(&h->engine->mem, u);
  return none;
}

static void lock_units(lub_units *u) {
  while (atomic_flag_test_and_set_explicit(&u->lock, memory_order_acquire)) sched_yield();
}

static void unlock_units(lub_units *u) { atomic_flag_clear_explicit(&u->lock, memory_order_release); }

/* Puts *v in the place of what was there; *v is nil then. */
static void keep(lub_units *u, lub_value *place, lub_value *v) {
  lock_units(u);
  lub_value old = *place;
  *place = *v;
  unlock_units(u);
  lub_value_drop(&old);
  *v = (lub_value){0};
}

static lub_status copy_of(lub_heart *h, bool progress, lub_value *out) {
  lub_units *u = atomic_load_explicit(&h->units, memory_order_acquire);
  *out = (lub_value){0};
  if (!u) return LUB_OK;
  lock_units(u);
  lub_status status = lub_value_copy(progress ? &u->progress : &u->id, out);
  unlock_units(u);
  return status;
}

lub_status lub_heart_progress(lub_heart *h, lub_value *out) { return copy_of(h, true, out); }
lub_status lub_heart_unit(lub_heart *h, lub_value *out) { return copy_of(h, false, out); }

lub_status lub_beat_progress(lub_heart *h, lub_value *progress) {
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_units *u = units_of(h);
  if (!u) return LUB_NOMEM;
  keep(u, &u->progress, progress);
  return sign_of_life(h, "beat");
}

static void end_unit(lub_units *u, int64_t now_ns) {
  int64_t since = get(u->since_ns);
  if (!since) return;
  double span = (double)(now_ns - since) / 1e9;
  if (span < 0) span = 0; /* it was excused for longer than it took */
  put(u->sum, get(u->sum) + span);
  if (span > get(u->max)) put(u->max, span);
  put(u->done, get(u->done) + 1);
  put(u->since_ns, 0);
}

lub_status lub_unit(lub_heart *h, lub_value *id) {
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_units *u = units_of(h);
  if (!u) return LUB_NOMEM;
  int64_t now = now_of(h);
  end_unit(u, now);
  keep(u, &u->id, id);
  put(u->count, get(u->count) + 1);
  put(u->since_ns, now);
  return sign_of_life(h, "unit");
}

lub_status lub_rest(lub_heart *h) {
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_units *u = atomic_load_explicit(&h->units, memory_order_acquire);
  lub_value none = {0};
  if (u) {
    end_unit(u, now_of(h));
    keep(u, &u->id, &none);
  }
  return sign_of_life(h, "rest");
}

/* ---- looking at it ----------------------------------------------------------------------------------------- */

lub_state lub_heart_state(lub_heart *h, int64_t now_ns) {
  uint32_t flags = get(h->flags);
  if (flags & LUB_HEART_CLOSED) return LUB_STATE_DEAD;
  if (h->worker) {
    if (atomic_load(&h->worker->fate) == LUB_FATE_KILLED) return LUB_STATE_ZOMBIE;
    if (atomic_load(&h->worker->killed) || atomic_load(&h->worker->cancelled)) return LUB_STATE_STOPPING;
  }
  lub_look look = lub_life_look(&h->life, now_ns);
  /* a slice of less than 10 ms is not in C */
  if (look.state == LUB_STATE_BUSY && h->worker && look.state_ns > 10000000 &&
      lub_carriers_in_c(h->engine, h->worker)) {
    int64_t none = 0;
    (void)atomic_compare_exchange_strong(&h->life.in_c_ns, &none, now_ns);
    return LUB_STATE_IN_C;
  }
  return flags & LUB_HEART_STARTING && !lub_state_is_parked(look.state) ? LUB_STATE_STARTING : look.state;
}

void lub_heart_look_at(lub_heart *h, int64_t now_ns, lub_snapshot *out) {
  lub_look look = lub_life_look(&h->life, now_ns);
  lub_units *u = atomic_load_explicit(&h->units, memory_order_acquire);
  int64_t unit_ns = u ? get(u->since_ns) : 0, beat_ns = get(h->beat_ns);
  *out = (lub_snapshot){.name = h->name,
                        .startup = get(h->flags) & LUB_HEART_STARTING,
                        .in_unit = unit_ns != 0,
                        .now = (double)now_ns / 1e9,
                        .age = (double)look.age_ns / 1e9,
                        .state_age = (double)look.state_ns / 1e9,
                        .unit_age = unit_ns && now_ns > unit_ns ? (double)(now_ns - unit_ns) / 1e9 : 0,
                        .progress_age = (double)(now_ns - (beat_ns ? beat_ns : h->opened_ns)) / 1e9,
                        .limit = h->limit,
                        .beats = get(h->beats),
                        .units = u ? get(u->count) : 0};
  out->state = lub_heart_state(h, now_ns);
  look_at_statistics(h, out);
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  out->verdict = h->verdict;
  out->interval = h->interval;
  out->misses = h->misses;
  if (h->lapse_ns && out->state != LUB_STATE_DEAD) out->state = LUB_STATE_PAUSED;
  pthread_mutex_unlock(&j->lock);
}

void lub_heart_look(lub_heart *h, lub_snapshot *out) { lub_heart_look_at(h, now_of(h), out); }

void lub_heart_count(lub_heart *h, lub_heart_figures *out) {
  *out = (lub_heart_figures){0};
  int64_t now = now_of(h);
  lub_units *u = atomic_load_explicit(&h->units, memory_order_acquire);
  lub_state state = lub_heart_state(h, now);
  lub_look look = lub_life_look(&h->life, now);
  for (int i = 0; i < LUB_STATES; i++) out->spent[i] = (double)get(h->life.spent_ns[i]) / 1e9;
  if (state != LUB_STATE_DEAD)
    out->spent[state == LUB_STATE_IN_C ? state : look.state] += (double)look.state_ns / 1e9;
  if (u) {
    out->units_done = get(u->done);
    out->mean_unit = out->units_done ? get(u->sum) / (double)out->units_done : 0;
    out->max_unit = get(u->max);
  }
  out->last_beat = (double)get(h->beat_ns) / 1e9;
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  out->excused = (double)h->excused_ns / 1e9;
  out->extended = h->extended;
  out->pulses = h->npulses;
  pthread_mutex_unlock(&j->lock);
}

const char *lub_heart_name(const lub_heart *h) { return h->name; }

/* ---- who listens --------------------------------------------------------------------------------------------- */

static lub_status ear_of(lub_heart *h, lub_chan **place, size_t capacity, lub_chan **out) {
  lub_judge *j = h->engine->judge;
  lub_chan *made;
  if (lub_chan_open(h->engine, capacity, h->name, &made)) return LUB_NOMEM;
  pthread_mutex_lock(&j->lock);
  if (!*place) {
    *place = made;
    lub_chan_ref(made);
    if (get(h->flags) & LUB_HEART_CLOSED) (void)lub_chan_close(made);
    h->watched |= place == &h->verdicts;
  }
  *out = *place;
  if (*out != made) lub_chan_ref(*out);
  pthread_mutex_unlock(&j->lock);
  if (*out != made) lub_chan_drop(made);
  return LUB_OK;
}

lub_status lub_heart_pulses(lub_heart *h, lub_chan **out) {
  lub_status status = ear_of(h, &h->pulses, 1, out);
  if (status == LUB_OK) atomic_fetch_or(&h->flags, LUB_HEART_HEARD);
  return status;
}

lub_status lub_heart_verdicts(lub_heart *h, lub_chan **out) { return ear_of(h, &h->verdicts, 16, out); }

/* The channel lives as long as the heart. */
void lub_heart_pulse(lub_heart *h, const char *text) {
  lub_value v;
  if (!h->pulses || lub_string(h->engine, text, strlen(text), &v)) return;
  lub_chan_replace(h->pulses, &v);
}

/* ---- pause, extend, fail ------------------------------------------------------------------------------------ */

lub_status lub_heart_pause(lub_heart *h, const char *why) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  pthread_mutex_lock(&j->lock);
  if (h->paused++ == 0) h->paused_ns = now_of(h);
  h->lapse_ns = now_of(h) + LAPSE_NS;
  pthread_mutex_unlock(&j->lock);
  lub_heart_tell(h, "pause", why ? why : "", now_of(h));
  return LUB_OK;
}

lub_status lub_heart_resume(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  int64_t now = now_of(h);
  pthread_mutex_lock(&j->lock);
  bool was = h->paused > 0, over = was && --h->paused == 0;
  if (over && h->lapse_ns) {
    h->lapse_ns = 0;
    lub_judge_excuse(h, h->paused_ns, now, 0);
  }
  pthread_mutex_unlock(&j->lock);
  if (over) {
    lub_judge_stir(h);
    lub_heart_tell(h, "resume", "", now);
  }
  return was ? LUB_OK : LUB_INVALID;
}

lub_status lub_heart_extend(lub_heart *h, double seconds, double *granted) {
  if (!(seconds >= 0) || seconds > LONGEST) return LUB_INVALID;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_judge *j = h->engine->judge;
  uint32_t signs = get(h->life.signs);
  pthread_mutex_lock(&j->lock);
  if (signs != h->extended_signs) h->extended = 0;
  h->extended_signs = signs;
  double most = EXTEND_MAX * h->limit - h->extended;
  *granted = seconds < most ? seconds : most;
  h->extended += *granted;
  pthread_mutex_unlock(&j->lock);
  int64_t more_ns = (int64_t)(*granted * 1e9);
  lub_units *u = atomic_load(&h->units);
  int64_t since = u ? get(u->since_ns) : 0;
  lub_life_extend(&h->life, more_ns);
  if (since) (void)atomic_compare_exchange_strong(&u->since_ns, &since, since + more_ns);
  return LUB_OK;
}

lub_status lub_heart_fail(lub_heart *h, const char *why) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  size_t n = strlen(why ? why : "") + 1;
  char *reason = lub_alloc(&h->engine->mem, n);
  if (reason) memcpy(reason, why ? why : "", n);
  pthread_mutex_lock(&j->lock);
  char *old = h->reason;
  h->reason = reason;
  h->failed = true; /* also without memory for the reason */
  pthread_mutex_unlock(&j->lock);
  lub_free(&h->engine->mem, old);
  lub_judge_stir(h);
  return LUB_OK;
}

/* ---- life ----------------------------------------------------------------------------------------------- */

void lub_heart_ref(lub_heart *h) { lub_object_ref(&h->obj); }
void lub_heart_drop(lub_heart *h) { lub_object_drop(&h->obj); }
lub_value lub_of_heart(lub_heart *h) { return lub_of_object(&h->obj, LUB_HEART_FLAGS); }

static void free_heart(lub_object *o) {
  lub_heart *h = lub_container(o, lub_heart, obj);
  const lub_allocator *mem = &h->engine->mem;
  lub_units *u = atomic_load(&h->units);
  if (h->let_go) h->let_go(h);
  lub_timer_forget(&h->engine->timers, &h->tick);
  if (u) {
    lub_value_drop(&u->progress);
    lub_value_drop(&u->id);
    lub_free(mem, u);
  }
  if (h->pulses) lub_chan_drop(h->pulses);
  if (h->verdicts) lub_chan_drop(h->verdicts);
  if (h->worker) lub_worker_drop(h->worker);
  lub_free(mem, h->ring);
  lub_free(mem, h->reason);
  if (*h->name) lub_free(mem, h->name);
  lub_free(mem, h);
}

lub_heart *lub_to_heart(const lub_value *v) {
  if (v->type != LUB_OBJECT) return NULL;
  lub_object *o = v->as.p;
  return o->free == free_heart ? lub_container(o, lub_heart, obj) : NULL;
}

static void fiber_moved(lub_life *l, lub_state before, lub_state state, int64_t now_ns) {
  lub_heart *h = lub_container(l, lub_heart, life);
  if (lub_state_is_parked(state)) lub_heart_tell(h, "park", lub_state_name(state), now_ns);
  else if (lub_state_is_parked(before)) lub_heart_tell(h, "wake", "", now_ns);
}

static void fiber_ended(lub_life *l) {
  lub_heart *h = lub_container(l, lub_heart, life);
  l->moved = NULL;
  lub_life_enter(l, LUB_STATE_IDLE, now_of(h)); /* the last span counts too */
  (void)lub_heart_close(h);
  lub_heart_drop(h);
}

lub_heart *lub_heart_in(const lub_fiber *f) {
  return f->wait.life ? lub_container(f->wait.life, lub_heart, life) : NULL;
}

static bool is_span(double s) { return s >= 0 && s <= LONGEST; }

static lub_status prepare(lub_heart *h, const lub_heart_options *o) {
  size_t n = strlen(o->name ? o->name : "");
  h->name = "";
  if (lub_timer_reserve(&h->engine->timers, &h->tick)) return LUB_NOMEM;
  if (n) {
    char *name = lub_alloc(&h->engine->mem, n + 1);
    if (!name) return LUB_NOMEM;
    memcpy(name, o->name, n + 1);
    h->name = name;
  }
  if (!o->window) return LUB_OK;
  h->ring = lub_alloc(&h->engine->mem, sizeof *h->ring + o->window * sizeof *h->ring->of);
  if (!h->ring) return LUB_NOMEM;
  memset(h->ring, 0, sizeof *h->ring + o->window * sizeof *h->ring->of);
  h->ring->size = o->window;
  return LUB_OK;
}

lub_status lub_heart_of(lub_engine *e, const lub_heart_options *o, lub_fiber *f, lub_heart **out) {
  if (!is_span(o->interval) || !is_span(o->limit) || !is_span(o->startup) || !is_span(o->estimate) ||
      o->window > LUB_WINDOW_MAX)
    return LUB_INVALID;
  if (f && f->wait.life && !(get(lub_heart_in(f)->flags) & LUB_HEART_CLOSED)) return LUB_BUSY;
  lub_judge *j = lub_judge_of(e);
  lub_heart *h = j ? lub_alloc(&e->mem, sizeof *h) : NULL;
  if (!h) return LUB_NOMEM;
  memset(h, 0, sizeof *h);
  int64_t now = lub_engine_now_ns(e);
  atomic_init(&h->obj.refs, 1);
  h->obj.free = free_heart;
  h->engine = e;
  h->interval = o->interval > 0 ? o->interval : INTERVAL;
  h->limit = o->limit > 0 ? o->limit : 2 * h->interval;
  h->startup = o->startup;
  h->estimate = o->estimate;
  h->policy = o->policy;
  h->ud = o->ud;
  h->verdict = lub_judge_name(j, "alive"); /* verdicts are compared by their address */
  h->opened_ns = now;
  lub_life_init(&h->life, LUB_STATE_BUSY, now);
  atomic_init(&h->flags, (uint32_t)(o->startup > 0 ? LUB_HEART_STARTING : 0) |
                             (e->opts.record ? LUB_HEART_RECORDED : 0));
  if (prepare(h, o)) {
    free_heart(&h->obj);
    return LUB_NOMEM;
  }
  if (f) {
    if (f->wait.life) f->wait.life->ended(f->wait.life); /* its last heart, which was closed */
    h->worker = f->worker;
    h->fiber = f->wait.id;
    lub_worker_ref(f->worker);
    h->life.ended = fiber_ended;
    if (e->opts.record) h->life.moved = fiber_moved;
    lub_heart_ref(h); /* the fiber's */
    f->wait.life = &h->life;
  }
  *out = h;
  return LUB_OK;
}

lub_status lub_heart_open(lub_engine *e, const lub_heart_options *o, lub_heart **out) {
  lub_status status = lub_heart_of(e, o, NULL, out);
  if (status == LUB_OK) lub_judge_watch(*out);
  return status;
}

lub_status lub_heart_close(lub_heart *h) {
  if (atomic_fetch_or(&h->flags, LUB_HEART_CLOSED) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  lub_chan *ears[] = {h->pulses, h->verdicts}; /* made later, they are closed at once */
  pthread_mutex_unlock(&j->lock);
  lub_heart_tell(h, "close", "", now_of(h));
  for (size_t i = 0; i < 2; i++)
    if (ears[i]) (void)lub_chan_close(ears[i]);
  lub_judge_forget(h);
  return LUB_OK;
}
