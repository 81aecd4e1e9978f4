/* gate.h - the gate of an engine that has one thread, a sim's. Another thread is let in only while that one waits for
 * the external operations that were promised (lub_engine_hold), so that what it does comes when nobody can run; without
 * such a promise it is turned away, and known by name.
 * Floor 3. Part of engine. */
#ifndef LUB_GATE_H
#define LUB_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lubdub.h"

enum { LUB_STRANGER_MAX = 32 };

typedef struct lub_gate {
  pthread_t owner;
  pthread_mutex_t lock; /* the owner has it, but while it waits */
  pthread_cond_t came;  /* somebody was let in */
  int64_t tell_ns;      /* of real time between two words that it waits; the owner's */
  bool visited;         /* since the owner began to wait; lock */
  bool held;            /* the owner has `lock`; the owner's */
  atomic_bool refused;  /* somebody was; release: `stranger` is written, by who has set `named` */
  atomic_flag named;
  char stranger[LUB_STRANGER_MAX];
} lub_gate;

/* Of the calling thread. */
void lub_gate_init(lub_gate *g);
/* From here on whoever keeps a promise passes: what it uses stays, but nobody runs. */
void lub_gate_open(lub_gate *g);
void lub_gate_close(lub_gate *g);
/* Before and after another thread's operation; see below. */
lub_status lub_gate_enter_slow(lub_engine *e);
void lub_gate_leave_slow(lub_gate *g);
/* By the owner, when nobody can run. False: nothing is promised. Otherwise waits, in real time, until somebody has been in,
 * and logs every `tell_ns`, five seconds, how many are awaited. */
bool lub_gate_await(lub_engine *e);
/* The name of the first who was turned away, or NULL. */
const char *lub_gate_stranger(lub_gate *g);

#endif
