/* bare.h - the least that a Lua engine can do: fibers, channels and workers on one thread, without locks, errors, fairness,
 * preemption or an end. Misuse crashes it. It shows what is Lua's own share of a workload. */
#ifndef BARE_H
#define BARE_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct parked {
  lua_State *co;
  int at; /* the argument of its select that waits here; 0: no select */
} parked;

typedef struct parkeds { /* a ring of those that wait, in the order in which they came */
  parked *all;
  uint32_t first, n, room; /* room: a power of two, or 0 */
} parkeds;

typedef struct word { /* what goes through a buffer */
  int type;
  lua_Integer i; /* a boolean too */
} word;

typedef struct chan {
  parkeds senders, receivers;
  uint32_t first, n, capacity;
  bool closed;
  word *words; /* [capacity], a ring */
} chan;

/* What a state's coroutines share: they find it in their extra space. */
typedef struct state {
  lua_State *L;
  lua_State *join; /* who waits for the end of the state */
  bool ended;
  word result;
} state;

static inline state **state_of(lua_State *co) { return (state **)lua_getextraspace(co); }

void *must(void *memory); /* not NULL, or the program ends */
parked *push_parked(parkeds *q);
static inline parked *pop_parked(parkeds *q) { return &q->all[--q->n, q->first++ & (q->room - 1)]; }

/* The values on top of co, n of them, are what its wait gives. */
void make_ready(lua_State *co, int n);
void move(lua_State *from, lua_State *to); /* the value on top; words only between two states */
word to_word(lua_State *L, int index);
void push_word(lua_State *L, word w);

/* Keeps a metatable in the registry at `key`. */
void open_type(lua_State *L, const void *key, const luaL_Reg *methods, const luaL_Reg *events);
void push_chan(lua_State *L, chan *ch);
static inline chan *to_chan(lua_State *L, int index) { return *(chan **)lua_touserdata(L, index); }
/* Each adds functions to the table on top. */
void open_chans(lua_State *L);
void open_states(lua_State *L);
void open_timers(lua_State *L);
/* Nobody is ready: sleeps until somebody is. False: there is no timer. */
bool wait_for_timers(void);
#endif
