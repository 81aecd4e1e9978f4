/* threads.h - an engine, a channel, and host threads that do one operation and say how it ended. */
#ifndef LUB_TEST_THREADS_H
#define LUB_TEST_THREADS_H
#include <pthread.h>
#include <sched.h>

#include <stdlib.h>

#include "chan.h"

static inline lub_engine *open_engine(int carriers) {
  lub_options o = {.carriers = carriers};
  lub_engine *e = NULL;
  if (lub_engine_open(&o, &e)) abort();
  return e;
}

static inline lub_chan *open_chan(lub_engine *e, size_t capacity) {
  lub_chan *ch = NULL;
  if (lub_chan_open(e, capacity, NULL, &ch)) abort();
  return ch;
}

typedef struct operation {
  pthread_t thread;
  lub_chan *ch;
  lub_value value;
  double wait;
  lub_status status;
  lub_value *values; /* of an operation with many: */
  size_t n, done;    /* of which so many were sent, or have come */
} operation;

static inline void *do_send(void *arg) {
  operation *op = arg;
  op->status = lub_chan_send(op->ch, &op->value, op->wait);
  return NULL;
}

static inline void *do_recv(void *arg) {
  operation *op = arg;
  op->status = lub_chan_recv(op->ch, &op->value, op->wait);
  return NULL;
}

static inline void *do_send_many(void *arg) {
  operation *op = arg;
  op->status = lub_chan_send_many(op->ch, op->values, op->n, op->wait, &op->done);
  return NULL;
}

static inline void *do_recv_many(void *arg) {
  operation *op = arg;
  op->status = lub_chan_recv_many(op->ch, op->values, op->n, op->wait, &op->done);
  return NULL;
}

/* How many wait in the channel's queues. */
static inline size_t waiters(lub_chan *ch) {
  size_t n = 0;
  lub_chan_lock(ch);
  for (lub_link *k = lub_list_first(&ch->recvq); k; k = lub_list_next(&ch->recvq, k)) n++;
  for (lub_link *k = lub_list_first(&ch->sendq); k; k = lub_list_next(&ch->sendq, k)) n++;
  lub_chan_unlock(ch);
  return n;
}

/* Comes back when n threads wait on ch: no test sleeps for a while and hopes. */
static inline void until_parked(lub_chan *ch, size_t n) {
  while (waiters(ch) != n) sched_yield();
}

/* Starts a thread and waits until its operation is blocked, as the n-th on this channel. */
static inline void start_parked(operation *op, void *(*f)(void *), size_t n) {
  pthread_create(&op->thread, NULL, f, op);
  until_parked(op->ch, n);
}

static inline lub_status ended(operation *op) {
  pthread_join(op->thread, NULL);
  return op->status;
}

#endif
