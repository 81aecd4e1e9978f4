/* judge.h - finds hearts whose time is up, and sees that their policy is asked.
 *
 * Each open heart has one timer: its next pulse, or the deadline that its policy named, whichever comes first. A beat
 * does not touch it; when it fires, the judge reads the last sign of life again (lazy re-arm). For who waits it emits the
 * pulse, without waking it.
 *
 * A C policy is asked by the thread that ran the timers, after it has let go of their lock. A script's is asked by the
 * binding's worker: `bell` rings, it takes what is due with lub_judge_next, answers with lub_judge_hear, and then has
 * lub_judge_settle decide what is announced: of many that fall silent at once, the host is blamed first. Who that worker is,
 * and what happens when it is stuck: duty.h.
 *
 * The judge doubts itself: what it is late by (suspended, stopped, out of CPU) is excused to every heart.
 * ORDER LOCKS: timers.lock, then judge.lock, then chan.lock. Floor 5. Uses heart. */
#ifndef LUB_JUDGE_H
#define LUB_JUDGE_H

#include "duty.h"

enum { LUB_VERDICTS = 69 }; /* the five, and 64 of the scripts' own */

typedef struct lub_judge_figures {
  uint64_t asked, announced;
  uint64_t blamed;    /* verdicts put off, because many fell silent at once */
  uint64_t stalls;    /* of the host */
  int64_t stalled_ns; /* ... together */
  int64_t late_ns;    /* the most that the judge was late by */
  uint32_t hearts;
  int deaths;
} lub_judge_figures;

typedef struct lub_judge {
  lub_engine *engine;
  pthread_mutex_t lock;
  lub_list hearts;        /* lub_heart.link: all that are not freed */
  lub_docket due, called; /* scripts' and C's */
  lub_docket heard[2];    /* what a policy has said of them is to be settled: C's, scripts' */
  lub_chan *bell;         /* rings when something is due; NULL until a script wants to hear it */
  uint32_t nhearts;       /* those that are open */
  uint32_t recent;        /* suspected since recent_ns */
  int64_t recent_ns;
  uint8_t recents; /* counts the times that recent_ns was set */
  uint64_t ids;
  const char *names[LUB_VERDICTS]; /* of verdicts; those beyond the five are owned */
  uint32_t nnames;
  int deaths;
  atomic_bool asking; /* a thread asks C policies */
  bool names_told;    /* that there are too many */
  lub_duty duty;      /* the binding's worker */
  int64_t stalled_until_ns;
  lub_judge_figures figures;
} lub_judge;

/* The engine's judge, made when first asked for; NULL without memory. */
lub_judge *lub_judge_of(lub_engine *e);

/* Starts to watch an open heart; stops; its memory goes. */
void lub_judge_watch(lub_heart *h);
extern const lub_timer_kind lub_judge_tick; /* what the timers of hearts do */
void lub_judge_forget(lub_heart *h);
void lub_judge_leave(lub_heart *h);
/* Nothing in from_ns..to_ns was h's fault, nor will be grace_ns more: every age is that much less. That is no sign of
 * life, so it makes nobody "alive" who was found otherwise. With the lock. */
void lub_judge_excuse(lub_heart *h, int64_t from_ns, int64_t to_ns, int64_t grace_ns);
/* The host stood from then to then: no heart is to blame, unless it was for less than the judge bears. */
void lub_judge_stood(lub_judge *j, int64_t from_ns, int64_t to_ns);
/* h, whose limit ends before its pulse, works: it is looked at when that is over. */
void lub_judge_hurry(lub_heart *h, int64_t now_ns);
/* Looks at h as soon as may be. */
void lub_judge_stir(lub_heart *h);

/* The channel that rings; the caller gets a reference. LUB_NOMEM. */
lub_status lub_judge_bell(lub_judge *j, lub_chan **out);
/* For w, which asks scripts: the next heart whose is to be asked, with a reference; NULL: none is due, or w was relieved. */
lub_heart *lub_judge_next(lub_judge *j, const lub_worker *w);
/* What needs no policy: a heart that has failed, is paused, or has not yet beaten. False: ask its policy. */
bool lub_judge_knows(lub_heart *h, const lub_snapshot *at);
/* Looks at h, whose policy is to be asked about that. */
void lub_judge_look(lub_heart *h, lub_snapshot *out);
/* The policy's answer to that look. */
void lub_judge_hear(lub_heart *h, const lub_snapshot *at, const char *verdict, double ask_again,
                    double score);
/* Has `tell` tell what is to be announced of what scripts were heard to say, as long as w is who asks them, or, if w is NULL,
 * C policies: to the host's callback, to who watches the heart; a death that nobody watches goes to the log. When that is
 * done, now or later, it calls lub_judge_told: until then the channels of a heart that closes meanwhile stay open. */
void lub_judge_settle(lub_judge *j, const lub_worker *w,
                      void (*tell)(lub_heart *h, const lub_verdict *v, bool watched, void *ud), void *ud);
void lub_judge_told(lub_heart *h);
/* What scripts have said, and was announced, but is not told yet, will not be: who is open is asked anew, if there is
 * somebody to ask (`anew`); of others the log says it. */
void lub_judge_lose(lub_judge *j, bool anew);
/* To the host's log, unless the engine ends. */
void lub_judge_log(lub_judge *j, const char *text);
/* The built-in policy: dead when age > limit. */
const char *lub_judge_fixed(const lub_snapshot *at, double *ask_again);
/* The span to the next pulse, as a script says. */
void lub_judge_set_interval(lub_heart *h, double seconds);
/* Hearts that have said that they failed, or of which a verdict is announced, and that is not told yet. */
uint32_t lub_judge_telling(lub_judge *j);
/* The judge's own figures, copied. */
lub_judge_figures lub_judge_count(lub_judge *j);

#endif
