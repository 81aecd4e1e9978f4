/* memory.h - an allocator to lend to an engine: it counts the blocks that are out, and lets allocation n fail. */
#ifndef LUB_TEST_MEMORY_H
#define LUB_TEST_MEMORY_H
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct memory {
  atomic_long blocks; /* that are out; 0 at the end, or something leaks */
  atomic_long before; /* allocations that succeed before the first that fails */
  atomic_long fail;   /* how many fail then */
} memory;

static inline void *memory_realloc(void *ud, void *block, size_t nbytes) {
  memory *m = ud;
  if (!nbytes) {
    if (block) atomic_fetch_sub(&m->blocks, 1);
    free(block);
    return NULL;
  }
  if (atomic_fetch_sub(&m->before, 1) <= 0 && atomic_fetch_sub(&m->fail, 1) > 0) return NULL;
  void *made = realloc(block, nbytes);
  if (made && !block) atomic_fetch_add(&m->blocks, 1);
  return made;
}

/* From now on `before` allocations succeed, then `fail` fail, then all succeed. */
static inline void memory_set(memory *m, long before, long fail) {
  atomic_store(&m->before, before);
  atomic_store(&m->fail, fail);
}

#endif
