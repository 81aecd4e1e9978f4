/* lsimstate.h - what Lua states see inside a sim: the run's time, its random numbers, keys in an order; and a record of
 * what no seed controls. One lsimstate is a run's, of all of its workers. */
#ifndef LUB_LSIMSTATE_H
#define LUB_LSIMSTATE_H

#include "llub.h"

typedef struct luncontrolled {
  char *name, *where; /* "os.getenv", "file:line" */
  lua_Integer count;
} luncontrolled;

typedef struct lsimstate {
  bool strict;          /* what is not controlled raises */
  bool met_references;  /* an iteration over reference keys is recorded */
  luncontrolled *calls; /* [ncalls], in the order in which they were first made */
  size_t ncalls;
} lsimstate;

/* Of the run that lw is part of (lsim.c). */
lsimstate *lub_sim_state(const lworker *lw);
void lub_sim_state_close(lsimstate *s);
/* Pushes a list of {name=, where=, count=}. */
void lub_sim_push_uncontrolled(lua_State *L, const lsimstate *s);
/* The running Lua function does what the sim does not control. Raises when that is strict. */
void lub_sim_uncontrolled(lua_State *L, lworker *lw, const char *name);

/* next and pairs; upvalue 1: Lua's own; 2, of pairs: next. */
int lub_sim_next(lua_State *L);
int lub_sim_pairs(lua_State *L);
/* Forgets what they know of the tables that are being walked. */
void lub_sim_end_walks(lua_State *L);

enum { LUB_SAVED_MAX = 80 }; /* about what that saves */
/* Puts the sim's functions into the libraries of a state that lives longer. `saved`: the index of an empty table, which
 * gets what lub_sim_leave_state needs to put back the old ones, whatever the script does meanwhile. */
void lub_sim_enter_state(lua_State *L, lworker *lw, int saved);
/* saved -> nothing */
int lub_sim_leave_state(lua_State *L);

#endif
