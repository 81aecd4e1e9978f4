/* turns.h - who runs next in an engine whose every step is chosen (lub_options.choose): one fiber at a time, until it
 * waits, ends, or comes to a point at which another is chosen. Timers fire when nobody can run, one at a time if they wake
 * somebody. Only the thread that steps such an engine uses it, so the queues need no lock here. Floor 3. Uses worker. Part of
 * engine. */
#ifndef LUB_TURNS_H
#define LUB_TURNS_H

#include "worker.h"

typedef struct lub_turns {
  lub_fiber **ready; /* [room], kept from one choice to the next */
  uint64_t *ids;     /* [room] */
  uint32_t n, room;
  lub_fiber *chosen; /* at a point, to run in the next step */
  uint64_t current;  /* the id of the fiber that ran last */
  lub_list frozen;   /* lub_worker.link: those that would wait for their turn otherwise */
  uint64_t moves;    /* counts turns, and points at which there could be one */
  /* told when a fiber's turn begins and when it is over, or NULL; turns nest where a fiber cannot be left */
  void (*watch)(void *ud, const lub_worker *w, uint64_t fiber, bool begins);
  void *watch_ud;
} lub_turns;

/* Asks for a choice of n; 0 without asking when there is only one. */
uint32_t lub_engine_choose(lub_engine *e, lub_choice_kind kind, uint32_t n, const uint64_t *fibers);
/* The fiber to run next, which is ready, or NULL. With memory at an end, any. */
lub_fiber *lub_turns_next(lub_engine *e);
/* Runs f, of another worker than those that run. */
void lub_turns_run(lub_engine *e, lub_fiber *f);
/* f, which runs, is about to do something that others may see. True: another is chosen, it must leave. */
bool lub_turns_point(lub_fiber *f);
/* Fires what is due: all timers that wake nobody, and one of the others. Returns how many. */
uint32_t lub_turns_fire(lub_engine *e);
/* The fibers of w have no turn until then; the longest freeze wins. in_call: because it is inside a C call, otherwise it
 * gets no CPU. One that runs has its slice first. LUB_NOMEM. */
lub_status lub_turns_freeze(lub_worker *w, int64_t until_ns, bool in_call);
/* w, which is frozen, would have a turn. */
void lub_turns_set_aside(lub_worker *w);
/* No worker is frozen any more. */
void lub_turns_thaw(lub_engine *e);
/* Tells who watches; at the end of a turn, w may be NULL. */
static inline void lub_turns_tell(const lub_turns *t, const lub_worker *w, uint64_t fiber, bool begins) {
  if (t->watch) t->watch(t->watch_ud, w, fiber, begins);
}
void lub_turns_close(lub_engine *e);

#endif
