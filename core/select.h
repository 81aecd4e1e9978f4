/* select.h - one operation of several (after Go's runtime/select.go). Floor 4. Uses chan. */
#ifndef LUB_SELECT_H
#define LUB_SELECT_H

#include "chan.h"
#include "random.h"

/* Does one ready case of ws[0..n), or queues w on all of them.
 *   ws       ch, send and the value to send are set; ch NULL is never ready
 *   order    the numbers of the cases, 0 to n - 1, in any order, twice; kept for the next call on as many. The first n get
 *            sorted by the channels' addresses, if other workers use one of them; the others are for choosing
 *   r        chooses among ready cases; NULL: the first
 *   returns  LUB_OK, LUB_CLOSED (with *index) | LUB_PARK | LUB_TIMEOUT deadline 0, none ready | LUB_NOMEM
 *   values   of a receive: in its waiter. A send that was not chosen keeps its value */
lub_status lub_wait_select(lub_wait *w, lub_waiter *ws, uint32_t n, uint32_t *order, lub_random *r,
                           int64_t deadline, uint32_t *index);

/* Whether a select that does not wait would find nothing, at a look: false where channels have to be locked to know. */
static inline bool lub_select_is_vain(const lub_waiter *ws, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const lub_chan *ch = ws[i].ch;
    if (ch && (!lub_chan_is_kept(ch) || lub_chan_is_ready_locked(ch, ws[i].send))) return false;
  }
  return true;
}

#endif
