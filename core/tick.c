/* tick.c - see tick.h. */
#include "tick.h"

#include "engine.h"

struct lub_tick {
  lub_timer timer; /* first */
  lub_chan *ch;    /* owns this; not counted */
  int64_t period_ns;
};

static void deliver(lub_timer *timer, int64_t due_ns, int64_t now_ns) {
  lub_tick *t = lub_container(timer, lub_tick, timer);
  lub_value now = lub_num((double)now_ns / 1e9);
  lub_wait *woken;
  if (t->period_ns) {
    int64_t next = due_ns + t->period_ns;
    if (next <= now_ns) next += (now_ns - next) / t->period_ns * t->period_ns + t->period_ns;
    lub_timer_again(&t->ch->engine->timers, timer, next);
  }
  lub_chan_lock(t->ch);
  (void)lub_chan_try_send_locked(t->ch, &now, &woken);
  lub_chan_unlock(t->ch);
  if (woken) lub_wait_wake(woken);
}

static bool somebody_listens(lub_timer *timer) {
  lub_chan *ch = lub_container(timer, lub_tick, timer)->ch;
  lub_chan_lock(ch);
  bool listens = !lub_list_empty(&ch->recvq);
  lub_chan_unlock(ch);
  return listens;
}

static const lub_timer_kind tick_kind = {
    .fire = deliver, .could_wake = somebody_listens, .before = sizeof(lub_chan), .after = sizeof(lub_tick)};

static int64_t due_ns(lub_engine *e, int64_t span_ns) {
  return span_ns == LUB_NEVER ? LUB_NEVER : lub_engine_now_ns(e) + span_ns;
}

lub_status lub_tick_open(lub_engine *e, const char *name, int64_t first_ns, int64_t period_ns,
                         lub_chan **out) {
  lub_chan *ch;
  if (lub_chan_open_unlisted(e, 1, name, sizeof(lub_tick), &ch)) return LUB_NOMEM;
  lub_tick *t = ch->tick = (lub_tick *)(void *)(ch + 1);
  *t = (lub_tick){.ch = ch, .period_ns = period_ns};
  lub_status status = lub_engine_begin_timer(e, &t->timer, &tick_kind, due_ns(e, first_ns));
  if (status == LUB_OK) *out = ch;
  else lub_chan_drop(ch);
  return status;
}

/* Whether there was a value that nobody had received. */
static bool drain(lub_chan *ch) {
  bool any = lub_chan_len(ch) > 0;
  if (any) lub_chan_drain(ch);
  return any;
}

bool lub_tick_stop(lub_chan *ch) {
  bool running = lub_timer_stop(&ch->engine->timers, &ch->tick->timer);
  return drain(ch) || running;
}

bool lub_tick_reset(lub_chan *ch, int64_t span_ns) {
  bool running = lub_tick_stop(ch);
  if (ch->tick->period_ns) ch->tick->period_ns = span_ns;
  (void)lub_engine_start_timer(ch->engine, &ch->tick->timer, due_ns(ch->engine, span_ns));
  return running;
}

bool lub_tick_is_periodic(const lub_chan *ch) { return ch->tick->period_ns > 0; }

void lub_tick_forget(lub_chan *ch) { lub_timer_forget(&ch->engine->timers, &ch->tick->timer); }

lub_chan *lub_tick_next(lub_engine *e, uint32_t *id) {
  lub_timer *t = lub_timers_next_of(&e->timers, &tick_kind, id);
  return t ? lub_container(t, lub_tick, timer)->ch : NULL;
}
