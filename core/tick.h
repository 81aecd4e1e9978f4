/* tick.h - a timer that feeds a channel: once (after) or every period (tick). Floor 4. Uses chan, timer.
 * It belongs to its channel: when nobody refers to the channel any more, it is stopped and freed with it. */
#ifndef LUB_TICK_H
#define LUB_TICK_H

#include "chan.h"

typedef struct lub_tick lub_tick;

/* A channel of capacity 1 that receives the time (seconds): after `first_ns` (LUB_NEVER: never), then every `period_ns`
 * (0: once). A slow receiver misses ticks, they never queue. The caller owns the reference. LUB_NOMEM. */
lub_status lub_tick_open(lub_engine *e, const char *name, int64_t first_ns, int64_t period_ns,
                         lub_chan **out);
/* Both return whether it was running, or had fired and nobody had received it; after either no stale value is
 * delivered (Go 1.23). */
bool lub_tick_stop(lub_chan *ch);
bool lub_tick_reset(lub_chan *ch, int64_t span_ns);
bool lub_tick_is_periodic(const lub_chan *ch);
/* The channel's last reference is gone. */
void lub_tick_forget(lub_chan *ch);
/* Goes through the channels of this kind: id is 0 for the first, then as it was left; NULL: there are no more. */
lub_chan *lub_tick_next(lub_engine *e, uint32_t *id);

#endif
