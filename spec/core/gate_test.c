/* gate_test.c - a sim has one thread: others are turned away, or let in when they were promised. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "lubdub.h"
#include "test.h"

typedef struct other { /* a thread of the host's */
  lub_engine *engine;
  lub_chan *ch;
  lub_status sent, received, closed, selected;
  bool promised;
} other;

static void *act(void *arg) {
  other *o = arg;
  lub_value v = lub_int(42), got = {0};
  size_t index;
  lub_case one = {.ch = o->ch};
  pthread_setname_np(pthread_self(), "stranger");
  o->sent = lub_chan_send(o->ch, &v, LUB_FOREVER);
  if (!o->promised) {
    o->received = lub_chan_recv(o->ch, &got, 0);
    o->selected = lub_select(o->engine, &one, 1, false, 0, &index);
    o->closed = lub_chan_close(o->ch);
  } else {
    v = lub_int(43);
    o->closed = lub_chan_send(o->ch, &v, LUB_FOREVER); /* there is no room: it does not wait */
    lub_engine_release(o->engine);
  }
  return NULL;
}

static lub_sim *open_sim(lub_chan **ch) {
  lub_sim_options o = {.seed = 1};
  lub_sim *s;
  if (lub_sim_open(&o, &s) || lub_chan_open(lub_sim_engine(s), 1, "results", ch)) abort();
  return s;
}

static void turned_away(void) {
  lub_chan *ch;
  lub_sim *s = open_sim(&ch);
  pthread_t thread;
  other o = {.engine = lub_sim_engine(s), .ch = ch};
  CHECK("nobody has come yet", !lub_sim_foreign(s) && lub_sim_settle(s) == LUB_OK);
  pthread_create(&thread, NULL, act, &o);
  pthread_join(thread, NULL);
  CHECK("a thread that is not the sim's cannot send", o.sent == LUB_FOREIGN && lub_chan_len(ch) == 0);
  CHECK("nor receive, select or close", o.received == LUB_FOREIGN && o.selected == LUB_FOREIGN &&
                                            o.closed == LUB_FOREIGN && !lub_chan_closed(ch));
  CHECK("it is known by name", lub_sim_foreign(s) && !strcmp(lub_sim_foreign(s), "stranger"));
  CHECK("the sim goes no further", lub_sim_step(s) == LUB_FOREIGN && lub_sim_settle(s) == LUB_FOREIGN &&
                                       lub_sim_pass(s, 1) == LUB_FOREIGN);
  CHECK("the status has a text", !strcmp(lub_strerror(LUB_FOREIGN), "not the sim's thread"));
  lub_chan_drop(ch);
  CHECK("and closes", lub_sim_close(s) == LUB_OK);
}

static void let_in(void) {
  lub_chan *ch;
  lub_sim *s = open_sim(&ch);
  pthread_t thread;
  lub_value got = {0};
  other o = {.engine = lub_sim_engine(s), .ch = ch, .promised = true};
  lub_engine_hold(o.engine);
  pthread_create(&thread, NULL, act, &o);
  CHECK("a sim that settles waits for what was promised", lub_sim_settle(s) == LUB_OK);
  CHECK("it has come", lub_chan_len(ch) == 1 && lub_chan_recv(ch, &got, 0) == LUB_OK && got.as.i == 42);
  pthread_join(thread, NULL);
  CHECK("who was let in waits for nothing", o.sent == LUB_OK && o.closed == LUB_TIMEOUT);
  CHECK("nobody is a stranger", !lub_sim_foreign(s) && lub_sim_pass(s, 1) == LUB_OK);
  lub_chan_drop(ch);
  CHECK("and closes", lub_sim_close(s) == LUB_OK);
}

static void too_late(void) {
  lub_chan *ch;
  lub_sim *s = open_sim(&ch);
  pthread_t thread;
  other o = {.engine = lub_sim_engine(s), .ch = ch, .promised = true};
  lub_engine_hold(o.engine);
  CHECK("a sim that is in use stays", lub_sim_close(s) == LUB_BUSY);
  pthread_create(&thread, NULL, act, &o);
  pthread_join(thread, NULL);
  CHECK("and who had promised something does not hang", o.sent == LUB_OK);
  lub_chan_drop(ch);
  CHECK("then it closes", lub_sim_close(s) == LUB_OK);
}

int main(void) {
  turned_away();
  let_in();
  too_late();
  return TEST_END();
}
