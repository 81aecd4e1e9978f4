/* duty.c - see duty.h. */
#include "duty.h"

#include "judge.h"

enum {
  PATIENCE_NS = 250000000, /* between two looks */
  LOOKS = 8,               /* at the same question, before its asker is stuck */
};

/* ---- patience ------------------------------------------------------------------------------------------------ */

/* A look that comes late tells nothing: everything may have stood meanwhile. */
static void look(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  lub_duty *d = lub_container(t, lub_duty, patience);
  lub_judge *j = lub_container(d, lub_judge, duty);
  pthread_mutex_lock(&j->lock);
  bool same = d->asked && d->questions == d->seen;
  d->looks = same ? d->looks + (now_ns - due_ns < PATIENCE_NS / 2) : 0;
  d->seen = d->questions;
  d->minded = d->asked && d->looks < LOOKS;
  if (d->looks == LOOKS) atomic_store(&j->engine->judge_is_due, true);
  if (d->minded) lub_timer_again(&j->engine->timers, t, now_ns + PATIENCE_NS);
  pthread_mutex_unlock(&j->lock);
}

static bool wakes_nobody(lub_timer *t) {
  (void)t;
  return false;
}

static const lub_timer_kind patience_kind = {.fire = look, .could_wake = wakes_nobody};

static void mind(lub_judge *j) {
  lub_engine *e = j->engine;
  (void)lub_engine_start_timer(e, &j->duty.patience, lub_engine_now_ns(e) + PATIENCE_NS);
}

/* ---- serving ------------------------------------------------------------------------------------------------- */

bool lub_duty_take(lub_judge *j) {
  pthread_mutex_lock(&j->lock);
  bool first = !j->duty.taken;
  j->duty.taken = true;
  pthread_mutex_unlock(&j->lock);
  return first;
}

void lub_duty_give_back(lub_judge *j) {
  pthread_mutex_lock(&j->lock);
  j->duty.taken = false;
  pthread_mutex_unlock(&j->lock);
}

lub_status lub_duty_serve(lub_judge *j, lub_worker *w, lub_relieve relieve) {
  if (lub_timer_reserve(&j->engine->timers, &j->duty.patience, &patience_kind)) return LUB_NOMEM;
  lub_object_ref(&w->obj);
  pthread_mutex_lock(&j->lock);
  j->duty.worker = w;
  j->duty.relieve = relieve;
  pthread_mutex_unlock(&j->lock);
  return LUB_OK;
}

bool lub_duty_is_served_by(lub_judge *j, const lub_worker *w) {
  pthread_mutex_lock(&j->lock);
  bool served = j->duty.worker == w;
  pthread_mutex_unlock(&j->lock);
  return served;
}

/* One that is killed hears nothing more: what it was at stays `asked` until it has ended. */
static bool serves_locked(const lub_judge *j, const lub_worker *w) {
  return j->duty.worker == w && !atomic_load(&w->killed);
}

lub_heart *lub_duty_next(lub_judge *j, const lub_worker *w) {
  lub_duty *d = &j->duty;
  lub_heart *h = NULL;
  pthread_mutex_lock(&j->lock);
  if (serves_locked(j, w)) h = d->asked = lub_docket_leave(&j->due);
  bool begins = h && !d->minded && j->engine->opts.carriers > 0 && j->engine->real_clock;
  if (h) lub_heart_ref(h);
  d->questions += h != NULL;
  d->minded |= begins;
  pthread_mutex_unlock(&j->lock);
  if (begins) mind(j);
  return h;
}

void lub_duty_answered(lub_judge *j, const lub_worker *w, lub_heart *h) {
  lub_duty *d = &j->duty;
  pthread_mutex_lock(&j->lock);
  bool serves = serves_locked(j, w);
  if (serves) {
    d->asked = NULL;
    d->looks = 0; /* it only seemed stuck */
  }
  pthread_mutex_unlock(&j->lock);
  if (serves) lub_heart_drop(h);
  lub_heart_drop(h);
}

/* ---- relief -------------------------------------------------------------------------------------------------- */

/* Takes the duty from w, or, if w is NULL, from who is stuck. Returns the worker, or NULL: it is not so; *asked: what it is at,
 * or NULL. Their references are the caller's. */
static lub_worker *dismiss(lub_judge *j, const lub_worker *w, lub_heart **asked) {
  lub_duty *d = &j->duty;
  lub_worker *served = NULL;
  pthread_mutex_lock(&j->lock);
  if (w ? d->worker == w : d->looks == LOOKS) {
    served = d->worker;
    *asked = d->asked;
    d->worker = NULL;
    d->asked = NULL;
  }
  d->looks = 0;
  pthread_mutex_unlock(&j->lock);
  return served;
}

static void ask_again(lub_judge *j, lub_heart *asked) {
  pthread_mutex_lock(&j->lock);
  if (!asked->due_next) lub_docket_enter(&j->due, asked);
  pthread_mutex_unlock(&j->lock);
}

void lub_duty_desert(lub_judge *j, const lub_worker *w) {
  lub_heart *asked = NULL;
  lub_worker *served = dismiss(j, w, &asked);
  if (!served) return;
  if (asked) {
    ask_again(j, asked);
    lub_heart_drop(asked);
  }
  lub_judge_lose(j, false);
  lub_judge_log(j, "the judge's worker has ended: hearts are not judged until another is opened");
  lub_worker_drop(served);
  lub_duty_give_back(j);
}

void lub_duty_look(lub_judge *j) {
  lub_heart *asked = NULL;
  lub_worker *stuck = dismiss(j, NULL, &asked);
  if (!stuck) return;
  ask_again(j, asked);
  lub_judge_lose(j, true);
  j->duty.relieve(j, stuck, asked);
  lub_heart_drop(asked);
  lub_worker_drop(stuck);
}

void lub_duty_close(lub_judge *j) {
  lub_duty *d = &j->duty;
  lub_timer_forget(&j->engine->timers, &d->patience);
  if (d->asked) lub_heart_drop(d->asked);
  if (d->worker) lub_worker_drop(d->worker);
  d->asked = NULL;
  d->worker = NULL;
}
