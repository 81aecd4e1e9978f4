/* intervals.h - statistics of the intervals between beats: of all, or of the last `size`, which a ring holds.
 * Written by one thread at a time and read by any, between two equal readings of `seq` (a sequence lock). Floor 2. */
#ifndef LUB_INTERVALS_H
#define LUB_INTERVALS_H

#include "base.h"
#include "lubdub.h"

typedef struct lub_intervals {
  atomic_uint seq; /* odd while it is written */
  atomic_uint samples;
  _Atomic double base, sum, sum2, min, max; /* of the intervals less `base`, the first of them */
  uint32_t size;                            /* of the ring; 0: there is none */
  _Atomic uint32_t head;                    /* where the next goes */
  _Atomic float ring[];
} lub_intervals;

/* NULL without memory; lub_free gives it back. */
lub_intervals *lub_intervals_make(const lub_allocator *mem, uint32_t size);
/* One more interval, in seconds. */
void lub_intervals_add(lub_intervals *s, double x);
/* Fills samples, mean, sd, min and max. Any thread. */
void lub_intervals_look(lub_intervals *s, lub_snapshot *out);
/* The last intervals, oldest first, into out[0..most-1]; returns how many. Any thread. */
size_t lub_intervals_window(lub_intervals *s, double *out, size_t most);

#endif
