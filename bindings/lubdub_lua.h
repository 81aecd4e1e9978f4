/* lubdub_lua.h - Lua scripts on an engine, for C hosts. Link with lubdub-lua (pkg-config), which holds the core too.
 *
 * A script is a worker: lub_worker_join waits for it, lub_worker_cancel and _kill end it. It gets the values that it is
 * started with (channels, numbers, strings) as its `...`, and finds what the host publishes with lub_engine_publish by
 * lub.named(name). An error in it is its own: nothing that a script does ends the host, but for os.exit, and for what a
 * C module does. */
#ifndef LUBDUB_LUA_H
#define LUBDUB_LUA_H

#include <lubdub.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lub_script {
  const char *path;      /* a file, "-" the standard input; or NULL, and then */
  const char *text;      /* ... the script itself */
  size_t nbytes;         /* of text; 0: up to its zero */
  const char *name;      /* of the worker, and of the chunk of a text; NULL: the path, or "script" */
  const lub_value *args; /* [nargs]: what the script finds in `...` and in the global `arg`; copied */
  size_t nargs;
  size_t memory; /* bytes that its state may use; 0: no limit. Out of it: an error in the script */
  bool bytecode; /* whether this script and `load` in it take binary chunks: only if nobody can slip one in */
} lub_script;

/* As lub_engine_open, with preemption: where opts leave preempt_signal 0, SIGURG gets a handler, unless it has one. */
lub_status lub_lua_engine_open(const lub_options *opts, lub_engine **out);

/* Loads a script in the calling thread and starts it on a carrier, or at the next lub_engine_step. *s, its strings and
 * its values stay the caller's, and may go afterwards.
 *   out    the caller owns one reference, to be dropped before the engine closes
 *   error  may be NULL. Written always: a text on LUB_FAILED and LUB_NOMEM (nil without memory for it), else nil. The
 *          caller drops it
 *   LUB_FAILED  the file cannot be read, or does not parse: *error says why, with file:line
 *   LUB_NOMEM; LUB_INVALID: neither path nor text, or more than 2^20 arguments. Any thread. */
lub_status lub_script_start(lub_engine *e, const lub_script *s, lub_worker **out, lub_value *error);

/* After the join: what became of a script. Does not wait, and may be asked again. Whoever joins or asks takes on its
 * error: one that nobody does within a second of the end is logged (lub_options.log).
 *   LUB_OK      *out is its first result, if that is nil, a boolean, a number, a string or a channel, and nil otherwise
 *   LUB_FAILED  *out is the error with its traceback: a string, or nil where there was no memory for it
 *   LUB_KILLED, LUB_BUSY (it still runs), LUB_NOMEM: *out stays as it is
 * The caller drops *out. Any thread. */
lub_status lub_script_result(lub_worker *w, lub_value *out);

/* As lub_heart_open, judged by a policy script: its path, and a Lua table of its options as text ("{ threshold = 8 }"),
 * or NULL. o->policy is not asked. LUB_FAILED: the script does not exist, does not parse, or refuses its options; *error
 * says why and where, as of lub_script_start. LUB_INVALID, LUB_NOMEM. Any thread. */
lub_status lub_heart_open_judged(lub_engine *e, const lub_heart_options *o, const char *policy,
                                 const char *policy_opts, lub_heart **out, lub_value *error);

/* Writes what every worker and fiber does, within about 0.2 s. Not from a carrier. */
void lub_report(lub_engine *e, FILE *out);
/* Writes who waits for what, and the cycle of waits if there is one. Only after LUB_DEADLOCK. */
void lub_report_deadlock(lub_engine *e, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
