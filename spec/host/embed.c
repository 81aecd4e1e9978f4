/* embed.c - a host with threads of its own: it hands a script channels, feeds it work, reads results, and ends. */
#include <unistd.h>

#include "host.h"

enum { ITEMS = 1000 };

/* ---- work and results ------------------------------------------------------------------------------------------ */

typedef struct feed {
  pthread_t thread;
  lub_chan *ch;
  int first, last;
  lub_status status;
} feed;

static void *feed_work(void *arg) {
  feed *f = arg;
  f->status = LUB_OK;
  for (int i = f->first; i <= f->last && f->status == LUB_OK; i++) {
    lub_value v = lub_int(i);
    f->status = lub_chan_send(f->ch, &v, LONG);
  }
  return NULL;
}

static void work_and_results(int carriers, size_t capacity) {
  host h;
  lub_engine *e = host_open(&h, carriers);
  lub_chan *work = host_chan(e, capacity, "work"), *results = host_chan(e, capacity, "results");
  lub_value got, args[] = {lub_of_chan(work), lub_of_chan(results)};
  lub_worker *w = host_start(e,
                             "local work, results = ...\n"
                             "for n in work do results:send(n * n) end\n"
                             "results:close()\n"
                             "return 'bye'",
                             args, 2);
  feed f = {.ch = work, .first = 1, .last = ITEMS};
  pthread_create(&f.thread, NULL, feed_work, &f);
  int64_t n = 0;
  bool in_order = true;
  while (n < ITEMS && lub_chan_recv(results, &got, LONG) == LUB_OK) {
    n++;
    in_order &= got.type == LUB_INT && got.as.i == n * n;
  }
  pthread_join(f.thread, NULL);
  lub_chan_close(work);
  char text[512];
  CHECK("all work is taken", f.status == LUB_OK);
  CHECK("every result comes, in order", n == ITEMS && in_order);
  CHECK("and then the end", lub_chan_recv(results, &got, LONG) == LUB_CLOSED);
  CHECK("the script's result is there", host_end(w, text) == LUB_OK && strcmp(text, "bye") == 0);
  lub_chan_drop(work);
  lub_chan_drop(results);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
  CHECK("there was nothing to complain of", h.nlog == 0);
}

/* Several of each: what is sent once is received once. */
static void many(void) {
  enum { FEEDS = 3, SCRIPTS = 4 };
  host h;
  lub_engine *e = host_open(&h, 2);
  lub_chan *work = host_chan(e, 0, "work"), *results = host_chan(e, 0, "results"), *never = NULL;
  lub_worker *w[SCRIPTS];
  feed f[FEEDS];
  for (int i = 0; i < SCRIPTS; i++) {
    lub_value args[] = {lub_of_chan(work), lub_of_chan(results)};
    w[i] = host_start(e, "local work, results = ... for n in work do results:send(n) end", args, 2);
  }
  for (int i = 0; i < FEEDS; i++) {
    f[i] = (feed){.ch = work, .first = i * ITEMS + 1, .last = (i + 1) * ITEMS};
    pthread_create(&f[i].thread, NULL, feed_work, &f[i]);
  }
  lub_case cases[] = {{.ch = never}, {.ch = results}};
  int64_t sum = 0, n = FEEDS * ITEMS;
  size_t at = 0;
  for (int64_t i = 0; i < n; i++)
    if (lub_select(e, cases, 2, false, LONG, &at) == LUB_OK && at == 1) sum += cases[1].value.as.i;
  for (int i = 0; i < FEEDS; i++) pthread_join(f[i].thread, NULL);
  lub_chan_close(work);
  CHECK("a select of the host gets each result once", sum == n * (n + 1) / 2);
  for (int i = 0; i < SCRIPTS; i++) CHECK("each script ends", host_end(w[i], NULL) == LUB_OK);
  lub_chan_drop(work);
  lub_chan_drop(results);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- what crosses ------------------------------------------------------------------------------------------------ */

static void values(void) {
  host h;
  lub_engine *e = host_open(&h, 1);
  lub_chan *ch = host_chan(e, 8, "values");
  char text[512];
  size_t n;
  lub_value args[] = {lub_bool(true), lub_nil(), lub_num(0.5), lub_of_chan(ch), lub_nil()}, got, name;
  if (lub_string(e, "zeros\0in a string that needs a block", 36, &args[4])) abort();
  if (lub_string(e, "Dr. Lown", 8, &name)) abort();
  CHECK("a value is published", lub_engine_publish(e, "doctor", &name) == LUB_OK && name.type == LUB_NIL);
  lub_worker *w =
      host_start(e,
                 "local lub = require 'lubdub'\n"
                 "local yes, none, half, ch, text = ...\n"
                 "assert(yes == true and none == nil and half == 0.5 and select('#', ...) == 5)\n"
                 "assert(arg[0] == 'test' and arg[3] == half and arg[4] == ch and arg[5] == text)\n"
                 "assert(lub.named 'nobody' == nil)\n"
                 "ch:send(text); ch:send(7); ch:send(1e300); ch:send(false)\n"
                 "ch:send({}); ch:send(ch); ch:send(lub.named 'doctor')\n"
                 "return ch",
                 args, 5);
  CHECK("the script ends well", lub_worker_join(w, LONG) == LUB_OK);
  CHECK("a string comes with its zeros", lub_chan_recv(ch, &got, 0) == LUB_OK && lub_text(&got, &n) &&
                                             n == 36 && memcmp(lub_text(&got, NULL), "zeros\0in", 8) == 0);
  lub_value_drop(&got);
  CHECK("an integer", lub_chan_recv(ch, &got, 0) == LUB_OK && got.type == LUB_INT && got.as.i == 7);
  CHECK("a float", lub_chan_recv(ch, &got, 0) == LUB_OK && got.type == LUB_NUM && got.as.n == 1e300);
  CHECK("a boolean", lub_chan_recv(ch, &got, 0) == LUB_OK && got.type == LUB_BOOL && !got.as.b);
  CHECK("a table, opaque", lub_chan_recv(ch, &got, 0) == LUB_OK && got.type == LUB_PACKED &&
                               !lub_text(&got, NULL) && !lub_to_chan(&got));
  lub_value_drop(&got);
  CHECK("a channel", lub_chan_recv(ch, &got, 0) == LUB_OK && lub_to_chan(&got) == ch);
  lub_value_drop(&got);
  CHECK("what was published",
        lub_chan_recv(ch, &got, 0) == LUB_OK && !strcmp(lub_text(&got, NULL), "Dr. Lown"));
  lub_value_drop(&got);
  CHECK("a result may be asked for twice", lub_script_result(w, &got) == LUB_OK && lub_to_chan(&got) == ch);
  lub_value_drop(&got);
  CHECK("also as the last thing", host_end(w, text) == LUB_OK && !*text);
  lub_chan_drop(ch);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Close ends what still runs, and waits for it. */
static void close_waits(int carriers) {
  host h;
  lub_engine *e = host_open(&h, carriers);
  lub_chan *ready = host_chan(e, 0, "ready");
  lub_value got;
  static const char *const endless[] = {
      "(...):send(1) while true do end",
      "(...):send(1) while true do pcall(function() while true do end end) end",
      "local ready = ... local lub = require 'lubdub' local w = lub.spawn(function(c) c:recv() end, lub.chan())\n"
      "local x <close> = setmetatable({}, { __close = function() lub.named('closed'):send(true) end })\n"
      "ready:send(1) w:join()",
      "local lub = require 'lubdub' lub.tick(0.001); (...):send(1) lub.chan():recv()"};
  lub_chan *closed = host_chan(e, 4, "closed");
  lub_value v = lub_of_chan(closed);
  if (lub_engine_publish(e, "closed", &v)) abort();
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    v = lub_of_chan(ready);
    lub_worker_drop(host_start(e, endless[i], &v, 1));
    CHECK("the script runs", lub_chan_recv(ready, &got, LONG) == LUB_OK);
  }
  CHECK("all can be ended before", lub_engine_end_workers(e, LONG) == LUB_OK);
  CHECK("their close handlers have run", lub_chan_recv(closed, &got, 0) == LUB_OK);
  v = lub_of_chan(ready);
  lub_worker_drop(host_start(e, endless[0], &v, 1));
  CHECK("others may follow", lub_chan_recv(ready, &got, LONG) == LUB_OK);
  lub_chan_drop(ready);
  lub_chan_drop(closed);
  CHECK("it closes all the same, and leaks nothing", host_close(&h, e));
  CHECK("a kill is nothing to complain of", h.nlog == 0);
}

/* What is still referenced keeps the engine, which says so, and closes later. */
static void close_refuses(void) {
  host h;
  lub_engine *e = host_open(&h, 1);
  lub_chan *ch = host_chan(e, 1, "forgotten");
  lub_value v = lub_of_chan(ch); /* in its own buffer: nobody's */
  if (lub_chan_send(ch, &v, 0)) abort();
  lub_worker *w = host_start(e, "return 1", NULL, 0);
  CHECK("a channel that is out keeps the engine", lub_engine_close(e) == LUB_BUSY);
  CHECK("which names it", host_logged(&h, "channel 'forgotten' is still referenced"));
  lub_chan_drop(ch);
  CHECK("so does a worker",
        lub_engine_close(e) == LUB_BUSY && host_logged(&h, "worker 'test' is still referenced"));
  lub_worker_drop(w);
  CHECK("then it closes, and leaks nothing", host_close(&h, e));
}

/* A script inside a C call cannot be ended before the call returns: close says so at once, and can be called again. */
static void close_during_a_call(void) {
  host h;
  lub_engine *e = host_open(&h, 1);
  int begun[2], ends[2];
  char command[128], byte;
  lub_value arg;
  if (pipe(begun) || pipe(ends)) abort();
  int n = snprintf(command, sizeof command, "echo >/dev/fd/%d; head -c 1 </dev/fd/%d >/dev/null", begun[1],
                   ends[0]);
  if (lub_string(e, command, (size_t)n, &arg)) abort();
  lub_worker *w = host_start(e, "os.execute((...))", &arg, 1);
  CHECK("the call has begun", read(begun[0], &byte, 1) == 1);
  CHECK("close does not wait for a C call", lub_engine_close(e) == LUB_BUSY && lub_engine_zombies(e) == 1);
  CHECK("the script is dead to its host", host_end(w, NULL) == LUB_KILLED);
  if (write(ends[1], "x", 1) != 1) abort();
  while (lub_engine_zombies(e)) sched_yield();
  CHECK("after the call it closes, and leaks nothing", host_close(&h, e));
  for (int i = 0; i < 2; i++) {
    close(begun[i]);
    close(ends[i]);
  }
}

int main(void) {
  work_and_results(1, 0);
  work_and_results(2, 0);
  work_and_results(2, 64);
  many();
  values();
  close_waits(1);
  close_waits(2);
  close_refuses();
  close_during_a_call();
  return TEST_END();
}
