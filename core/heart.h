/* heart.h - the record of one life: its signs of life, the unit of work in flight, what it has achieved.
 * A beat stores: it takes no lock, and touches no queue and no timer, unless somebody listens to the pulses or a verdict
 * has been announced. The statistics are written by who beats and read by any, between two equal readings of `seq`.
 * Floor 5. Uses life, chan, engine. Used by judge and the bindings. */
#ifndef LUB_HEART_H
#define LUB_HEART_H

#include "chan.h"
#include "engine.h"
#include "life.h"

enum lub_heart_flags {
  LUB_HEART_CLOSED = 1,
  LUB_HEART_STARTING = 2, /* the first beat is still awaited */
  LUB_HEART_SILENT = 4,   /* a verdict was announced: the judge wants to know of the next beat */
  LUB_HEART_UNLEARN =
      8, /* this gap says nothing about the heart: it was paused, or found dead, or the host stood */
  LUB_HEART_HEARD = 16, /* there is a channel of pulses */
  LUB_HEART_RECORDED = 32,
};

typedef struct lub_ring { /* the last intervals between beats, in seconds */
  uint32_t size;
  _Atomic uint32_t head; /* where the next goes */
  _Atomic float of[];
} lub_ring;

typedef struct lub_units { /* made with the first unit or progress */
  atomic_flag lock;        /* guards the two values */
  lub_value progress, id;
  atomic_llong since_ns; /* of the unit in flight; 0: there is none */
  atomic_ullong count, done;
  _Atomic double sum, max; /* of the units that are over */
} lub_units;

struct lub_heart {
  lub_object obj; /* first: values carry it */
  lub_life life;
  lub_engine *engine;
  char *name; /* owned */
  uint64_t id;
  lub_worker *worker; /* a reference; NULL: a host thread's, or a group's */
  uint64_t fiber;     /* its id */

  atomic_uint flags;
  atomic_uint seq; /* odd while the statistics are written */
  atomic_ullong beats;
  atomic_llong beat_ns;                     /* of the last beat; 0: none yet */
  _Atomic double base, sum, sum2, min, max; /* of the intervals less `base`, the first of them */
  atomic_uint samples;
  lub_ring *ring;
  lub_units *_Atomic units;

  /* the judge's: its lock */
  lub_timer tick; /* the next pulse or deadline; the timers' lock */
  lub_link link;  /* in judge->hearts */
  lub_link due;   /* in judge->due, ->called or ->suspected, with a reference */
  int64_t opened_ns, armed_ns, ask_ns, pulse_ns, paused_ns;
  int64_t lapse_ns; /* when a pause lapses; 0: it is not paused */
  double interval, limit, startup, estimate, extended, score;
  const char *verdict, *heard; /* announced; what the policy said last */
  char *reason;                /* of a failure that it told itself; owned */
  uint32_t said;               /* verdicts announced in this silence, a bit each */
  uint32_t signs;              /* of life, when the judge last looked: tells this silence from the next */
  uint32_t extended_signs;     /* the same, when it was last extended */
  uint32_t misses;
  uint32_t lost; /* progress that could not be kept; the beating thread's */
  uint16_t paused;
  uint8_t asked_state;
  bool scripted, suspected, deferred, counted, watched, failed;
  bool group;          /* it speaks of others: it is never silent itself, and is asked at every pulse */
  bool pulse_scripted; /* a script says when the next pulse is due */
  lub_policy policy;
  void *ud;
  lub_chan *pulses, *verdicts; /* NULL until somebody asks */
  int64_t excused_ns;
  uint64_t npulses;
  void *binding;                /* what the binding hangs on it, and */
  void (*let_go)(lub_heart *h); /* ... how it takes it off again, at the last drop; or NULL */
};

/* Opens a heart that is not yet watched (lub_judge_watch); `f`: whose it is, in its own thread, or NULL. LUB_BUSY: the
 * fiber has one that is open. */
enum { LUB_HEART_FLAGS = UINT8_MAX - 1 }; /* of a LUB_OBJECT value: not a view of a channel */
#define LUB_WINDOW_MAX (1u << 20)
lub_status lub_heart_of(lub_engine *e, const lub_heart_options *o, lub_fiber *f, lub_heart **out);
lub_value lub_of_heart(lub_heart *h);
/* The heart in a value, or NULL. */
lub_heart *lub_to_heart(const lub_value *v);
/* The heart of a fiber, or NULL; no reference. */
lub_heart *lub_heart_in(const lub_fiber *f);

/* The channel of its pulses, made when first asked for; the caller gets a reference. LUB_NOMEM, LUB_CLOSED. */
lub_status lub_heart_pulses(lub_heart *h, lub_chan **out);
/* The channel for its verdicts, which the binding sends; likewise. */
lub_status lub_heart_verdicts(lub_heart *h, lub_chan **out);
/* Sends a pulse to who listens; the newest wins. */
void lub_heart_pulse(lub_heart *h, const char *text);
void lub_heart_tell(lub_heart *h, const char *what, const char *text, int64_t now_ns);

lub_state lub_heart_state(lub_heart *h, int64_t now_ns);
void lub_heart_look_at(lub_heart *h, int64_t now_ns, lub_snapshot *out);
/* The last intervals, oldest first, into out[0..most-1]; returns how many. */
size_t lub_heart_window(lub_heart *h, double *out, size_t most);

typedef struct lub_heart_figures { /* beyond what a snapshot holds; seconds */
  double spent[LUB_STATES];
  double mean_unit, max_unit, excused, extended, last_beat;
  uint64_t units_done, pulses;
} lub_heart_figures;
void lub_heart_count(lub_heart *h, lub_heart_figures *out);

#endif
