/* llub.h - what the files of the binding share: a worker's Lua side, its fibers, waiting.
 * A lworker is touched only by the thread that runs its worker. No core lock is held across a lua_* call, and no
 * message is on the heap unowned across one that may raise. */
#ifndef LUB_LLUB_H
#define LUB_LLUB_H

#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "engine.h"
#include "judge.h"
#include "larena.h"
#include "lvalue.h"
#include "random.h"
#include "select.h"
#include "tick.h"

#define LUB_FIBER_TYPE "lub.fiber"
#define LUB_WORKER_TYPE "lub.worker"
#define LUB_TOO_MUCH ((size_t)1 << 50) /* bytes that no allocator gives */

/* Which operations a handle allows; the flags of a LUB_OBJECT value. */
enum { LUB_VIEW_BOTH, LUB_VIEW_SEND, LUB_VIEW_RECV };
enum {
  LUB_POOL = 64,                  /* coroutines kept for new fibers */
  LUB_STATUSES = LUB_FOREIGN + 1, /* how many there are */
  LUB_OUTSIDE = 16384,            /* bytes between two words to the collector */
};

typedef struct lchan {
  const void *magic; /* LUB_CHAN_MAGIC: what luaL_checkudata finds out for five times the price */
  lub_chan *ch;      /* one reference; NULL after the state began to close */
  uint8_t view;
  bool interned; /* it was put into the worker's handles */
} lchan;

typedef struct lcases { /* of a select */
  uint32_t room, count;
  bool sends;       /* one of them has a value to send, or had */
  uint32_t ordered; /* of how many cases `order` has the numbers */
  uint32_t *order;  /* [2 * room], behind `boxes`; see lub_wait_select */
  uint32_t
      known; /* the first so many are receives from the channels of `boxes`, if lworker.gone is still `gone` */
  uint32_t gone;
  const void **boxes; /* [room], behind the cases: handles */
  lub_waiter one[];
} lcases;

typedef struct lbatch { /* of a send of many */
  uint32_t room, count;
  lub_value values[];
} lbatch;

typedef struct lextra { /* what most fibers do without; owned */
  lub_list joiners;     /* those of its worker that wait for its end */
  lub_chan *done, *cancel;
  lcases *cases; /* kept from one select to the next */
  lbatch *batch; /* ... from one send of many to the next, unless it is large */
  char *why;     /* of the cancel or kill */
} lextra;

/* User value of its handle: the function that called lub.go, or, when it has ended, what is left. The handle needs no
 * finalizer: when a fiber ends, it gives back what it owns. */
typedef struct lfiber {
  lub_fiber core; /* first. Its worker is NULL when a sim is over */
  lua_State *co;
  int nvalues; /* on top of its coroutine: arguments, until it has begun; marks, while it is held. When it has ended, its
                  results: 0; 1: the handle's user value; more: in a table there */
  bool begun : 1, main : 1, ended : 1, failed : 1, joined : 1, cancelled : 1, kill : 1, killed : 1,
      closing : 1;
  bool at_point : 1; /* it left at a point, and comes back to the operation there */
  bool exposed : 1;  /* its coroutine was seen by the script: it is not used again */
  bool drives : 1;   /* it cannot yield: it runs its siblings until `turn` comes */
  bool turn : 1;
  bool unwinds : 1;  /* it is killed, and was told so by an error */
  int place;         /* in the worker's anchors, until it ends: of the handle; the coroutine's is the next */
  int line;          /* of the lub.go that started it; 0: no Lua did */
  lextra *extra;     /* NULL: see lub_fiber_extra */
  const void *magic; /* LUB_FIBER_MAGIC */
} lfiber;

typedef struct lpaths { /* where modules are found: a worker and its children share them until one changes */
  const lub_allocator *mem;
  atomic_uint refs;
  const char *cpath; /* behind path */
  char path[];
} lpaths;

typedef struct lunwinding { /* of the running fiber, if it unwinds (lhook.c) */
  lua_State *L;             /* where it does */
  int64_t since_ns;
  int handler; /* how deep the outermost close handler lies there that the error has called; 0: none */
  int left;    /* instructions that its handlers may still run */
} lunwinding;

typedef struct lworker {
  lub_worker *core;
  lua_State *L;
  const void *registry; /* identity of the state, for lub_lworker */
  lfiber *running;      /* never NULL: see nobody */
  lfiber *main;
  lfiber
      nobody; /* runs where no fiber does, as a killed one that closes: finalizers may look and poll, and start nothing */
  lua_State *volatile innermost; /* the coroutine that runs; a signal handler arms its hook */
  lua_State *volatile hooked;    /* whose hook the signal handler armed */
  struct {
    lua_Hook f;
    int mask, count;
  } saved_hook;
  bool chain_ok; /* every coroutine between the fiber and the innermost can yield */
  bool held;     /* the yield under way is the engine's, not the script's */
  bool forced;   /* ... and came from the hook */
  bool failed : 1;
  bool ending : 1; /* a kill or cancel of the worker was met */
  bool closed;
  bool sim;               /* its engine is a sim's: every operation is a point (lsim.c) */
  bool guest;             /* of a sim, in the state of another worker, which waits meanwhile */
  bool lazy;              /* the state is ours, and some libraries are not open yet */
  bool judge;             /* it is the judge's */
  bool bytecode;          /* `load` takes binary chunks too */
  bool warns, in_warning; /* after warn("@on"); between the pieces of one */
  bool collected;         /* for want of memory: finalizers may be due of handles that went */
  bool script;            /* a host started it, and may ask for its first result */
  int64_t closing_ns;     /* when the last close from outside began */
  const char *judging;    /* what runs and may not wait, as "a policy"; or NULL */
  char *waits;            /* who waited for what when a fiber last learned of a deadlock; owned, or NULL */
  uint64_t questions;     /* to scripts of hearts that are over */
  uint64_t sliced;        /* the step of its sim in which a fiber was seen computing */
  int budget;             /* instructions that a policy or an invariant has */
  lunwinding unwinding;
  int depth;                                   /* of fibers that drive siblings */
  int anchors, handles, fiber_type, chan_type; /* references in the registry */
  int reasons[LUB_STATUSES];                   /* ... of their texts, once they were asked for */
  int places, free_place; /* in anchors: the last one; the first free one, where the next lies (0: none) */
  int pool, npool;        /* the first of those whose coroutines ended well, where the next lies; how many */
  struct {
    lua_CFunction next, rawget, rawset, getmetatable, setmetatable, load, loadfile, require;
    lua_CFunction pcall, xpcall; /* of a host's state, too */
  } base;                        /* Lua's own, of a state of ours */
  uint32_t gone;   /* counts handles of channels that went, whose place in memory others may have */
  lpaths *paths;   /* NULL: Lua's own */
  lpack pack;      /* the message under construction */
  lub_value taken; /* the one that is being pushed; or, if that raised, was: dropped with the next slice */
  lub_random random;
  lub_value result,
      first; /* of an ended worker: its results, or the error; of a script, the first; published by its
                              fate */
  size_t memory, memory_limit;
  larena arena;   /* of a state of ours */
  size_t outside; /* bytes that new handles keep, of which the collector was not told yet */
  uint32_t policies,
      policies_most; /* in its cache (lpolicy.c); as many as may be there before it is looked through */
  struct {           /* while one of its allocations is to fail: see lfault.c */
    lua_Alloc f;     /* what is used otherwise */
    void *ud;
    uint64_t
        left; /* until it fails; 0: it has, but not yet when Lua has collected everything and asks again */
    size_t failed;
  } scarce;
  char site[64];
} lworker;

/* A worker's Lua side (lworker.c). */
extern LUB_THREAD_LOCAL lworker *lub_here;
lworker *lub_find_lworker(lua_State *L);
/* NULL: L is no worker's, or no more. */
lworker *lub_known_lworker(lua_State *L);
void lub_forget_lworker(lua_State *L);
/* Raises when L is no worker's any more. */
static inline lworker *lub_lworker(lua_State *L) {
  lworker *lw = lub_here;
  /* the innermost coroutine runs, so it lives, and no other state has one at its address */
  return lub_likely(lw && lw->innermost == L) ? lw : lub_find_lworker(L);
}
/* host: the state of a pinned worker, or NULL for one of its own. `like`: whose settings it inherits, or NULL. */
lub_status lub_lworker_open(lub_engine *e, const char *name, lua_State *host, const lworker *like,
                            lworker **out);
/* Gives up a worker that was never started. */
void lub_lworker_abandon(lworker *lw);
/* The worker ends with this error, unless one came before. */
void lub_lworker_fail(lworker *lw, const char *error);
/* Ends what runs in a state that closes from outside; more calls do nothing. Raises nothing. */
void lub_close_fibers(lworker *lw);
/* LUBDUB_CARRIERS, 0 without it. False when it makes no sense, with the reason. */
enum { LUB_CARRIERS_WHY = 120 };
bool lub_carriers_wanted(int *carriers, char why[LUB_CARRIERS_WHY]);

/* The worker that runs a sim's body in the state L, which belongs to `outer`; and its end, when none of its fibers is
 * left: L is outer's again, and what the script still has of the sim says that it is over. */
lub_status lub_lworker_open_guest(lub_engine *e, lworker *outer, lua_State *L, lworker **out);
void lub_lworker_end_guest(lworker *lw, lworker *outer);

/* Libraries of a state of ours (lstate.c). */
void *lub_limited_alloc(void *ud, void *block, size_t old, size_t nbytes);
void lub_open_libraries(lua_State *L, lworker *lw);
/* In a state of ours, the base library is there from here on. */
void lub_open_base(lua_State *L);
/* With the globals on top: remembers Lua's own pcall and xpcall. */
void lub_note_catchers(lua_State *L, lworker *lw);
/* Pushes the module `name`, loading it if need be. The script cannot interfere. */
void lub_require(lua_State *L, const char *name);
/* Before an operation that looks into the table at 1, or at its metatable. */
lworker *lub_looked_at(lua_State *L);
/* Pushes package.path and package.cpath, as they are or will be. */
void lub_push_paths(lua_State *L);
/* Gives lw, which has opened nothing yet, its parent's paths, as they are now. LUB_NOMEM. */
lub_status lub_inherit_paths(lworker *lw, lworker *parent, const char *path, const char *cpath);
void lub_drop_paths(lworker *lw);

/* Fibers: how they run (lrun.c). */
/* Makes a fiber. Pushes its handle. co: its coroutine, on which a function and nargs arguments lie; NULL: the caller puts
 * them there, for which there is room. */
lfiber *lub_fiber_new(lua_State *L, lworker *lw, lua_State *co, int nargs);
/* Makes it when it is first asked for; NULL without memory. */
lextra *lub_fiber_extra(lfiber *f);
/* Runs ready fibers until none is left, or the slice is to end. */
void lub_fibers_run(lworker *lw);
void lub_fiber_cancel(lworker *lw, lfiber *f, const char *why);
void lub_fiber_kill(lworker *lw, lfiber *f, const char *why);
void lub_free_fiber(lfiber *f);
/* Ends them all. Those that are below on the C stack, which closes with the state, run none of their handlers. */
void lub_fiber_close_all(lworker *lw);
void lub_fiber_push(lua_State *L, lworker *lw, const lfiber *f);
/* Sets ar->short_src to where f's function is, as far as its handle knows; the line is f's. */
void lub_fiber_site(lworker *lw, const lfiber *f, lua_Debug *ar);
void lub_meet_requests(lworker *lw);
static inline void lub_look_at_requests(lworker *lw) {
  if (lub_unlikely(atomic_load_explicit(&lw->core->requested, memory_order_relaxed))) lub_meet_requests(lw);
}
/* Before an operation: raises in a killed fiber, otherwise tells how long it may wait (deadline, or 0 when it is
 * cancelled or closes) and why not for longer. */
lub_status lub_may_not_wait(lua_State *L, lworker *lw, int64_t *deadline);
static inline lub_status lub_may_wait(lua_State *L, lworker *lw, int64_t *deadline) {
  const lfiber *f = lw->running;
  bool may = !(f->kill || f->cancelled) && !(lw->failed || lw->judging || lw->ending) &&
             !atomic_load_explicit(&lw->core->requested, memory_order_relaxed);
  return lub_likely(may) ? LUB_OK
                         : lub_may_not_wait(L, lw, deadline); /* or it may, but was asked something */
}
/* After LUB_PARK: parks the running fiber, then continues in k with its ctx. */
int lub_park(lua_State *L, lworker *lw, lua_KContext ctx, lua_KFunction k);
/* The outcome of a wait that was not LUB_OK, as the core tells it. Raises on deadlock and in a killed fiber. */
lub_status lub_outcome(lua_State *L, lworker *lw, lub_status status);
/* Ends the wait of the running fiber, which has been woken; its outcome. Raises as lub_outcome does. */
static inline lub_status lub_finish(lua_State *L, lworker *lw) {
  lub_status status = lub_wait_finish(&lw->running->core.wait);
  return lub_likely(status == LUB_OK) ? status : lub_outcome(L, lw, status);
}
/* Whether lub_outcome raises for it: what the wait owned is to be dropped before. */
static inline bool lub_must_raise(lub_status s) {
  return s == LUB_DEADLOCK || s == LUB_KILLED || s == LUB_FAILED;
}
/* The status in words. */
void lub_push_status(lua_State *L, lub_status status);
/* Pushes what an error says: its text, or, as lua has it, of which type it is. Runs its __tostring. */
void lub_push_error(lua_State *L, int index);
/* nil, reason. */
int lub_push_reason(lua_State *L, lub_status status);
/* Never returns to the running fiber, which was killed. */
int lub_die(lua_State *L, lworker *lw);

/* Coroutines as Lua's own, but for the engine's yields, which pass outward (lcoroutine.c). */
bool lub_is_held(lua_State *co);
void lub_mark_held(lua_State *co, lua_State *inner);
/* Before a yield of the engine's. Returns how many values it is to pass: the marks. Nobody can resume a fiber's own
 * coroutine that the script has not seen, so that one needs none. */
static inline int lub_hold(lua_State *L, lworker *lw) {
  const lfiber *f = lw->running;
  lw->held = true;
  if (lub_likely(L == f->co && !f->exposed)) return 0;
  lub_mark_held(L, NULL);
  return 2;
}
/* The coroutine in which a parked fiber really waits. */
lua_State *lub_innermost(lua_State *co);
/* A step of the next. */
void lub_hook_follows(lworker *lw, lua_State *co);
/* After a resume of co with lworker.forced set: a hook has taken it off; its marks are put there and counted. */
void lub_left_from_hook(lworker *lw, lua_State *co, int status, int *nresults);
/* From here on co is the innermost coroutine that runs, NULL: none. What interrupts the worker interrupts it. */
static inline void lub_go_on_in(lworker *lw, lua_State *co) {
  lw->innermost = co;
  if (lub_unlikely(lw->hooked && lw->hooked != co)) lub_hook_follows(lw, co);
}
/* Closes the coroutines that co holds, innermost first, then co. */
void lub_close_chain(lworker *lw, lua_State *co);
static inline bool lub_can_yield(lua_State *L, const lworker *lw) {
  return lw->chain_ok && L == lw->innermost && lua_isyieldable(L);
}
int lub_open_coroutines(lua_State *L);
void lub_replace_coroutines(lua_State *L);

/* Hooks (lhook.c). */
/* In a signal handler, on the thread that runs w, whose lua_sethook may be called there (as lua.c does). */
void lub_worker_interrupt(lub_worker *w);
/* Has the signal that interrupts, SIGURG, handled, unless the host handles it. */
void lub_set_signal(void);
/* The running fiber, which is killed, is told so at the next instruction of L; no longer. */
void lub_arm_kill(lua_State *L, lworker *lw);
void lub_disarm_kill(lua_State *L, const lworker *lw);
/* co goes on: so does the kill of the running fiber, if it unwinds. */
void lub_kill_follows(lua_State *co, const lworker *lw);
/* Whether the running fiber, which unwinds, is in a close handler. */
bool lub_is_in_handler(lua_State *L, lworker *lw);
static inline bool lub_is_fenced(const lworker *lw) {
  return atomic_load_explicit(&lw->core->killed, memory_order_relaxed) && !lw->running->closing;
}
/* Before co runs: something may have been asked of the worker when no coroutine did, whose hook the signal could have armed;
 * there may be no second signal. */
void lub_arm_hook_for_request(lworker *lw, lua_State *co);
static inline void lub_arm_for_request(lworker *lw, lua_State *co) {
  if (lub_unlikely(atomic_load_explicit(&lw->core->requested, memory_order_relaxed)))
    lub_arm_hook_for_request(lw, co);
}
/* In a sim that counts instructions: those of L are. */
void lub_slice(lua_State *L, const lworker *lw);
/* lua_pcall of what may not wait (as "a policy"), and has so many instructions. */
int lub_judged_call(lua_State *L, lworker *lw, const char *what, int instructions, int nargs, int nresults,
                    int handler);

/* In a sim, before an operation that others may see, with its arguments on the stack: whether another fiber is to run
 * first; then the operation must be left with lub_leave_at_point, and begins anew later. */
bool lub_at_point(lua_State *L, lworker *lw, const char *function);
int lub_leave_at_point(lua_State *L, lworker *lw, lua_CFunction operation);
#define LUB_POINT(L, lw, operation, function) \
  if (lub_unlikely((lw)->sim) && lub_at_point(L, lw, function)) return lub_leave_at_point(L, lw, operation)

/* Reports (lreport.c). */
/* The innermost function of Lua from that level on: what lua_getinfo gives of it, and pushes. False: there is none. */
bool lub_find_lua(lua_State *L, int level, const char *what, lua_Debug *ar);
const char *lub_fiber_state(const lworker *lw, const lfiber *f);
const char *lub_worker_state(lub_worker *w);
/* Sends what each fiber of lw does to whoever asked. In lw's thread. */
void lub_report_answer(lworker *lw);
/* Writes everybody's report; a worker that does not answer in 200 ms is described from outside. Host threads. */
void lub_report_all(lub_engine *e, FILE *out);
int lub_dump(lua_State *L);
/* What every fiber does, and a cycle of waits if there is one; no worker of e may run. */
void lub_report_waits(lub_engine *e, FILE *out);
/* The same as a text, to be freed; NULL without memory. */
char *lub_report_text(lub_engine *e);
/* Waits for what a worker was asked for on ch (lub_worker_ask), whose reference is taken; goes on in k with the text on
 * top, or nil: it did not answer within so many seconds. */
int lub_await_report(lua_State *L, lub_chan *ch, double within, lua_KFunction k);
/* Pushes what the fibers of w do. */
int lub_worker_traceback(lua_State *L, lub_worker *w);

/* Values (lvalue.c). what: "argument 2"; NULL: the path has no such beginning. Raises with the path of what
 * cannot cross. */
lub_value lub_pack(lua_State *L, int index, const char *what);
/* Packs the values at first..first+n-1 as one message: arguments of `function`, numbered by their place on
 * the stack, the first being the function that is spawned; without `function`, results. */
lub_value lub_pack_list(lua_State *L, int first, int n, const char *function);
/* Pushes a copy; the value stays with its owner. Raises when memory ends. */
void lub_unpack(lua_State *L, const lub_value *v);
/* Pushes what lub_pack_list packed; returns how many. */
int lub_unpack_list(lua_State *L, const lub_value *v);
int lub_register(lua_State *L);

/* Handles and arguments. */
extern const char LUB_CHAN_MAGIC[], LUB_CASE_MAGIC[];
static inline lchan *lub_test_chan(lua_State *L, int arg) {
  lchan *box = lua_touserdata(L, arg); /* a light one has no length */
  return box && lua_rawlen(L, arg) == sizeof *box && box->magic == LUB_CHAN_MAGIC ? box : NULL;
}
/* Raises: a channel was expected, or another view of one. */
lchan *lub_refuse_view(lua_State *L, const char *function);
static inline lchan *lub_check_view(lua_State *L, const char *function, int forbidden) {
  lchan *box = lub_test_chan(L, 1);
  return lub_likely(box && box->view != forbidden) ? box : lub_refuse_view(L, function);
}
/* A worker's handles (lhandle.c), by what stands for the object: weak, so that unused ones go. Pushes the one of that key, or
 * nothing: there is none. */
bool lub_push_interned(lua_State *L, const lworker *lw, const void *key);
void lub_intern(lua_State *L, const lworker *lw, int index, const void *key);
/* Pushes the table with weak keys that the registry has at that address; an empty one the first time. */
void lub_push_weak(lua_State *L, const void *key);
/* The handle at 1 is being finalized. */
void lub_forget(lua_State *L, const lworker *lw, const void *key);
/* A new handle keeps so many bytes where Lua's collector does not see them. It is told from time to time, and may run
 * finalizers then: otherwise handles that nobody has any more would pile up until they are as much as all that Lua has. */
void lub_tell_collector(lua_State *L, size_t nbytes);
static inline void lub_keep_outside(lua_State *L, lworker *lw, size_t nbytes) {
  lw->outside += nbytes;
  if (lw->outside >= LUB_OUTSIDE) lub_tell_collector(L, lw->outside);
}
/* Whether a new handle must be in there, to be found when a sim is over or the state closes: its own finalizer may not be
 * called. */
bool lub_must_intern(lua_State *L, const lworker *lw);
/* All that are in there let go of what they have. */
void lub_disown_all(lua_State *L, lworker *lw);
void lub_disown_heart(lua_State *L);
extern const char LUB_OVER_MAGIC[]; /* of such handles */
bool lub_is_over(lua_State *L, int arg);
/* Drops what is in a fiber's batch, or in the cases of its select. */
void lub_drop_batch(lbatch *b);
void lub_drop_sends(lcases *cs);
static inline void lub_drop_cases(lcases *cs) {
  if (cs->sends) lub_drop_sends(cs);
}
void lub_push_chan(lua_State *L, lub_chan *ch, uint8_t view); /* takes one reference of its own */
/* Pushes a handle for a channel that the caller is about to open, whose reference it takes; then lub_own_chan. */
lchan *lub_push_new_chan(lua_State *L, uint8_t view);
void lub_own_chan(lua_State *L, lchan *box);
/* The handle at index is about to leave the worker: should it come back, it is the same. */
void lub_intern_chan(lua_State *L, int index, lchan *box);
void lub_push_worker(lua_State *L, lub_worker *w);
extern const char LUB_FIBER_MAGIC[];
static inline lfiber *lub_test_fiber(lua_State *L, int arg) {
  lfiber *f = lua_touserdata(L, arg);
  return f && lua_rawlen(L, arg) == sizeof *f && f->magic == LUB_FIBER_MAGIC ? f : NULL;
}
lfiber *lub_check_fiber(lua_State *L, const char *function);
lub_worker *lub_check_worker(lua_State *L, const char *function);
double lub_check_seconds(lua_State *L, int arg, const char *function);
int64_t lub_check_wait(lua_State *L, lworker *lw, int arg, const char *function);
int64_t lub_check_given_wait(lua_State *L, lworker *lw, int arg, const char *function);
/* The same of the last argument. */
static inline int64_t lub_check_last_wait(lua_State *L, lworker *lw, int arg, const char *function) {
  return lub_likely(lua_gettop(L) < arg) ? LUB_NEVER : lub_check_given_wait(L, lw, arg, function);
}
const char *lub_check_why(lua_State *L, int arg, const char *function);
/* Pushes the text of a value for an error: a string in quotes. */
const char *lub_push_shown(lua_State *L, int index);
/* Arguments behind the `most` that are wanted are an error, unless they are nil. */
void lub_check_surplus(lua_State *L, int most, const char *function);
_Noreturn void lub_arg_error(lua_State *L, const char *function, int arg, const char *expected);
int lub_join(lua_State *L, lub_chan *done, lua_CFunction push);

typedef enum lub_sign { LUB_SIGN_BEAT, LUB_SIGN_UNIT, LUB_SIGN_REST } lub_sign;

/* Hearts (lheart.c), the snapshot that their policies get (lsnapshot.c). */
lub_heart *lub_test_heart(lua_State *L, int arg);
lub_heart *lub_check_heart(lua_State *L, const char *function);
/* Pushes the handle of h, which takes a reference of its own. There is one in a state, though it is known by its heart
 * only from when it is first sent (lub_intern_heart): before that, h cannot have come back. */
void lub_push_heart(lua_State *L, lub_heart *h);
void lub_intern_heart(lua_State *L, int index, const lub_heart *h);
/* Pushes a snapshot; it is valid until lub_end_snapshots, as are those of its members. */
void lub_push_snapshot(lua_State *L, lub_heart *h, const lub_snapshot *at);
void lub_end_snapshots(lworker *lw);
/* Pushes a block that holds the last intervals between beats, oldest first; *n: how many. */
double *lub_push_intervals(lua_State *L, lub_heart *h, size_t *n);
/* Pushes what `get` copies of a heart: its progress, its unit. Raises when memory ends. */
void lub_push_value_of(lua_State *L, lub_heart *h, lub_status (*get)(lub_heart *h, lub_value *out));
/* t[name] = n, of the table on top. */
void lub_set_number(lua_State *L, const char *name, double n);

/* The scripts of hearts (lpolicy.c): functions that cross into the judge's state, where they have a budget. */
typedef struct lpolicy lpolicy;
typedef struct lheart { /* what the binding hangs on a heart; owned by it */
  const lub_allocator *mem;
  lpolicy *policy, *pulse;
  bool left; /* the scripts: it asks them no more */
  uint32_t nmembers;
  lub_heart *members[]; /* a reference each */
} lheart;
/* Pushes three values for the function, or the path of a script, that the option `what` gives at `index`, with options at
 * `opts`; unless there is such a policy already, its script is run, in a call that can yield: as lua_pcallk, with k and ctx.
 * Raises. */
int lub_policy_make(lua_State *L, int index, int opts, const char *what, lua_KContext ctx, lua_KFunction k);
/* It was not LUA_OK: raises the error on top, of the script of the option `what`. */
int lub_policy_unmade(lua_State *L, const char *what);
/* The policy of the three values from `made` on; the caller gets a reference, and is one more heart that has it, until
 * lub_policy_leave.
 * `wants`: where what a policy script wants to know goes (its second result), or NULL. Raises. */
lpolicy *lub_policy_of(lua_State *L, int made, int opts, const char *what, lub_heart_options *wants);
void lub_policy_drop(lpolicy *p);
/* A heart that had it is closed: it asks no more, but for what has begun. Any thread. */
void lub_policy_leave(lpolicy *p);
/* From here on policies are made anew, for a sim in this state; and its end, when none of them is in use any more. */
void lub_begin_policies(lua_State *L);
void lub_end_policies(lua_State *L);
typedef enum lub_role { LUB_ROLE_POLICY, LUB_ROLE_PULSE } lub_role; /* as what h has it: one may be both */
/* In the judge's state, with the snapshot on top, which is replaced by the results (verdict, ask again, score; or
 * seconds). False: it failed, has been reported, and is not to be asked any more, or h is closed; nothing is pushed
 * then. */
bool lub_policy_ask(lua_State *L, lworker *lw, lpolicy *p, lub_heart *h, lub_role role);
/* What was on the stack is no answer: reports and gives up the policy. */
void lub_policy_refuse(lua_State *L, lworker *lw, lpolicy *p, lub_heart *h, lub_role role, const char *why);
/* The judge's worker is stuck in a question about h: reports and gives up the script, if it was that. Any thread. */
void lub_policy_give_up(lpolicy *p, lub_heart *h, lub_role role);
/* Starts the judge's worker of the engine, unless it runs. Raises. */
void lub_start_judge(lua_State *L, lworker *lw);

/* Sims (lsim.c). */
int luaopen_lubdub_simcore(lua_State *L);
/* Before a worker opens in a sim's engine. False without memory. */
bool lub_sim_attach(lub_engine *e);
/* Its sim tells, from now on, of turns (see turns.h; at the end of one, w is NULL) and of what each fiber is about to do:
 * to which channel ("" for none), where; with the name "", it is left before it does. The strings live for the call. */
typedef struct lub_sim_watcher {
  void (*turn)(void *ud, const lub_worker *w, uint64_t fiber, bool begins);
  void (*operation)(void *ud, uint64_t fiber, const char *name, const char *object, const char *place);
  void *ud;
} lub_sim_watcher;
void lub_sim_watch(lub_engine *e, const lub_sim_watcher *watcher);
/* Where the host steps the sim, and ends it: lub_sim_may_drive asks this. */
void lub_sim_limit(lub_engine *e, bool (*may_go_on)(void));
/* Pushes a block that holds table.prefix, the first choices, which count from 1 there and from 0 in it; or what is there
 * instead, and gives NULL. */
const uint32_t *lub_sim_push_prefix(lua_State *L, int table, size_t *n);
/* False: a host's, which has started scripts. */
bool lub_sim_has_body(const lworker *lw);
/* In its states, so many instructions of Lua take a second: who computes for longer than LUB_SLICE_NS is preempted, as by a
 * watcher. 0: time stands while a fiber runs. Before a worker opens. */
#define LUB_SLICE_NS 10000000
#define LUB_COMPUTE 1e8
void lub_sim_compute(lub_engine *e, double per_second);
/* The instructions between two looks at who computes; 0: there are none. */
int lub_sim_slice(const lworker *lw);
/* "P" for the first fiber, "P.2.1" for the first child of its second. */
void lub_sim_print_name(lub_engine *e, FILE *out, uint64_t fiber);
/* Pushes the list of its choices, { kind=, n=, taken= from 1, fiber=, at= }. */
void lub_sim_push_choices(lua_State *L, lub_engine *e);
/* A fiber of a sim was born, whose handle is on top. */
void lub_sim_born(lua_State *L, lworker *lw, const lfiber *f);
/* For traces: a fiber does something, or would have (done is false) but another was chosen. */
void lub_sim_note(lua_State *L, lworker *lw, const char *function, bool done);
/* A fiber is at a point. True: there were too many at this instant, it must leave. */
bool lub_sim_tired(lworker *lw);
/* Nobody can run: fires what is due, or moves the clock. False: nothing can ever happen. */
bool lub_sim_idle(lworker *lw);
/* Before each turn of siblings that a fiber drives. False: the run has gone on for long enough, it is to leave. */
bool lub_sim_may_drive(const lworker *lw);
/* In a signal handler, in a sim: whether its guard wants the running fiber to be interrupted (lguard.c). */
bool lub_guard_interrupts(const lworker *lw);
/* In the hook: whether the run is over, because this fiber never comes to a point. */
bool lub_guard_is_over(lua_State *L, const lworker *lw);
/* The library on top was opened in a worker of a sim (lsimstate.c). */
void lub_sim_library(lua_State *L, lworker *lw, const char *name);
/* As lua_next, in an order that is the same in every run (lnext.c); `table` is an absolute index. tells: whether an order
 * that is Lua's own is to be recorded. */
int lub_ordered_next(lua_State *L, int table, bool tells);
static inline int lub_next(lua_State *L, const lworker *lw, int table) {
  return lw->sim ? lub_ordered_next(L, table, false) : lua_next(L, table);
}
/* Whether the function at that index is one of Lua's own that the sim has replaced in the caller's state, and which. */
bool lub_sim_own(lua_State *L, int function, const char **library, const char **name);
/* What the main fiber, or one that nobody joins, has failed with lies on top of co. */
void lub_sim_failed(lworker *lw, lua_State *co);

/* What a run of a sim is put through, and what it must hold to (lfault.c). */
typedef struct lfaults lfaults;
int luaopen_lubdub_faultcore(lua_State *L);
/* Where a run keeps them; NULL there until there is one (lsim.c). */
lfaults **lub_sim_faults(const lworker *lw);
/* A sign of life of h is about to be given. True: it is lost, or comes later; *v, NULL without one, is taken then. */
bool lub_fault_sign(const lworker *lw, lub_heart *h, lub_sign sign, lub_value *v);
lub_status lub_give_sign(lub_heart *h, lub_sign sign, lub_value *v);
/* At rest. deliver: gives the signs of life that are due; whether there were any. holds: whether the invariants hold; if
 * not, the body has failed. */
bool lub_deliver_signs(lfaults *f);
bool lub_invariants_hold(const lfaults *f, lworker *body);
/* The run is over. */
void lub_end_faults(lworker *body, lfaults *f);

/* The module (lmodule.c) and its parts. */
int luaopen_lubdub(lua_State *L);
int luaopen_lubdub_trial(lua_State *L);
/* Fills the table on top, package.preload, with the module and its Lua half. */
void lub_preload(lua_State *L);
extern const luaL_Reg lub_chan_functions[], lub_select_functions[], lub_time_functions[],
    lub_fiber_functions[], lub_worker_functions[], lub_heart_functions[];
/* These two push the handles' metatables, opening them if need be. */
void lub_open_chan(lua_State *L, lworker *lw);
void lub_open_worker(lua_State *L);
void lub_open_select(lua_State *L);
void lub_open_many(lua_State *L);
void lub_open_time(lua_State *L);
/* lub.go(fn, ...) -> fiber */
int lub_go(lua_State *L);
void lub_open_fiber_methods(lua_State *L);

#endif
