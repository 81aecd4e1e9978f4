/* alarm_test.c - an alarm rings once, in the thread that opened it, no sooner than it was set for. */
#include "alarm.h"

#include <pthread.h>
#include <signal.h>

#include "test.h"

static atomic_int rings, strangers;
static pthread_t owner;

static void ring(int sig) {
  (void)sig;
  atomic_fetch_add(&rings, 1);
  if (!pthread_equal(pthread_self(), owner)) atomic_fetch_add(&strangers, 1);
}

static int64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Computes until it has rung so often; a time since then. */
static int64_t await(int n) {
  while (atomic_load(&rings) < n) (void)now_ns();
  return now_ns();
}

static void *set_now(void *alarm) {
  lub_alarm_set(alarm, now_ns());
  return NULL;
}

static void some_time(lub_alarm *a) {
  int64_t due_ns = now_ns() + 2000000;
  lub_alarm_set(a, due_ns);
  CHECK("it rings when it is due, not before", await(1) >= due_ns);
  lub_alarm_set(a, due_ns);
  (void)await(2);
  CHECK("if that has been, at once", atomic_load(&rings) == 2);
}

static void not_any_more(lub_alarm *a) {
  int64_t later_ns = now_ns() + 5000000;
  lub_alarm_set(a, later_ns);
  lub_alarm_set(a, LUB_NEVER);
  while (now_ns() < later_ns + 5000000) continue;
  CHECK("it can be taken back", atomic_load(&rings) == 2);
  lub_alarm_set(a, later_ns + (int64_t)3600 * 1000000000);
  lub_alarm_set(a, now_ns() + 1000000);
  (void)await(3);
  CHECK("what it was set for last counts", atomic_load(&rings) == 3);
}

static void from_outside(lub_alarm *a) {
  pthread_t other;
  pthread_create(&other, NULL, set_now, a);
  (void)await(4);
  pthread_join(other, NULL);
  CHECK("another thread may set it", atomic_load(&rings) == 4);
  CHECK("it rings in its own", atomic_load(&strangers) == 0);
}

int main(void) {
  lub_alarm a = {0};
  struct sigaction act = {.sa_handler = ring};
  owner = pthread_self();
  sigaction(SIGURG, &act, NULL);
  lub_alarm_set(&a, now_ns());
  lub_alarm_close(&a);
  CHECK("one that was not opened never rings", atomic_load(&rings) == 0);
  lub_alarm_open(&a, SIGURG);
  bool opened = a.made;
  if (opened) { /* otherwise there is none on this system */
    some_time(&a);
    not_any_more(&a);
    from_outside(&a);
    lub_alarm_set(&a, now_ns() + 1000000);
  }
  lub_alarm_close(&a);
  int64_t later_ns = now_ns() + 5000000;
  while (now_ns() < later_ns) continue;
  CHECK("nor does one that was closed", atomic_load(&rings) == (opened ? 4 : 0));
  return TEST_END();
}
