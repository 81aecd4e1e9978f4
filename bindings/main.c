/* main.c - the lubdub command; `lubdub sim` is in simulate.c. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

static const char usage_text[] =
    "usage: lubdub [run] [--record beats.jsonl] script.lua [args]   (-: the script is on standard input)\n"
    "       lubdub sim [--seed N] [--runs N] [--time SECONDS] [--trace FILE.json] script.lua [args]\n"
    "       lubdub sim --replay TOKEN [--trace FILE.json] script.lua [args]\n"
    "       lubdub check policy.lua [beats.jsonl ...] [name=value ...] [--seed N] [--interval SECONDS]\n"
    "       lubdub replay beats.jsonl policy.lua [--sweep name=FROM..TO[..STEP]] [--heart NAME] [--verdict NAME]\n"
    "                     [name=value ...]\n"
    "       lubdub version\n"
    "       lubdub help\n";

/* ---- signals ----------------------------------------------------------------------------------------------------
 * They are handled, not blocked: programs that a script starts would inherit the mask, and could not be ended. The
 * kernel gives them to the main thread, which only waits, so that no script's system call is broken off. */

command lub_command;
static sem_t signalled;
static bool served;

static void on_signal(int sig) {
  int none = 0;
  if (sig == SIGQUIT) atomic_store(&lub_command.report_wanted, true);
  else if (!atomic_compare_exchange_strong(&lub_command.interrupt, &none, sig)) _exit(SIGNALLED + sig);
  if (served) (void)sem_post(&signalled);
  else if (sig != SIGQUIT) (void)alarm(STUCK);
}

/* Where nobody serves signals, they are looked at between turns. A finalizer or a C function may keep the turn. */
static void on_alarm(int sig) {
  static const char text[] =
      "lubdub: what was interrupted does not stop: it is inside a finalizer, or in C\n";
  (void)sig;
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(SCRIPT_FAILED);
  _exit(SIGNALLED + atomic_load(&lub_command.interrupt));
}

/* The judge stays to the end: it tells who dies meanwhile. */
static bool is_judge(const lub_worker *w) {
  return w->engine->judge && lub_duty_is_served_by(w->engine->judge, w);
}

static void cancel(lub_worker *w, void *ud) {
  (void)ud;
  if (!is_judge(w)) lub_worker_cancel(w, "interrupted");
}

void lub_cancel_workers(void) { lub_workers_each(lub_command.engine, cancel, NULL); }

static void end(lub_worker *w, void *ud) {
  (void)ud;
  lub_worker_kill(w, "it did not stop when the command was interrupted");
}

/* Waits for a signal, for at most HEED seconds when one has come already. */
static int wait_for_signal(void) {
  struct timespec until;
  if (!atomic_load(&lub_command.interrupt)) return sem_wait(&signalled);
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += HEED;
  return sem_timedwait(&signalled, &until);
}

/* The first signal cancels, the second exits; who does not heed the first is killed. */
static void *serve_signals(void *arg) {
  lub_engine *e = lub_command.engine;
  for (;;) {
    int status = wait_for_signal();
    if (status && errno == ETIMEDOUT) lub_workers_each(e, end, NULL);
    else if (status && errno != EINTR) return arg;
    if (atomic_exchange(&lub_command.report_wanted, false)) lub_report(e, stderr);
    if (!status && atomic_load(&lub_command.interrupt)) lub_cancel_workers();
  }
}

bool lub_handle_signals(bool serve) {
  const int handled[] = {SIGINT, SIGTERM, SIGQUIT};
  struct sigaction act;
  pthread_t server;
  memset(&act, 0, sizeof act);
  act.sa_handler = on_signal;
  act.sa_flags = SA_RESTART;
  served = serve;
  if (serve && (sem_init(&signalled, 0, 0) || pthread_create(&server, NULL, serve_signals, NULL)))
    return false;
  for (size_t i = 0; i < sizeof handled / sizeof *handled; i++) sigaction(handled[i], &act, NULL);
  act.sa_handler = on_alarm;
  if (!serve) sigaction(SIGALRM, &act, NULL);
  return true;
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

int lub_complain(int code, const char *message) {
  (void)fprintf(stderr, "lubdub: %s\n", message);
  return code;
}

static void log_message(void *ud, const char *message) {
  (void)ud;
  (void)lub_complain(0, message);
}

/* What was printed must have arrived: a full disk is an error. Why is not known of what failed before. */
static int end_output(int code) {
  static bool told;
  errno = 0;
  if (told || (!fflush(stdout) && !ferror(stdout))) return code;
  told = true;
  (void)fprintf(stderr, "lubdub: cannot write the output%s%s\n", errno ? ": " : "",
                errno ? strerror(errno) : "");
  return code ? code : SCRIPT_FAILED;
}

/* The same where a script calls os.exit. */
static void check_output(void) {
  if (end_output(FINE) != FINE) _exit(SCRIPT_FAILED);
}

void lub_write_json(FILE *out, const char *s, size_t n) {
  (void)fputc('"', out);
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c == '"' || c == '\\') (void)fprintf(out, "\\%c", c);
    else if (c < 0x20) (void)fprintf(out, "\\u%04x", c);
    else (void)fputc(c, out);
  }
  (void)fputc('"', out);
}

/* ---- hearts ------------------------------------------------------------------------------------------------------- */

static atomic_int deaths_told;

/* A death that nobody watches has been logged. When it is the script's own, nobody is left to act: it ends. */
static void on_verdict(void *ud, const lub_verdict *v) {
  (void)ud;
  if (v->heart->watched || strcmp(v->verdict, "dead") != 0) return;
  atomic_fetch_add(&deaths_told, 1);
  if (v->heart->worker == lub_command.main) lub_worker_kill(lub_command.main, "its heart died");
}

static FILE *record;

static void write_field(const char *name, const char *text) {
  (void)fprintf(record, ",\"%s\":", name);
  lub_write_json(record, text, strlen(text));
}

static void write_unit(const lub_value *v) {
  size_t n;
  const char *text = lub_text(v, &n);
  (void)fputs(",\"unit\":", record);
  if (text) lub_write_json(record, text, n);
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

/* What a script has failed with: without a text, there was no memory for it. */
static const char *failure(lub_status status, const lub_value *error) {
  const char *text = status == LUB_FAILED ? lub_text(error, NULL) : NULL;
  return text ? text : lub_strerror(status == LUB_FAILED ? LUB_NOMEM : status);
}

int lub_tell_result(void) {
  lub_value v = {0};
  lub_status status = lub_script_result(lub_command.main, &v);
  bool told =
      atomic_load(&lub_command.interrupt) || (status == LUB_KILLED && lub_engine_deaths(lub_command.engine));
  if (status != LUB_OK && !told) (void)lub_complain(0, failure(status, &v));
  lub_value_drop(&v);
  return status == LUB_OK ? FINE : SCRIPT_FAILED;
}

int lub_tell_deadlock(void) {
  lub_engine *e = lub_command.engine;
  (void)fflush(stdout);
  (void)lub_engine_complain(e, true); /* what has failed may be why */
  lub_report_deadlock(e, stderr);
  return DEADLOCK;
}

static int wait_for_script(void) {
  lub_engine *e = lub_command.engine;
  lub_engine_release(e); /* from here on only the script acts */
  lub_status status = lub_worker_join(lub_command.main, LUB_FOREVER);
  lub_engine_hold(e);
  return status == LUB_DEADLOCK ? lub_tell_deadlock() : lub_tell_result();
}

/* A cancelled worker ends by itself: a kill might come in the midst of its close handlers. */
static void await_end(lub_worker *w, void *deadline) {
  lub_value none;
  if (is_judge(w)) return;
  (void)lub_chan_recv(w->done, &none, *(double *)deadline - lub_engine_now(lub_command.engine));
}

static void linger(void) {
  double deadline = lub_engine_now(lub_command.engine) + LINGER;
  if (atomic_load(&lub_command.interrupt)) lub_workers_each(lub_command.engine, await_end, &deadline);
}

bool lub_has_news(void) {
  lub_engine *e = lub_command.engine;
  return (e->judge && lub_judge_telling(e->judge)) || lub_engine_deaths(e) > atomic_load(&deaths_told);
}

/* A script may end right behind its steward, of whose failure nothing was heard yet. */
static void await_judge(void) {
  double deadline = lub_engine_now(lub_command.engine) + LINGER;
  while (lub_has_news() && lub_engine_now(lub_command.engine) < deadline) (void)usleep(1000);
}

int lub_end_engine(int code) {
  lub_engine *e = lub_command.engine;
  if (lub_engine_deaths(e) && (code == FINE || code == SCRIPT_FAILED)) code = HEART_DIED;
  if (code == HEART_DIED && !atomic_load(&deaths_told))
    (void)lub_complain(0, "a heart died just before the end");
  bool ended = lub_engine_end_workers(e, LINGER) == LUB_OK;
  (void)lub_engine_complain(e, true);
  if (code == FINE && lub_engine_failures(e)) code = SCRIPT_FAILED;
  if (atomic_load(&lub_command.interrupt)) code = SIGNALLED + atomic_load(&lub_command.interrupt);
  code = end_output(code);
  if (!ended) _exit(code);
  return code; /* the signals' thread may still look at the engine: the process frees it */
}

static lub_status start_with(lub_script s, size_t argc, char **argv, lub_value *error) {
  lub_value *args = calloc(argc + 1, sizeof *args);
  lub_status status = args ? LUB_OK : LUB_NOMEM;
  for (size_t i = 0; i < argc && status == LUB_OK; i++)
    status = lub_string(lub_command.engine, argv[i], strlen(argv[i]), &args[i]);
  s.args = args;
  s.nargs = argc;
  if (status == LUB_OK) status = lub_script_start(lub_command.engine, &s, &lub_command.main, error);
  for (size_t i = 0; i < argc && args; i++) lub_value_drop(&args[i]);
  free(args);
  return status;
}

int lub_start_script(lub_script s, int argc, char **argv) {
  lub_value error = {0};
  lub_status status = start_with(s, (size_t)argc, argv, &error);
  if (!status) return FINE;
  (void)lub_complain(0, failure(status, &error));
  lub_value_drop(&error);
  return SCRIPT_FAILED;
}

lub_options lub_command_options(void) { return (lub_options){.log = log_message, .verdict = on_verdict}; }

static int run(lub_script s, int argc, char **argv) {
  lub_options o = lub_command_options();
  char why[LUB_CARRIERS_WHY];
  if (record) o.record = on_event;
  if (!lub_carriers_wanted(&o.carriers, why)) return lub_complain(USAGE, why);
  lub_status status = lub_lua_engine_open(&o, &lub_command.engine);
  if (status) return lub_complain(SCRIPT_FAILED, lub_strerror(status));
  if (!lub_handle_signals(true)) return lub_complain(SCRIPT_FAILED, "cannot start a thread");
  int code = lub_start_script(s, argc, argv);
  if (code) return code;
  code = wait_for_script();
  linger();
  await_judge();
  code = lub_end_engine(code);
  lub_worker_drop(lub_command.main);
  if (record && (ferror(record) || fclose(record)))
    return lub_complain(code ? code : SCRIPT_FAILED, "cannot write the record");
  return code;
}

static int run_file(int argc, char **argv) {
  if (argc > 0 && !strcmp(argv[0], "--record")) {
    if (argc < 2) return lub_complain(USAGE, "run: --record: no file is named");
    if (!(record = fopen(argv[1], "w"))) {
      (void)fprintf(stderr, "lubdub: %s: %s\n", argv[1], strerror(errno));
      return SCRIPT_FAILED;
    }
    argc -= 2;
    argv += 2;
  }
  if (argc < 1 || (*argv[0] == '-' && argv[0][1])) {
    if (argc > 0) (void)fprintf(stderr, "lubdub: unknown option '%s'\n", argv[0]);
    else (void)fprintf(stderr, "lubdub: run: no script is named\n");
    (void)fputs(usage_text, stderr);
    return USAGE;
  }
  return run((lub_script){.path = argv[0], .name = "main"}, argc - 1, argv + 1);
}

/* A subcommand that is written in Lua: lubdub.backtest.main_NAME. */
static int run_tool(const char *name, int argc, char **argv) {
  char text[128];
  (void)snprintf(text, sizeof text, "os.exit(require 'lubdub.backtest'.main_%s { ... })", name);
  return run((lub_script){.text = text, .name = name}, argc, argv);
}

int main(int argc, char **argv) {
  int at = 1;
  const char *first = argc > 1 ? argv[1] : "";
  (void)atexit(check_output);
  if (!strcmp(first, "version") || !strcmp(first, "--version") || !strcmp(first, "-v")) {
    (void)printf("lubdub %s, %s\n", LUB_VERSION, LUA_RELEASE);
    return end_output(FINE);
  }
  if (!strcmp(first, "help") || !strcmp(first, "--help") || !strcmp(first, "-h")) {
    (void)fputs(usage_text, stdout);
    return end_output(FINE);
  }
  if (!strcmp(first, "check") || !strcmp(first, "replay")) return run_tool(first, argc - 2, argv + 2);
  if (!strcmp(first, "sim")) {
    int code = lub_simulate(argc - 2, argv + 2);
    if (code == USAGE) (void)fputs(usage_text, stderr);
    return code;
  }
  if (!strcmp(first, "run")) at = 2;
  if (argc == 1) {
    (void)fputs(usage_text, stderr);
    return USAGE;
  }
  return run_file(argc - at, argv + at);
}
