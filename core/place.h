/* place.h - the right to run workers, with a queue of those that wait for it (a P of Go's). There are as many as CPUs; who has
 * one is in carrier.h. Any thread may call these. Floor 3. Uses worker. Part of engine. */
#ifndef LUB_PLACE_H
#define LUB_PLACE_H

#include <pthread.h>

#include "worker.h"

typedef struct lub_place {
  lub_worker *_Atomic next;   /* runs before the queue */
  atomic_int length;          /* of the queue; written under lock, read without as a hint */
  pthread_mutex_t lock;       /* guards queue */
  lub_list queue;             /* lub_worker.link, oldest first */
  atomic_bool idle;           /* its carrier sleeps, or is about to: pairs with length (carrier.c, IDLE) */
  atomic_int kept;            /* for so many ticks of the watcher nobody steals from it; see talk.h */
  atomic_int again;           /* how often before it was kept, one time after the other */
  atomic_ullong alone_ps;     /* CPU of a talk when it was kept last; 0: not known */
  char apart[LUB_CACHE_LINE]; /* from the next place, which another CPU writes */
} lub_place;

void lub_place_init(lub_place *p);
void lub_place_close(lub_place *p);
/* Puts w at the end of the queue. */
void lub_place_push(lub_place *p, lub_worker *w);
/* Takes the oldest of the queue; NULL: it is empty. */
lub_worker *lub_place_pop(lub_place *p);
/* Takes `next`, or NULL. */
static inline lub_worker *lub_place_pop_next(lub_place *p) {
  if (!atomic_load_explicit(&p->next, memory_order_relaxed)) return NULL;
  return atomic_exchange_explicit(&p->next, NULL, memory_order_acq_rel);
}
/* Takes half of what waits in the queue of `from`: one for the caller, the rest for the queue of `to`. NULL: there was
 * none, or `from` is kept. */
lub_worker *lub_place_steal(lub_place *to, lub_place *from);
/* Whether another than p's carrier may take something from its queue. */
static inline bool lub_place_offers(const lub_place *p) {
  return atomic_load(&p->length) && !atomic_load(&p->kept);
}
/* Whether a worker waits at p, which may be nobody's. */
static inline bool lub_place_is_waited_at(const lub_place *p) {
  return p && (atomic_load(&p->length) || atomic_load(&p->next));
}

#endif
