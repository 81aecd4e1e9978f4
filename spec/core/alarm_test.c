/* alarm_test.c - a signal that the kernel sends: to whom, when, and not when it was called off. */
#include "alarm.h"

#include <pthread.h>
#include <sched.h>

#include "carrier.h"
#include "engine.h"
#include "test.h"

typedef struct sleeper {
  pthread_t thread;
  lub_alarm alarm;
  atomic_long tid;
  atomic_bool over;
} sleeper;

static atomic_long called; /* the thread of the last signal; 0: there was none */
static atomic_llong called_ns;

static void on_signal(int signal) {
  (void)signal;
  atomic_store(&called_ns, lub_clock_ns(CLOCK_MONOTONIC));
  atomic_store(&called, lub_thread_id());
}

static void *run(void *arg) {
  sleeper *s = arg;
  lub_alarm_open(&s->alarm, lub_thread_id(), SIGURG);
  atomic_store(&s->tid, lub_thread_id());
  while (!atomic_load(&s->over)) sched_yield();
  lub_alarm_close(&s->alarm);
  return NULL;
}

static void start(sleeper *s) {
  *s = (sleeper){0};
  pthread_create(&s->thread, NULL, run, s);
  while (!atomic_load(&s->tid)) sched_yield();
}

static void end(sleeper *s) {
  atomic_store(&s->over, true);
  pthread_join(s->thread, NULL);
}

static long await_call(void) {
  while (!atomic_load(&called)) sched_yield();
  return atomic_exchange(&called, 0);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sleeper one, other;
  sigaction(SIGURG, &action, NULL);
  start(&one);
  start(&other);
#ifdef __linux__
  for (int i = 0; i < 20; i++) {
    int64_t when_ns = lub_clock_ns(CLOCK_MONOTONIC) + 1000000;
    sleeper *s = i % 2 ? &one : &other;
    lub_alarm_set(&s->alarm, when_ns);
    CHECK("the thread whose alarm it is hears it", await_call() == atomic_load(&s->tid));
    CHECK("not before its time", atomic_load(&called_ns) >= when_ns);
  }
  int64_t now_ns = lub_clock_ns(CLOCK_MONOTONIC);
  lub_alarm_set(&one.alarm, now_ns + 3000000);
  lub_alarm_set(&one.alarm, now_ns + 1000000);
  CHECK("it may be set for another time", await_call() == atomic_load(&one.tid));
  lub_alarm_set(&one.alarm, lub_clock_ns(CLOCK_MONOTONIC) + 1000000);
  lub_alarm_stop(&one.alarm);
  lub_alarm_set(&other.alarm, lub_clock_ns(CLOCK_MONOTONIC) + 5000000);
  CHECK("and called off", await_call() == atomic_load(&other.tid));
  lub_alarm_set(&one.alarm, 1);
  CHECK("what lies behind comes at once", await_call() == atomic_load(&one.tid));
#endif
  end(&one);
  end(&other);
  lub_alarm_set(&one.alarm, 1);
  CHECK("one that is closed is never set", !one.alarm.made && !atomic_load(&called));
  return TEST_END();
}
