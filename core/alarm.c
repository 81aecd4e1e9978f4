/* alarm.c - see alarm.h. */
#include "alarm.h"

#ifdef __linux__
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id /* glibc has the member, but names it only since 2.38 */
#define sigev_notify_thread_id _sigev_un._tid
#endif

void lub_alarm_open(lub_alarm *a, int signal) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  a->made = timer_create(CLOCK_MONOTONIC, &event, &a->timer) == 0;
}

void lub_alarm_close(lub_alarm *a) {
  if (a->made) (void)timer_delete(a->timer);
  a->made = false;
}

void lub_alarm_set(const lub_alarm *a, int64_t when_ns) {
  struct itimerspec at = {.it_value = {0}}; /* zero: it is stopped */
  if (!a->made) return;
  if (when_ns != LUB_NEVER)
    at.it_value = (struct timespec){.tv_sec = when_ns / 1000000000, .tv_nsec = when_ns % 1000000000};
  (void)timer_settime(a->timer, TIMER_ABSTIME, &at, NULL);
}
#else
void lub_alarm_open(lub_alarm *a, int signal) { (void)a, (void)signal; }
void lub_alarm_close(lub_alarm *a) { (void)a; }
void lub_alarm_set(const lub_alarm *a, int64_t when_ns) { (void)a, (void)when_ns; }
#endif
