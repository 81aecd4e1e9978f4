/* gate.c - see gate.h. */
#include "gate.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "engine.h"

#define SECOND_NS INT64_C(1000000000)

void lub_gate_init(lub_gate *g) {
  pthread_condattr_t monotonic;
  g->owner = pthread_self();
  g->tell_ns = 5 * SECOND_NS;
  pthread_mutex_init(&g->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&g->came, &monotonic);
  pthread_condattr_destroy(&monotonic);
  atomic_init(&g->refused, false);
  atomic_flag_clear(&g->named);
  pthread_mutex_lock(&g->lock);
  g->held = true;
}

void lub_gate_open(lub_gate *g) {
  if (g->held) pthread_mutex_unlock(&g->lock);
  g->held = false;
}

void lub_gate_close(lub_gate *g) {
  lub_gate_open(g);
  pthread_mutex_destroy(&g->lock);
  pthread_cond_destroy(&g->came);
}

static int count_holds(lub_engine *e) {
  pthread_mutex_lock(&e->lock);
  int holds = e->holds;
  pthread_mutex_unlock(&e->lock);
  return holds;
}

static lub_status refuse(lub_gate *g) {
  if (atomic_flag_test_and_set(&g->named)) return LUB_FOREIGN;
#ifdef __linux__
  if (pthread_getname_np(pthread_self(), g->stranger, sizeof g->stranger)) *g->stranger = '\0';
#endif
  if (!*g->stranger) (void)snprintf(g->stranger, sizeof g->stranger, "(unnamed)");
  atomic_store(&g->refused, true);
  return LUB_FOREIGN;
}

lub_status lub_gate_enter_slow(lub_engine *e) {
  lub_gate *g = e->gate;
  if (count_holds(e) <= 0) return refuse(g);
  pthread_mutex_lock(&g->lock);
  return LUB_OK;
}

void lub_gate_leave_slow(lub_gate *g) {
  g->visited = true;
  pthread_cond_signal(&g->came);
  pthread_mutex_unlock(&g->lock);
}

static void tell(lub_engine *e, int holds) {
  char text[80];
  (void)snprintf(text, sizeof text, "waiting for %d external operation%s", holds, holds == 1 ? "" : "s");
  if (e->opts.log) e->opts.log(e->opts.ud, text);
}

bool lub_gate_await(lub_engine *e) {
  lub_gate *g = e->gate;
  int holds = count_holds(e);
  if (holds <= 0) return false;
  lub_worker *driving = lub_worker_current();
  lub_worker_set_current(NULL); /* it does not run meanwhile */
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  for (g->visited = false; !g->visited;) {
    int64_t ns = until.tv_nsec + g->tell_ns;
    until.tv_sec += (time_t)(ns / SECOND_NS);
    until.tv_nsec = (long)(ns % SECOND_NS);
    int late = 0;
    while (!g->visited && late != ETIMEDOUT) late = pthread_cond_timedwait(&g->came, &g->lock, &until);
    if (!g->visited) tell(e, count_holds(e));
  }
  lub_worker_set_current(driving);
  return true;
}

const char *lub_gate_stranger(lub_gate *g) { return atomic_load(&g->refused) ? g->stranger : NULL; }
