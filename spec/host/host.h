/* host.h - what the hosts of these suites share: an engine on lent memory with a lent log, scripts from texts. They know
 * the two public headers, and nothing behind them. */
#ifndef LUB_TEST_HOST_H
#define LUB_TEST_HOST_H
#include <lubdub_lua.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "memory.h"
#include "test.h"

#define LONG 20.0 /* seconds: longer than any healthy wait, so that a broken one fails instead of hanging */

typedef struct host { /* the `ud` that is lent */
  memory mem;         /* first: memory_realloc takes it */
  pthread_mutex_t lock;
  char log[4096]; /* all messages, each with a newline */
  size_t nlog;
  atomic_llong clock_ns; /* of those that lend it */
  atomic_int wakes;
} host;

static inline void host_log(void *ud, const char *message) {
  host *h = ud;
  pthread_mutex_lock(&h->lock);
  int n = snprintf(h->log + h->nlog, sizeof h->log - h->nlog, "%s\n", message);
  h->nlog += (size_t)n;
  if (h->nlog >= sizeof h->log) h->nlog = sizeof h->log - 1;
  pthread_mutex_unlock(&h->lock);
}

static inline bool host_logged(host *h, const char *part) {
  pthread_mutex_lock(&h->lock);
  bool found = strstr(h->log, part) != NULL;
  pthread_mutex_unlock(&h->lock);
  return found;
}

static inline void host_init(host *h) {
  memset(h, 0, sizeof *h);
  pthread_mutex_init(&h->lock, NULL);
  memory_set(&h->mem, LONG_MAX, 0);
}

static inline lub_options host_options(host *h, int carriers) {
  return (lub_options){.carriers = carriers, .realloc = memory_realloc, .log = host_log, .ud = h};
}

static inline lub_engine *host_open(host *h, int carriers) {
  host_init(h);
  lub_options o = host_options(h, carriers);
  lub_engine *e = NULL;
  if (lub_lua_engine_open(&o, &e)) abort();
  return e;
}

/* Whether the engine closes, and has given back all it was lent. */
static inline bool host_close(host *h, lub_engine *e) {
  bool closed = lub_engine_close(e) == LUB_OK;
  pthread_mutex_destroy(&h->lock);
  return closed && atomic_load(&h->mem.blocks) == 0;
}

static inline lub_chan *host_chan(lub_engine *e, size_t capacity, const char *name) {
  lub_chan *ch = NULL;
  if (lub_chan_open(e, capacity, name, &ch)) abort();
  return ch;
}

/* Starts a script that must start. The values are dropped: the script has copies. */
static inline lub_worker *host_start(lub_engine *e, const char *text, lub_value *args, size_t nargs) {
  lub_script s = {.text = text, .name = "test", .args = args, .nargs = nargs};
  lub_worker *w = NULL;
  if (lub_script_start(e, &s, &w, NULL)) abort();
  for (size_t i = 0; i < nargs; i++) lub_value_drop(&args[i]);
  return w;
}

/* Joins w and drops it; what became of it, and, if that is a text, `text` of 512 bytes. */
static inline lub_status host_end(lub_worker *w, char *text) {
  lub_value v = {0};
  lub_status status = lub_worker_join(w, LONG);
  if (status == LUB_OK) status = lub_script_result(w, &v);
  if (text) (void)snprintf(text, 512, "%s", lub_text(&v, NULL) ? lub_text(&v, NULL) : "");
  lub_value_drop(&v);
  lub_worker_drop(w);
  return status;
}

#endif
