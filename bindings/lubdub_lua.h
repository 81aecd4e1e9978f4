/* lubdub_lua.h - Lua scripts on an engine, for C hosts. Link with lubdub-lua (pkg-config), which holds the core too.
 *
 * A script is a worker: lub_worker_join waits for it, lub_worker_cancel and _kill end it. What the host publishes with
 * lub_engine_publish (a channel, a number, a string) the script finds with lub.named(name). */
#ifndef LUBDUB_LUA_H
#define LUBDUB_LUA_H

#include <lubdub.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lub_script {
  const char *path; /* a file, "-" the standard input; or NULL, and then */
  const char *text; /* ... the script itself */
  size_t nbytes;    /* of text */
  const char *name; /* of the worker, and of the chunk of a text; NULL: the path, or "script" */
  int argc;         /* what the script finds in `...` and in the global `arg` */
  const char *const *argv;
  size_t memory; /* bytes that its state may use; 0: no limit. Out of it: an error in the script */
  bool bytecode; /* whether this script and `load` in it take binary chunks: only if nobody can slip one in */
} lub_script;

/* As lub_engine_open, with preemption: where opts leave preempt_signal 0, SIGURG gets a handler, unless it has one. */
lub_status lub_lua_engine_open(const lub_options *opts, lub_engine **out);

/* Loads a script and starts it; the strings of *s may go afterwards. The caller owns the reference to the worker.
 * LUB_NOMEM. LUB_FAILED: it does not exist or does not parse; *error, which the caller owns, says why and where (NULL
 * without memory). Any thread. */
lub_status lub_script_start(lub_engine *e, const lub_script *s, lub_worker **out, char **error);

/* After the join: what became of a script. LUB_OK: *out is its first result, if that is nil, a boolean, a number, a
 * string or a channel, and nil otherwise. LUB_FAILED: *out is the error with its traceback. LUB_KILLED. LUB_BUSY: it
 * still runs. LUB_NOMEM. The caller drops *out. Any thread. */
lub_status lub_script_result(lub_worker *w, lub_value *out);

/* As lub_heart_open, judged by a policy script: its path, and a Lua table of its options as text ("{ threshold = 8 }"),
 * or NULL. o->policy is not asked. LUB_FAILED: the script does not exist, does not parse, or refuses its options; *error,
 * which the caller frees, says why and where (NULL without memory). LUB_INVALID, LUB_NOMEM. Any thread. */
lub_status lub_heart_open_judged(lub_engine *e, const lub_heart_options *o, const char *policy,
                                 const char *policy_opts, lub_heart **out, char **error);

/* Writes what every worker and fiber does, within about 0.2 s. Not from a carrier. */
void lub_report(lub_engine *e, FILE *out);
/* Writes who waits for what, and the cycle of waits if there is one. Only after LUB_DEADLOCK. */
void lub_report_deadlock(lub_engine *e, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
