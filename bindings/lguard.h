/* lguard.h - the guard of a sim's run, in real time: finds the fiber that does nothing a sim could see. It looks only at
 * whether there are turns and operations, four times in its limit: a run that gets on is never disturbed, however slow its
 * machine is, and a process that was stopped meanwhile is not blamed. */
#ifndef LUB_LGUARD_H
#define LUB_LGUARD_H

#include <time.h>

#include "llub.h"

typedef struct lguard {
  bool armed;
  volatile bool over; /* written by the signal handler, in the thread of the run, as what follows */
  bool told;
  int ticks; /* in a row without a turn */
  int64_t period_ns, tick_ns;
  uint64_t moves;
  double limit; /* seconds */
  char *report; /* what the fiber did; owned */
#ifdef __linux__
  timer_t timer;
#endif
} lguard;

/* Signals the calling thread, which is to run the sim, four times in `limit` seconds of real time. 0 or infinite: never. A
 * system without such timers, or with none left, has no guard. */
void lub_guard_open(lguard *g, double limit, int signal);
void lub_guard_close(lguard *g);
/* Of the run that lw is part of (lsim.c). */
lguard *lub_sim_guard(const lworker *lw);

#endif
