/* duty.h - the worker that asks the scripts of hearts, the binding's, and its relief. There is one at a time. A script that
 * computes in Lua can be stopped, one that sits in a C call cannot: its asker would be stuck, and all hearts with it. So a
 * timer looks whether it is at the same question for 2 seconds (the timer runs only while there are any). Then another is
 * started, which goes on with what the first has left; what it had been about to tell is asked anew.
 * Not in an engine that its host steps, whose only thread is the asker's own, nor in a sim.
 * All are for any thread. Floor 5. Part of judge. */
#ifndef LUB_DUTY_H
#define LUB_DUTY_H

#include "heart.h"

struct lub_judge;

typedef struct lub_docket { /* of hearts to be dealt with, oldest first; judge.lock */
  lub_heart *first, *last;
} lub_docket;

/* Puts h, which is in none, at the end, with a reference; takes the first, with that, or NULL. */
void lub_docket_enter(lub_docket *d, lub_heart *h);
lub_heart *lub_docket_leave(lub_docket *d);

/* With no lock held, by a thread that has run timers: starts another worker than `stuck`, or gives the duty back. `asked` is
 * due again; its script is what stuck is at. */
typedef void (*lub_relieve)(struct lub_judge *j, lub_worker *stuck, lub_heart *asked);

typedef struct lub_duty { /* judge.lock */
  bool taken;             /* somebody starts, or has started, the worker */
  lub_worker *worker;     /* with a reference; NULL: it does not serve yet */
  lub_relieve relieve;
  lub_heart *asked;         /* whose script is being asked, with a reference; or NULL */
  uint32_t questions, seen; /* counts them; when it was last looked */
  int looks;   /* that found the same question, one after the other; LOOKS: it is stuck in that */
  bool minded; /* the timer runs */
  lub_timer patience;
} lub_duty;

/* True for the first who asks: he starts the worker, or, when he cannot, gives the duty back. */
bool lub_duty_take(struct lub_judge *j);
void lub_duty_give_back(struct lub_judge *j);
/* w, which does not run yet, is the worker. LUB_NOMEM. */
lub_status lub_duty_serve(struct lub_judge *j, lub_worker *w, lub_relieve relieve);
bool lub_duty_is_served_by(struct lub_judge *j, const lub_worker *w);
/* For w: the next heart whose script is to be asked, with a reference. NULL: none is due, or w was relieved. */
lub_heart *lub_duty_next(struct lub_judge *j, const lub_worker *w);
/* The answer has come, unless w was killed; gives the reference back. */
void lub_duty_answered(struct lub_judge *j, const lub_worker *w, lub_heart *h);
/* w has ended. If it was the worker, what it was about to tell is lost, and the duty is anybody's. */
void lub_duty_desert(struct lub_judge *j, const lub_worker *w);
/* After timers have run, with no lock: relieves a worker that is stuck. */
void lub_duty_look(struct lub_judge *j);
/* No other thread is left. */
void lub_duty_close(struct lub_judge *j);

#endif
