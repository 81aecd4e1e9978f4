/* llub.h - what the files of the binding share: a worker's Lua side, its fibers, waiting.
 * A lworker is touched only by the thread that runs its worker. No core lock is held across a lua_* call. */
#ifndef LUB_LLUB_H
#define LUB_LLUB_H

#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "engine.h"
#include "random.h"
#include "select.h"
#include "tick.h"

#define LUB_CHAN_TYPE "lub.chan"
#define LUB_CASE_TYPE "lub.case"
#define LUB_FIBER_TYPE "lub.fiber"
#define LUB_WORKER_TYPE "lub.worker"

/* Which operations a handle allows; the flags of a LUB_OBJECT value. */
enum { LUB_VIEW_BOTH, LUB_VIEW_SEND, LUB_VIEW_RECV };

typedef struct lfiber {
  lub_fiber core; /* first */
  lua_State *co;
  struct lworker *owner;
  lub_chan *done, *cancel; /* made when first asked for */
  lub_waiter *cases;       /* of a select; room for `room`, and `order` for twice as many */
  uint32_t *order, room, ncases;
  int nargs;         /* of a first resume; -1 when it has begun */
  int nresults;      /* left on co when it has ended */
  bool ended, failed, joined, cancelled, kill, killed, closing;
  bool drives;       /* it cannot yield: it runs its siblings until `turn` comes */
  bool turn;
  char why[48], name[32], site[64];
} lfiber;

typedef struct lworker {
  lub_worker *core;
  lua_State *L;
  lfiber *running, *main;
  lua_State *volatile innermost; /* the coroutine that runs; a signal handler arms its hook */
  bool chain_ok;    /* every coroutine between the fiber and the innermost can yield */
  bool held;        /* the yield under way is the engine's, not the script's */
  bool forced;      /* ... and came from the hook */
  int depth;        /* of fibers that drive siblings */
  char *pack;       /* marshal's buffer: no message is on the heap across a lua_* call */
  size_t pack_len, pack_room;
  lub_object **objects;
  uint32_t nobjects, objects_room;
  lub_random random;
  lub_value result; /* of an ended worker: its results, or the error */
  bool failed, closed;
  atomic_bool joined;
  size_t memory, memory_limit;
  struct { lua_Hook f; int mask, count; } saved_hook;
  lua_State *volatile hooked; /* whose hook the signal handler armed */
  char site[64];
} lworker;

/* run: workers and fibers as coroutines (lrun.c) */
lworker *lub_lworker(lua_State *L);
lub_status lub_lworker_open(lub_engine *e, const char *name, lua_State *host, lworker **out);
lfiber *lub_fiber_new(lua_State *L, lworker *lw, lua_State *co, int nargs);
void lub_fiber_cancel(lworker *lw, lfiber *f, const char *why);
void lub_fiber_kill(lworker *lw, lfiber *f, const char *why);
void lub_pinned_close(lworker *lw);
void lub_lworker_drop_buffers(lworker *lw);
/* The fiber that runs; raises where it may not wait. */
lfiber *lub_running(lua_State *L, lworker *lw);
/* After LUB_PARK: parks the running fiber, then continues in k with its ctx. */
int lub_park(lua_State *L, lworker *lw, lua_KContext ctx, lua_KFunction k);
/* The outcome of the wait that has ended, as the core tells it, or LUB_CANCELLED. Raises on deadlock. */
lub_status lub_finish(lua_State *L, lworker *lw);
/* nil, reason. */
int lub_push_reason(lua_State *L, lub_status status);
/* The coroutine in which a parked fiber really waits. */
lua_State *lub_innermost(lua_State *co);
/* Writes what each fiber of lw does. In lw's thread, or while everything is parked. */
void lub_report(lworker *lw, FILE *out);
void lub_open_coroutines(lua_State *L);

/* values (lvalue.c). what: "argument 2"; raises with the path of what cannot cross. */
lub_value lub_pack(lua_State *L, int index, const char *what);
/* Packs values first..first+n-1 as one message. */
lub_value lub_pack_list(lua_State *L, int first, int n, const char *function);
/* Pushes a copy; the value stays with its owner. Raises when memory ends. */
void lub_unpack(lua_State *L, const lub_value *v);
/* Pushes what lub_pack_list packed; returns how many. */
int lub_unpack_list(lua_State *L, const lub_value *v);
int lub_register(lua_State *L);

/* objects */
void lub_push_chan(lua_State *L, lub_chan *ch, int view); /* takes one reference of its own */
void lub_push_worker(lua_State *L, lub_worker *w);
int64_t lub_check_wait(lua_State *L, lworker *lw, int arg, const char *function);
double lub_check_seconds(lua_State *L, int arg, const char *function);
_Noreturn void lub_arg_error(lua_State *L, const char *function, int arg, const char *expected);
void lub_open_chan(lua_State *L);
extern const luaL_Reg lub_chan_functions[], lub_worker_functions[];
void lub_open_worker(lua_State *L);
void lub_open_fiber(lua_State *L);
/* The module's table; used by every state. */
int luaopen_lubdub(lua_State *L);
/* Runs a script as the main worker of a new engine and waits for its end: 0 fine, 1 failed, 4 deadlock.
 * The error's text goes to *error, for the caller to free(). */
int lub_run_script(const char *path, int argc, char **argv, char **error);
void lub_run_interrupt(void); /* cancels the script */
void lub_run_report(void);    /* every worker tells stderr what its fibers do */
void lub_set_signal(void);

#endif
