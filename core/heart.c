/* heart.c - see heart.h. */
#include "heart.h"

#include <math.h>
#include <sched.h>
#include <stddef.h>
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
#define put(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

/* ---- signs of life --------------------------------------------------------------------------------------- */

/* One of the parts that a heart makes when it needs it; who is first wins. NULL without memory. */
#define PART_OF(h, type, part, ...)                                                  \
  type *made = atomic_load_explicit(&(h)->part, memory_order_acquire), *none = NULL; \
  if (made) return made;                                                             \
  if (!(made = lub_alloc(&(h)->engine->mem, sizeof *made))) return NULL;             \
  *made = (type){__VA_ARGS__};                                                       \
  if (atomic_compare_exchange_strong(&(h)->part, &none, made)) return made;          \
  lub_free(&(h)->engine->mem, made);                                                 \
  return none

static lub_extras *extras_of(lub_heart *h) { PART_OF(h, lub_extras, extras, .score = NAN); }
static lub_units *units_of(lub_heart *h) { PART_OF(h, lub_units, units, .lock = ATOMIC_FLAG_INIT); }

lub_extras *lub_heart_extras(lub_heart *h) { return atomic_load_explicit(&h->extras, memory_order_acquire); }
static lub_units *units_in(lub_heart *h) { return atomic_load_explicit(&h->units, memory_order_acquire); }

static int64_t now_of(lub_heart *h) { return lub_engine_now_ns(h->engine); }

void lub_heart_tell(lub_heart *h, const char *what, const char *text, int64_t now_ns) {
  if (!(get(h->flags) & LUB_HEART_RECORDED)) return;
  lub_value id = {0};
  (void)(strcmp(what, "unit") == 0 ? lub_heart_unit(h, &id) : LUB_OK);
  lub_event event = {.time = (double)now_ns / 1e9,
                     .heart = h->name,
                     .id = lub_heart_extras(h)->id,
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
  if (before & LUB_HEART_UNLEARN) put(h->eased_ns, 0);
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

static lub_status learn(lub_heart *h, double x) {
  lub_intervals *s = atomic_load_explicit(&h->intervals, memory_order_acquire), *none = NULL;
  if (!s) {
    if (!(s = lub_intervals_make(&h->engine->mem, 0))) return LUB_NOMEM;
    if (!atomic_compare_exchange_strong(&h->intervals, &none, s)) { /* two beat at once, who may not */
      lub_free(&h->engine->mem, s);
      s = none;
    }
  }
  lub_intervals_add(s, x);
  return LUB_OK;
}

/* The estimate is the first two intervals: their mean is the estimate, and a quarter of it their deviation. */
static lub_status first_beat(lub_heart *h) {
  const lub_extras *x = lub_heart_extras(h);
  double estimate = x ? x->estimate : 0;
  if (!(estimate > 0)) return LUB_OK;
  return learn(h, estimate - estimate / 4) || learn(h, estimate + estimate / 4) ? LUB_NOMEM : LUB_OK;
}

static lub_status sign_of_life(lub_heart *h, const char *what) {
  uint32_t flags = get(h->flags);
  uint64_t beats = get(h->beats);
  lub_status status = LUB_OK;
  if (flags & LUB_HEART_CLOSED) return LUB_CLOSED;
  __builtin_prefetch(get(h->intervals),
                     1); /* of many hearts it is far, and reading the clock waits for what was read */
  __builtin_prefetch(&h->life, 1);
  int64_t now = now_of(h);
  if (beats == 0) status = first_beat(h);
  else if (!(flags & LUB_HEART_UNLEARN)) status = learn(h, (double)(now - get(h->beat_ns)) * 1e-9);
  put(h->beat_ns, now);
  atomic_store_explicit(&h->beats, beats + 1, memory_order_release); /* who sees it sees beat_ns */
  lub_life_sign(&h->life, now);
  if (flags & SLOW) tell_of_beat(h, what, now);
  return status;
}

lub_status lub_beat(lub_heart *h) { return sign_of_life(h, "beat"); }

/* ---- units and progress ------------------------------------------------------------------------------------ */

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
  lub_units *u = units_in(h);
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

/* Time that a fiber spent runnable is not the unit's. */
static int64_t unit_age(lub_heart *h, lub_units *u, int64_t now_ns) {
  int64_t since = get(u->since_ns);
  int64_t runnable = lub_life_runnable(&h->life, now_ns) - get(u->runnable_ns);
  return since ? now_ns - since - runnable : 0;
}

static void end_unit(lub_heart *h, lub_units *u, int64_t now_ns) {
  if (!get(u->since_ns)) return;
  double span = (double)unit_age(h, u, now_ns) / 1e9;
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
  end_unit(h, u, now);
  keep(u, &u->id, id);
  put(u->count, get(u->count) + 1);
  put(u->runnable_ns, get(h->life.spent_ns[LUB_STATE_RUNNABLE]));
  put(u->since_ns, now ? now : 1); /* 0 would be none, and is when a sim begins */
  return sign_of_life(h, "unit");
}

lub_status lub_rest(lub_heart *h) {
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_units *u = units_in(h);
  lub_value none = {0};
  if (u) {
    end_unit(h, u, now_of(h));
    keep(u, &u->id, &none);
  }
  return sign_of_life(h, "rest");
}

bool lub_heart_lose_progress(lub_heart *h) {
  lub_units *u = units_of(h);
  return !u || atomic_fetch_add(&u->lost, 1) == 0;
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
      lub_watcher_sees_in_c(h->engine, h->worker)) {
    long long none = 0;
    (void)atomic_compare_exchange_strong(&h->life.in_c_ns, &none, now_ns);
    return LUB_STATE_IN_C;
  }
  return flags & LUB_HEART_STARTING && !lub_state_is_parked(look.state) ? LUB_STATE_STARTING : look.state;
}

int64_t lub_heart_counted_from(lub_heart *h) {
  int64_t beat = get(h->beat_ns), eased = get(h->eased_ns);
  return eased > beat ? eased : beat;
}

void lub_heart_look_at(lub_heart *h, int64_t now_ns, lub_snapshot *out) {
  lub_look look = lub_life_look(&h->life, now_ns);
  lub_units *u = units_in(h);
  lub_intervals *s = atomic_load_explicit(&h->intervals, memory_order_acquire);
  int64_t unit_ns = u ? unit_age(h, u, now_ns) : 0;
  int64_t progress_ns = now_ns - lub_heart_counted_from(h);
  *out = (lub_snapshot){.name = h->name,
                        .startup = get(h->flags) & LUB_HEART_STARTING,
                        .in_unit = u && get(u->since_ns),
                        .now = (double)now_ns / 1e9,
                        .age = (double)look.age_ns / 1e9,
                        .state_age = (double)look.state_ns / 1e9,
                        .unit_age = unit_ns > 0 ? (double)unit_ns / 1e9 : 0,
                        .progress_age = progress_ns > 0 ? (double)progress_ns / 1e9 : 0,
                        .limit = h->limit,
                        .beats = get(h->beats),
                        .units = u ? get(u->count) : 0};
  out->state = lub_heart_state(h, now_ns);
  if (s) lub_intervals_look(s, out);
  lub_judge *j = h->engine->judge;
  const lub_extras *x = lub_heart_extras(h);
  pthread_mutex_lock(&j->lock);
  out->verdict = j->names[h->verdict];
  out->interval = h->interval;
  out->misses = h->misses;
  if (x && x->lapse_ns && out->state != LUB_STATE_DEAD) out->state = LUB_STATE_PAUSED;
  pthread_mutex_unlock(&j->lock);
}

void lub_heart_look(lub_heart *h, lub_snapshot *out) { lub_heart_look_at(h, now_of(h), out); }

void lub_heart_count(lub_heart *h, lub_heart_figures *out) {
  *out = (lub_heart_figures){0};
  int64_t now = now_of(h);
  lub_units *u = units_in(h);
  lub_state state = lub_heart_state(h, now);
  lub_look look = lub_life_look(&h->life, now);
  for (int i = 0; i < LUB_STATES; i++) out->spent[i] = (double)get(h->life.spent_ns[i]) / 1e9;
  if (state != LUB_STATE_DEAD)
    out->spent[state == LUB_STATE_IN_C ? state : look.state] += (double)look.state_ns / 1e9;
  if (u) {
    out->units_done = get(u->done);
    out->mean_unit = out->units_done ? get(u->sum) / (double)out->units_done : 0;
    out->max_unit = get(u->max);
    out->lost = get(u->lost);
  }
  if (atomic_load_explicit(&h->beats, memory_order_acquire)) out->last_beat = (double)get(h->beat_ns) / 1e9;
  lub_judge *j = h->engine->judge;
  const lub_extras *x = lub_heart_extras(h);
  pthread_mutex_lock(&j->lock);
  out->excused = (double)h->excused;
  out->extended = x ? x->extended : 0;
  out->pulses = h->npulses;
  pthread_mutex_unlock(&j->lock);
}

size_t lub_heart_window(lub_heart *h, double *out, size_t most) {
  lub_intervals *s = atomic_load_explicit(&h->intervals, memory_order_acquire);
  return s ? lub_intervals_window(s, out, most) : 0;
}

const char *lub_heart_name(const lub_heart *h) { return h->name; }

bool lub_heart_is_watched(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  bool watched = h->watched;
  pthread_mutex_unlock(&j->lock);
  return watched;
}

/* ---- who listens --------------------------------------------------------------------------------------------- */

static lub_status ear_of(lub_heart *h, bool of_verdicts, lub_chan **out) {
  lub_judge *j = h->engine->judge;
  lub_extras *x = extras_of(h);
  lub_chan *made;
  if (!x || lub_chan_open(h->engine, of_verdicts ? 16 : 1, h->name, &made)) return LUB_NOMEM;
  lub_chan **place = of_verdicts ? &x->verdicts : &x->pulses;
  pthread_mutex_lock(&j->lock);
  if (!*place) {
    *place = made;
    lub_chan_ref(made);
    if (get(h->flags) & LUB_HEART_CLOSED) (void)lub_chan_close(made);
    if (of_verdicts) h->watched = true;
  }
  *out = *place;
  if (*out != made) lub_chan_ref(*out);
  pthread_mutex_unlock(&j->lock);
  if (*out != made) lub_chan_drop(made);
  return LUB_OK;
}

lub_status lub_heart_pulses(lub_heart *h, lub_chan **out) {
  lub_status status = ear_of(h, false, out);
  if (status == LUB_OK) atomic_fetch_or(&h->flags, LUB_HEART_HEARD);
  return status;
}

lub_status lub_heart_verdicts(lub_heart *h, lub_chan **out) { return ear_of(h, true, out); }

/* The channel lives as long as the heart. */
void lub_heart_pulse(lub_heart *h, const char *text) {
  lub_value v;
  if (lub_string(h->engine, text, strlen(text), &v)) return;
  lub_chan_replace(lub_heart_extras(h)->pulses, &v);
}

/* ---- pause, extend, fail ------------------------------------------------------------------------------------ */

lub_status lub_heart_pause(lub_heart *h, const char *why) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_extras *x = extras_of(h);
  if (!x) return LUB_NOMEM;
  int64_t now = now_of(h);
  pthread_mutex_lock(&j->lock);
  if (x->paused++ == 0) x->paused_ns = now;
  x->lapse_ns = now + LAPSE_NS;
  pthread_mutex_unlock(&j->lock);
  lub_heart_tell(h, "pause", why ? why : "", now);
  return LUB_OK;
}

lub_status lub_heart_resume(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_extras *x = lub_heart_extras(h);
  if (!x) return LUB_INVALID;
  int64_t now = now_of(h);
  pthread_mutex_lock(&j->lock);
  bool was = x->paused > 0, lapsed = !was && x->lapsed > 0, over = was && --x->paused == 0;
  x->lapsed -= lapsed;
  if (over) {
    x->lapse_ns = 0;
    lub_judge_excuse(h, x->paused_ns, now, 0);
  }
  pthread_mutex_unlock(&j->lock);
  if (over) {
    lub_judge_stir(h);
    lub_heart_tell(h, "resume", "", now);
  }
  return was || lapsed ? LUB_OK : LUB_INVALID;
}

static void move_on(lub_heart *h, int64_t ns) {
  lub_units *u = units_in(h);
  long long since = u ? get(u->since_ns) : 0;
  lub_life_extend(&h->life, ns);
  if (since) (void)atomic_compare_exchange_strong(&u->since_ns, &since, since + ns);
}

lub_status lub_heart_extend(lub_heart *h, double seconds, double *granted) {
  if (!(seconds >= 0) || seconds > LONGEST) return LUB_INVALID;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  lub_judge *j = h->engine->judge;
  lub_extras *x = extras_of(h);
  if (!x) return LUB_NOMEM;
  uint32_t signs = get(h->life.signs);
  pthread_mutex_lock(&j->lock);
  if (signs != x->extended_signs) x->extended = 0;
  x->extended_signs = signs;
  double most = EXTEND_MAX * h->limit - x->extended;
  *granted = seconds < most ? seconds : most;
  x->extended += *granted;
  pthread_mutex_unlock(&j->lock);
  move_on(h, (int64_t)(*granted * 1e9));
  return LUB_OK;
}

lub_status lub_heart_fail(lub_heart *h, const char *why) {
  lub_judge *j = h->engine->judge;
  if (get(h->flags) & LUB_HEART_CLOSED) return LUB_CLOSED;
  size_t n = strlen(why ? why : "") + 1;
  lub_extras *x = extras_of(h);
  char *reason = x ? lub_alloc(&h->engine->mem, n) : NULL, *old = NULL;
  if (reason) memcpy(reason, why ? why : "", n);
  pthread_mutex_lock(&j->lock);
  bool closed =
      get(h->flags) & LUB_HEART_CLOSED; /* by another thread, which has seen that it has not failed */
  if (x && !closed) {
    old = x->reason;
    x->reason = reason;
  }
  h->failed |= !closed; /* also without memory for the reason */
  pthread_mutex_unlock(&j->lock);
  lub_free(&h->engine->mem, closed ? reason : old);
  if (closed) return LUB_CLOSED;
  lub_judge_stir(h);
  return LUB_OK;
}

/* ---- life ----------------------------------------------------------------------------------------------- */

void lub_heart_ref(lub_heart *h) { lub_object_ref(&h->obj); }
void lub_heart_drop(lub_heart *h) { lub_object_drop(&h->obj); }
lub_value lub_of_heart(lub_heart *h) { return lub_of_object(&h->obj, LUB_HEART_FLAGS); }

static void free_extras(const lub_allocator *mem, lub_extras *x) {
  if (!x) return;
  if (x->let_go) x->let_go(x->binding);
  if (x->pulses) lub_chan_drop(x->pulses);
  if (x->verdicts) lub_chan_drop(x->verdicts);
  lub_free(mem, x->reason);
  lub_free(mem, x);
}

static void free_units(const lub_allocator *mem, lub_units *u) {
  if (!u) return;
  lub_value_drop(&u->progress);
  lub_value_drop(&u->id);
  lub_free(mem, u);
}

static void free_heart(lub_object *o) {
  lub_heart *h = lub_container(o, lub_heart, obj);
  const lub_allocator *mem = &h->engine->mem;
  lub_judge_leave(h);
  lub_timer_forget(&h->engine->timers, &h->tick);
  free_extras(mem, get(h->extras));
  free_units(mem, get(h->units));
  lub_free(mem, get(h->intervals));
  if (h->worker) lub_worker_drop(h->worker);
  lub_free(mem, h);
}

lub_status lub_heart_hang(lub_heart *h, void *binding, void (*closed)(void *binding),
                          void (*let_go)(void *binding)) {
  lub_extras *x = extras_of(h);
  if (!x) return LUB_NOMEM;
  x->binding = binding;
  x->closed = closed;
  x->let_go = let_go;
  return LUB_OK;
}

void *lub_heart_hung(lub_heart *h) {
  const lub_extras *x = lub_heart_extras(h);
  return x ? x->binding : NULL;
}

lub_heart *lub_to_heart(const lub_value *v) {
  if (v->type != LUB_OBJECT) return NULL;
  lub_object *o = v->as.p;
  return o->free == free_heart ? lub_container(o, lub_heart, obj) : NULL;
}

void lub_heart_moved(lub_life *l, lub_state before, lub_state state, int64_t now_ns) {
  lub_heart *h = lub_container(l, lub_heart, life);
  if (state == LUB_STATE_BUSY && h->limit < h->interval) lub_judge_hurry(h, now_ns);
  if (lub_state_is_parked(state)) lub_heart_tell(h, "park", lub_state_name(state), now_ns);
  else if (lub_state_is_parked(before)) lub_heart_tell(h, "wake", "", now_ns);
}

void lub_heart_ended(lub_life *l) {
  lub_heart *h = lub_container(l, lub_heart, life);
  h->fiber = NULL;
  lub_life_enter(l, LUB_STATE_IDLE, now_of(h)); /* the last span counts too */
  (void)lub_heart_close(h);
  lub_heart_drop(h);
}

lub_heart *lub_heart_in(const lub_fiber *f) {
  return f->wait.life ? lub_container(f->wait.life, lub_heart, life) : NULL;
}

static bool is_span(double s) { return s >= 0 && s <= LONGEST; }

/* What most hearts do without. */
static lub_status prepare(lub_heart *h, const lub_heart_options *o) {
  bool plain = !o->policy && !(o->startup > 0) && !(o->estimate > 0) && !h->engine->opts.record;
  lub_extras *x = plain ? NULL : extras_of(h);
  if (lub_timer_reserve(&h->engine->timers, &h->tick, &lub_judge_tick) || (!x && !plain)) return LUB_NOMEM;
  if (x) {
    x->policy = o->policy;
    x->ud = o->ud;
    x->startup = o->startup;
    x->estimate = o->estimate;
  }
  if (!o->window) return LUB_OK;
  lub_intervals *s = lub_intervals_make(&h->engine->mem, o->window);
  atomic_init(&h->intervals, s);
  return s ? LUB_OK : LUB_NOMEM;
}

lub_status lub_heart_make(lub_engine *e, const lub_heart_options *o, lub_heart **out) {
  if (!is_span(o->interval) || !is_span(o->limit) || !is_span(o->startup) || !is_span(o->estimate) ||
      o->window > LUB_WINDOW_MAX)
    return LUB_INVALID;
  const char *name = o->name ? o->name : "";
  size_t n = strlen(name) + 1;
  lub_judge *j = lub_judge_of(e);
  lub_heart *h = j ? lub_alloc(&e->mem, offsetof(lub_heart, name) + n) : NULL;
  if (!h) return LUB_NOMEM;
  memset(h, 0, offsetof(lub_heart, name));
  memcpy(h->name, name, n);
  int64_t now = lub_engine_now_ns(e);
  atomic_init(&h->obj.refs, 1);
  h->obj.free = free_heart;
  h->engine = e;
  h->interval = o->interval > 0 ? o->interval : INTERVAL;
  h->limit = o->limit > 0 ? o->limit : 2 * h->interval;
  atomic_init(&h->beat_ns, now);
  lub_life_init(&h->life, LUB_STATE_BUSY, now);
  atomic_init(&h->flags, (uint32_t)(o->startup > 0 ? LUB_HEART_STARTING : 0) |
                             (e->opts.record ? LUB_HEART_RECORDED : 0));
  if (prepare(h, o)) {
    free_heart(&h->obj);
    return LUB_NOMEM;
  }
  *out = h;
  return LUB_OK;
}

static void give(lub_heart *h, lub_fiber *f) {
  if (f->wait.life) lub_heart_ended(f->wait.life); /* its last heart, which was closed */
  h->worker = f->worker;
  h->fiber = f;
  lub_worker_ref(f->worker);
  lub_heart_ref(h);
  f->wait.life = &h->life;
}

lub_status lub_heart_start(lub_heart *h, lub_fiber *f) {
  if (f && f->wait.life && !(get(lub_heart_in(f)->flags) & LUB_HEART_CLOSED)) return LUB_BUSY;
  if (f) give(h, f);
  lub_judge_watch(h);
  return LUB_OK;
}

lub_status lub_heart_open(lub_engine *e, const lub_heart_options *o, lub_heart **out) {
  lub_status status = lub_heart_make(e, o, out);
  return status == LUB_OK ? lub_heart_start(*out, NULL) : status;
}

void lub_heart_finish(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  const lub_extras *x = lub_heart_extras(h);
  pthread_mutex_lock(&j->lock); /* ears made later are closed at once */
  lub_chan *ears[] = {x ? x->pulses : NULL, x ? x->verdicts : NULL};
  pthread_mutex_unlock(&j->lock);
  for (size_t i = 0; i < 2; i++)
    if (ears[i]) (void)lub_chan_close(ears[i]);
  lub_judge_forget(h);
}

lub_status lub_heart_close(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  bool closed = atomic_fetch_or(&h->flags, LUB_HEART_CLOSED) & LUB_HEART_CLOSED;
  bool told = !h->failed && !h->telling;
  pthread_mutex_unlock(&j->lock);
  if (closed) return LUB_CLOSED;
  lub_heart_tell(h, "close", "", now_of(h));
  const lub_extras *x = lub_heart_extras(h);
  if (x && x->closed) x->closed(x->binding);
  if (told) lub_heart_finish(h); /* else lub_judge_told does */
  return LUB_OK;
}
