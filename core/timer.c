/* timer.c - see timer.h. */
#include "timer.h"

enum { FIRE_BATCH = 64 }; /* timers fired under one hold of the lock, so that starters do not wait long */

void lub_timers_init(lub_timers *ts, const lub_allocator *mem) {
  *ts = (lub_timers){.mem = mem, .weak_ns = -1};
  atomic_init(&ts->next_ns, LUB_NEVER);
  lub_lock_init(&ts->lock);
}

void lub_timers_close(lub_timers *ts) {
  lub_free(ts->mem, ts->heap);
  lub_free(ts->mem, ts->rooms);
  lub_free(ts->mem, ts->places);
}

static void put(lub_timers *ts, uint32_t i, lub_slot s) {
  ts->heap[i] = s;
  ts->places[s.id] = i + 1;
}

static void sift_up(lub_timers *ts, uint32_t i, lub_slot s) {
  while (i > 0) {
    uint32_t parent = (i - 1) / 4;
    if (ts->heap[parent].when_ns <= s.when_ns) break;
    put(ts, i, ts->heap[parent]);
    i = parent;
  }
  put(ts, i, s);
}

static void sift_down(lub_timers *ts, uint32_t i, lub_slot s) {
  for (;;) {
    uint32_t child = i * 4 + 1, least = child;
    if (child >= ts->count) break;
    for (uint32_t c = child + 1; c < child + 4 && c < ts->count; c++)
      if (ts->heap[c].when_ns < ts->heap[least].when_ns) least = c;
    if (s.when_ns <= ts->heap[least].when_ns) break;
    put(ts, i, ts->heap[least]);
    i = least;
  }
  put(ts, i, s);
}

static void publish_next(lub_timers *ts) {
  atomic_store_explicit(&ts->next_ns, ts->count ? ts->heap[0].when_ns : LUB_NEVER, memory_order_relaxed);
}

static void insert(lub_timers *ts, uint32_t id, int64_t when_ns) {
  lub_assert(id && ts->count < ts->capacity);
  bool always_wakes = !ts->rooms[id].kind->could_wake;
  ts->sure += always_wakes;
  if (!always_wakes && when_ns <= ts->weak_ns) ts->weak_ns = -1; /* not all any more */
  sift_up(ts, ts->count++, (lub_slot){when_ns, id});
}

static void take(lub_timers *ts, uint32_t id) {
  uint32_t i = ts->places[id] - 1;
  lub_slot last = ts->heap[--ts->count];
  ts->places[id] = 0;
  ts->sure -= !ts->rooms[id].kind->could_wake;
  if (i == ts->count) return;
  if (i > 0 && last.when_ns < ts->heap[(i - 1) / 4].when_ns) sift_up(ts, i, last);
  else sift_down(ts, i, last);
}

static bool is_running(const lub_timers *ts, const lub_timer *t) { return t->id && ts->places[t->id]; }

/* What the next one will read: of 100,000 timers none lies in a cache. */
static void fetch_next(const lub_timers *ts) {
  if (!ts->count) return;
  lub_room r = ts->rooms[ts->heap[0].id];
  uintptr_t end = (uintptr_t)r.timer + r.kind->after;
  for (uintptr_t at = (uintptr_t)r.timer - r.kind->before; at <= end; at += LUB_CACHE_LINE)
    lub_prefetch((const void *)at);
}

static void fire(lub_timers *ts, lub_slot s, int64_t now_ns) {
  lub_room r = ts->rooms[s.id];
  take(ts, s.id);
  fetch_next(ts);
  r.kind->fire(r.timer, s.when_ns, now_ns);
}

/* An array may be longer than `capacity` says. */
static bool stretch(lub_timers *ts, void **array, size_t nbytes) {
  void *grown = ts->mem->realloc(ts->mem->ud, *array, nbytes);
  if (grown) *array = grown;
  return grown != NULL;
}

static bool grow(lub_timers *ts) {
  uint32_t wanted = ts->capacity ? ts->capacity * 2 : 15;
  size_t n = (size_t)wanted + 1;
  void *heap = ts->heap, *rooms = ts->rooms, *places = ts->places;
  bool ok = wanted > ts->capacity && stretch(ts, &heap, wanted * sizeof *ts->heap) &&
            stretch(ts, &rooms, n * sizeof *ts->rooms) && stretch(ts, &places, n * sizeof *ts->places);
  ts->heap = heap;
  ts->rooms = rooms;
  ts->places = places;
  for (uint32_t id = wanted; ok && id > ts->capacity; ts->free = id--) {
    ts->places[id] = ts->free;
    ts->rooms[id] = (lub_room){NULL, NULL};
  }
  if (ok) ts->capacity = wanted;
  return ok;
}

static lub_status reserve_locked(lub_timers *ts, lub_timer *t, const lub_timer_kind *kind) {
  if (!ts->free && !grow(ts)) return LUB_NOMEM;
  t->id = ts->free;
  ts->free = ts->places[t->id];
  ts->places[t->id] = 0;
  ts->rooms[t->id] = (lub_room){t, kind};
  return LUB_OK;
}

lub_status lub_timer_reserve(lub_timers *ts, lub_timer *t, const lub_timer_kind *kind) {
  if (t->id) return LUB_OK;
  lub_lock_take(&ts->lock);
  lub_status status = reserve_locked(ts, t, kind);
  lub_lock_give(&ts->lock);
  return status;
}

void lub_timer_forget(lub_timers *ts, lub_timer *t) {
  if (!t->id) return;
  lub_lock_take(&ts->lock);
  if (is_running(ts, t)) {
    take(ts, t->id);
    publish_next(ts);
  }
  ts->places[t->id] = ts->free;
  ts->rooms[t->id].timer = NULL;
  ts->free = t->id;
  t->id = 0;
  lub_lock_give(&ts->lock);
}

/* Returns whether it is the next to fire. */
static bool start_locked(lub_timers *ts, const lub_timer *t, int64_t when_ns) {
  insert(ts, t->id, when_ns);
  publish_next(ts);
  return ts->places[t->id] == 1;
}

bool lub_timer_start(lub_timers *ts, lub_timer *t, int64_t when_ns, bool *earliest) {
  lub_lock_take(&ts->lock);
  bool running = is_running(ts, t);
  if (running) take(ts, t->id);
  *earliest = start_locked(ts, t, when_ns);
  lub_lock_give(&ts->lock);
  return running;
}

lub_status lub_timer_begin(lub_timers *ts, lub_timer *t, const lub_timer_kind *kind, int64_t when_ns,
                           bool *earliest) {
  lub_lock_take(&ts->lock);
  lub_status status = reserve_locked(ts, t, kind);
  if (status == LUB_OK) *earliest = start_locked(ts, t, when_ns);
  lub_lock_give(&ts->lock);
  return status;
}

lub_timer *lub_timers_next_of(lub_timers *ts, const lub_timer_kind *kind, uint32_t *id) {
  lub_timer *found = NULL;
  lub_lock_take(&ts->lock);
  while (!found && *id < ts->capacity)
    if (ts->rooms[++*id].kind == kind) found = ts->rooms[*id].timer;
  lub_lock_give(&ts->lock);
  return found;
}

bool lub_timer_stop(lub_timers *ts, lub_timer *t) {
  lub_lock_take(&ts->lock);
  bool running = is_running(ts, t);
  if (running) {
    take(ts, t->id);
    publish_next(ts);
  }
  lub_lock_give(&ts->lock);
  return running;
}

void lub_timer_again(lub_timers *ts, lub_timer *t, int64_t when_ns) { insert(ts, t->id, when_ns); }

static uint32_t fire_batch(lub_timers *ts, int64_t now_ns) {
  uint32_t fired = 0;
  for (; fired < FIRE_BATCH && ts->count && ts->heap[0].when_ns <= now_ns; fired++)
    fire(ts, ts->heap[0], now_ns);
  publish_next(ts);
  lub_lock_give(&ts->lock);
  return fired;
}

uint32_t lub_timers_run(lub_timers *ts, int64_t now_ns) {
  uint32_t fired = 0;
  while (lub_timers_next(ts) <= now_ns) {
    lub_lock_take(&ts->lock);
    fired += fire_batch(ts, now_ns);
  }
  return fired;
}

uint32_t lub_timers_try(lub_timers *ts, int64_t now_ns) {
  uint32_t fired = 0;
  while (lub_timers_next(ts) <= now_ns && lub_lock_try(&ts->lock)) fired += fire_batch(ts, now_ns);
  return fired;
}

static bool could_wake(lub_room r) { return !r.kind->could_wake || r.kind->could_wake(r.timer); }

/* Who may wake somebody is set aside meanwhile: behind the heap, where as many places are free as were taken. */
uint32_t lub_timers_run_weak(lub_timers *ts, int64_t now_ns) {
  uint32_t n = 0, aside = ts->capacity;
  if (lub_timers_next(ts) > now_ns || ts->weak_ns == now_ns) return 0;
  lub_lock_take(&ts->lock);
  ts->weak_ns = now_ns;
  while (ts->count && ts->heap[0].when_ns <= now_ns) {
    lub_slot s = ts->heap[0];
    if (could_wake(ts->rooms[s.id])) {
      take(ts, s.id);
      ts->heap[--aside] = s;
    } else {
      fire(ts, s, now_ns);
      n++;
    }
  }
  while (aside < ts->capacity) {
    lub_slot s = ts->heap[aside++];
    insert(ts, s.id, s.when_ns);
  }
  publish_next(ts);
  lub_lock_give(&ts->lock);
  return n;
}

typedef struct search { /* for the k-th timer that is due and not weak */
  int64_t now_ns;
  uint32_t k, seen;
  lub_slot at; /* where it was found; id 0: it was not yet */
} search;

/* What is due lies at the top of the heap. */
static void look(lub_timers *ts, uint32_t i, search *s) {
  if (s->at.id || i >= ts->count || ts->heap[i].when_ns > s->now_ns) return;
  if (could_wake(ts->rooms[ts->heap[i].id]) && s->seen++ == s->k) s->at = ts->heap[i];
  for (uint32_t c = 1; c <= 4; c++) look(ts, i * 4 + c, s);
}

uint32_t lub_timers_due(lub_timers *ts, int64_t now_ns) {
  search s = {.now_ns = now_ns, .k = LUB_DUE_MAX - 1};
  if (lub_timers_next(ts) > now_ns) return 0;
  lub_lock_take(&ts->lock);
  look(ts, 0, &s);
  if (s.seen == 0) ts->weak_ns = -1; /* one that might have woken somebody does not any more */
  lub_lock_give(&ts->lock);
  return s.seen;
}

void lub_timers_run_one(lub_timers *ts, int64_t now_ns, uint32_t k) {
  search s = {.now_ns = now_ns, .k = k};
  lub_lock_take(&ts->lock);
  look(ts, 0, &s);
  if (s.at.id) {
    fire(ts, s.at, now_ns);
    publish_next(ts);
  }
  lub_lock_give(&ts->lock);
}

bool lub_timers_could_wake(lub_timers *ts) {
  bool could = false;
  lub_lock_take(&ts->lock);
  could = ts->sure > 0;
  for (uint32_t i = 0; i < ts->count && !could; i++)
    could = ts->heap[i].when_ns != LUB_NEVER && could_wake(ts->rooms[ts->heap[i].id]);
  lub_lock_give(&ts->lock);
  return could;
}
