/* alarm.c - see alarm.h. */
#include "alarm.h"

#ifdef __linux__
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* an older glibc */
#endif

void lub_alarm_open(lub_alarm *a, long tid, int signal) {
  struct sigevent how = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
  how.sigev_notify_thread_id = (pid_t)tid;
  a->made = !timer_create(CLOCK_MONOTONIC, &how, &a->timer);
}

void lub_alarm_close(lub_alarm *a) {
  if (a->made) (void)timer_delete(a->timer);
  a->made = false;
}

void lub_alarm_set(lub_alarm *a, int64_t when_ns) {
  struct itimerspec at = {.it_value = {.tv_sec = when_ns / 1000000000, .tv_nsec = when_ns % 1000000000}};
  if (!a->made) return;
  atomic_store(&a->set, true);
  (void)timer_settime(a->timer, TIMER_ABSTIME, &at, NULL);
}

void lub_alarm_stop(lub_alarm *a) {
  static const struct itimerspec never;
  if (atomic_load_explicit(&a->set, memory_order_relaxed) && atomic_exchange(&a->set, false))
    (void)timer_settime(a->timer, 0, &never, NULL);
}
#else
void lub_alarm_open(lub_alarm *a, long tid, int signal) {
  (void)a;
  (void)tid;
  (void)signal;
}

void lub_alarm_close(lub_alarm *a) { (void)a; }

void lub_alarm_set(lub_alarm *a, int64_t when_ns) {
  (void)a;
  (void)when_ns;
}

void lub_alarm_stop(lub_alarm *a) { (void)a; }
#endif
