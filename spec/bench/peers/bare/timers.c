/* timers.c - the clock, sleep, and timers that fire once or again and again. */
#include <time.h>

#include "bare.h"

#define GATHER 0.2e-3 /* seconds for which a timer waits for others, as in the engine */

typedef struct timer {
  double due, period; /* period 0: it fires once */
  double time;        /* at which it fired, if `fired` */
  lua_State *waits;
  uint32_t place; /* in the heap, from 1; 0: it does not run */
  bool fired;
} timer;

static struct heap { /* of four branches: those of i begin at 4 * i - 2 */
  timer **all;
  uint32_t n, room;
} heap;

static char TIMERS; /* the metatable, in the registry */

static double now(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int push_now(lua_State *L) {
  lua_pushnumber(L, now());
  return 1;
}

/* ---- heap ------------------------------------------------------------------------------------------------------------- */

static void put_timer(uint32_t place, timer *t) {
  heap.all[place] = t;
  t->place = place;
}

static void rise(uint32_t i, timer *t) {
  for (uint32_t over; i > 1 && heap.all[over = (i + 2) / 4]->due > t->due; i = over)
    put_timer(i, heap.all[over]);
  put_timer(i, t);
}

static void sink(uint32_t i, timer *t) {
  for (uint32_t least; (least = 4 * i - 2) <= heap.n; i = least) {
    for (uint32_t last = least + 3, c = least + 1; c <= last && c <= heap.n; c++)
      if (heap.all[c]->due < heap.all[least]->due) least = c;
    if (t->due <= heap.all[least]->due) break;
    put_timer(i, heap.all[least]);
  }
  put_timer(i, t);
}

static void insert(timer *t, double due) {
  if (heap.n + 1 >= heap.room) {
    heap.room = heap.room ? 2 * heap.room : 16;
    heap.all = must(realloc(heap.all, heap.room * sizeof(timer *)));
  }
  t->due = due;
  rise(++heap.n, t);
}

static void take(timer *t) {
  timer *last = heap.all[heap.n--];
  uint32_t i = t->place;
  t->place = 0;
  if (last == t) return;
  if (last->due < t->due) rise(i, last);
  else sink(i, last);
}

/* ---- firing ----------------------------------------------------------------------------------------------------------- */

static void fire(timer *t, double at) {
  if (t->period > 0) {
    t->due += t->period;
    sink(1, t);
  } else {
    take(t);
  }
  t->fired = !t->waits;
  t->time = at;
  if (!t->waits) return;
  lua_pushnumber(t->waits, at);
  make_ready(t->waits, 1);
  t->waits = NULL;
}

bool wait_for_timers(void) {
  for (bool fired = false; heap.n;) {
    double at = now();
    for (; heap.n && heap.all[1]->due <= at; fired = true) fire(heap.all[1], at);
    if (fired) return true;
    double span = heap.all[1]->due - at;
    if (span < GATHER) span = GATHER;
    struct timespec t = {(time_t)span, (long)((span - (double)(time_t)span) * 1e9)};
    (void)nanosleep(&t, NULL);
  }
  return false;
}

/* ---- in Lua ----------------------------------------------------------------------------------------------------------- */

static timer *to_timer(lua_State *L) { return *(timer **)lua_touserdata(L, 1); }

static int open_timer(lua_State *L, double first, double period) {
  timer **handle = lua_newuserdatauv(L, sizeof *handle, 0), *t = *handle = must(calloc(1, sizeof *t));
  lua_rawgetp(L, LUA_REGISTRYINDEX, &TIMERS);
  lua_setmetatable(L, -2);
  t->period = period;
  insert(t, now() + first);
  return 1;
}

static int new_timer(lua_State *L) { return open_timer(L, lua_tonumber(L, 1), 0); }
static int new_ticker(lua_State *L) { return open_timer(L, lua_tonumber(L, 1), lua_tonumber(L, 1)); }

static int timer_recv(lua_State *L) {
  timer *t = to_timer(L);
  if (!t->fired) {
    t->waits = L;
    return lua_yield(L, 0);
  }
  t->fired = false;
  lua_pushnumber(L, t->time);
  return 1;
}

static int sleep_for(lua_State *L) {
  (void)new_timer(L);
  lua_replace(L, 1);
  return timer_recv(L);
}

static int timer_stop(lua_State *L) {
  timer *t = to_timer(L);
  lua_pushboolean(L, t->place > 0);
  if (t->place) take(t);
  return 1;
}

static int timer_free(lua_State *L) {
  timer *t = to_timer(L);
  if (t->place) take(t);
  free(t);
  return 0;
}

void open_timers(lua_State *L) {
  static const luaL_Reg methods[] = {{"stop", timer_stop}, {"recv", timer_recv}, {NULL, NULL}};
  static const luaL_Reg events[] = {{"__call", timer_recv}, {"__gc", timer_free}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"after", new_timer}, {"tick", new_ticker}, {"sleep", sleep_for}, {"now", push_now}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  open_type(L, &TIMERS, methods, events);
}
