/* talk.h - whether workers that talk with each other, over channels, had better run on one carrier than on two.
 *
 * Apart, each value moves the channel from one CPU to another, and who parks has to be woken across: together that may cost
 * more than a second CPU gives; and there is none, if more carriers run than CPUs. So it is measured, by value (a `talk`), of
 * all that the carriers do. A carrier that has stolen workers (carrier.h) weighs it for itself and the one it has them from.
 * Where a talk takes the two as long as one alone needs CPU for it, nothing is won: the workers go back, and their place keeps
 * them for some ticks of the watcher, for which its carrier measures what a talk costs it alone. Then they may be stolen again,
 * and are kept for twice as long if it does not pay again. A slice in which somebody computes ends that at once.
 * Two that have little to do go back too: nothing is lost by it. What is slept inside calls of C is part of either price.
 * The calling carrier's, but for ticks. Floor 3. Uses place. Part of engine. */
#ifndef LUB_TALK_H
#define LUB_TALK_H

#include "place.h"

struct lub_carrier;

typedef struct lub_scales {   /* a carrier's own */
  lub_place *from;            /* whose workers it has stolen, or NULL */
  struct lub_carrier *victim; /* who had that place then */
  bool alone;                 /* it measures what a talk costs it alone */
  uint32_t due;               /* after so many it looks next */
  int times;                  /* how often it did not pay, one time after the other */
  uint32_t talks, victims;    /* at the beginning: its own, and the victim's */
  uint64_t began_ns;          /* ... when that was; alone, without the pauses since */
  uint64_t cpu_ns, naps;      /* ... alone, what c's thread had used, and how often it had slept */
  int64_t slice_ns;     /* when its last slice ended, while its place keeps workers; 0: it has slept since */
  uint32_t slice_talks; /* ... its talks then */
  int computed;         /* that of late slices computed */
} lub_scales;

/* c has stolen workers of p's. */
void lub_talk_stole(struct lub_carrier *c, lub_place *p);
/* Between two slices of c, which has p: the place to which all go back that wait at p; p: others may take them; or NULL. */
lub_place *lub_talk_weigh(struct lub_carrier *c, lub_place *p);
/* c is about to sleep, having nothing to do; it did. */
void lub_talk_pause(struct lub_carrier *c);
void lub_talk_go_on(struct lub_carrier *c);
/* A tick of the watcher. True: others may steal from p from now on. */
bool lub_talk_tick(lub_place *p);

#endif
