/* alarm.h - a signal to a thread at a certain time, which needs no other thread to run by then: where the CPUs are busy, the
 * kernel may give one to a thread that has slept some milliseconds late. Linux only: elsewhere nobody is signalled.
 * Floor 1. Used by carrier and watcher. */
#ifndef LUB_ALARM_H
#define LUB_ALARM_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct lub_alarm {
  timer_t timer;
  bool made;       /* else it is never set */
  atomic_bool set; /* it may go off, or has */
} lub_alarm;

/* For the thread with this number (lub_thread_id); not made if the system has no timer left. */
void lub_alarm_open(lub_alarm *a, long tid, int signal);
void lub_alarm_close(lub_alarm *a);
/* At when_ns of CLOCK_MONOTONIC its thread gets the signal, and not when it would have before. Any thread, and a signal
 * handler. */
void lub_alarm_set(lub_alarm *a, int64_t when_ns);
/* Its thread is not signalled, unless somebody sets it meanwhile. Any thread. */
void lub_alarm_stop(lub_alarm *a);

#endif
