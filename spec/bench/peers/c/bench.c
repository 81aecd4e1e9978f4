/* bench.c - the workloads of spec/bench with a pthread for each fiber or worker: `bench NAME N` prints
 * "result AMOUNT OPERATIONS" for each figure, in seconds, bytes or a share; `bench list` prints the names. CPUS: on how
 * many processors. */
#include "chan.h"
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct text {
  char bytes[64];
} text;
typedef struct row {
  long id;
  const char *name;
  long v[3];
} row;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double s) {
  struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
  nanosleep(&t, NULL);
}

static pthread_t start(void *(*run)(void *), void *arg) {
  pthread_attr_t attr;
  pthread_t thread;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 64 * 1024);
  if (pthread_create(&thread, &attr, run, arg)) abort();
  pthread_attr_destroy(&attr);
  return thread;
}

static bool quiet;

static void tell(double amount, double operations) {
  if (!quiet) printf("result %.9g %.0f\n", amount, operations);
}

static void check(bool ok) {
  if (!ok) abort();
}

/* ---- round trip and ring: values from one channel into another ---- */
typedef struct joint {
  chan *from, *to;
  long add;
} joint;

static void *forward(void *arg) {
  joint *l = arg;
  for (long v; chan_recv(l->from, &v);) {
    v += l->add;
    chan_send(l->to, &v);
  }
  chan_close(l->to);
  return NULL;
}

static void round_trip(long n) {
  joint l = {chan_open(sizeof(long), 0), chan_open(sizeof(long), 0), 0};
  pthread_t echo = start(forward, &l);
  double begin = now();
  for (long i = 0, v; i < n; i++) {
    chan_send(l.from, &i);
    check(chan_recv(l.to, &v) && v == i);
  }
  tell(now() - begin, (double)n);
  chan_close(l.from);
  pthread_join(echo, NULL);
}

static void ring(long n) {
  enum { SIZE = 1000 };
  static joint joints[SIZE];
  chan *first = chan_open(sizeof(long), 0), *from = first;
  for (int i = 1; i < SIZE; i++) {
    joints[i] = (joint){from, chan_open(sizeof(long), 0), 1};
    start(forward, &joints[i]);
    from = joints[i].to;
  }
  long token = 1;
  double begin = now();
  while (token <= n) {
    chan_send(first, &token);
    check(chan_recv(from, &token));
    token++;
  }
  tell(now() - begin, (double)token - 1);
}

/* ---- streams ---- */
typedef struct flow {
  chan *ch;
  long n;
  const void *value;
} flow;

static void *give(void *arg) {
  flow *f = arg;
  for (long i = 0; i < f->n; i++) chan_send(f->ch, f->value);
  return NULL;
}

static void *take(void *arg) {
  flow *f = arg;
  text any;
  for (f->n = 0; chan_recv(f->ch, &any);) f->n++;
  return NULL;
}

/* From several threads to several. */
static void crowd(size_t item, size_t capacity, int senders, int receivers, long n) {
  static const text zero;
  chan *ch = chan_open(item, capacity);
  flow from[8], to[8];
  pthread_t sending[8], receiving[8];
  long total = 0;
  double begin = now();
  for (int i = 0; i < receivers; i++) {
    to[i] = (flow){ch, 0, NULL};
    receiving[i] = start(take, &to[i]);
  }
  for (int i = 0; i < senders; i++) {
    from[i] = (flow){ch, n / senders, &zero};
    sending[i] = start(give, &from[i]);
  }
  for (int i = 0; i < senders; i++) pthread_join(sending[i], NULL);
  chan_close(ch);
  for (int i = 0; i < receivers; i++) {
    pthread_join(receiving[i], NULL);
    total += to[i].n;
  }
  check(total == n / senders * senders);
  tell(now() - begin, (double)total);
  chan_free(ch);
}

static void one_way(long n) { crowd(sizeof(long), 0, 1, 1, n); }
static void one_way_text(long n) { crowd(sizeof(text), 0, 1, 1, n); }
static void one_way_row(long n) { crowd(sizeof(row), 0, 1, 1, n); }
static void buffered(long n) { crowd(sizeof(long), 1024, 1, 1, n); }
static void buffered_text(long n) { crowd(sizeof(text), 1024, 1, 1, n); }
static void buffered_row(long n) { crowd(sizeof(row), 1024, 1, 1, n); }
static void fan_in(long n) { crowd(sizeof(long), 1024, 8, 1, n); }
static void four_to_four(long n) { crowd(sizeof(long), 1024, 4, 4, n); }
static void jobs(long n) { crowd(sizeof(long), 1024, 1, 8, n); }

static void buffered_one(long n) {
  chan *ch = chan_open(sizeof(long), 1024);
  double begin = now();
  for (long i = 0, v; i < n; i++) {
    chan_send(ch, &i);
    check(chan_recv(ch, &v) && v == i);
  }
  tell(now() - begin, (double)n);
  chan_free(ch);
}

static void select_default(long n) {
  chan *ch = chan_open(sizeof(long), 0);
  double begin = now();
  for (long i = 0, v; i < n; i++) check(!chan_try_recv(ch, &v));
  tell(now() - begin, (double)n);
  chan_free(ch);
}

/* ---- threads ---- */
static void *nothing(void *arg) { return arg; }

static void spawn(long n) {
  double begin = now();
  for (long i = 0; i < n; i++) pthread_join(start(nothing, NULL), NULL);
  tell(now() - begin, (double)n);
}

static void *wait_for_ever(void *arg) {
  long v;
  (void)chan_recv(arg, &v);
  return NULL;
}

static void park(long n) {
  chan *gate = chan_open(sizeof(long), 0);
  for (long i = 0; i < n; i++) start(wait_for_ever, gate);
}

static void parked_time(long n) {
  double begin = now();
  park(n);
  tell(now() - begin, (double)n);
}

static double resident(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  double kb = 0;
  check(status != NULL);
  while (fgets(line, sizeof line, status) && sscanf(line, "VmRSS: %lf", &kb) != 1) {
  }
  fclose(status);
  return kb * 1024;
}

static void parked_bytes(long n) {
  double before = resident();
  park(n);
  nap(0.1);
  tell(resident() - before, (double)n);
}

static void idle(long n) {
  park(n);
  nap(0.2);
  double begin = now(), cpu = cpu_time();
  nap(1);
  tell((cpu_time() - cpu) / (now() - begin), 1);
}

static long fib(long n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static void *compute(void *arg) {
  for (long i = 0; i < *(long *)arg; i++) check(fib(27) == 196418);
  return NULL;
}

static double timed(long n, int threads) {
  pthread_t all[2];
  long each = n / threads;
  double begin = now();
  for (int i = 0; i < threads; i++) all[i] = start(compute, &each);
  for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
  return now() - begin;
}

static void parallel(long n) {
  double alone = timed(n, 1);
  tell(timed(n, 2) / alone, 1);
}

/* ---- time ---- */
static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(const double *sorted, long n, double p) {
  long at = (long)((double)n * p + 0.999999) - 1;
  return sorted[at > 0 ? at : 0];
}

/* How late a sleeper wakes, the least late first. */
static double *lateness(long n, double s) {
  double *late = calloc((size_t)n, sizeof *late);
  check(late != NULL);
  for (long i = 0; i < n; i++) {
    double due = now() + s;
    nap(s);
    late[i] = now() - due;
  }
  qsort(late, (size_t)n, sizeof *late, ascending);
  return late;
}

static void nap_p50_p99(long n) {
  double *late = lateness(n, 0.001);
  tell(percentile(late, n, 0.50), 1);
  tell(percentile(late, n, 0.99), 1);
  free(late);
}

static void *hog(void *arg) {
  for (volatile long i = 0;; i++) {
  }
  return arg;
}

static void nap_beside_hogs(long n) {
  for (int i = 0; i < 4; i++) start(hog, NULL);
  nap(0.05);
  double *late = lateness(n, 0.1);
  tell(late[n - 1], 1);
  free(late);
}

/* The kernel counts the ticks that nobody read. */
static void ticker(long n) {
  struct itimerspec period = {{0, 1000000}, {0, 1000000}};
  double *late = calloc((size_t)n, sizeof *late), begin = now();
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  long ticks = 0, passed = 0;
  check(late && fd >= 0 && timerfd_settime(fd, 0, &period, NULL) == 0);
  while (passed < n) {
    uint64_t since;
    check(read(fd, &since, sizeof since) == sizeof since);
    passed += (long)since;
    late[ticks++] = now() - begin - (double)passed * 0.001;
  }
  qsort(late, (size_t)ticks, sizeof *late, ascending);
  tell(percentile(late, ticks, 0.50), 1);
  tell((double)(n - ticks), (double)n);
  free(late);
}

/* Waking a thread costs a hundred times what waking a fiber does, and a parked one a page or two, so that such
 * workloads run a part of N: `part` is 1 / that. `warm`: a run for nothing comes before. */
static const struct workload {
  const char *name;
  void (*run)(long n);
  long part;
  bool warm;
} workloads[] = {
    {"round_trip_fibers", round_trip, 50, false},
    {"round_trip_workers", round_trip, 20, false},
    {"one_way_fibers", one_way, 50, false},
    {"one_way_workers", one_way, 20, false},
    {"one_way_string_fibers", one_way_text, 50, false},
    {"one_way_string_workers", one_way_text, 20, false},
    {"one_way_table_fibers", one_way_row, 20, false},
    {"one_way_table_workers", one_way_row, 20, false},
    {"buffered_one", buffered_one, 1, true},
    {"buffered_fibers", buffered, 1, false},
    {"buffered_workers", buffered, 1, false},
    {"string_fibers", buffered_text, 1, false},
    {"string_workers", buffered_text, 1, false},
    {"table_fibers", buffered_row, 1, false},
    {"table_workers", buffered_row, 1, false},
    {"fan_in_fibers", fan_in, 1, false},
    {"fan_in_workers", fan_in, 1, false},
    {"four_to_four_fibers", four_to_four, 1, false},
    {"four_to_four_workers", four_to_four, 1, false},
    {"select_default", select_default, 1, true},
    {"ring", ring, 50, false},
    {"jobs", jobs, 1, false},
    {"jobs_workers", jobs, 1, false},
    {"parallel", parallel, 1, false},
    {"spawn_fiber", spawn, 50, false},
    {"spawn_worker", spawn, 1, false},
    {"parked_fiber_bytes", parked_bytes, 100, false},
    {"parked_worker_bytes", parked_bytes, 1, false},
    {"parked_fiber_time", parked_time, 100, false},
    {"idle_cpu", idle, 10, false},
    {"sleep", nap_p50_p99, 1, false},
    {"sleep_beside_hogs", nap_beside_hogs, 1, false},
    {"ticker", ticker, 1, false},
};
enum { COUNT = sizeof workloads / sizeof *workloads };

static void use_cpus(const char *count) {
  cpu_set_t have, use;
  int left = count ? atoi(count) : 0;
  if (left < 1 || sched_getaffinity(0, sizeof have, &have)) return;
  CPU_ZERO(&use);
  for (size_t i = 0; i < CPU_SETSIZE && left > 0; i++)
    if (CPU_ISSET(i, &have)) {
      CPU_SET(i, &use);
      left--;
    }
  (void)sched_setaffinity(0, sizeof use, &use);
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "";
  long n = argc > 2 ? atol(argv[2]) : 0;
  if (!strcmp(name, "nothing")) return 0;
  use_cpus(getenv("CPUS"));
  for (size_t i = 0; i < COUNT; i++) {
    const struct workload *w = &workloads[i];
    if (!strcmp(name, "list")) puts(w->name);
    else if (n > 0 && !strcmp(name, w->name)) {
      n = n / w->part ? n / w->part : 1;
      quiet = w->warm;
      if (w->warm) w->run(n / 10 + 1);
      quiet = false;
      w->run(n);
      return 0;
    }
  }
  return strcmp(name, "list") ? 2 : 0;
}
