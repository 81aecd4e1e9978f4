/* command.h - what the files of the lubdub command share. They alone print, exit and handle signals. */
#ifndef LUB_COMMAND_H
#define LUB_COMMAND_H

#include "llub.h"
#include "lubdub_lua.h"

enum { FINE, SCRIPT_FAILED, USAGE, HEART_DIED, DEADLOCK, TIMED_OUT = 124, SIGNALLED = 128 };
#define LINGER 2.0 /* seconds that an ending script's workers get for their close handlers */
#define HEED 2     /* seconds, in which what was cancelled may end by itself */
#define STUCK 5    /* ... of real time, after which a sim is ended that does not look at its signals */

/* The one script that runs. */
typedef struct command {
  lub_engine *engine;
  lub_worker *main;
  atomic_int interrupt; /* the signal that ends the script; 0: none came */
  atomic_bool report_wanted;
} command;
extern command lub_command;

/* Says it on standard error; gives the code. */
int lub_complain(int code, const char *message);
/* Text as JSON's. */
void lub_write_json(FILE *out, const char *s, size_t n);
/* Signals set what lub_command says; `serve`, in a thread of its own, does what they ask for. */
bool lub_handle_signals(bool serve);
void lub_cancel_workers(void);
/* Options of the engine that log, and heed deaths that nobody watches. */
lub_options lub_command_options(void);
/* Starts it, with the arguments of a command line, or says why not. */
int lub_start_script(lub_script s, int argc, char **argv);
/* Says what it has failed with, if it has. */
int lub_tell_result(void);
/* Says who waits for whom; gives the code. */
int lub_tell_deadlock(void);
/* Whether a heart's failure is still to be announced, or a death to be told: with what its fiber does, which takes a while
 * to find out. */
bool lub_has_news(void);
/* Ends all workers, and, if one is stuck in a C call, the process. Gives the exit code, which is `code` if all is well. */
int lub_end_engine(int code);

/* lubdub sim (simulate.c). USAGE: the caller tells how it is used. */
int lub_simulate(int argc, char **argv);

#endif
