/* lreport.c - who does what: states, the dump of all workers, the deadlock with its cycle of waits.
 * A worker is described by its own thread, at a safe point; while everything is parked, by any. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "llub.h"
#include "lubdub_lua.h"

#define ANSWER_WITHIN 0.2 /* seconds, after which a worker is described from outside */

enum { KINDS = 64, GRAPH = 1000 };

/* ---- states ---------------------------------------------------------------------------------------------------- */

const char *lub_fiber_state(const lworker *lw, const lfiber *f) {
  const lub_wait *w = &f->core.wait;
  if (f->ended) return "dead";
  if (f->closing) return "stopping";
  if (f == lw->running && !w->parked) return "busy"; /* who drives siblings may be parked meanwhile */
  if (f->kill) return f->drives ? "zombie" : "stopping";
  if (!w->parked) return f->begun ? "runnable" : "starting";
  bool learns = f->turn && w->status == LUB_DEADLOCK; /* nothing has woken it */
  if (!atomic_load(&f->core.wait.open) && !learns) return "runnable";
  return w->count == 1 && w->waiters[0].send ? "blocked_send" : "idle";
}

const char *lub_worker_state(lub_worker *w) {
  int fate = atomic_load(&w->fate);
  if (fate == LUB_ENDED) return "dead";
  if (fate == LUB_FATE_KILLED) {
    pthread_mutex_lock(&w->engine->lock);
    bool zombie = w->zombie;
    pthread_mutex_unlock(&w->engine->lock);
    return zombie ? "zombie" : "dead";
  }
  if (atomic_load(&w->killed) || atomic_load(&w->cancelled)) return "stopping";
  switch (atomic_load(&w->state)) {
    case LUB_QUEUED: return atomic_load(&w->own.steps) ? "runnable" : "starting";
    case LUB_RUNNING:
    case LUB_NOTIFIED: return lub_watcher_sees_in_c(w->engine, w) ? "in_c" : "busy";
    default: return atomic_load(&w->blocked) ? "blocked_send" : "idle";
  }
}

/* A worker that describes itself may be running for that alone: it tells what it did before. */
static const char *state_before(const lworker *lw) {
  lub_worker *w = lw->core;
  if (atomic_load(&w->killed) || atomic_load(&w->cancelled)) return "stopping";
  if (lw->running != &lw->nobody && !lw->running->core.wait.parked) return "busy";
  for (lub_link *k = lub_list_first(&w->fibers); k; k = lub_list_next(&w->fibers, k))
    if (!lub_container(k, lub_fiber, link)->wait.parked)
      return atomic_load(&w->own.steps) ? "runnable" : "starting";
  return lub_fiber_state(lw, lw->main);
}

/* ---- one fiber --------------------------------------------------------------------------------------------------- */

/* The fiber whose end this waits for, or 0. */
static uint64_t joined_by(const lub_waiter *one) {
  if (one->ch) return one->ch->whose;
  return lub_link_queued(&one->link) ? (uint64_t)one->value.as.i : 0;
}

/* f waits for the end of the fiber with that number. */
static void describe_join(FILE *out, const lfiber *f, uint64_t joins, const lub_chan *done) {
  const lworker *lw = f->core.worker->data;
  if (joins == lw->main->core.wait.id) (void)fprintf(out, "join of fiber 'main'");
  else if (done && *done->name) (void)fprintf(out, "join of main of '%s'", done->name);
  else (void)fprintf(out, "join of fiber '%llu'", (unsigned long long)joins);
}

static void describe_wait(FILE *out, const lfiber *f) {
  const lub_wait *w = &f->core.wait;
  if (!w->parked) return;
  double age = (double)(lub_engine_now_ns(f->core.worker->engine) - w->since_ns) / 1e9;
  const char *before = ", waits: ";
  if (w->count == 0) (void)fputs(w->armed ? ", sleeps" : ", waits for ever", out);
  for (uint32_t i = 0; i < w->count; i++) {
    const lub_waiter *one = &w->waiters[i];
    uint64_t joins = joined_by(one);
    if (!joins && !one->ch) continue;
    (void)fputs(before, out);
    if (joins) describe_join(out, f, joins, one->ch);
    else if (one->ch->of_worker) (void)fprintf(out, "join of worker '%s'", one->ch->name);
    else (void)fprintf(out, "%s '%s'", one->send ? "send on" : "recv on", one->ch->name);
    before = " or ";
  }
  (void)fprintf(out, " for %.3f s", age > 0 ? age : 0);
}

bool lub_find_lua(lua_State *L, int level, const char *what, lua_Debug *ar) {
  for (int top = lua_gettop(L); lua_getstack(L, level, ar); level++) {
    lua_getinfo(L, what, ar);
    if (ar->currentline > 0) return true;
    lua_settop(L, top);
  }
  return false;
}

static void describe_place(FILE *out, lua_State *co) {
  lua_Debug ar;
  if (lub_find_lua(co, 0, "Sl", &ar)) (void)fprintf(out, " at %s:%d", ar.short_src, ar.currentline);
}

static void describe_site(FILE *out, lworker *lw, const lfiber *f) {
  lua_Debug ar;
  if (f->main || f->line <= 0) return;
  lub_fiber_site(lw, f, &ar);
  (void)fprintf(out, ", started at %s:%d", ar.short_src, f->line);
}

/* The coroutine in which it runs or waits. */
static lua_State *where(const lworker *lw, const lfiber *f) {
  return f == lw->running && lw->innermost ? lw->innermost : lub_innermost(f->co);
}

/* What it does, without its name; to be freed. NULL without memory. */
static char *describe(lworker *lw, const lfiber *f) {
  char *text = NULL;
  size_t n;
  FILE *out = open_memstream(&text, &n);
  if (!out) return NULL;
  (void)fputs(lub_fiber_state(lw, f), out);
  describe_wait(out, f);
  describe_place(out, where(lw, f));
  describe_site(out, lw, f);
  (void)fclose(out);
  return text;
}

/* ---- one worker -------------------------------------------------------------------------------------------------- */

/* Fibers that do the same at the same place are told once. */
static void describe_worker(FILE *out, lworker *lw) {
  struct {
    char *text;
    lfiber *first;
    size_t count;
  } kinds[KINDS];
  size_t nkinds = 0, others = 0, nfibers = 0;
  lub_worker *w = lw->core;
  for (lub_link *k = lub_list_first(&w->fibers); k; k = lub_list_next(&w->fibers, k), nfibers++) {
    lfiber *f = (lfiber *)(void *)lub_container(k, lub_fiber, link);
    char *text = nkinds < KINDS || nfibers < GRAPH ? describe(lw, f) : NULL;
    size_t i = 0;
    while (i < nkinds && text && strcmp(kinds[i].text, text) != 0) i++;
    if (!text || i == KINDS) {
      others++;
    } else if (i < nkinds) {
      kinds[i].count++;
    } else {
      kinds[nkinds].text = text;
      kinds[nkinds].first = f;
      kinds[nkinds++].count = 1;
      text = NULL;
    }
    free(text);
  }
  int kib = lua_gc(lw->L, LUA_GCCOUNT); /* -1 inside a finalizer */
  (void)fprintf(out, "worker '%s' [%s] fibers=%zu memory=%d KiB\n", w->name, state_before(lw), nfibers,
                kib < 0 ? 0 : kib);
  for (size_t i = 0; i < nkinds; i++) {
    if (kinds[i].first->main) (void)fprintf(out, "  fiber 'main' ");
    else (void)fprintf(out, "  fiber '%llu' ", (unsigned long long)kinds[i].first->core.wait.id);
    (void)fprintf(out, "%s\n", kinds[i].text);
    if (kinds[i].count > 1)
      (void)fprintf(out, "  ... and %zu more that do the same there\n", kinds[i].count - 1);
    free(kinds[i].text);
  }
  if (others) (void)fprintf(out, "  ... and %zu other fibers\n", others);
}

static int push_traceback(lua_State *L) {
  const lfiber *f = lua_touserdata(L, 1);
  lua_State *co = where(f->core.worker->data, f);
  luaL_traceback(L, co, NULL, co == L); /* without this function */
  return 1;
}

/* The traceback of the fiber of h: it may have ended. */
static void describe_one(FILE *out, lworker *lw, const lub_heart *h) {
  lfiber *f = (lfiber *)(void *)h->fiber;
  if (!f || !f->co) return;
  lua_pushcfunction(lw->L, push_traceback);
  lua_pushlightuserdata(lw->L, f);
  if (lua_pcall(lw->L, 1, 1, 0) == LUA_OK) (void)fputs(lua_tostring(lw->L, -1), out);
  lua_pop(lw->L, 1);
}

/* The text of the worker, or of one of its fibers, that of a heart, as a value. */
static lub_status answer(lworker *lw, const lub_object *about, lub_value *out) {
  char *text = NULL;
  size_t n = 0;
  FILE *stream = open_memstream(&text, &n);
  if (!stream) return LUB_NOMEM;
  if (about) describe_one(stream, lw, lub_container(about, lub_heart, obj));
  else describe_worker(stream, lw);
  lub_status status = fclose(stream) ? LUB_NOMEM : lub_string(lw->core->engine, text, n, out);
  free(text);
  return status;
}

/* Gives v, or, if there was no memory for it, a text that needs none, to who has asked. */
static void hand_in(lworker *lw, lub_ask *ask, lub_status status, lub_value *v) {
  static const char none[] = "(no memory)\n";
  if (status != LUB_OK) (void)lub_string(lw->core->engine, none, sizeof none - 1, v);
  if (lub_chan_send(ask->to, v, 0) != LUB_OK) lub_value_drop(v);
  lub_ask_drop(lw->core, ask);
}

void lub_report_answer(lworker *lw) {
  lub_ask *ask;
  lub_value v;
  while ((ask = lub_worker_asked(lw->core, NULL))) hand_in(lw, ask, answer(lw, ask->about, &v), &v);
}

/* A worker that has not answered: it is inside a C call, or its thread has no CPU. A host's, which nobody interrupts, may
 * as well be computing. */
static void describe_silent(lub_worker *w, void *ud) {
  lub_ask *ask = lub_worker_asked(w, NULL);
  if (!ask) return;
  lub_ask_drop(w, ask);
  const char *state = lub_worker_state(w);
  bool computes = w->pinned && strcmp(state, "in_c") != 0;
  (void)fprintf(ud, "worker '%s' [%s] no answer: %s\n", w->name, state,
                computes ? "it computes" : "in a C call");
}

void lub_report_all(lub_engine *e, FILE *out) {
  lub_chan *ch;
  size_t n;
  if (lub_workers_report(e, &ch, &n)) {
    (void)fprintf(out, "lubdub: not enough memory for a report\n");
    return;
  }
  double until = lub_engine_now(e) + ANSWER_WITHIN;
  lub_value v;
  while (n > 0 && lub_chan_recv(ch, &v, until - lub_engine_now(e)) == LUB_OK) {
    size_t size;
    const char *text = lub_text(&v, &size);
    (void)fwrite(text, 1, size, out);
    lub_value_drop(&v);
    n--;
  }
  lub_chan_drop(ch);
  if (n > 0) lub_workers_each(e, describe_silent, out);
  (void)fflush(out);
}

/* ---- the same in Lua ------------------------------------------------------------------------------------------------ */

static int dump_more(lua_State *L, int status, lua_KContext left);

/* Where dump writes to; another fiber may have closed it while this one waited. */
static FILE *dump_file(lua_State *L) {
  const luaL_Stream *file = lua_touserdata(L, 1);
  if (!file->closef) luaL_error(L, "dump: the file was closed meanwhile");
  return file->f;
}

/* Writes v, which it takes. False: it cannot, errno says why. */
static bool dump_value(lua_State *L, lub_value *v) {
  size_t n;
  const luaL_Stream *file = lua_touserdata(L, 1);
  const char *text = lub_text(v, &n);
  bool written = file->closef && fwrite(text, 1, n, file->f) == n;
  int why = errno;
  lub_value_drop(v);
  (void)dump_file(L);
  errno = why;
  return written;
}

/* At index 1 the file, at 2 the channel, at 3 the time to end at; writes what has come, or waits for more. */
static int dump_wait(lua_State *L, lua_KContext left) {
  lworker *lw = lub_lworker(L);
  lub_chan *ch = lub_test_chan(L, 2)->ch;
  while (left > 0) {
    int64_t deadline = lua_tointeger(L, 3);
    (void)lub_may_wait(L, lw, &deadline);
    lub_value v;
    lub_fiber *f = &lw->running->core;
    lub_status status = lub_wait_recv(&f->wait, &f->one, ch, &v, deadline);
    if (status == LUB_PARK) return lub_park(L, lw, left, dump_more);
    if (status != LUB_OK) break;
    if (!dump_value(L, &v)) return luaL_fileresult(L, false, NULL);
    left--;
  }
  FILE *out = dump_file(L);
  if (left > 0) lub_workers_each(lw->core->engine, describe_silent, out);
  return luaL_fileresult(L, !fflush(out), NULL);
}

static int dump_more(lua_State *L, int s, lua_KContext left) {
  (void)s;
  lworker *lw = lub_lworker(L);
  lub_status status = lub_finish(L, lw);
  if (status != LUB_OK) {
    lua_pushinteger(L, 0); /* too late, or cancelled: what is missing is described from outside */
    lua_replace(L, 3);
    return dump_wait(L, left);
  }
  lub_value v = lw->running->core.one.value;
  if (!dump_value(L, &v)) return luaL_fileresult(L, false, NULL);
  return dump_wait(L, left - 1);
}

/* lub.dump([file]) -> true | nil, why, errno: what every worker and fiber does, to an open file (stderr). */
int lub_dump(lua_State *L) {
  lworker *lw = lub_lworker(L);
  lub_engine *e = lw->core->engine;
  lub_check_surplus(L, 1, "dump");
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lub_require(L, LUA_IOLIBNAME);
    lua_getfield(L, 1, "stderr");
    lua_replace(L, 1);
  }
  luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  if (!file || !file->closef) lub_arg_error(L, "dump", 1, "an open file");
  lua_settop(L, 1);
  lub_chan *ch;
  size_t n;
  if (lub_workers_report(e, &ch, &n)) return luaL_error(L, "dump: not enough memory");
  lub_value v = lub_of_chan(ch);
  lub_chan_drop(ch);
  lub_take(L, &v);
  lua_pushinteger(L, lub_engine_deadline(e, ANSWER_WITHIN));
  lub_report_answer(lw);
  return dump_wait(L, (lua_KContext)n);
}

/* On top: the text, or nil. */
static int report_came(lua_State *L, int s, lua_KContext k) {
  lworker *lw = lub_lworker(L);
  if (lub_finish(L, lw) == LUB_OK) lub_take(L, &lw->running->core.one.value);
  else lua_pushnil(L);
  return ((lua_KFunction)k)(L, s, 0);
}

int lub_await_report(lua_State *L, lub_chan *ch, double within, lua_KFunction k) {
  lworker *lw = lub_lworker(L);
  lub_value v = lub_of_chan(ch);
  lub_chan_drop(ch);
  lub_take(L, &v); /* the stack holds it while this fiber waits */
  int64_t deadline = lub_engine_deadline(lw->core->engine, within);
  (void)lub_may_wait(L, lw, &deadline);
  lub_fiber *f = &lw->running->core;
  lub_status status = lub_wait_recv(&f->wait, &f->one, ch, &v, deadline);
  if (status == LUB_PARK) return lub_park(L, lw, (lua_KContext)k, report_came);
  if (status == LUB_OK) lub_take(L, &v);
  else lua_pushnil(L);
  return k(L, LUA_OK, 0);
}

/* w:traceback() -> what its fibers do; "" when it does not answer */
static int traceback_came(lua_State *L, int s, lua_KContext ctx) {
  (void)s;
  (void)ctx;
  if (lua_isnil(L, -1)) lua_pushliteral(L, "");
  return 1;
}

int lub_worker_traceback(lua_State *L, lub_worker *w) {
  lworker *lw = lub_lworker(L);
  lub_chan *ch;
  if (lub_worker_ask(w, NULL, &ch)) return luaL_error(L, "traceback: not enough memory");
  if (w == lw->core) lub_report_answer(lw);
  return lub_await_report(L, ch, ANSWER_WITHIN, traceback_came);
}

/* ---- the deadlock ----------------------------------------------------------------------------------------------------- */

/* The graph of waits. A fiber waits for another if that one's end would wake it, or if no other is known that may do
 * with the channel what would: who has it, in a local or an upvalue of a function on its stack, and waits for something
 * on channels, though not for the same. Who waits for an end expects others to go on without him. */
typedef struct node {
  lworker *lw;
  lfiber *f;
  uint32_t next; /* whom it waits for, or graph.n; known when it is seen */
  uint32_t seen; /* by the search that began at the node before this number; 0: not yet */
} node;

typedef struct graph {
  node all[GRAPH];
  uint32_t n;
} graph;

static void add_nodes(lub_worker *w, void *ud) {
  graph *g = ud;
  for (lub_link *k = lub_list_first(&w->fibers); k && g->n < GRAPH; k = lub_list_next(&w->fibers, k))
    g->all[g->n++] = (node){.lw = w->data, .f = (lfiber *)(void *)lub_container(k, lub_fiber, link)};
}

static bool is_handle_of(lua_State *L, const lub_chan *ch, bool send) {
  lchan *box = lub_test_chan(L, -1);
  /* who waits to send needs a receiver, who waits to receive a sender */
  bool it = box && box->ch == ch && box->view != (send ? LUB_VIEW_SEND : LUB_VIEW_RECV);
  lua_pop(L, 1);
  return it;
}

static bool knows(lua_State *co, const lub_chan *ch, bool send) {
  lua_Debug ar;
  if (!lua_checkstack(co, 4)) return false;
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    for (int i = 1; lua_getlocal(co, &ar, i); i++)
      if (is_handle_of(co, ch, send)) return true;
    lua_getinfo(co, "f", &ar);
    bool found = false;
    for (int i = 1; !found && lua_getupvalue(co, -1, i); i++) found = is_handle_of(co, ch, send);
    lua_pop(co, 1);
    if (found) return true;
  }
  return false;
}

/* Whether it may turn to the other operation, once it goes on. */
static bool may_oppose(const lub_wait *w, const lub_chan *ch, bool send) {
  bool may = false;
  for (uint32_t i = 0; i < w->count; i++) {
    const lub_chan *its = w->waiters[i].ch;
    if (its == ch && w->waiters[i].send == send) return false;
    may |= its && !its->whose && !its->of_worker;
  }
  return may;
}

static bool has(const lfiber *f, const lub_chan *ch, bool send) {
  lua_State *innermost = lub_innermost(f->co);
  return knows(innermost, ch, send) || (f->co != innermost && knows(f->co, ch, send));
}

/* Whether n may end what `one` waits for. */
static bool may_serve(const node *n, const lub_waiter *one) {
  const lub_chan *ch = one->ch;
  uint64_t joins = joined_by(one);
  if (joins) return joins == n->f->core.wait.id;
  if (!ch) return false;
  if (ch->of_worker) return ch == n->lw->core->done && n->f->main;
  return may_oppose(&n->f->core.wait, ch, one->send) && has(n->f, ch, one->send);
}

static bool may_wake(const node *n, const lub_wait *w) {
  for (uint32_t i = 0; i < w->count; i++)
    if (may_serve(n, &w->waiters[i])) return true;
  return false;
}

/* The only one that may wake it, or g->n. */
static uint32_t waits_for(const graph *g, const node *n) {
  uint32_t only = g->n;
  for (uint32_t i = 0; i < g->n; i++) {
    if (!may_wake(&g->all[i], &n->f->core.wait)) continue;
    if (only < g->n) return g->n;
    only = i;
  }
  return only;
}

/* A node of a cycle, or g->n; its `next`s lead around. */
static uint32_t find_cycle(graph *g) {
  for (uint32_t start = 0; start < g->n; start++) {
    uint32_t at = start;
    while (at < g->n && !g->all[at].seen) {
      g->all[at].seen = start + 1;
      at = g->all[at].next = waits_for(g, &g->all[at]);
    }
    if (at < g->n && g->all[at].seen == start + 1) return at;
  }
  return g->n;
}

static void name_node(FILE *out, const node *n) {
  if (n->f->main) (void)fprintf(out, "main of '%s'", n->lw->core->name);
  else (void)fprintf(out, "fiber '%llu'", (unsigned long long)n->f->core.wait.id);
}

static void report_cycle(lub_engine *e, FILE *out) {
  graph *g = calloc(1, sizeof *g);
  if (!g) return;
  lub_workers_each(e, add_nodes, g);
  uint32_t first = find_cycle(g), at = first;
  if (first < g->n) {
    (void)fprintf(out, "cycle: ");
    name_node(out, &g->all[first]);
    do {
      at = g->all[at].next;
      (void)fprintf(out, " -> ");
      name_node(out, &g->all[at]);
    } while (at != first);
    (void)fprintf(out, "\n");
  }
  free(g);
}

/* Nobody waits for the judge. */
static void report_parked(lub_worker *w, void *ud) {
  lworker *lw = w->data;
  if (!lw->judge) describe_worker(ud, lw);
}

void lub_report_waits(lub_engine *e, FILE *out) {
  lub_workers_each(e, report_parked, out);
  report_cycle(e, out);
}

char *lub_report_text(lub_engine *e) {
  char *text = NULL;
  size_t n;
  FILE *out = open_memstream(&text, &n);
  if (!out) return NULL;
  lub_report_waits(e, out);
  (void)fclose(out);
  if (text && n) text[n - 1] = 0; /* without the last line's end */
  return text;
}

void lub_report_deadlock(lub_engine *e, FILE *out) {
  (void)fprintf(out, "lubdub: deadlock: every fiber waits, and nothing can wake one\n");
  lub_report_waits(e, out);
  (void)fflush(out);
}
