/* chrome.c - see chrome.h. */
#include "chrome.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "sim.h"

enum { DEPTH = 128, HEARTS = 0 /* the thread of all hearts; those of workers are their ids */ };

typedef struct event {
  double us;
  size_t number; /* in which they came */
  char *text;
} event;

typedef struct fiber { /* by its id */
  char *operation;     /* that it was about to do last, and now waits for; owned. NULL: none yet */
  double since_us;     /* when its last turn was over */
  uint64_t worker;
  bool waits;
} fiber;

typedef struct turn {
  double begin_us, time;
  uint64_t fiber, worker;
  char *did; /* owned */
} turn;

static struct {
  FILE *file;
  lub_sim *sim;
  double us; /* of the last event */
  event *events;
  size_t nevents, room;
  fiber *fibers;
  size_t nfibers;
  uint64_t *workers; /* that have a name */
  size_t nworkers;
  char **hearts; /* names, owned, of those that are open; by id */
  size_t nhearts;
  turn turns[DEPTH]; /* that are under way, the innermost last */
  int depth;
  bool over, spoilt;
} trace;

/* ---- events ------------------------------------------------------------------------------------------------------ */

static double tick(void) {
  double us = (double)lub_sim_now_ns(trace.sim) / 1e3;
  trace.us = us > trace.us + 1 ? us : trace.us + 1;
  return trace.us;
}

/* Makes room for number i of an array; what is new is zero. */
static bool reach(void **array, size_t *n, size_t i, size_t size) {
  if (i < *n) return true;
  size_t wanted = 2 * i + 64;
  char *grown = realloc(*array, wanted * size);
  if (!grown) {
    trace.spoilt = true;
    return false;
  }
  memset(grown + *n * size, 0, (wanted - *n) * size);
  *array = grown;
  *n = wanted;
  return true;
}

/* An event's text, to be closed by end_event; NULL without memory. */
static FILE *begin_event(double us, char phase, uint64_t tid) {
  static size_t n; /* not asked for: the text ends with a zero */
  if (!reach((void **)&trace.events, &trace.room, trace.nevents, sizeof *trace.events)) return NULL;
  event *e = &trace.events[trace.nevents];
  FILE *out = open_memstream(&e->text, &n);
  if (!out) {
    trace.spoilt = true;
    return NULL;
  }
  e->us = us;
  e->number = trace.nevents++;
  (void)fprintf(out, "{\"ph\":\"%c\",\"pid\":1,\"tid\":%llu,\"ts\":%.3f", phase, (unsigned long long)tid, us);
  return out;
}

static void end_event(FILE *out) {
  (void)fputc('}', out);
  if (fclose(out)) trace.spoilt = true;
}

static void put_text(FILE *out, const char *name, const char *text) {
  (void)fprintf(out, ",\"%s\":", name);
  lub_write_json(out, text, strlen(text));
}

/* Events that belong together by category and id. */
static void add_async(double us, char phase, uint64_t tid, const char *category, uint64_t id,
                      const char *name) {
  FILE *out = begin_event(us, phase, tid);
  if (!out) return;
  put_text(out, "cat", category);
  put_text(out, "name", name);
  (void)fprintf(out, ",\"id\":\"0x%llx\"", (unsigned long long)id);
  end_event(out);
}

static void add_name(const char *kind, uint64_t tid, const char *name) {
  FILE *out = begin_event(0, 'M', tid);
  if (!out) return;
  put_text(out, "name", kind);
  (void)fputs(",\"args\":{\"name\":", out);
  lub_write_json(out, name, strlen(name));
  (void)fputc('}', out);
  end_event(out);
}

/* ---- fibers ------------------------------------------------------------------------------------------------------ */

static void name_worker(const lub_worker *w) {
  if (!reach((void **)&trace.workers, &trace.nworkers, w->id, sizeof *trace.workers)) return;
  if (trace.workers[w->id]++) return;
  add_name("thread_name", w->id, w->name);
}

static char *name_fiber(uint64_t id) {
  char *text = NULL;
  size_t n;
  FILE *out = open_memstream(&text, &n);
  if (!out) return NULL;
  lub_sim_print_name(lub_command.engine, out, id);
  (void)fclose(out);
  return text;
}

static void add_wait(const fiber *f, uint64_t id, double until_us) {
  const char *what = f->operation ? f->operation : "start";
  char *name = name_fiber(id), text[200];
  (void)snprintf(text, sizeof text, "%s: %s", name ? name : "?", what);
  add_async(f->since_us, 'b', f->worker, "wait", id, text);
  add_async(until_us, 'e', f->worker, "wait", id, text);
  free(name);
}

static void begin_turn(const lub_worker *w, uint64_t id, double us) {
  name_worker(w);
  if (!reach((void **)&trace.fibers, &trace.nfibers, id, sizeof *trace.fibers) || trace.depth == DEPTH) {
    trace.spoilt = true;
    return;
  }
  fiber *f = &trace.fibers[id];
  if (f->waits) add_wait(f, id, us);
  f->waits = false;
  f->worker = w->id;
  trace.turns[trace.depth++] =
      (turn){.begin_us = us, .time = lub_sim_now(trace.sim), .fiber = id, .worker = w->id};
}

static void end_turn(double us) {
  if (!trace.depth) return;
  turn *t = &trace.turns[--trace.depth];
  FILE *out = begin_event(t->begin_us, 'X', t->worker);
  char *name = name_fiber(t->fiber);
  if (out) {
    put_text(out, "cat", "turn");
    put_text(out, "name", name ? name : "?");
    (void)fprintf(out, ",\"dur\":%.3f,\"args\":{\"time\":%.9f", us - t->begin_us, t->time);
    put_text(out, "did", t->did ? t->did : "");
    (void)fputc('}', out);
    end_event(out);
  }
  free(name);
  free(t->did);
  fiber *f = &trace.fibers[t->fiber];
  f->since_us = us;
  f->waits = true; /* unless it has ended: then it has no other turn */
}

static void on_turn(void *ud, const lub_worker *w, uint64_t id, bool begins) {
  (void)ud;
  if (trace.over) return;
  if (begins) begin_turn(w, id, tick());
  else end_turn(tick());
}

static void on_operation(void *ud, uint64_t id, const char *name, const char *object, const char *place) {
  (void)ud;
  if (trace.over || !trace.depth || id >= trace.nfibers) return;
  char text[160];
  (void)snprintf(text, sizeof text, *object ? "%s '%.64s'" : *name ? "%s" : "ready", name, object);
  free(trace.fibers[id].operation);
  trace.fibers[id].operation = strdup(text);
  if (!*name) return;
  turn *t = &trace.turns[trace.depth - 1];
  size_t n = t->did ? strlen(t->did) : 0, more = strlen(text) + strlen(place) + 8;
  char *did = n < 1000 ? realloc(t->did, n + more) : NULL;
  if (!did) return;
  t->did = did;
  (void)snprintf(did + n, more, "%s%s at %s", n ? ", " : "", text, place);
}

/* ---- hearts ------------------------------------------------------------------------------------------------------ */

static void open_heart(const lub_event *e, double us) {
  if (!reach((void **)&trace.hearts, &trace.nhearts, e->id, sizeof *trace.hearts)) return;
  free(trace.hearts[e->id]);
  trace.hearts[e->id] = strdup(e->heart);
  if (trace.hearts[e->id]) add_async(us, 'b', HEARTS, "heart", e->id, e->heart);
}

static void close_heart(uint64_t id, double us) {
  if (id >= trace.nhearts || !trace.hearts[id]) return;
  add_async(us, 'e', HEARTS, "heart", id, trace.hearts[id]);
  free(trace.hearts[id]);
  trace.hearts[id] = NULL;
}

static void add_verdict(const lub_event *e, double us) {
  char text[200];
  FILE *out = begin_event(us, 'i', HEARTS);
  if (!out) return;
  (void)snprintf(text, sizeof text, "%.64s: %.64s", e->heart, e->text);
  put_text(out, "cat", "verdict");
  put_text(out, "name", text);
  (void)fprintf(out, ",\"s\":\"t\",\"args\":{\"time\":%.9f}", e->time);
  end_event(out);
}

void lub_chrome_event(void *ud, const lub_event *e) {
  (void)ud;
  if (trace.over) return;
  if (!strcmp(e->what, "open")) open_heart(e, tick());
  else if (!strcmp(e->what, "close")) close_heart(e->id, tick());
  else if (!strcmp(e->what, "verdict")) add_verdict(e, tick());
  else if (strcmp(e->what, "park") != 0 && strcmp(e->what, "wake") != 0)
    add_async(tick(), 'n', HEARTS, "heart", e->id, e->what);
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

bool lub_chrome_begin(const char *path) {
  trace.file = fopen(path, "w");
  if (!trace.file) (void)fprintf(stderr, "lubdub: %s: %s\n", path, strerror(errno));
  return trace.file;
}

void lub_chrome_watch(lub_sim *s) {
  static const lub_sim_watcher watcher = {.turn = on_turn, .operation = on_operation};
  trace.sim = s;
  lub_sim_watch(lub_sim_engine(s), &watcher);
  add_name("process_name", HEARTS, "lubdub sim");
  add_name("thread_name", HEARTS, "hearts");
}

static void end_waits(lub_worker *w, void *us) {
  for (lub_link *k = lub_list_first(&w->fibers); k; k = lub_list_next(&w->fibers, k)) {
    uint64_t id = lub_container(k, lub_fiber, link)->wait.id;
    if (id < trace.nfibers && trace.fibers[id].waits) add_wait(&trace.fibers[id], id, *(double *)us);
  }
}

void lub_chrome_end(void) {
  if (trace.over) return;
  while (trace.depth) { /* who exits does so inside a turn */
    uint64_t id = trace.turns[trace.depth - 1].fiber;
    end_turn(tick());
    trace.fibers[id].waits = false;
  }
  double us = tick();
  trace.over = true;
  lub_workers_each(lub_command.engine, end_waits, &us);
  for (size_t i = 0; i < trace.nhearts; i++) close_heart(i, us);
}

static int earlier(const void *a, const void *b) {
  const event *x = a, *y = b;
  if (x->us != y->us) return x->us < y->us ? -1 : 1;
  return x->number < y->number ? -1 : x->number > y->number;
}

bool lub_chrome_write(void) {
  FILE *out = trace.file;
  lub_chrome_end();
  if (trace.nevents) qsort(trace.events, trace.nevents, sizeof *trace.events, earlier);
  (void)fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", out);
  for (size_t i = 0; i < trace.nevents; i++)
    (void)fprintf(out, "%s%s\n", trace.events[i].text, i + 1 < trace.nevents ? "," : "");
  (void)fputs("]}\n", out);
  bool failed = ferror(out);
  return !fclose(out) && !failed && !trace.spoilt;
}
