/* foreign_test.c - Lua's sims and other threads: one that comes unasked fails the run, one that was promised is waited
 * for. Such a thread sends when the engine has logged that it waits for it: nothing sleeps. */
#include <pthread.h>
#include <string.h>

#include "../core/test.h"
#include "llub.h"

static const char scenario[] =
    "local lub, simcore = require 'lubdub', require 'lubdub.simcore'\n"
    "local checks = {}\n"
    "local function check(sentence, ok) checks[#checks + 1] = ok and '' or sentence end\n"
    "local o = simcore.run(function()\n"
    "  local ch = lub.chan(1)\n"
    "  outside(ch)\n"
    "  lub.sleep(1)\n"
    "end, {})\n"
    "check('a thread that comes unasked fails the run', o.why == 'foreign')\n"
    "check('its name is told', o.report:find(\"thread 'stranger' used what belongs to this sim\", 1, true))\n"
    "o = simcore.run(function() outside(lub.chan(1)) end, {})\n"
    "check('also when the body returns at once', o.why == 'foreign')\n"
    "o = simcore.run(function()\n"
    "  local ch, log = lub.chan(), {}\n"
    "  lub.go(function() lub.sleep(1) log[1] = 'slept' end)\n"
    "  lub.go(function() log[#log + 1] = ch:recv() end)\n"
    "  outside(ch, 0.001)\n"
    "  simcore.settle()\n"
    "  check('settling waits for it', log[1] == 42 and lub.now() == 0)\n"
    "end, {})\n"
    "check('such a run is fine but for its sleeper', o.why == 'leaked')\n"
    "check('the wait is told', o.log:find('waiting for 1 external operation\\n', 1, true))\n"
    "local function log_of(body)\n"
    "  local o = simcore.run(function()\n"
    "    local ch = lub.chan()\n"
    "    outside(ch, 0.05)\n"
    "    return body(ch)\n"
    "  end, { guard = 0.01 })\n"
    "  return o.why, o.values and o.values[1], o.now\n"
    "end\n"
    "local why, v, now = log_of(function(ch) local v = ch:recv(100) return v end)\n"
    "check('the clock stands while it is out', not why and v == 42 and now == 0)\n"
    "why, v, now = log_of(function(ch)\n"
    "  local v\n"
    "  table.sort({ 2, 1 }, function(a, b) v = v or ch:recv(100) return a < b end)\n"
    "  return v\n"
    "end)\n"
    "check('also where Lua cannot yield, and no guard takes it for a hog', not why and v == 42 and now == 0)\n"
    "check('a run that fails does not leave it behind', log_of(function() error 'x' end) == 'error')\n"
    "return table.concat(checks, '|')\n";

typedef struct job {
  lub_chan *ch;
  bool promised;
} job;

static pthread_t threads[16];
static int nthreads;

/* ---- the engine's log, which says when it waits -------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t waits = PTHREAD_COND_INITIALIZER;
static bool it_waits;                            /* lock */
static void (*log_before)(void *, const char *); /* of the engine's options */

static void log_and_tell(void *ud, const char *text) {
  log_before(ud, text);
  pthread_mutex_lock(&lock);
  it_waits = true;
  pthread_cond_signal(&waits);
  pthread_mutex_unlock(&lock);
}

static void listen_to(lub_engine *e, double after) {
  it_waits = false;
  log_before = e->opts.log;
  e->opts.log = log_and_tell;
  e->gate->tell_ns = (int64_t)(after * 1e9);
}

static void until_it_waits(void) {
  pthread_mutex_lock(&lock);
  while (!it_waits) pthread_cond_wait(&waits, &lock);
  pthread_mutex_unlock(&lock);
}

/* ---- the other thread ---------------------------------------------------------------------------------------------- */

static void *act(void *arg) {
  job *j = arg;
  lub_engine *e = j->ch->engine;
  lub_value v = lub_int(42);
  pthread_setname_np(pthread_self(), "stranger");
  if (j->promised) until_it_waits();
  (void)lub_chan_send(j->ch, &v, 0);
  lub_chan_drop(j->ch);
  if (j->promised) lub_engine_release(e);
  free(j);
  return NULL;
}

/* outside(ch [, s]): another thread sends 42. With s it is promised, and comes when the engine has waited s seconds for
 * it; otherwise it comes at once, and this waits for it. */
static int outside(lua_State *L) {
  job *j = malloc(sizeof *j);
  if (!j) abort();
  *j = (job){.ch = lub_test_chan(L, 1)->ch, .promised = !lua_isnoneornil(L, 2)};
  lub_chan_ref(j->ch);
  bool promised = j->promised;
  if (promised) {
    while (nthreads > 0) pthread_join(threads[--nthreads], NULL); /* those of other runs */
    listen_to(j->ch->engine, lua_tonumber(L, 2));
    lub_engine_hold(j->ch->engine);
  }
  pthread_create(&threads[nthreads], NULL, act, j);
  if (!promised) pthread_join(threads[nthreads], NULL);
  else nthreads++;
  return 0;
}

int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lub_preload(L);
  lua_register(L, "outside", outside);
  bool ok = luaL_loadstring(L, scenario) == LUA_OK && lua_pcall(L, 0, 1, 0) == LUA_OK;
  const char *at = luaL_tolstring(L, -1, NULL);
  if (!ok) printf("%s\n", at);
  CHECK("it ran", ok);
  while (ok && at) {
    const char *end = strchr(at, '|');
    int n = end ? (int)(end - at) : (int)strlen(at);
    if (n) printf("%.*s: no\n", n, at);
    CHECK("sentence", n == 0);
    at = end ? end + 1 : NULL;
  }
  while (nthreads > 0) pthread_join(threads[--nthreads], NULL);
  lua_close(L);
  return TEST_END();
}
