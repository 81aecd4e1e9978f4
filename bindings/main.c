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

enum { FINE, SCRIPT_FAILED, USAGE, HEART_DIED, DEADLOCK, INTERRUPTED = 130 };
#define LINGER 2.0 /* seconds that an ending script's workers get for their close handlers */

static const char usage_text[] =
    "usage: lubdub [run] [--record beats.jsonl] script.lua [args]\n"
    "       lubdub check policy.lua [beats.jsonl] [name=value ...]\n"
    "       lubdub replay beats.jsonl policy.lua [--sweep name=1..12] [name=value ...]\n"
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

/* ---- hearts ------------------------------------------------------------------------------------------------------- */

static lub_worker *script; /* the main worker */

/* A death that nobody watches has been logged. When it is the script's own, nobody is left to act: it ends. */
static void on_verdict(void *ud, const lub_verdict *v) {
  (void)ud;
  if (v->heart->worker == script && !v->heart->watched && !strcmp(v->verdict, "dead"))
    lub_worker_kill(script, "its heart died");
}

static FILE *record;

static void write_string(const char *s, size_t n) {
  (void)fputc('"', record);
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c == '"' || c == '\\') (void)fprintf(record, "\\%c", c);
    else if (c < 0x20) (void)fprintf(record, "\\u%04x", c);
    else (void)fputc(c, record);
  }
  (void)fputc('"', record);
}

static void write_field(const char *name, const char *text) {
  (void)fprintf(record, ",\"%s\":", name);
  write_string(text, strlen(text));
}

static void write_unit(const lub_value *v) {
  size_t n;
  const char *text = lub_text(v, &n);
  (void)fputs(",\"unit\":", record);
  if (text) write_string(text, n);
  else if (v->type == LUB_INT) (void)fprintf(record, "%lld", (long long)v->as.i);
  else if (v->type == LUB_NUM) (void)fprintf(record, "%.17g", v->as.n);
  else (void)fputs(v->type == LUB_BOOL && v->as.b ? "true" : "false", record);
}

/* One line of JSON for each event. */
static void on_event(void *ud, const lub_event *event) {
  static double begin = -1;
  (void)ud;
  flockfile(record);
  if (begin < 0) begin = event->time;
  (void)fprintf(record, "{\"t\":%.9f", event->time - begin);
  write_field("heart", event->heart);
  (void)fprintf(record, ",\"id\":%llu", (unsigned long long)event->id);
  write_field("event", event->what);
  if (!strcmp(event->what, "open")) (void)fprintf(record, ",\"interval\":%.9g", event->interval);
  if (*event->text) write_field(!strcmp(event->what, "park") ? "state" : event->what, event->text);
  if (event->unit) write_unit(event->unit);
  (void)fputs("}\n", record);
  funlockfile(record);
}

/* ---- run ---------------------------------------------------------------------------------------------------------- */

static int tell_result(lub_worker *w) {
  lub_value v = {0};
  size_t n;
  lub_status status = lub_script_result(w, &v);
  const char *text = status == LUB_FAILED ? lub_text(&v, &n) : NULL;
  bool told = atomic_load(&interrupts) || (status == LUB_KILLED && lub_engine_deaths(engine));
  if (status != LUB_OK && !told) (void)complain(0, text ? text : lub_strerror(status));
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
  if (lub_engine_deaths(engine) && (code == FINE || code == SCRIPT_FAILED)) code = HEART_DIED;
  bool ended = lub_engine_end_workers(engine, LINGER) == LUB_OK;
  (void)lub_engine_complain(engine, true);
  if (code == FINE && lub_engine_failures(engine)) code = SCRIPT_FAILED;
  if (atomic_load(&interrupts)) code = INTERRUPTED;
  code = end_output(code);
  if (!ended) _exit(code);
  return code; /* the signals' thread may still look at the engine: the process frees it */
}

static int run(const lub_script *s) {
  lub_options o = {.carriers = lub_carriers_wanted(),
                   .log = log_message,
                   .verdict = on_verdict,
                   .record = record ? on_event : NULL};
  if (o.carriers < 0) return complain(USAGE, "LUBDUB_CARRIERS: expected a number from 1 to 4096");
  block_signals();
  lub_status status = lub_lua_engine_open(&o, &engine);
  if (status) return complain(SCRIPT_FAILED, lub_strerror(status));
  pthread_t waiter;
  if (pthread_create(&waiter, NULL, wait_for_signals, NULL))
    return complain(SCRIPT_FAILED, "cannot start a thread");
  char *error;
  lub_worker *w;
  status = lub_script_start(engine, s, &w, &error);
  if (status) {
    (void)complain(0, error ? error : lub_strerror(status));
    free(error);
    return SCRIPT_FAILED;
  }
  script = w;
  int code = wait_for_script(w);
  code = end_engine(code);
  lub_worker_drop(w);
  if (record && (ferror(record) || fclose(record)))
    return complain(code ? code : SCRIPT_FAILED, "cannot write the record");
  return code;
}

static int run_file(int argc, char **argv) {
  if (argc > 0 && !strcmp(argv[0], "--record")) {
    if (argc < 2) return complain(USAGE, "run: --record: no file is named");
    if (!(record = fopen(argv[1], "w"))) {
      (void)fprintf(stderr, "lubdub: %s: %s\n", argv[1], strerror(errno));
      return SCRIPT_FAILED;
    }
    argc -= 2;
    argv += 2;
  }
  if (argc < 1 || *argv[0] == '-') {
    if (argc > 0) (void)fprintf(stderr, "lubdub: unknown option '%s'\n", argv[0]);
    else (void)fprintf(stderr, "lubdub: run: no script is named\n");
    (void)fputs(usage_text, stderr);
    return USAGE;
  }
  lub_script s = {.path = argv[0], .name = "main", .argc = argc - 1, .argv = (const char *const *)argv + 1};
  return run(&s);
}

/* A subcommand that is written in Lua: lubdub.backtest.main_NAME. */
static int run_tool(const char *name, int argc, char **argv) {
  char text[128];
  (void)snprintf(text, sizeof text, "os.exit(require 'lubdub.backtest'.main_%s { ... })", name);
  lub_script s = {
      .text = text, .nbytes = strlen(text), .name = name, .argc = argc, .argv = (const char *const *)argv};
  return run(&s);
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
  if (!strcmp(first, "check") || !strcmp(first, "replay")) return run_tool(first, argc - 2, argv + 2);
  if (!strcmp(first, "run")) at = 2;
  if (argc == 1) {
    (void)fputs(usage_text, stderr);
    return USAGE;
  }
  return run_file(argc - at, argv + at);
}
