/* larena.c - see larena.h. */
#include "larena.h"

#include <stdbool.h>
#include <string.h>

typedef struct lcell {
  struct lcell *next;
} lcell;

typedef struct lchunk {
  _Alignas(LUB_ARENA_GRAIN) struct lchunk *next; /* cells follow */
} lchunk;

/* Bytes of a chunk: an eighth of what there is. Those of a worker that does little are no larger than what it needs, and
 * those of one that does much are few. */
enum { LEAST = 1536, LARGEST = 65536 };

/* Where a tool watches each block, each is the allocator's. */
#ifdef __SANITIZE_ADDRESS__
enum { SMALL = 0 };
#else
enum { SMALL = LUB_ARENA_MOST };
#endif

void lub_arena_init(larena *a, const lub_allocator *mem) { *a = (larena){.mem = mem}; }

void lub_arena_close(larena *a) {
  for (lchunk *c = a->chunks, *next; c; c = next) {
    next = c->next;
    lub_free(a->mem, c);
  }
  lub_arena_init(a, a->mem);
}

static size_t size_of(size_t nbytes) { return (nbytes - 1) / LUB_ARENA_GRAIN; }
static size_t bytes_of(size_t size) { return (size + 1) * LUB_ARENA_GRAIN; }

static void keep(larena *a, void *block, size_t size) {
  lcell *cell = block;
  cell->next = a->free[size];
  a->free[size] = cell;
}

static bool add_chunk(larena *a) {
  size_t nbytes = a->total / 8;
  nbytes = nbytes < LEAST ? LEAST : nbytes > LARGEST ? LARGEST : nbytes - nbytes % LUB_ARENA_GRAIN;
  lchunk *c = lub_alloc(a->mem, nbytes);
  if (!c) c = lub_alloc(a->mem, nbytes = LEAST);
  if (!c) return false;
  if (a->at < a->end) keep(a, a->at, size_of((size_t)(a->end - a->at)));
  *c = (lchunk){.next = a->chunks};
  a->chunks = c;
  a->total += nbytes;
  a->at = (char *)(c + 1);
  a->end = (char *)c + nbytes;
  return true;
}

static void *take(larena *a, size_t nbytes) {
  if (nbytes > SMALL) return lub_alloc(a->mem, nbytes);
  size_t size = size_of(nbytes);
  lcell *cell = a->free[size];
  if (cell) {
    a->free[size] = cell->next;
    return cell;
  }
  nbytes = bytes_of(size);
  if ((size_t)(a->end - a->at) < nbytes && !add_chunk(a)) return NULL;
  void *block = a->at;
  a->at += nbytes;
  return block;
}

static void give(larena *a, void *block, size_t nbytes) {
  if (nbytes > SMALL) lub_free(a->mem, block);
  else if (nbytes) keep(a, block, size_of(nbytes));
}

void *lub_arena_realloc(larena *a, void *block, size_t old, size_t nbytes) {
  if (!block) return nbytes ? take(a, nbytes) : NULL;
  if (nbytes > SMALL && old > SMALL) return a->mem->realloc(a->mem->ud, block, nbytes);
  bool small = nbytes && nbytes <= SMALL && old && old <= SMALL;
  if (small && size_of(old) == size_of(nbytes)) return block;
  void *made = nbytes ? take(a, nbytes) : NULL;
  if (nbytes && !made) return small && nbytes < old ? block : NULL;
  if (made) memcpy(made, block, old < nbytes ? old : nbytes);
  give(a, block, old);
  return made;
}
