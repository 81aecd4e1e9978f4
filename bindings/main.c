/* main.c - the lubdub command. It alone prints, exits and handles signals: a thread of its own waits for
 * them, so that no script's system call is broken off. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llub.h"

static const char usage_text[] = "usage: lubdub [run] script.lua [args]\n"
                                 "       lubdub version\n";

static atomic_int interrupts;
static sigset_t signals;

static void *wait_for_signals(void *arg) {
  (void)arg;
  for (;;) {
    int sig;
    if (sigwait(&signals, &sig)) return NULL;
    if (sig == SIGQUIT) lub_run_report();
    else if (atomic_fetch_add(&interrupts, 1) == 0) lub_run_interrupt();
    else _exit(130);
  }
}

int main(int argc, char **argv) {
  int at = 1;
  if (argc > 1 && !strcmp(argv[1], "version")) {
    (void)printf("lubdub %s, %s\n", LUB_VERSION, LUA_RELEASE);
    return 0;
  }
  if (argc > 1 && (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help"))) {
    (void)fputs(usage_text, stdout);
    return 0;
  }
  if (argc > 1 && !strcmp(argv[1], "run")) at = 2;
  if (at >= argc || *argv[at] == '-') {
    if (at < argc) (void)fprintf(stderr, "lubdub: unknown option '%s'\n", argv[at]);
    (void)fputs(usage_text, stderr);
    return 2;
  }
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGQUIT);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  pthread_t waiter;
  if (pthread_create(&waiter, NULL, wait_for_signals, NULL)) {
    (void)fprintf(stderr, "lubdub: cannot start a thread\n");
    return 1;
  }
  char *error;
  int code = lub_run_script(argv[at], argc - at - 1, argv + at + 1, &error);
  if (atomic_load(&interrupts)) code = 130;
  else if (error) (void)fprintf(stderr, "lubdub: %s\n", error);
  free(error);
  if (fflush(stdout)) {
    (void)fprintf(stderr, "lubdub: cannot write the output\n");
    code = code ? code : 1;
  }
  return code;
}
