/* worker_test.c - workers without Lua: what runs in their slices is C, so that the state word, ends and kills are
 * tested by themselves. A worker here sums what it receives until its channel closes, and sends the sum. */
#include "worker.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "carrier.h"
#include "engine.h"
#include "memory.h"
#include "test.h"
#include "threads.h"
#include "tick.h"

enum { FIBERS = 3, ITEMS = 3000, WORKERS = 50 };

typedef struct job {
  lub_fiber fibers[FIBERS];
  bool begun[FIBERS], sending[FIBERS];
  int nfibers, alive;
  lub_chan *in, *out;
  int64_t sum;
  atomic_bool stuck, let_go; /* the run function stays inside, as in a C call that blocks */
  atomic_int slices, freed;
  lub_status last;
} job;

static void end_fiber(job *j, lub_fiber *f) {
  lub_fiber_close(f);
  j->alive--;
}

/* One fiber, from where it parked to where it parks again. */
static void step(job *j, lub_fiber *f) {
  size_t i = (size_t)(f - j->fibers);
  lub_value v = {0};
  lub_status s = LUB_OK;
  if (!j->begun[i] && atomic_load(&f->worker->killed)) s = LUB_KILLED; /* it need not begin */
  if (j->begun[i]) {
    s = lub_wait_finish(&f->wait);
    v = f->one.value;
    if (s == LUB_OK && !j->sending[i]) j->sum += v.as.i;
  }
  j->begun[i] = true;
  while (s == LUB_OK && !j->sending[i]) {
    s = lub_wait_recv(&f->wait, &f->one, j->in, &v, LUB_NEVER);
    if (s == LUB_OK) j->sum += v.as.i;
  }
  if (s == LUB_CLOSED && !j->sending[i] && j->alive == 1) {
    v = lub_int(j->sum);
    j->sending[i] = true;
    s = lub_wait_send(&f->wait, &f->one, j->out, &v, LUB_NEVER);
  }
  if (s == LUB_PARK) return;
  j->last = s;
  end_fiber(j, f);
}

static void abort_all(job *j, lub_worker *w, lub_status status) {
  for (lub_link *k = lub_list_first(&w->fibers); k; k = lub_list_next(&w->fibers, k)) {
    lub_fiber *f = lub_container(k, lub_fiber, link);
    if (f->wait.parked) (void)lub_wait_abort(&f->wait, status);
  }
  (void)j;
}

static void look_at_requests(job *j, lub_worker *w) {
  if (!atomic_exchange(&w->requested, false)) return;
  if (atomic_load(&w->killed)) abort_all(j, w, LUB_KILLED);
  else if (atomic_load(&w->cancelled)) abort_all(j, w, LUB_CANCELLED);
}

static void run(lub_worker *w) {
  job *j = w->data;
  lub_fiber *f;
  atomic_fetch_add(&j->slices, 1);
  while (atomic_load(&j->stuck) && !atomic_load(&j->let_go)) sched_yield();
  look_at_requests(j, w);
  while ((f = lub_worker_next(w))) {
    step(j, f);
    look_at_requests(j, w);
  }
  if (j->alive == 0) lub_worker_end(w);
}

static void freed(lub_worker *w) { atomic_fetch_add(&((job *)w->data)->freed, 1); }

static lub_worker *prepare(lub_engine *e, job *j, int nfibers, lub_chan *in, lub_chan *out) {
  lub_worker *w;
  if (lub_worker_open(e, "sum", false, &w)) return NULL;
  *j = (job){.in = in, .out = out, .nfibers = nfibers, .alive = nfibers};
  w->data = j;
  w->run = run;
  w->free_data = freed;
  for (int i = 0; i < nfibers; i++) {
    lub_fiber_init(&j->fibers[i], w);
    lub_fiber_inbox(&j->fibers[i]);
  }
  return w;
}

static lub_worker *start(lub_engine *e, job *j, int nfibers, lub_chan *in, lub_chan *out) {
  lub_worker *w = prepare(e, j, nfibers, in, out);
  if (!w) abort();
  lub_worker_start(w);
  return w;
}

static void life(lub_engine *e) {
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, 0);
  job j;
  lub_worker *w = start(e, &j, 1, in, out);
  lub_value got;
  CHECK("a worker has a name and a number", strcmp(lub_worker_name(w), "sum") == 0 && lub_worker_id(w) > 0);
  CHECK("it runs on: a join in no time is a timeout", lub_worker_join(w, 0) == LUB_TIMEOUT);
  for (int i = 1; i <= 10; i++) {
    lub_value v = lub_int(i);
    (void)lub_chan_send(in, &v, LUB_FOREVER);
  }
  lub_chan_close(in);
  CHECK("it has received all", lub_chan_recv(out, &got, LUB_FOREVER) == LUB_OK && got.as.i == 55);
  CHECK("it ends", lub_worker_join(w, LUB_FOREVER) == LUB_OK);
  CHECK("and stays so", lub_worker_join(w, 0) == LUB_OK);
  while (lub_workers_count(e)) sched_yield(); /* its carrier takes it from the list a moment later */
  lub_worker_cancel(w, "late");
  lub_worker_kill(w, "late");
  CHECK("what has ended cannot be killed", atomic_load(&w->fate) == LUB_ENDED && atomic_load(&j.freed) == 0);
  lub_worker_ref(w);
  lub_worker_drop(w);
  lub_worker_drop(w);
  while (!atomic_load(&j.freed)) sched_yield(); /* its carrier lets go of it after its slice */
  lub_chan_drop(in);
  lub_chan_drop(out);
}

static void cancelled(lub_engine *e) {
  lub_chan *in = open_chan(e, 0);
  job j;
  lub_worker *w = start(e, &j, FIBERS, in, NULL);
  until_parked(in, FIBERS);
  lub_worker_cancel(w, "enough");
  CHECK("a cancel ends the waits of all fibers", lub_worker_join(w, LUB_FOREVER) == LUB_OK);
  CHECK("which say why", j.last == LUB_CANCELLED && strcmp(w->why, "enough") == 0);
  CHECK("nobody is left in the queue", waiters(in) == 0);
  lub_worker_drop(w);
  while (!atomic_load(&j.freed)) sched_yield();
  lub_chan_drop(in);
}

static void killed(lub_engine *e) {
  lub_chan *in = open_chan(e, 0);
  job j;
  lub_worker *w = start(e, &j, FIBERS, in, NULL);
  until_parked(in, FIBERS);
  lub_worker_kill(w, "die");
  CHECK("a kill ends a worker that waits", lub_worker_join(w, LUB_FOREVER) == LUB_OK && j.last == LUB_KILLED);
  lub_worker_drop(w);
  while (!atomic_load(&j.freed)) sched_yield();
  lub_chan_drop(in);
}

static void zombie(lub_engine *e) {
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, 1);
  job j;
  lub_worker *w = prepare(e, &j, 1, in, out);
  if (!w) abort();
  atomic_store(&j.stuck, true);
  lub_worker_start(w);
  while (!atomic_load(&j.slices)) sched_yield();
  lub_worker_kill(w, "stuck");
  CHECK("a worker that is stuck is dead to those who join it", lub_worker_join(w, 60) == LUB_OK);
  while (lub_engine_zombies(e) != 1) sched_yield();
  CHECK("it counts as a zombie", atomic_load(&w->fate) == LUB_FATE_KILLED);
  CHECK("the engine cannot end it", lub_engine_end_workers(e, 60) == LUB_TIMEOUT);
  lub_chan_close(in);
  atomic_store(&j.let_go, true);
  while (lub_workers_count(e)) sched_yield();
  CHECK("when its call returns it is gone",
        lub_engine_zombies(e) == 0 && lub_engine_end_workers(e, 60) == LUB_OK);
  lub_worker_drop(w);
  while (!atomic_load(&j.freed)) sched_yield();
  lub_chan_drop(in);
  lub_chan_drop(out);
}

/* Each value wakes a worker that is about to go idle, or has just done so: none of the wakes may be lost. */
static void wake_while_going_idle(lub_engine *e) {
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, 1);
  job j;
  lub_worker *w = start(e, &j, 1, in, out);
  lub_value got = {0};
  bool all = true;
  for (int i = 1; i <= ITEMS; i++) {
    lub_value v = lub_int(i);
    all &= lub_chan_send(in, &v, 60) == LUB_OK;
    for (volatile int k = 0; k < i % 200; k++) continue;
  }
  lub_chan_close(in);
  CHECK("no wake is lost", all && lub_chan_recv(out, &got, 60) == LUB_OK);
  CHECK("nor a value", got.as.i == (int64_t)ITEMS * (ITEMS + 1) / 2);
  (void)lub_worker_join(w, LUB_FOREVER);
  lub_worker_drop(w);
  while (!atomic_load(&j.freed)) sched_yield();
  lub_chan_drop(in);
  lub_chan_drop(out);
}

static void *feed(void *arg) {
  for (int i = 1; i <= ITEMS; i++) {
    lub_value v = lub_int(1);
    if (lub_chan_send(arg, &v, LUB_FOREVER)) return "refused";
  }
  return NULL;
}

static void crowd(int carriers) {
  lub_engine *e = open_engine(carriers);
  lub_chan *in = open_chan(e, 4), *out = open_chan(e, WORKERS);
  static job jobs[WORKERS];
  lub_worker *workers[WORKERS];
  pthread_t feeders[4];
  int64_t total = 0;
  for (int i = 0; i < WORKERS; i++) workers[i] = start(e, &jobs[i], i % FIBERS + 1, in, out);
  for (int i = 0; i < 4; i++) pthread_create(&feeders[i], NULL, feed, in);
  for (int i = 0; i < WORKERS; i += 5) lub_worker_kill(workers[i], "chance"); /* these keep what they have */
  for (int i = 1; i < WORKERS; i += 5) lub_worker_cancel(workers[i], "chance");
  for (int i = 0; i < 4; i++) pthread_join(feeders[i], NULL);
  lub_chan_close(in);
  for (int i = 0; i < WORKERS; i++) CHECK("each worker ends", lub_worker_join(workers[i], 60) == LUB_OK);
  for (int i = 0; i < WORKERS; i++) total += jobs[i].sum;
  CHECK("each value was received once", total == 4LL * ITEMS);
  for (int i = 0; i < WORKERS; i++) lub_worker_drop(workers[i]);
  CHECK("all are gone", lub_engine_end_workers(e, 60) == LUB_OK);
  lub_chan_drop(in);
  lub_chan_drop(out);
  (void)lub_engine_close(e);
  bool all = true;
  for (int i = 0; i < WORKERS; i++) all &= atomic_load(&jobs[i].freed) == 1;
  CHECK("and freed once", all);
}

/* All were queued before the first carrier had woken, and the other wakes were left to that one: it has found enough with
 * the first worker, and that does not come back. */
static void queued_behind_stuck_ones(int nstuck) {
  lub_engine *e = open_engine(nstuck + 1);
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, WORKERS);
  bool all = true;
  lub_chan_close(in);
  for (int i = 0; i < 30 && all; i++) {
    static job stuck[WORKERS], other;
    lub_worker *s[WORKERS], *o = prepare(e, &other, 1, in, out);
    for (int k = 0; k < nstuck; k++)
      if (!(s[k] = prepare(e, &stuck[k], 1, in, out))) abort();
    for (int k = 0; k < nstuck; k++) atomic_store(&stuck[k].stuck, true);
    while (atomic_load(&e->idle) != nstuck + 1) sched_yield();
    for (int k = 0; k < nstuck; k++) lub_worker_start(s[k]);
    lub_worker_start(o);
    all = lub_worker_join(o, 20) == LUB_OK;
    for (int k = 0; k < nstuck; k++) atomic_store(&stuck[k].let_go, true);
    lub_worker_drop(o);
    while (!atomic_load(&other.freed)) sched_yield();
    for (int k = 0; k < nstuck; k++) {
      (void)lub_worker_join(s[k], LUB_FOREVER);
      lub_worker_drop(s[k]);
      while (!atomic_load(&stuck[k].freed)) sched_yield();
    }
    lub_value v;
    while (lub_chan_recv(out, &v, 0) == LUB_OK) continue;
  }
  CHECK("a worker does not wait for those that were queued before it while a carrier is idle", all);
  lub_chan_drop(in);
  lub_chan_drop(out);
  (void)lub_engine_close(e);
}

/* ---- interrupted ------------------------------------------------------------------------------------------- */

typedef struct loop { /* a worker that computes until it was interrupted */
  atomic_bool runs, interrupted, leaves;
  atomic_bool *blocks_until; /* if it is in a call before that does not compute */
} loop;

static void on_signal(int sig) {
  (void)sig;
  lub_interrupted();
}

/* One carrier, which SIGURG interrupts. */
static lub_engine *open_signalled(void) {
  lub_options o = {.carriers = 1, .preempt_signal = SIGURG};
  struct sigaction act = {.sa_handler = on_signal};
  lub_engine *e;
  (void)sigaction(SIGURG, &act, NULL);
  if (lub_engine_open(&o, &e)) abort();
  return e;
}

static void note_nothing(lub_worker *w) { (void)w; }
static void note_interrupt(lub_worker *w) { atomic_store(&((loop *)w->data)->interrupted, true); }

static void loop_on(lub_worker *w) {
  loop *l = w->data;
  struct timespec moment = {.tv_nsec = 1000000};
  atomic_store(&l->runs, true);
  if (l->blocks_until) {
    while (!atomic_load(l->blocks_until)) (void)nanosleep(&moment, NULL);
    atomic_store(&l->interrupted, false); /* it may have been, before it lost its place */
  }
  while (!atomic_load(&l->interrupted)) continue;
  atomic_store(&l->leaves, lub_worker_must_leave(w));
  (void)lub_worker_decide(w, LUB_ENDED);
  lub_worker_end(w);
}

static lub_worker *start_loop(lub_engine *e, loop *l) {
  lub_worker *w;
  if (lub_worker_open(e, "loop", false, &w)) abort();
  w->data = l;
  w->run = loop_on;
  w->interrupt = note_interrupt;
  lub_worker_start(w);
  return w;
}

static bool left(lub_worker *w, loop *l) {
  CHECK("it was interrupted, and has ended", lub_worker_join(w, 20) == LUB_OK);
  lub_worker_drop(w);
  return atomic_load(&l->leaves);
}

/* Otherwise it would come behind all that compute, each time that somebody asks. */
static void asked(void) {
  lub_engine *e = open_signalled();
  lub_chan *report;
  loop one = {0}, two = {0}, three = {0};
  lub_worker *w = start_loop(e, &one);
  while (!atomic_load(&one.runs)) sched_yield();
  if (lub_worker_ask(w, NULL, &report)) abort();
  CHECK("a worker that is asked what it does is interrupted, and keeps its slice", !left(w, &one));
  lub_chan_drop(report);
  w = start_loop(e, &two);
  lub_worker *behind = start_loop(e, &three);
  CHECK("one that computes while another waits must leave", left(w, &two));
  lub_worker_kill(behind, "test");
  CHECK("and one that is killed", left(behind, &three));
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

/* While it was blocked, a spare took its place, and ran the other. It must not go on beside those that have one. */
static void displaced(void) {
  lub_engine *e = open_signalled();
  loop other = {.interrupted = true}, one = {.blocks_until = &other.runs};
  lub_worker *w = start_loop(e, &one);
  while (!atomic_load(&one.runs)) sched_yield();
  lub_worker *second = start_loop(e, &other);
  CHECK("who lost its place in a call must leave, though nobody waits any more", left(w, &one));
  (void)lub_worker_join(second, LUB_FOREVER);
  lub_worker_drop(second);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

typedef struct naps { /* a worker that goes from one call that sleeps to the next */
  atomic_int begun, broken;
  int most;
  bool sibling;
  lub_fiber fiber;
} naps;

static void nap_on(lub_worker *w) {
  naps *n = w->data;
  struct timespec span = {.tv_nsec = 20000000};
  if (n->sibling) {
    lub_fiber_init(&n->fiber, w);
    lub_fiber_ready(&n->fiber);
  }
  while (atomic_fetch_add(&n->begun, 1) < n->most) {
    if (nanosleep(&span, NULL)) atomic_fetch_add(&n->broken, 1);
    if (n->sibling && atomic_load(&n->broken)) break;
  }
  if (n->sibling) {
    lub_worker_forget_ready(w);
    lub_fiber_close(&n->fiber);
  }
  (void)lub_worker_decide(w, LUB_ENDED);
  lub_worker_end(w);
}

static int broken_naps(lub_engine *e, int most, bool sibling) {
  naps n = {.most = most, .sibling = sibling};
  loop other = {0};
  lub_worker *w;
  if (lub_worker_open(e, "naps", false, &w)) abort();
  w->data = &n;
  w->run = nap_on;
  w->interrupt = note_nothing;
  lub_worker_start(w);
  while (!atomic_load(&n.begun)) sched_yield();
  lub_worker *second = start_loop(e, &other); /* it waits for a carrier, and computes */
  CHECK("it comes to its end", lub_worker_join(w, 60) == LUB_OK);
  lub_worker_kill(second, "test");
  (void)left(second, &other);
  lub_worker_drop(w);
  return atomic_load(&n.broken);
}

/* A signal would end the call early, with EINTR. Whoever waits for a carrier gets another; what waits for this very worker
 * has no other way. Between the look at the thread and the signal it may fall asleep. */
static void asleep(void) {
  lub_engine *e = open_signalled();
  CHECK("a call that sleeps is left alone", broken_naps(e, 20, false) <= 2);
  CHECK("unless a sibling is ready", broken_naps(e, 3000, true) == 1);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

/* Nothing can tell it to leave: a spare takes its place. */
static void unsignalled(void) {
  lub_options o = {.carriers = 1};
  lub_engine *e;
  if (lub_engine_open(&o, &e)) abort();
  loop one = {0}, other = {.interrupted = true};
  lub_worker *w = start_loop(e, &one);
  while (!atomic_load(&one.runs)) sched_yield();
  lub_worker *second = start_loop(e, &other);
  CHECK("without a signal, too, who computes does not keep others waiting",
        lub_worker_join(second, 20) == LUB_OK);
  atomic_store(&one.interrupted, true);
  (void)left(w, &one);
  lub_worker_drop(second);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

/* A signal that the watcher sent to who had computed for 10 ms may come when another fiber runs. */
static void late_signal(void) {
  lub_engine *e = open_signalled();
  lub_worker *w;
  lub_fiber fibers[2];
  loop l = {0};
  if (lub_worker_open(e, "pinned", true, &w)) abort();
  w->data = &l;
  w->interrupt = note_interrupt;
  lub_worker_set_current(w);
  for (int i = 0; i < 2; i++) {
    lub_fiber_init(&fibers[i], w);
    lub_fiber_ready(&fibers[i]);
  }
  CHECK("the first runs", lub_worker_next(w) == &fibers[0]);
  lub_interrupted();
  CHECK("who has just begun goes on, on a host's thread, too", !atomic_load(&l.interrupted));
  lub_worker_drive(w, true);
  while (!atomic_load(&l.interrupted)) continue;
  CHECK("who computes for long does not", atomic_load(&l.interrupted));
  lub_worker_drive(w, false);
  lub_worker_forget_ready(w);
  for (int i = 0; i < 2; i++) lub_fiber_close(&fibers[i]);
  lub_worker_set_current(NULL);
  lub_worker_end(w);
  lub_worker_drop(w);
  lub_worker_drop(w);
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
}

/* ---- on the host's own thread ------------------------------------------------------------------------------ */

static void stepped(void) {
  lub_engine *e = open_engine(-1);
  lub_chan *in = open_chan(e, 2), *out = open_chan(e, 1);
  job j;
  lub_worker *w = start(e, &j, 1, in, out);
  lub_value v = lub_int(20), got;
  CHECK("a step runs one slice", lub_engine_step(e, 0) == LUB_OK && atomic_load(&j.slices) == 1);
  CHECK("then there is nothing to do", lub_engine_step(e, 0) == LUB_TIMEOUT);
  (void)lub_chan_send(in, &v, 0);
  CHECK("a send makes it ready", lub_engine_step(e, 0) == LUB_OK && j.sum == 20);
  lub_engine_release(e);
  CHECK("it waits for what nobody will send", lub_engine_step(e, 60) == LUB_DEADLOCK);
  lub_engine_hold(e);
  lub_chan_close(in);
  while (lub_engine_step(e, 0) == LUB_OK) continue;
  CHECK("it has ended",
        lub_worker_join(w, 0) == LUB_OK && lub_chan_recv(out, &got, 0) == LUB_OK && got.as.i == 20);
  lub_worker_drop(w);
  lub_chan_drop(in);
  lub_chan_drop(out);
  (void)lub_engine_close(e);
}

/* A worker is in the engine's list from its opening on: others may find and kill it before it is started. */
static void killed_before_its_start(void) {
  lub_engine *e = open_engine(-1);
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, 1);
  job j;
  lub_worker *w = prepare(e, &j, 1, in, out);
  if (!w) abort();
  lub_worker_kill(w, "early");
  CHECK("what is not started does not run",
        lub_engine_step(e, 0) == LUB_TIMEOUT && atomic_load(&j.slices) == 0);
  lub_chan_close(in);
  lub_worker_start(w);
  CHECK("and runs once it is", lub_engine_step(e, 0) == LUB_OK && atomic_load(&j.slices) == 1);
  CHECK("to its end", lub_worker_join(w, 0) == LUB_OK);
  lub_worker_drop(w);
  lub_chan_drop(in);
  lub_chan_drop(out);
  (void)lub_engine_close(e);
}

static void *let_go_when_parked(void *arg) {
  job *j = arg;
  operation op = {.ch = j->out, .wait = LUB_FOREVER};
  start_parked(&op, do_recv, 1);
  for (volatile int i = 0; i < 1000000; i++) continue;
  lub_chan_close(j->in);
  atomic_store(&j->let_go, true);
  return ended(&op) == LUB_OK ? NULL : "told of a deadlock";
}

/* A thread that steps is no sleeper: while it runs a worker, others may wait for that worker. */
static void waited_for_in_a_step(void) {
  lub_engine *e = open_engine(-1);
  lub_chan *in = open_chan(e, 0), *out = open_chan(e, 0);
  pthread_t other;
  void *why;
  job j;
  lub_worker *w = prepare(e, &j, 1, in, out);
  if (!w) abort();
  atomic_store(&j.stuck, true);
  lub_worker_start(w);
  lub_engine_release(e);
  pthread_create(&other, NULL, let_go_when_parked, &j);
  CHECK("the slice ends", lub_engine_step(e, 0) == LUB_OK);
  lub_engine_hold(e);
  pthread_join(other, &why);
  CHECK("a worker in the midst of a step is no deadlock for who waits for it", why == NULL);
  while (lub_engine_step(e, 0) == LUB_OK) continue;
  lub_worker_kill(w, "test");
  while (lub_engine_step(e, 0) == LUB_OK) continue;
  lub_worker_drop(w);
  lub_chan_drop(in);
  lub_chan_drop(out);
  (void)lub_engine_close(e);
}

/* ---- memory that ends -------------------------------------------------------------------------------------- */

static void out_of_memory(void) {
  memory m = {0};
  lub_worker *w = NULL;
  long n = 0;
  bool whole = true;
  for (; !w && n < 100; n++) {
    memory_set(&m, LONG_MAX, 0);
    lub_options o = {.carriers = -1, .realloc = memory_realloc, .ud = &m};
    lub_engine *e;
    if (lub_engine_open(&o, &e)) abort();
    lub_chan *in = open_chan(e, 0);
    job j;
    memory_set(&m, n, 1);
    if ((w = prepare(e, &j, 1, in, NULL))) {
      lub_worker_start(w);
      lub_worker_kill(w, "test"); /* needs no memory */
      while (lub_engine_step(e, 0) == LUB_OK) continue;
      whole &= lub_worker_join(w, 0) == LUB_OK;
      lub_worker_drop(w);
    }
    lub_chan_drop(in);
    (void)lub_engine_close(e);
    whole &= atomic_load(&m.blocks) == 0;
  }
  CHECK("every allocation of a new worker that fails is told", n > 4 && n < 100);
  CHECK("nothing leaks", whole);
}

int main(void) {
  static const int carriers[] = {1, 2, 4};
  for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++) {
    lub_engine *e = open_engine(carriers[i]);
    life(e);
    cancelled(e);
    killed(e);
    zombie(e);
    wake_while_going_idle(e);
    CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
    crowd(carriers[i]);
  }
  queued_behind_stuck_ones(1);
  queued_behind_stuck_ones(lub_cpus() < WORKERS ? lub_cpus() : WORKERS); /* more carriers than CPUs */
  asked();
  displaced();
  asleep();
  unsignalled();
  late_signal();
  stepped();
  killed_before_its_start();
  waited_for_in_a_step();
  out_of_memory();
  return TEST_END();
}
