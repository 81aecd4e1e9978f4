/* judge.c - see judge.h. */
#include "judge.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LATE_NS 100000000 /* what the judge may be late by; with a pulse half an interval, if that is more */
#define MIN_ASK_NS 100000 /* between two questions about one heart, or two of its pulses */
#define GRID_MIN_NS 1000000 /* pulses wait for each other: one wake of a thread for many hearts */
#define GRID_MAX_NS 16000000
#define FAR 3e8 /* seconds: never */

static const char *const names[] = {"alive", "late", "missed", "dead", "unknown"};
enum { ALIVE, LATE, MISSED, DEAD, UNKNOWN, NAMES };

/* ---- names of verdicts -------------------------------------------------------------------------------- */

/* The number of a verdict's name, which is kept; UNKNOWN: there are too many, or no memory. */
static uint8_t number_of(lub_judge *j, const char *text) {
  uint32_t i = 0;
  pthread_mutex_lock(&j->lock);
  while (i < j->nnames && strcmp(j->names[i], text) != 0) i++;
  if (i == j->nnames) {
    size_t n = strlen(text) + 1;
    char *made = i == LUB_VERDICTS ? NULL : lub_alloc(&j->engine->mem, n);
    if (made) j->names[j->nnames++] = memcpy(made, text, n);
    else i = UNKNOWN;
  }
  pthread_mutex_unlock(&j->lock);
  return (uint8_t)i;
}

static void tell_many_names(lub_judge *j, const char *verdict) {
  char text[256];
  pthread_mutex_lock(&j->lock);
  bool told = j->names_told;
  j->names_told = true;
  pthread_mutex_unlock(&j->lock);
  if (told || !j->engine->opts.log) return;
  (void)snprintf(text, sizeof text,
                 "the verdict '%.100s' counts as unknown: there is room for %d names of verdicts", verdict,
                 LUB_VERDICTS - NAMES);
  j->engine->opts.log(j->engine->opts.ud, text);
}

/* What was announced in this silence. */
static bool has_said(const lub_heart *h, uint8_t verdict) {
  return h->said[verdict / 32] >> verdict % 32 & 1;
}
static bool has_said_any(const lub_heart *h) { return h->said[0] || h->said[1] || h->said[2]; }
static void say(lub_heart *h, uint8_t verdict) { h->said[verdict / 32] |= 1u << verdict % 32; }
static void unsay(lub_heart *h) { memset(h->said, 0, sizeof h->said); }

/* Whether a verdict speaks against a heart. */
static bool is_against(uint8_t verdict) { return verdict != ALIVE && verdict != LATE && verdict != UNKNOWN; }

/* ---- hearts --------------------------------------------------------------------------------------------- */

/* The first such heart, with a reference. */
static lub_heart *first_that(lub_judge *j, bool (*is)(const lub_heart *h)) {
  lub_heart *h = NULL;
  pthread_mutex_lock(&j->lock);
  for (lub_link *k = lub_list_first(&j->hearts); k && !h; k = lub_list_next(&j->hearts, k)) {
    h = lub_container(k, lub_heart, link);
    if (is(h)) lub_heart_ref(h); /* the judge has one, too */
    else h = NULL;
  }
  pthread_mutex_unlock(&j->lock);
  return h;
}

/* ---- when to look --------------------------------------------------------------------------------------- */

static int64_t span_ns(double seconds) { return (int64_t)(seconds * 1e9); }

static int64_t next_pulse(const lub_heart *h, int64_t now_ns) {
  int64_t interval = span_ns(h->interval);
  if (interval < MIN_ASK_NS) interval = MIN_ASK_NS;
  int64_t grid = interval / 64;
  if (grid < GRID_MIN_NS) grid = interval < 16 * GRID_MIN_NS ? 1 : GRID_MIN_NS;
  if (grid > GRID_MAX_NS) grid = GRID_MAX_NS;
  return (now_ns + interval + grid - 1) / grid * grid;
}

static int64_t next_tick(const lub_heart *h) { return h->ask_ns < h->pulse_ns ? h->ask_ns : h->pulse_ns; }

/* A closed heart is nobody's business, unless it has failed and that is still to be told. */
static bool is_closed(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  if (!(atomic_load(&h->flags) & LUB_HEART_CLOSED)) return false;
  pthread_mutex_lock(&j->lock);
  bool failed = h->failed;
  pthread_mutex_unlock(&j->lock);
  return !failed;
}

static void arm(lub_heart *h, int64_t when_ns) {
  lub_heart_ref(h); /* it may be closed meanwhile */
  if (!is_closed(h)) (void)lub_engine_start_timer(h->engine, &h->tick, when_ns);
  if (is_closed(h)) (void)lub_timer_stop(&h->engine->timers, &h->tick);
  lub_heart_drop(h);
}

void lub_judge_hurry(lub_heart *h, int64_t now_ns) {
  lub_judge *j = h->engine->judge;
  int64_t due_ns = now_ns + span_ns(h->limit);
  pthread_mutex_lock(&j->lock);
  bool late = h->ask_ns > due_ns && h->pulse_ns > due_ns;
  if (late) h->ask_ns = due_ns;
  pthread_mutex_unlock(&j->lock);
  if (late) arm(h, due_ns);
}

void lub_judge_stir(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  int64_t now = lub_engine_now_ns(h->engine);
  pthread_mutex_lock(&j->lock);
  h->ask_ns = now;
  pthread_mutex_unlock(&j->lock);
  arm(h, now);
}

/* ---- what the judge itself is late by ---------------------------------------------------------------------- */

/* Where what began at since_ns is counted from. */
static int64_t moved_on(int64_t since_ns, int64_t from_ns, int64_t to_ns, int64_t grace_ns) {
  int64_t shift = to_ns - (since_ns > from_ns ? since_ns : from_ns) + grace_ns;
  return shift > 0 ? since_ns + shift : since_ns;
}

static void excuse_unit(lub_heart *h, int64_t from_ns, int64_t to_ns, int64_t grace_ns) {
  lub_units *u = atomic_load(&h->units);
  long long since = u ? atomic_load(&u->since_ns) : 0;
  /* fails when the unit ended meanwhile */
  if (since)
    (void)atomic_compare_exchange_strong(&u->since_ns, &since, moved_on(since, from_ns, to_ns, grace_ns));
}

void lub_judge_excuse(lub_heart *h, int64_t from_ns, int64_t to_ns, int64_t grace_ns) {
  if (to_ns <= from_ns) return;
  lub_life_excuse(&h->life, from_ns, to_ns, grace_ns);
  excuse_unit(h, from_ns, to_ns, grace_ns);
  atomic_store(&h->eased_ns, moved_on(lub_heart_counted_from(h), from_ns, to_ns, grace_ns));
  atomic_fetch_or(&h->flags, LUB_HEART_UNLEARN); /* the next beat takes eased_ns back */
  h->excused += (float)(to_ns - from_ns) / 1e9f;
  h->eased = true;
}

static void stall_locked(lub_judge *j, int64_t from_ns, int64_t to_ns) {
  j->stalled_until_ns = to_ns;
  j->figures.stalls++;
  j->figures.stalled_ns += to_ns - from_ns;
  for (lub_link *k = lub_list_first(&j->hearts); k; k = lub_list_next(&j->hearts, k)) {
    lub_heart *h = lub_container(k, lub_heart, link);
    if (atomic_load(&h->flags) & LUB_HEART_CLOSED) continue;
    lub_judge_excuse(h, from_ns, to_ns, span_ns(h->interval));
  }
}

/* A lent clock, and a host that steps, go at a pace of their own. */
static bool has_own_pace(const lub_engine *e) { return !e->real_clock || e->opts.carriers <= 0; }

/* Whether everything stood between when the timer of h was due and now. */
static void doubt_locked(lub_judge *j, const lub_heart *h, int64_t when_ns, int64_t now_ns) {
  int64_t late = now_ns - when_ns;
  if (has_own_pace(j->engine)) return;
  if (late > j->figures.late_ns) j->figures.late_ns = late;
  int64_t borne_ns =
      when_ns < h->pulse_ns ? 0 : span_ns(h->interval) / 2; /* a deadline is sharper than a pulse */
  if (late > LATE_NS && late > borne_ns && when_ns > j->stalled_until_ns) stall_locked(j, when_ns, now_ns);
}

void lub_judge_stood(lub_judge *j, int64_t from_ns, int64_t to_ns) {
  if (to_ns - from_ns <= LATE_NS) return;
  pthread_mutex_lock(&j->lock);
  if (to_ns > j->stalled_until_ns)
    stall_locked(j, from_ns > j->stalled_until_ns ? from_ns : j->stalled_until_ns, to_ns);
  pthread_mutex_unlock(&j->lock);
}

static void late(lub_engine *e, int64_t due_ns, int64_t now_ns) {
  if (!has_own_pace(e)) lub_judge_stood(e->judge, due_ns, now_ns);
}

static void starved(lub_engine *e, const lub_worker *w, int64_t ns) {
  lub_judge *j = e->judge;
  int64_t now = lub_engine_now_ns(e);
  pthread_mutex_lock(&j->lock);
  for (lub_link *k = lub_list_first(&j->hearts); k; k = lub_list_next(&j->hearts, k)) {
    lub_heart *h = lub_container(k, lub_heart, link);
    if (h->worker != w || atomic_load(&h->life.state) != LUB_STATE_BUSY) continue;
    lub_judge_excuse(h, now - ns, now, 0);
  }
  pthread_mutex_unlock(&j->lock);
}

/* ---- dockets ------------------------------------------------------------------------------------------------ */

void lub_docket_enter(lub_docket *d, lub_heart *h) {
  lub_heart_ref(h);
  h->due_next = h;
  if (d->first) d->last->due_next = h;
  else d->first = h;
  d->last = h;
}

static lub_heart *after(const lub_heart *h) { return h->due_next == h ? NULL : h->due_next; }

lub_heart *lub_docket_leave(lub_docket *d) {
  lub_heart *h = d->first;
  if (!h) return NULL;
  d->first = after(h);
  h->due_next = NULL;
  return h;
}

/* ---- pulses and deadlines ----------------------------------------------------------------------------------- */

static void pulse_locked(lub_heart *h, lub_state state, int64_t now_ns) {
  h->pulse_ns = next_pulse(h, now_ns);
  if (!lub_state_is_parked(state)) return;
  h->npulses++;
  const lub_extras *x = lub_heart_extras(h);
  if (!x || !x->pulses) return;
  char what[LUB_WHAT_TEXT], text[64];
  lub_life_what(&h->life, what);
  (void)snprintf(text, sizeof text, "%s %s", lub_state_name(state), what);
  lub_heart_pulse(h, text);
}

static void lapse_locked(lub_heart *h, lub_extras *x, int64_t now_ns) {
  lub_judge_excuse(h, x->paused_ns, now_ns, 0);
  x->lapse_ns = 0;
  x->lapsed += x->paused;
  x->paused = 0;
  if (h->engine->opts.log)
    h->engine->opts.log(h->engine->opts.ud, "a heart's pause has lasted for 10 minutes: it is judged again");
}

/* Whether h must be looked at; if not, its timer runs again. */
static bool is_due_locked(lub_heart *h, int64_t now_ns) {
  lub_look look = lub_life_look(&h->life, now_ns);
  lub_extras *x = lub_heart_extras(h);
  if (x && x->lapse_ns && now_ns >= x->lapse_ns) lapse_locked(h, x, now_ns);
  int64_t lapse_ns = x ? x->lapse_ns : 0;
  bool due = h->failed || now_ns >= h->ask_ns || look.state != (lub_state)h->asked_state ||
             h->pulse_scripted || h->group;
  if (now_ns >= h->pulse_ns) pulse_locked(h, look.state, now_ns);
  else due = h->failed || now_ns >= h->ask_ns;
  if (lapse_ns && !h->failed) due = false;
  if (!due) {
    int64_t when = next_tick(h);
    if (when <= now_ns) when = h->pulse_ns;
    if (lapse_ns && lapse_ns < when) when = lapse_ns;
    lub_timer_again(&h->engine->timers, &h->tick, when);
  }
  return due;
}

/* The timer of a heart has fired: under the timers' lock. */
static void tick(lub_timer *t, int64_t due_ns, int64_t now_ns) {
  lub_heart *h = lub_container(t, lub_heart, tick);
  lub_judge *j = h->engine->judge;
  bool rings = false;
  pthread_mutex_lock(&j->lock);
  doubt_locked(j, h, due_ns, now_ns);
  bool closed = !h->failed && atomic_load(&h->flags) & LUB_HEART_CLOSED;
  if (!closed && !h->due_next && is_due_locked(h, now_ns)) {
    lub_docket_enter(h->scripted ? &j->due : &j->called, h);
    rings = h->scripted && j->bell;
    if (!h->scripted) atomic_store(&j->engine->judge_is_due, true);
  }
  pthread_mutex_unlock(&j->lock);
  if (!rings) return;
  lub_value v = lub_bool(true);
  lub_wait *woken;
  lub_chan_lock(j->bell); /* full: it has rung already */
  (void)lub_chan_try_send_locked(j->bell, &v, &woken);
  lub_chan_unlock(j->bell);
  if (woken) lub_wait_wake(woken);
}

/* Alone it wakes nobody that waits: what is parked is alive. Of one that is inside a unit of work, or cannot get rid of a value,
 * its policy may think otherwise, if it wants to be asked again; one that has not beaten yet is dead when its time to start is
 * up. If somebody wants to hear it. */
static bool could_wake(lub_timer *t) {
  lub_heart *h = lub_container(t, lub_heart, tick);
  lub_judge *j = h->engine->judge;
  lub_units *u = atomic_load(&h->units);
  lub_state state = (lub_state)atomic_load(&h->life.state);
  pthread_mutex_lock(&j->lock);
  bool failed = h->failed, watched = h->watched, told = has_said(h, DEAD), asks = h->ask_ns < LUB_NEVER;
  pthread_mutex_unlock(&j->lock);
  if (failed || !watched) return failed;
  if (atomic_load(&h->flags) & LUB_HEART_STARTING && !told) return true;
  if (!lub_state_is_parked(state)) return true;
  return asks && (state == LUB_STATE_BLOCKED_SEND || (u && atomic_load(&u->since_ns)));
}

const lub_timer_kind lub_judge_tick = {.fire = tick,
                                       .could_wake = could_wake,
                                       .before = offsetof(lub_heart, tick),
                                       .after = sizeof(lub_heart) - offsetof(lub_heart, tick)};

/* ---- asking --------------------------------------------------------------------------------------------------- */

static lub_heart *take(lub_judge *j, lub_docket *from) {
  pthread_mutex_lock(&j->lock);
  lub_heart *h = lub_docket_leave(from);
  pthread_mutex_unlock(&j->lock);
  return h;
}

lub_heart *lub_judge_next(lub_judge *j, const lub_worker *w) {
  lub_heart *h;
  while ((h = lub_duty_next(j, w)) && is_closed(h)) lub_duty_answered(j, w, h);
  return h;
}

/* Asks nothing: looks again at the next pulse. */
static void leave_alone(lub_heart *h, const lub_snapshot *at) {
  lub_judge *j = h->engine->judge;
  int64_t now = span_ns(at->now);
  pthread_mutex_lock(&j->lock);
  if (h->pulse_ns <= now) h->pulse_ns = next_pulse(h, now);
  int64_t when = h->pulse_ns;
  pthread_mutex_unlock(&j->lock);
  arm(h, when);
}

bool lub_judge_knows(lub_heart *h, const lub_snapshot *at) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  bool failed = h->failed;
  pthread_mutex_unlock(&j->lock);
  if (failed) {
    lub_judge_hear(h, at, "dead", LUB_FOREVER, NAN);
    return true;
  }
  if (at->state == LUB_STATE_PAUSED || at->state == LUB_STATE_DEAD) {
    leave_alone(h, at);
    return true;
  }
  if (!at->startup) return false;
  /* it has not beaten since it was opened; what it waited for a CPU is not its fault */
  double runnable = (double)lub_life_runnable(&h->life, span_ns(at->now)) / 1e9;
  double left = lub_heart_extras(h)->startup - at->progress_age + runnable;
  lub_judge_hear(h, at, left < 0 ? "dead" : "alive", left < 0 ? LUB_FOREVER : left, NAN);
  return true;
}

/* One that beats again, or is gone, is not silent. */
static void uncount_locked(lub_judge *j, lub_heart *h) {
  if (h->counted_in && h->counted_in == j->recents && j->recent) j->recent--;
  h->counted_in = 0;
}

/* A new silence: what was said in the last one counts no more. */
static void begin_silence_locked(lub_heart *h, uint32_t signs) {
  if (signs == h->signs) return;
  h->signs = signs;
  unsay(h);
  h->deferred = h->eased = false;
  uncount_locked(h->engine->judge, h);
  if (!h->suspected) h->misses = 0;
  h->suspected = false;
}

void lub_judge_look(lub_heart *h, lub_snapshot *out) {
  lub_judge *j = h->engine->judge;
  int64_t now = lub_engine_now_ns(h->engine);
  /* first: a sign of life that comes meanwhile is met at the settling */
  lub_look look = lub_life_look(&h->life, now);
  pthread_mutex_lock(&j->lock);
  begin_silence_locked(h, look.signs);
  h->asked_state = (unsigned)look.state & 7;
  pthread_mutex_unlock(&j->lock);
  lub_heart_look_at(h, now, out);
}

void lub_judge_hear(lub_heart *h, const lub_snapshot *at, const char *verdict, double ask_again,
                    double score) {
  lub_judge *j = h->engine->judge;
  lub_extras *x = lub_heart_extras(h);
  uint8_t number = number_of(j, verdict);
  int64_t now = span_ns(at->now), when;
  if (number == UNKNOWN && strcmp(verdict, names[UNKNOWN]) != 0) tell_many_names(j, verdict);
  pthread_mutex_lock(&j->lock);
  h->heard = number;
  if (x) x->score = score;
  int64_t again = ask_again >= FAR ? LUB_NEVER : ask_again > 0 ? span_ns(ask_again) : 0;
  h->ask_ns = again == LUB_NEVER ? LUB_NEVER : now + (again < MIN_ASK_NS ? MIN_ASK_NS : again + 1);
  if (h->pulse_ns <= now) h->pulse_ns = next_pulse(h, now);
  j->figures.asked++;
  bool any = has_said_any(h), news = number == ALIVE ? h->verdict != ALIVE || any : !has_said(h, number);
  news = h->failed || (news && !(number == ALIVE && h->eased && any));
  bool listed = h->due_next; /* it has to be asked anew already */
  if (news && !listed) lub_docket_enter(&j->heard[h->scripted], h);
  when = next_tick(h);
  pthread_mutex_unlock(&j->lock);
  if (!news && !listed) arm(h, when);
}

/* Of many that fall silent at once, the host is blamed first: each gets one interval more. */
static bool blames_host_locked(lub_judge *j, lub_heart *h, uint32_t silent) {
  if (h->deferred || h->failed || !is_against(h->heard)) return false;
  if (silent < 2 || silent * 2 < j->nhearts) return false;
  h->deferred = true;
  h->ask_ns = lub_engine_now_ns(j->engine) + span_ns(h->interval);
  j->figures.blamed++;
  return true;
}

static uint32_t count_silent_locked(lub_judge *j, const lub_docket *heard) {
  int64_t now = lub_engine_now_ns(j->engine);
  double longest = 0;
  for (const lub_heart *h = heard->first; h; h = after(h))
    if (h->interval > longest) longest = h->interval;
  if (now - j->recent_ns > span_ns(longest)) {
    j->recent = 0;
    j->recent_ns = now;
    if (++j->recents == 0) j->recents = 1;
  }
  for (lub_heart *h = heard->first; h; h = after(h)) {
    bool gone =
        h->failed || atomic_load(&h->flags) & LUB_HEART_CLOSED || atomic_load(&h->life.signs) != h->signs;
    if (!is_against(h->heard) || h->suspected || h->deferred || gone) continue;
    h->counted_in = j->recents;
    j->recent++;
  }
  return j->recent;
}

/* Whether it is to be told; then it has been. */
static bool announce_locked(lub_judge *j, lub_heart *h, uint32_t silent) {
  if (atomic_load(&h->flags) & LUB_HEART_CLOSED && !h->failed) return false;
  if (atomic_load(&h->life.signs) != h->signs && !h->failed) { /* it beat meanwhile: what was said is void */
    h->ask_ns = lub_engine_now_ns(j->engine);
    return false;
  }
  if (blames_host_locked(j, h, silent)) return false;
  bool against = is_against(h->heard);
  h->verdict = h->heard;
  if (h->heard == ALIVE) {
    unsay(h);
    if (h->counted) j->deaths--;
    h->counted = false;
  } else {
    say(h, h->heard);
    atomic_fetch_or(&h->flags, LUB_HEART_SILENT | (uint32_t)(against ? LUB_HEART_UNLEARN : 0));
    if (against && !h->suspected) h->misses++;
    h->suspected |= against;
    if (h->heard == DEAD && !h->watched && !h->counted) {
      j->deaths++;
      h->counted = true;
    }
  }
  h->failing |= h->failed;
  h->failed = false;
  h->telling++;
  j->figures.announced++;
  return true;
}

/* As long as it is not told: see retract. */
static void keep_reason(lub_heart *h, char *reason) {
  lub_judge *j = h->engine->judge;
  lub_extras *x = lub_heart_extras(h);
  pthread_mutex_lock(&j->lock);
  bool keeps = h->telling && !x->reason;
  if (keeps) x->reason = reason;
  pthread_mutex_unlock(&j->lock);
  if (!keeps) lub_free(&j->engine->mem, reason);
}

void lub_judge_settle(lub_judge *j, const lub_worker *w,
                      void (*tell)(lub_heart *h, const lub_verdict *v, bool watched, void *ud), void *ud) {
  lub_docket *heard = &j->heard[w != NULL];
  pthread_mutex_lock(&j->lock);
  uint32_t silent = heard->first ? count_silent_locked(j, heard) : 0;
  for (lub_heart *h; (!w || w == j->duty.worker) && (h = lub_docket_leave(heard));) {
    lub_extras *x = lub_heart_extras(h);
    bool fails = h->failed, told = announce_locked(j, h, silent), watched = h->watched;
    lub_verdict v = {.heart = h, .verdict = j->names[h->verdict], .reason = "", .traceback = ""};
    char *reason = told && fails && x ? x->reason : NULL;
    if (reason) x->reason = NULL;
    v.score = x ? x->score : NAN;
    int64_t now = lub_engine_now_ns(j->engine), when = next_tick(h);
    pthread_mutex_unlock(&j->lock);
    if (told) {
      char startup[64] = "";
      lub_heart_look(h, &v.h);
      if (x && v.h.startup && v.verdict == names[DEAD])
        (void)snprintf(startup, sizeof startup, "no beat within %g s of its start", x->startup);
      v.reason = reason ? reason : startup;
      lub_heart_tell(h, "verdict", v.verdict, now);
      tell(h, &v, watched, ud);
    }
    if (reason) keep_reason(h, reason);
    arm(h, when);
    lub_heart_drop(h);
    pthread_mutex_lock(&j->lock);
  }
  pthread_mutex_unlock(&j->lock);
}

void lub_judge_told(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  bool all = h->telling && --h->telling == 0,
       last = all && !h->failed && atomic_load(&h->flags) & LUB_HEART_CLOSED;
  lub_extras *x = lub_heart_extras(h);
  char *reason = all && x && !h->failed ? x->reason : NULL;
  if (reason) x->reason = NULL;
  if (all) h->failing = false;
  pthread_mutex_unlock(&j->lock);
  lub_free(&j->engine->mem, reason);
  if (last) lub_heart_finish(h);
}

static bool is_untold(const lub_heart *h) { return h->scripted && !h->forgotten && h->telling; }

/* h, of which something is untold, is asked as if nothing had been said. False: it has closed. */
static bool retract(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  unsay(h);
  h->failed |= h->failing;
  h->ask_ns = lub_engine_now_ns(j->engine);
  pthread_mutex_unlock(&j->lock);
  bool open = !is_closed(h);
  if (open) arm(h, h->ask_ns);
  return open;
}

/* One by one: who tells of it in another thread finds 0 at last. */
void lub_judge_lose(lub_judge *j, bool anew) {
  for (lub_heart *h; (h = first_that(j, is_untold)); lub_heart_drop(h)) {
    char text[256];
    (void)snprintf(text, sizeof text, "heart '%s': verdict '%s' was not told: the judge's worker is gone",
                   h->name, j->names[h->verdict]);
    if (!anew || !retract(h)) lub_judge_log(j, text);
    lub_judge_told(h);
  }
}

void lub_judge_log(lub_judge *j, const char *text) {
  lub_engine *e = j->engine;
  pthread_mutex_lock(&e->lock);
  bool ends = e->ending || atomic_load(&e->stopping);
  pthread_mutex_unlock(&e->lock);
  if (!ends && e->opts.log) e->opts.log(e->opts.ud, text);
}

/* ---- C policies ------------------------------------------------------------------------------------------- */

static void tell_host(lub_heart *h, const lub_verdict *v, bool watched, void *ud) {
  (void)ud;
  lub_options *o = &h->engine->opts;
  if (o->verdict) o->verdict(o->ud, v);
  lub_judge_told(h);
  if (watched || o->verdict || !o->log || v->verdict != names[DEAD]) return;
  char text[256], silence[80] = ""; /* of who told a reason, or whose fiber has ended, it is no news */
  if (!*v->reason && v->h.state != LUB_STATE_DEAD)
    (void)snprintf(silence, sizeof silence, ": %s for %.3f s without a sign of life",
                   lub_state_name(v->h.state), v->h.age);
  (void)snprintf(text, sizeof text, "heart '%s' died%s%s%s", h->name, silence, *v->reason ? ": " : "",
                 v->reason);
  o->log(o->ud, text);
}

const char *lub_judge_fixed(const lub_snapshot *at, double *ask_again) {
  if (at->age > at->limit) return "dead";
  if (lub_state_is_parked(at->state)) return "alive"; /* asked again when that is over */
  *ask_again = at->limit - at->age;
  return "alive";
}

static void ask(lub_heart *h) {
  lub_snapshot at;
  double ask_again = LUB_FOREVER;
  lub_judge_look(h, &at);
  if (lub_judge_knows(h, &at)) return;
  const lub_extras *x = lub_heart_extras(h);
  const char *verdict = x && x->policy ? x->policy(x->ud, &at, &ask_again) : lub_judge_fixed(&at, &ask_again);
  lub_judge_hear(h, &at, verdict ? verdict : names[UNKNOWN], ask_again, NAN);
}

/* After timers have run, on the thread that ran them, with no lock. */
static void ask_called(lub_engine *e) {
  lub_judge *j = e->judge;
  /* who finds another at it leaves it to him, who looks again when he is done */
  while (atomic_load(&e->judge_is_due) && !atomic_exchange(&j->asking, true)) {
    atomic_store(&e->judge_is_due, false);
    for (lub_heart *h; (h = take(j, &j->called));) {
      ask(h);
      lub_heart_drop(h);
    }
    lub_judge_settle(j, NULL, tell_host, NULL);
    lub_duty_look(j);
    atomic_store(&j->asking, false);
  }
}

void lub_judge_set_interval(lub_heart *h, double seconds) {
  lub_judge *j = h->engine->judge;
  int64_t now = lub_engine_now_ns(h->engine);
  pthread_mutex_lock(&j->lock);
  h->interval = seconds;
  h->pulse_ns = next_pulse(h, now);
  pthread_mutex_unlock(&j->lock);
}

uint32_t lub_judge_telling(lub_judge *j) {
  uint32_t n = 0;
  pthread_mutex_lock(&j->lock);
  for (lub_link *k = lub_list_first(&j->hearts); k; k = lub_list_next(&j->hearts, k)) {
    const lub_heart *h = lub_container(k, lub_heart, link);
    n += h->failed || h->telling;
  }
  pthread_mutex_unlock(&j->lock);
  return n;
}

lub_judge_figures lub_judge_count(lub_judge *j) {
  pthread_mutex_lock(&j->lock);
  lub_judge_figures figures = j->figures;
  figures.hearts = j->nhearts;
  figures.deaths = j->deaths;
  pthread_mutex_unlock(&j->lock);
  return figures;
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

lub_status lub_judge_bell(lub_judge *j, lub_chan **out) {
  lub_chan *bell;
  if (lub_chan_open(j->engine, 1, "bell", &bell)) return LUB_NOMEM;
  pthread_mutex_lock(&j->lock);
  if (!j->bell) {
    j->bell = bell;
    lub_chan_ref(bell);
  }
  *out = j->bell;
  if (*out != bell) lub_chan_ref(*out);
  pthread_mutex_unlock(&j->lock);
  if (*out != bell) lub_chan_drop(bell);
  return LUB_OK;
}

void lub_judge_watch(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  lub_extras *x = lub_heart_extras(h);
  int64_t now = lub_engine_now_ns(h->engine);
  double first = h->limit < h->interval ? h->limit : h->interval;
  if (h->limit < h->interval) atomic_store(&h->engine->hurries, true);
  if (x && x->startup > 0 && x->startup < first) first = x->startup;
  lub_heart_ref(h);
  pthread_mutex_lock(&j->lock);
  j->ids++;
  if (x) x->id = j->ids;
  lub_list_push(&j->hearts, &h->link);
  j->nhearts++;
  h->pulse_ns = next_pulse(h, now);
  h->ask_ns = h->pulse_scripted ? now : now + span_ns(first); /* a script says when the first pulse is due */
  h->asked_state = LUB_STATE_BUSY;
  int64_t when = next_tick(h);
  pthread_mutex_unlock(&j->lock);
  lub_heart_tell(h, "open", "", now);
  arm(h, when);
}

void lub_judge_forget(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  (void)lub_timer_stop(&h->engine->timers, &h->tick);
  pthread_mutex_lock(&j->lock);
  bool watched = lub_link_queued(&h->link) && !h->forgotten;
  if (watched) j->nhearts--;
  if (watched) uncount_locked(j, h);
  h->forgotten = true;
  pthread_mutex_unlock(&j->lock);
  if (watched) lub_heart_drop(h);
}

void lub_judge_leave(lub_heart *h) {
  lub_judge *j = h->engine->judge;
  pthread_mutex_lock(&j->lock);
  if (lub_link_queued(&h->link)) lub_list_remove(&h->link);
  pthread_mutex_unlock(&j->lock);
}

static bool is_open(const lub_heart *h) { return !h->forgotten; }

/* No other thread is left. */
static void close_judge(lub_engine *e) {
  lub_judge *j = e->judge;
  lub_docket *dockets[] = {&j->due, &j->called, &j->heard[false], &j->heard[true]};
  lub_duty_close(j);
  for (lub_heart *h; (h = first_that(j, is_open)); lub_heart_drop(h)) {
    (void)lub_heart_close(h);
    lub_heart_finish(h); /* one that has failed, too: nobody is left to tell it to */
  }
  for (size_t i = 0; i < sizeof dockets / sizeof *dockets; i++)
    for (lub_heart *h; (h = take(j, dockets[i]));) lub_heart_drop(h);
  if (j->bell) lub_chan_drop(j->bell);
  j->bell = NULL;
}

static const char *free_judge(lub_engine *e) {
  lub_judge *j = e->judge;
  lub_link *k = lub_list_first(&j->hearts);
  if (k) return lub_container(k, lub_heart, link)->name;
  for (uint32_t i = NAMES; i < j->nnames; i++) lub_free(&e->mem, (void *)(uintptr_t)j->names[i]);
  pthread_mutex_destroy(&j->lock);
  lub_free(&e->mem, j);
  e->judge = NULL;
  return NULL;
}

static const lub_judging judging = {ask_called,      late,        starved,   lub_heart_moved,
                                    lub_heart_ended, close_judge, free_judge};

lub_judge *lub_judge_of(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  lub_judge *j = e->judge ? e->judge : lub_alloc(&e->mem, sizeof *j);
  if (j && !e->judge) {
    *j = (lub_judge){.engine = e, .nnames = NAMES, .recents = 1};
    memcpy(j->names, names, sizeof names);
    lub_list_init(&j->hearts);
    pthread_mutex_init(&j->lock, NULL);
    e->judge = j;
    atomic_store(&e->judging, &judging); /* release: who sees it sees the judge */
  }
  pthread_mutex_unlock(&e->lock);
  return j;
}

int lub_engine_deaths(lub_engine *e) {
  if (!e->judge) return 0;
  pthread_mutex_lock(&e->judge->lock);
  int n = e->judge->deaths;
  pthread_mutex_unlock(&e->judge->lock);
  return n;
}
