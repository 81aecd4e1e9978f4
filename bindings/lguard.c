/* lguard.c - see lguard.h. A fiber that loops in Lua is interrupted like one that hogs its carrier: a signal to the thread
 * arms a hook, in which it is killed. One that sits in a C call cannot be: stderr says where. */
#include "lguard.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sim.h"

enum { TICKS = 4, SECOND_NS = 1000000000, SHORTEST_NS = 1000000 };

static int64_t real_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

#ifdef __linux__
void lub_guard_open(lguard *g, double limit, int signal) {
  if (!signal || !(limit > 0) || limit > 1e9) return;
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal;
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid); /* glibc has no name for it before 2.36 */
  if (timer_create(CLOCK_MONOTONIC, &event, &g->timer)) return;
  g->armed = true;
  g->limit = limit;
  g->period_ns = (int64_t)(limit * SECOND_NS / TICKS);
  if (g->period_ns < SHORTEST_NS) g->period_ns = SHORTEST_NS;
  g->tick_ns = real_ns();
  struct timespec period = {.tv_sec = g->period_ns / SECOND_NS, .tv_nsec = g->period_ns % SECOND_NS};
  struct itimerspec when = {.it_interval = period, .it_value = period};
  (void)timer_settime(g->timer, 0, &when, NULL);
}

void lub_guard_close(lguard *g) {
  if (g->armed) (void)timer_delete(g->timer);
  g->armed = false;
  free(g->report);
  g->report = NULL;
}
#else
void lub_guard_open(lguard *g, double limit, int signal) {
  (void)g;
  (void)limit;
  (void)signal;
}
void lub_guard_close(lguard *g) { free(g->report); }
#endif

/* ---- in the signal handler ------------------------------------------------------------------------------------------ */

static void add(char *line, size_t size, const char *text) {
  size_t n = strlen(line);
  while (*text && n + 1 < size) line[n++] = *text++;
  line[n] = '\0';
}

static void add_number(char *line, size_t size, int64_t number) {
  char digits[24], *at = digits + sizeof digits;
  *--at = '\0';
  do *--at = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  add(line, size, at);
}

/* What is asked of Lua here only reads: the thread has been in this call for seconds, so the stack stands still. */
static void tell_of_c_call(const lguard *g, lua_State *L) {
  char line[512] = "lubdub: sim: for ";
  lua_Debug ar, caller;
  int64_t tenths = (int64_t)(g->limit * 10 + 0.5);
  add_number(line, sizeof line, tenths / 10);
  add(line, sizeof line, ".");
  add_number(line, sizeof line, tenths % 10);
  add(line, sizeof line, " s of real time a fiber has been in ");
  bool in_c = L && lua_getstack(L, 0, &ar) && lua_getinfo(L, "Sn", &ar) && *ar.what == 'C';
  add(line, sizeof line, in_c && ar.name ? ar.name : "a C function");
  if (in_c && lua_getstack(L, 1, &caller) && lua_getinfo(L, "Sl", &caller) && caller.currentline > 0) {
    add(line, sizeof line, ", called at ");
    add(line, sizeof line, caller.short_src);
    add(line, sizeof line, ":");
    add_number(line, sizeof line, caller.currentline);
  }
  add(line, sizeof line, "; nothing can end it\n");
  if (write(STDERR_FILENO, line, strlen(line)) < 0) return;
}

bool lub_guard_interrupts(const lworker *lw) {
  lguard *g = lub_sim_guard(lw);
  if (!g || !g->armed) return false;
  int64_t now_ns = real_ns();
  uint64_t moves = lw->core->engine->turns.moves;
  if (now_ns - g->tick_ns < g->period_ns / 10 * 9) return false; /* somebody else's signal */
  g->tick_ns = now_ns;
  if (moves != g->moves) g->ticks = 0;
  g->moves = moves;
  if (++g->ticks <= TICKS) return false; /* the first only begins to count */
  if (g->over && !g->told) {
    g->told = true;
    tell_of_c_call(g, lw->innermost);
  }
  return g->over = true;
}

/* ---- in the hook ------------------------------------------------------------------------------------------------------ */

static void keep_report(lguard *g, lua_State *L, const lworker *lw) {
  const lfiber *f = lw->running;
  if (f->main) lua_pushliteral(L, "main");
  else lua_pushfstring(L, "%I", (LUAI_UACINT)f->core.wait.id);
  lua_pushfstring(L, "hog: fiber '%s' of worker '%s' did nothing for %f s of real time but run",
                  lua_tostring(L, -1), lw->core->name, (LUAI_UACNUMBER)g->limit);
  luaL_traceback(L, L, lua_tostring(L, -1), 0);
  g->report = strdup(lua_tostring(L, -1));
  lua_pop(L, 3);
}

bool lub_guard_is_over(lua_State *L, const lworker *lw) {
  lguard *g = lw->sim ? lub_sim_guard(lw) : NULL;
  if (!g || !g->over) return false;
  if (!g->report && lua_checkstack(L, LUA_MINSTACK)) keep_report(g, L, lw);
  return true;
}
