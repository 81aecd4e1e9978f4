/* alarm.h - a signal to one thread at a time of the engine's choosing, for a thread that runs what looks at no clock. However
 * busy the machine, it comes when it is due: no other thread need be given a CPU first. Where the kernel has no such
 * timers, as outside Linux, an alarm never rings. Floor 1. Used by carrier. */
#ifndef LUB_ALARM_H
#define LUB_ALARM_H

#include <stdbool.h>
#include <time.h>

#include "base.h"

typedef struct lub_alarm { /* zeroed: it never rings */
  timer_t timer;
  bool made;
} lub_alarm;

/* For the calling thread, which must close it before it ends. It may find none; then it never rings. */
void lub_alarm_open(lub_alarm *a, int signal);
void lub_alarm_close(lub_alarm *a);
/* Rings once, when CLOCK_MONOTONIC shows when_ns, or at once if it is later already; not any more: LUB_NEVER. Any thread;
 * async-signal-safe. */
void lub_alarm_set(const lub_alarm *a, int64_t when_ns);

#endif
