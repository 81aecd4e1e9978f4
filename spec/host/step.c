/* step.c - a host that runs the engine on its own thread, step by step, in the time of a clock that it lends. */
#include <poll.h>
#include <unistd.h>

#include "host.h"

static int64_t lent_clock(void *ud) { return atomic_load(&((host *)ud)->clock_ns); }

static lub_engine *open_stepped(host *h) {
  host_init(h);
  atomic_store(&h->clock_ns, 1000000000);
  lub_options o = host_options(h, -1);
  o.clock = lent_clock;
  lub_engine *e = NULL;
  if (lub_lua_engine_open(&o, &e)) abort();
  return e;
}

static void pass(host *h, double seconds) { atomic_fetch_add(&h->clock_ns, (int64_t)(seconds * 1e9)); }

/* Steps until there is nothing to do. */
static lub_status settle(lub_engine *e) {
  lub_status status;
  while ((status = lub_engine_step(e, 0)) == LUB_OK) continue;
  return status;
}

static void work_and_results(void) {
  host h;
  lub_engine *e = open_stepped(&h);
  lub_chan *work = host_chan(e, 1, "work"), *results = host_chan(e, 1, "results");
  lub_value got, args[] = {lub_of_chan(work), lub_of_chan(results)};
  char text[512];
  CHECK("no thread is started", lub_engine_threads(e) == 0);
  CHECK("there is nothing to do",
        lub_engine_timeout(e) == LUB_FOREVER && lub_engine_step(e, 0) == LUB_TIMEOUT);
  lub_worker *w = host_start(
      e, "local work, results = ... for n in work do results:send(n * n) end return 'bye'", args, 2);
  CHECK("a script that has started is something to do", lub_engine_timeout(e) == 0);
  CHECK("it runs until it waits", settle(e) == LUB_TIMEOUT && lub_engine_timeout(e) == LUB_FOREVER);
  int64_t sum = 0;
  for (int i = 1; i <= 100; i++) {
    lub_value v = lub_int(i);
    bool sent = lub_chan_send(work, &v, 0) == LUB_OK;
    (void)settle(e);
    if (sent && lub_chan_recv(results, &got, 0) == LUB_OK) sum += got.as.i;
  }
  CHECK("each result is there after its step", sum == 338350);
  lub_chan_close(work);
  CHECK("it has not ended before the next step", lub_script_result(w, &got) == LUB_BUSY);
  (void)settle(e);
  CHECK("and then it has", host_end(w, text) == LUB_OK && !strcmp(text, "bye"));
  lub_chan_drop(work);
  lub_chan_drop(results);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* Time is the host's: nothing is due before it moves the clock, and everything that is due is fired then. */
static void time_passes(void) {
  host h;
  lub_engine *e = open_stepped(&h);
  lub_chan *out = host_chan(e, 8, "out");
  lub_value got, arg = lub_of_chan(out);
  lub_worker *w = host_start(e,
                             "local lub, out = require 'lubdub', ...\n"
                             "lub.go(function() for t in lub.tick(3600) do out:send(t) end end)\n"
                             "lub.sleep(86400)\n"
                             "out:send('a day')",
                             &arg, 1);
  (void)settle(e);
  CHECK("the next timer is known, in lent seconds", lub_engine_timeout(e) == 3600);
  CHECK("before it nothing comes", lub_chan_recv(out, &got, 0) == LUB_TIMEOUT);
  pass(&h, 3599);
  CHECK("nor a second too early", lub_engine_step(e, 0) == LUB_TIMEOUT && lub_engine_timeout(e) == 1);
  pass(&h, 1);
  CHECK("then it does", lub_engine_timeout(e) == 0 && settle(e) == LUB_TIMEOUT &&
                            lub_chan_recv(out, &got, 0) == LUB_OK && got.as.n == 3601);
  int hours = 1;
  while (lub_script_result(w, &got) == LUB_BUSY && hours < 100) {
    pass(&h, lub_engine_timeout(e));
    (void)settle(e);
    while (lub_chan_recv(out, &got, 0) == LUB_OK) {
      hours += got.type == LUB_NUM;
      lub_value_drop(&got);
    }
  }
  CHECK("a day has 24 hours", (hours == 23 || hours == 24) && lub_engine_now(e) == 1 + 86400);
  CHECK("the script ends", host_end(w, NULL) == LUB_OK);
  lub_chan_drop(out);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- a loop of the host's own ---------------------------------------------------------------------------------- */

typedef struct loop { /* as a host with sockets has one */
  host h;
  int pipe[2]; /* `wake` writes, poll reads */
} loop;

static void wake(void *ud) {
  loop *l = ud;
  if (write(l->pipe[1], "!", 1) != 1) abort();
}

static void *feed(void *arg) {
  for (int i = 1; i <= 100; i++) {
    lub_value v = lub_int(i);
    if (lub_chan_send(arg, &v, LONG)) return "not sent";
  }
  return lub_chan_close(arg) ? "not closed" : NULL;
}

static void in_a_loop(void) {
  loop l;
  host_init(&l.h);
  lub_options o = host_options(&l.h, -1);
  lub_engine *e = NULL;
  o.wake = wake;
  if (pipe(l.pipe) || lub_lua_engine_open(&o, &e)) abort();
  lub_chan *work = host_chan(e, 0, "work"), *sum = host_chan(e, 1, "sum");
  lub_value got = {0}, args[] = {lub_of_chan(work), lub_of_chan(sum)};
  lub_worker *w = host_start(e,
                             "local lub, work, sum = require 'lubdub', ...\n"
                             "local s = 0 for n in work do s = s + n lub.sleep(0.0001) end sum:send(s)",
                             args, 2);
  pthread_t other;
  void *why;
  pthread_create(&other, NULL, feed, work);
  struct pollfd fd = {.fd = l.pipe[0], .events = POLLIN};
  bool idle = false;
  for (int turns = 0; lub_chan_recv(sum, &got, 0) != LUB_OK && turns < 100000 && !idle; turns++) {
    double timeout = lub_engine_timeout(e);
    char bytes[64];
    int ms = timeout > LONG ? (int)(LONG * 1000) : (int)(timeout * 1000 + 0.999);
    int n = poll(&fd, 1, ms);
    if (n > 0 && read(l.pipe[0], bytes, sizeof bytes) < 1) abort();
    idle = n == 0 && timeout > LONG;
    (void)settle(e);
  }
  pthread_join(other, &why);
  CHECK("the engine runs inside the host's loop", !idle && got.as.i == 5050 && why == NULL);
  (void)settle(e);
  CHECK("the script has ended", host_end(w, NULL) == LUB_OK);
  lub_chan_drop(work);
  lub_chan_drop(sum);
  CHECK("it closes, and leaks nothing", host_close(&l.h, e));
  close(l.pipe[0]);
  close(l.pipe[1]);
}

/* Or the engine's: a step sleeps until another thread has made work. */
static void in_a_step(void) {
  host h;
  lub_engine *e = host_open(&h, -1);
  lub_chan *work = host_chan(e, 0, "work");
  lub_value arg = lub_of_chan(work), got = {0};
  lub_worker *w = host_start(e, "local s = 0 for n in ... do s = s + n end return s", &arg, 1);
  pthread_t other;
  void *why;
  pthread_create(&other, NULL, feed, work);
  while (lub_script_result(w, &got) == LUB_BUSY && lub_engine_step(e, LONG) == LUB_OK) continue;
  pthread_join(other, &why);
  CHECK("what another thread sends is taken in a step", got.as.i == 5050 && why == NULL);
  lub_worker_drop(w);
  lub_chan_drop(work);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static void errors(void) {
  host h;
  lub_engine *e = open_stepped(&h);
  lub_worker_drop(host_start(e, "error 'oh no'", NULL, 0));
  (void)settle(e);
  CHECK("an error waits for who may join", h.nlog == 0 && lub_engine_failures(e) == 0);
  CHECK("for a second", lub_engine_timeout(e) == 1);
  pass(&h, 1);
  (void)settle(e);
  CHECK("then the host's log has it", host_logged(&h, "oh no") && lub_engine_failures(e) == 1);
  lub_chan *ch = host_chan(e, 0, "nobody");
  lub_value arg = lub_of_chan(ch);
  lub_worker *w = host_start(e, "(...):recv()", &arg, 1);
  CHECK("while the host may act, there is no deadlock", settle(e) == LUB_TIMEOUT);
  lub_engine_release(e);
  CHECK("when it will not, there is", lub_engine_step(e, LONG) == LUB_DEADLOCK);
  char *report = NULL;
  size_t n;
  FILE *out = open_memstream(&report, &n);
  lub_report_deadlock(e, out);
  (void)fclose(out);
  CHECK("and the report tells of it", strstr(report, "recv on 'nobody'") != NULL);
  free(report);
  lub_engine_hold(e);
  lub_worker_drop(w);
  lub_chan_drop(ch);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

typedef struct watchdog {
  lub_worker *w;
  lub_chan *ready;
  atomic_bool bites;
} watchdog;

static void *bite(void *arg) {
  watchdog *d = arg;
  lub_value got;
  if (lub_chan_recv(d->ready, &got, LONG)) return "it does not run";
  while (lub_worker_join(d->w, 0.01) == LUB_TIMEOUT) lub_worker_kill(d->w, "too long");
  return NULL;
}

/* Nobody preempts a script in a host's step. Another thread can kill it. */
static void endless(void) {
  host h;
  lub_engine *e = host_open(&h, -1);
  watchdog d = {.ready = host_chan(e, 1, "ready")};
  lub_value arg = lub_of_chan(d.ready);
  d.w = host_start(e, "(...):send(1) while true do pcall(function() while true do end end) end", &arg, 1);
  pthread_t other;
  void *why;
  pthread_create(&other, NULL, bite, &d);
  (void)settle(e);
  pthread_join(other, &why);
  CHECK("a kill from another thread ends a script that loops in a step", why == NULL);
  CHECK("it is dead", host_end(d.w, NULL) == LUB_KILLED);
  lub_chan_drop(d.ready);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* The end of what still waits runs inside the close. */
static void close_waits(void) {
  host h;
  lub_engine *e = open_stepped(&h);
  lub_chan *closed = host_chan(e, 1, "closed");
  lub_value arg = lub_of_chan(closed), got;
  lub_worker_drop(
      host_start(e,
                 "local closed, lub = ..., require 'lubdub'\n"
                 "local x <close> = setmetatable({}, { __close = function() closed:send(1) end })\n"
                 "lub.sleep(60)",
                 &arg, 1));
  lub_worker_drop(host_start(e, "while true do end", NULL, 0)); /* which never gets a step */
  (void)lub_engine_step(e, 0);
  CHECK("the workers end", lub_engine_end_workers(e, LONG) == LUB_OK);
  CHECK("with their close handlers", lub_chan_recv(closed, &got, 0) == LUB_OK);
  lub_worker_drop(host_start(e, "while true do end", NULL, 0));
  lub_chan_drop(closed);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

int main(void) {
  work_and_results();
  time_passes();
  in_a_loop();
  in_a_step();
  errors();
  endless();
  close_waits();
  return TEST_END();
}
