/* ring.h - the way of values through a channel with some room that needs no lock: while nobody waits at the channel, and it is
 * neither empty nor full nor closed, who sends and who receives do not meet. After Vyukov's bounded MPMC queue, with laps as
 * in crossbeam's channels, so that any capacity will do.
 *
 * A position is an index and a lap, which counts how often the slots were gone through; senders draw the next from `tail`,
 * receivers from `head`. A slot's stamp tells who comes next: twice the lap of the sender it waits for, and one more when
 * that has put its value in. Who has drawn a position alone touches the slot, and hands it on by the stamp (release, acquire).
 * A ring that is shut lets nobody draw; then whoever holds the channel's lock does, and at most waits for one who had drawn
 * before and is between two instructions. Who finds it empty or full, while the other side runs elsewhere, looks for about
 * as long as parking would take, where that has paid of late. Floor 2. Uses value. Used by chan. */
#ifndef LUB_RING_H
#define LUB_RING_H

#include <stdbool.h>

#include "value.h"

/* Slots: a smaller channel is nearly always empty or full; in a larger one so many stamps would have to be set at once. */
enum { LUB_RING_LEAST = 8, LUB_RING_MOST = 65536 };

typedef struct lub_ring_end { /* apart from the other, whom other threads write */
  atomic_ullong at;           /* lap << 33 | index << 1 | whether it is shut */
  atomic_int trust;           /* how often looking on may fail yet; below 0: how often it is left out */
  char apart[LUB_CACHE_LINE - sizeof(atomic_ullong) - sizeof(atomic_int)];
} lub_ring_end;

typedef struct lub_ring {
  lub_ring_end tail, head;
  lub_value *slots; /* [cap], the channel's */
  uint32_t cap;
  uint32_t lap; /* of the oldest value, while it is shut; the channel's lock */
  atomic_uint stamps[];
} lub_ring;

/* Bytes for one with so many slots, wherever they begin. */
size_t lub_ring_size(uint32_t cap);
/* Makes one there, shut and without stamps: lub_ring_mark. */
lub_ring *lub_ring_init(void *memory, lub_value *slots, uint32_t cap);
/* Stamps all slots, of which `len` from `head` hold values. */
void lub_ring_mark(lub_ring *r, uint32_t head, uint32_t len);
/* With the channel's lock. From here on nobody draws; what there is goes to *head, *len. */
void lub_ring_shut(lub_ring *r, uint32_t *head, uint32_t *len);
void lub_ring_open(lub_ring *r, uint32_t head, uint32_t len);
/* While it is shut: puts into slot i, where the next value belongs, past the end of the slots or not; takes from slot i the
 * oldest value. */
void lub_ring_put(lub_ring *r, uint32_t i, bool wraps, const lub_value *v);
void lub_ring_get(lub_ring *r, uint32_t i, lub_value *out);

/* Takes *v, which is nil then. False: it has to be sent with the lock. Any thread. */
bool lub_ring_send(lub_ring *r, lub_value *v);
/* False: it has to be received with the lock. Any thread. */
bool lub_ring_recv(lub_ring *r, lub_value *out);
/* The same, after that has failed: they may look on for a microsecond; briefly: for less, since somebody waits for this CPU. */
bool lub_ring_send_soon(lub_ring *r, lub_value *v, bool briefly);
bool lub_ring_recv_soon(lub_ring *r, lub_value *out, bool briefly);

#endif
