/* main.c - the lubdub command. It alone prints, exits and handles signals: a thread of its own waits for them, so that
 * no script's system call is broken off. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llub.h"
#include "lubdub_lua.h"

enum { FINE, SCRIPT_FAILED, USAGE, DEADLOCK = 4, INTERRUPTED = 130 };
#define LINGER 2.0 /* seconds that an ending script's workers get for their close handlers */

static const char usage_text[] = "usage: lubdub [run] script.lua [args]   run a script\n"
                                 "       lubdub version\n"
                                 "       lubdub help\n";

/* ---- signals ---------------------------------------------------------------------------------------------------- */

static atomic_int interrupts;
static sigset_t signals;
static lub_engine *engine;

static void cancel(lub_worker *w, void *ud) {
  (void)ud;
  lub_worker_cancel(w, "interrupted");
}

static void *wait_for_signals(void *arg) {
  (void)arg;
  for (;;) {
    int sig;
    if (sigwait(&signals, &sig)) return NULL;
    if (sig == SIGQUIT) lub_report(engine, stderr);
    else if (atomic_fetch_add(&interrupts, 1) > 0) _exit(INTERRUPTED);
    else (void)lub_workers_each(engine, cancel, NULL);
  }
}

/* Before any other thread is there, so that all of them block what the waiter waits for. */
static void block_signals(void) {
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGQUIT);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

static int complain(int code, const char *message) {
  (void)fprintf(stderr, "lubdub: %s\n", message);
  return code;
}

static void log_message(void *ud, const char *message) {
  (void)ud;
  (void)complain(0, message);
}

/* What was printed must have arrived: a full disk is an error. */
static int end_output(int code) {
  bool lost = fflush(stdout) || ferror(stdout);
  if (!lost) return code;
  (void)fprintf(stderr, "lubdub: cannot write the output: %s\n", strerror(errno ? errno : EIO));
  return code ? code : SCRIPT_FAILED;
}

/* ---- run ---------------------------------------------------------------------------------------------------------- */

static int tell_result(lub_worker *w) {
  lub_value v = {0};
  size_t n;
  lub_status status = lub_script_result(w, &v);
  const char *text = status == LUB_FAILED ? lub_text(&v, &n) : NULL;
  if (status != LUB_OK && !atomic_load(&interrupts)) (void)complain(0, text ? text : lub_strerror(status));
  lub_value_drop(&v);
  return status == LUB_OK ? FINE : SCRIPT_FAILED;
}

static int wait_for_script(lub_worker *w) {
  lub_engine_release(engine); /* from here on only the script acts */
  lub_status status = lub_worker_join(w, LUB_FOREVER);
  lub_engine_hold(engine);
  if (status != LUB_DEADLOCK) return tell_result(w);
  (void)fflush(stdout);
  lub_report_deadlock(engine, stderr);
  return DEADLOCK;
}

/* The engine ends with its workers, or, when one is stuck in a C call, with the process. */
static int end_engine(int code) {
  bool ended = lub_engine_end_workers(engine, LINGER) == LUB_OK;
  (void)lub_engine_complain(engine, true);
  if (code == FINE && lub_engine_failures(engine)) code = SCRIPT_FAILED;
  if (atomic_load(&interrupts)) code = INTERRUPTED;
  code = end_output(code);
  if (!ended) _exit(code);
  return code; /* the signals' thread may still look at the engine: the process frees it */
}

static int run(const char *path, int argc, char **argv) {
  lub_options o = {.carriers = lub_carriers_wanted(), .log = log_message};
  if (o.carriers < 0) return complain(USAGE, "LUBDUB_CARRIERS: expected a number from 1 to 4096");
  block_signals();
  lub_status status = lub_lua_engine_open(&o, &engine);
  if (status) return complain(SCRIPT_FAILED, lub_strerror(status));
  pthread_t waiter;
  if (pthread_create(&waiter, NULL, wait_for_signals, NULL))
    return complain(SCRIPT_FAILED, "cannot start a thread");
  char *error;
  lub_worker *w;
  lub_script s = {.path = path, .name = "main", .argc = argc, .argv = (const char *const *)argv};
  status = lub_script_start(engine, &s, &w, &error);
  if (status) {
    (void)complain(0, error ? error : lub_strerror(status));
    free(error);
    return SCRIPT_FAILED;
  }
  int code = wait_for_script(w);
  lub_worker_drop(w);
  return end_engine(code);
}

int main(int argc, char **argv) {
  int at = 1;
  const char *first = argc > 1 ? argv[1] : "";
  if (!strcmp(first, "version") || !strcmp(first, "--version") || !strcmp(first, "-v")) {
    (void)printf("lubdub %s, %s\n", LUB_VERSION, LUA_RELEASE);
    return end_output(FINE);
  }
  if (!strcmp(first, "help") || !strcmp(first, "--help") || !strcmp(first, "-h")) {
    (void)fputs(usage_text, stdout);
    return end_output(FINE);
  }
  if (!strcmp(first, "run")) at = 2;
  if (at >= argc || *argv[at] == '-') {
    if (at < argc) (void)fprintf(stderr, "lubdub: unknown option '%s'\n", argv[at]);
    else if (at == 2) (void)fprintf(stderr, "lubdub: run: no script is named\n");
    (void)fputs(usage_text, stderr);
    return USAGE;
  }
  return run(argv[at], argc - at - 1, argv + at + 1);
}
