/* heart.h - the record of one life: its signs of life, the unit of work in flight, what it has achieved.
 * A beat stores: it takes no lock, and touches no queue and no timer, unless somebody listens to the pulses or a verdict
 * has been announced. Hearts are many, and most of them do little: what only some need is made when they need it.
 * Floor 5. Uses life, intervals, chan, engine. Used by judge and the bindings. */
#ifndef LUB_HEART_H
#define LUB_HEART_H

#include "chan.h"
#include "engine.h"
#include "intervals.h"
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

typedef struct lub_units { /* made with the first unit or progress */
  atomic_flag lock;        /* guards the two values */
  lub_value progress, id;
  atomic_llong since_ns;    /* of the unit in flight; 0: there is none */
  atomic_llong runnable_ns; /* what its fiber had spent runnable by then */
  atomic_ullong count, done;
  _Atomic double sum, max; /* of the units that are over */
  atomic_uint lost;        /* progress that could not be kept */
} lub_units;

typedef struct
    lub_extras { /* what few hearts have; the judge's lock, but for what is set when it is opened */
  double startup, estimate, extended, score;
  lub_policy policy;
  void *ud;
  void *binding;                 /* what the binding has hung on it, */
  void (*closed)(void *binding); /* ... how that is told of the close, and */
  void (*let_go)(void *binding); /* ... how it is taken off */
  lub_chan *pulses, *verdicts;   /* NULL until somebody asks */
  char *reason;                  /* of a failure that it told itself; owned */
  int64_t paused_ns, lapse_ns;   /* when a pause lapses; 0: it is not paused */
  uint32_t extended_signs;       /* of life, when it was last extended */
  uint32_t paused, lapsed;       /* times; those that have lapsed, and may still be ended */
  uint64_t id;                   /* for records */
} lub_extras;

struct lub_heart {
  lub_object obj; /* first: values carry it. What a beat touches lies from here to life.sign_ns, together */
  lub_engine *engine;
  lub_intervals *_Atomic intervals;
  atomic_ullong beats;
  atomic_llong beat_ns; /* of the last beat; of the opening before the first */
  atomic_uint flags;
  uint32_t misses; /* silences in a row with a verdict against it; the judge's lock */
  lub_life life;

  lub_worker *worker;    /* a reference; NULL: a host thread's, or a group's */
  lub_fiber *fiber;      /* ... its fiber, until that has ended; the worker's thread */
  atomic_llong eased_ns; /* where progress_age is counted from, if later: silence was excused. Until a beat */
  lub_units *_Atomic units;
  lub_extras *_Atomic extras;

  /* the judge's: its lock */
  lub_timer tick;      /* the next pulse or deadline; the timers' lock */
  lub_link link;       /* in judge->hearts */
  lub_heart *due_next; /* in a docket of the judge's, with a reference; itself: the last of it */
  int64_t ask_ns, pulse_ns;
  double interval, limit;
  float excused; /* seconds */
  uint32_t npulses;
  uint32_t said[3];       /* verdicts announced in this silence, a bit each */
  uint32_t signs;         /* of life, when the judge last looked: tells this silence from the next */
  uint32_t telling;       /* verdicts that are announced, and not told yet */
  uint8_t verdict, heard; /* by their number: announced; what the policy said last */
  uint8_t counted_in;     /* judge->recents, when it was counted among those that are silent; 0: it is not */
  unsigned asked_state : 3;
  bool eased : 1; /* an excuse has shortened this silence, which is no sign of life: "alive" is no news */
  bool suspected : 1, deferred : 1, counted : 1, watched : 1, failed : 1, forgotten : 1;
  bool failing : 1; /* what is announced is that it failed */
  /* set before it is watched */
  bool scripted : 1;
  bool group : 1;          /* it speaks of others: it is never silent itself, and is asked at every pulse */
  bool pulse_scripted : 1; /* a script says when the next pulse is due */
  char name[];
};

enum { LUB_HEART_FLAGS = UINT8_MAX - 1 }; /* of a LUB_OBJECT value: not a view of a channel */
#define LUB_WINDOW_MAX (1u << 20)
/* Makes a heart that nobody watches yet; the rest as lub_heart_open. */
lub_status lub_heart_make(lub_engine *e, const lub_heart_options *o, lub_heart **out);
/* It is watched from here on. f: whose it is, in its own thread; NULL: a host thread's, or a group's. LUB_BUSY: the fiber
 * has one that is open; nothing was done. */
lub_status lub_heart_start(lub_heart *h, lub_fiber *f);
/* Hangs something of the binding's on a heart that is not yet watched. `closed` is called by the thread that closes the
 * heart, let_go takes it off at the last drop. LUB_NOMEM. */
lub_status lub_heart_hang(lub_heart *h, void *binding, void (*closed)(void *binding),
                          void (*let_go)(void *binding));
/* What was hung on it, or NULL. */
void *lub_heart_hung(lub_heart *h);
lub_value lub_of_heart(lub_heart *h);
/* The heart in a value, or NULL. */
lub_heart *lub_to_heart(const lub_value *v);
/* The heart of a fiber, or NULL; no reference. */
lub_heart *lub_heart_in(const lub_fiber *f);

/* What few hearts have, or NULL. */
lub_extras *lub_heart_extras(lub_heart *h);
void lub_heart_moved(lub_life *l, lub_state before, lub_state state, int64_t now_ns);
void lub_heart_ended(lub_life *l);
/* Where its progress_age is counted from: the last beat, or later, when silence since was excused. Any thread. */
int64_t lub_heart_counted_from(lub_heart *h);
/* The last of a heart that was closed, when all is told: its channels close, and it is watched no longer. */
void lub_heart_finish(lub_heart *h);

/* The channel of its pulses, made when first asked for; the caller gets a reference. LUB_NOMEM, LUB_CLOSED. */
lub_status lub_heart_pulses(lub_heart *h, lub_chan **out);
/* The channel for its verdicts, which the binding sends; likewise. */
lub_status lub_heart_verdicts(lub_heart *h, lub_chan **out);
bool lub_heart_is_watched(lub_heart *h);
/* Sends a pulse to who listens; the newest wins. */
void lub_heart_pulse(lub_heart *h, const char *text);
void lub_heart_tell(lub_heart *h, const char *what, const char *text, int64_t now_ns);

/* Counts a progress that could not be kept. Whether it is the first. The beating thread. */
bool lub_heart_lose_progress(lub_heart *h);

lub_state lub_heart_state(lub_heart *h, int64_t now_ns);
void lub_heart_look_at(lub_heart *h, int64_t now_ns, lub_snapshot *out);
/* The last intervals, oldest first, into out[0..most-1]; returns how many. */
size_t lub_heart_window(lub_heart *h, double *out, size_t most);

typedef struct lub_heart_figures { /* beyond what a snapshot holds; seconds */
  double spent[LUB_STATES];
  double mean_unit, max_unit, excused, extended, last_beat;
  uint64_t units_done, pulses;
  uint32_t lost;
} lub_heart_figures;
void lub_heart_count(lub_heart *h, lub_heart_figures *out);

#endif
