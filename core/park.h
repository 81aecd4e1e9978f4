/* park.h - the life of a wait: begin, open, arm its deadline, finish; or abort. Floor 4. Uses waiter, engine.
 * Used by chan, select, the bindings. All are for the wait's owner: its worker's thread, or the host's. */
#ifndef LUB_PARK_H
#define LUB_PARK_H

#include "waiter.h"

/* Prepares w for waiting; LUB_NOMEM when its timer finds no room. */
lub_status lub_wait_begin(lub_wait *w, lub_waiter *waiters, uint32_t count, int64_t deadline);
/* From here on w may be claimed. Before it is queued anywhere, or with the channels locked. For a heart: the state it
 * waits in, and for what ("recv", the channel's name or NULL). */
void lub_wait_open(lub_wait *w, lub_state state, const char *what, const char *name);
/* Starts the deadline of a wait that has been queued. */
void lub_wait_arm(lub_wait *w, int64_t deadline);
/* Queues w for nothing but its deadline. LUB_PARK | LUB_NOMEM. */
lub_status lub_wait_sleep(lub_wait *w, int64_t deadline);
/* After the wake: takes what is left of w out of queues and the heap, returns its outcome. */
lub_status lub_wait_finish(lub_wait *w);
/* Ends a parked wait from its owner's thread (cancel, kill). True: it will be woken with `status`. */
bool lub_wait_abort(lub_wait *w, lub_status status);

#endif
