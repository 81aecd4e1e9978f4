/* larena.h - the memory of one Lua state. Small blocks are cut from chunks, and one that was given back serves the next of
 * its size (segregated free lists: Knuth, TAOCP 1, 2.5). Since one thread at a time runs a state, and Lua tells the size of
 * what it gives back, they need neither a lock nor a header. Chunks of which nothing is in use go back from time to time, and
 * when there is no other memory. Not thread-safe. */
#ifndef LUB_LARENA_H
#define LUB_LARENA_H

#include "base.h"

enum {
  LUB_ARENA_GRAIN = 16, /* sizes are multiples of it, and so are addresses */
  LUB_ARENA_MOST = 512, /* larger blocks are the allocator's */
  LUB_ARENA_SIZES = LUB_ARENA_MOST / LUB_ARENA_GRAIN
};

typedef struct larena {
  const lub_allocator *mem;
  struct lcell *free[LUB_ARENA_SIZES]; /* given back, by size */
  char *at, *end;                      /* what the newest chunk has left */
  struct lchunk **chunks;              /* [room], owned, as they are; by address */
  uint32_t count, room;
  size_t total; /* bytes of them */
  size_t idle,
      trim_at; /* bytes in the lists; how many there may be before chunks are looked for that can go */
} larena;

void lub_arena_init(larena *a, const lub_allocator *mem);
/* All blocks will be given back, and then it is closed: until then, while there is memory, no chunk is
 * looked for that could go sooner. */
void lub_arena_begin_close(larena *a);
/* The chunks go, and with them all small blocks; it may be used again. */
void lub_arena_close(larena *a);
/* As a lua_Alloc: makes a block of `nbytes` of one of `old`, or of NULL, whatever `old` is; for 0 bytes, it is given back.
 * NULL: there is no memory, and the block stays as it is. */
void *lub_arena_realloc(larena *a, void *block, size_t old, size_t nbytes);

#endif
