/* fault.h - the fault points of a sim: places in a script or a host at which something may go wrong. In one run a quarter
 * of them are on, each at a rate of its own: runs differ more from each other than if all failed now and then (swarm
 * testing, Groce et al., ISSTA 2012). What a point draws depends on the seed, its name, and how often it was asked:
 * neither on other points nor on the schedule. Floor 5. Uses random. Part of sim. */
#ifndef LUB_FAULT_H
#define LUB_FAULT_H

#include <stdbool.h>

#include "base.h"
#include "random.h"

typedef struct lub_fault_point lub_fault_point;

typedef struct lub_faults {
  const lub_allocator *mem;
  uint64_t seed;
  lub_fault_point *points;
  bool off; /* for good: healed, or not wanted */
} lub_faults;

/* Whether the point `name` fires this time: if it is on, at its rate, which is at most p; `always_on`: at p itself.
 * Without memory for a new point: no. */
bool lub_faults_draw(lub_faults *f, const char *name, double p, bool always_on);
void lub_faults_close(lub_faults *f);

#endif
