/* larena.c - see larena.h. */
#include "larena.h"

#include <stdbool.h>
#include <string.h>

typedef struct lcell { /* of a size in the lists */
  struct lcell *next;
  size_t size; /* while it is in none: see trim */
} lcell;

typedef struct lchunk {                    /* its cells lie behind it */
  _Alignas(LUB_ARENA_GRAIN) size_t nbytes; /* of the cells */
  size_t idle;                             /* ... that are in the lists, as trim counts them */
  lcell *cells;                            /* ... which are these */
} lchunk;

/* Bytes of a chunk: an eighth of what there is. Those of a worker that does little are no larger than what it needs, and
 * those of one that does much are few. */
enum { LEAST = 1536, LARGEST = 65536, FIRST_ROOM = 8, IDLE = 1 << 20 };

/* Where a tool watches each block, each is the allocator's. */
#ifdef __SANITIZE_ADDRESS__
enum { SMALL = 0 };
#else
enum { SMALL = LUB_ARENA_MOST };
#endif

void lub_arena_init(larena *a, const lub_allocator *mem) { *a = (larena){.mem = mem, .trim_at = IDLE}; }

void lub_arena_begin_close(larena *a) { a->trim_at = SIZE_MAX; }

void lub_arena_close(larena *a) {
  for (uint32_t i = 0; i < a->count; i++) lub_free(a->mem, a->chunks[i]);
  lub_free(a->mem, a->chunks);
  lub_arena_init(a, a->mem);
}

static size_t size_of(size_t nbytes) { return (nbytes - 1) / LUB_ARENA_GRAIN; }
static size_t bytes_of(size_t size) { return (size + 1) * LUB_ARENA_GRAIN; }

static void keep(larena *a, void *block, size_t size) {
  lcell *cell = block;
  cell->next = a->free[size];
  a->free[size] = cell;
  a->idle += bytes_of(size);
}

/* ---- chunks -------------------------------------------------------------------------------------------------------- */

/* How many begin at or below that address. */
static uint32_t count_up_to(const larena *a, const void *address) {
  uint32_t low = 0, high = a->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if ((uintptr_t)a->chunks[middle] <= (uintptr_t)address) low = middle + 1;
    else high = middle;
  }
  return low;
}

static bool lies_in(const lchunk *c, const void *cell) {
  return (uintptr_t)cell - (uintptr_t)c < sizeof *c + c->nbytes;
}

static lchunk *chunk_of(const larena *a, const void *cell) { return a->chunks[count_up_to(a, cell) - 1]; }

static bool has_room(larena *a) {
  if (a->count < a->room) return true;
  uint32_t room = a->room ? 2 * a->room : FIRST_ROOM;
  lchunk **grown = a->mem->realloc(a->mem->ud, a->chunks, room * sizeof(lchunk *));
  if (!grown) return false;
  a->chunks = grown;
  a->room = room;
  return true;
}

static bool add_chunk(larena *a) {
  size_t nbytes = a->total / 8;
  nbytes = nbytes < LEAST ? LEAST : nbytes > LARGEST ? LARGEST : nbytes - nbytes % LUB_ARENA_GRAIN;
  lchunk *c = has_room(a) ? lub_alloc(a->mem, nbytes) : NULL;
  if (!c && a->count < a->room) c = lub_alloc(a->mem, nbytes = LEAST);
  if (!c) return false;
  if (a->at < a->end) keep(a, a->at, size_of((size_t)(a->end - a->at)));
  uint32_t place = count_up_to(a, c);
  memmove(&a->chunks[place + 1], &a->chunks[place], (a->count - place) * sizeof(lchunk *));
  a->chunks[place] = c;
  a->count++;
  a->total += nbytes;
  c->nbytes = nbytes - sizeof *c;
  a->at = (char *)(c + 1);
  a->end = (char *)c + nbytes;
  return true;
}

/* Sorts what is in the lists by chunk. Neighbours in a list have often been neighbours in memory. */
static void gather(larena *a) {
  lchunk *c = NULL;
  for (size_t size = 0; size < LUB_ARENA_SIZES; size++) {
    for (lcell *cell = a->free[size], *next; cell; cell = next) {
      next = cell->next;
      if (!c || !lies_in(c, cell)) c = chunk_of(a, cell);
      cell->size = size;
      cell->next = c->cells;
      c->cells = cell;
      c->idle += bytes_of(size);
    }
    a->free[size] = NULL;
  }
}

static void put_back(larena *a, lchunk *c) {
  for (lcell *cell = c->cells, *next; cell; cell = next) {
    next = cell->next;
    cell->next = a->free[cell->size];
    a->free[cell->size] = cell;
  }
}

static void drop(larena *a, lchunk *c) {
  a->idle -= c->nbytes;
  a->total -= c->nbytes + sizeof *c;
  if (a->end == (char *)(c + 1) + c->nbytes) a->at = a->end = NULL; /* which it had given out whole */
  lub_free(a->mem, c);
}

/* Gives back the chunks whose cells are all in the lists. It looks at each such cell: so next when a quarter of all there is
 * has been given back since. True: some went. */
static bool trim(larena *a) {
  uint32_t kept = 0, before = a->count;
  for (uint32_t i = 0; i < before; i++) {
    a->chunks[i]->idle = 0;
    a->chunks[i]->cells = NULL;
  }
  gather(a);
  for (uint32_t i = 0; i < before; i++) {
    lchunk *c = a->chunks[i];
    if (c->idle == c->nbytes) {
      drop(a, c);
    } else {
      put_back(a, c);
      a->chunks[kept++] = c;
    }
  }
  a->count = kept;
  a->trim_at = a->idle + (a->total / 4 > IDLE ? a->total / 4 : IDLE);
  return kept < before;
}

/* ---- blocks -------------------------------------------------------------------------------------------------------- */

static void *try_take(larena *a, size_t nbytes) {
  if (!SMALL || nbytes > SMALL) return lub_alloc(a->mem, nbytes);
  size_t size = size_of(nbytes);
  lcell *cell = a->free[size];
  nbytes = bytes_of(size);
  if (cell) {
    a->free[size] = cell->next;
    a->idle -= nbytes;
    return cell;
  }
  if ((size_t)(a->end - a->at) < nbytes && !add_chunk(a)) return NULL;
  void *block = a->at;
  a->at += nbytes;
  return block;
}

static void *take(larena *a, size_t nbytes) {
  void *block = try_take(a, nbytes);
  return block || !trim(a) ? block : try_take(a, nbytes);
}

static void give(larena *a, void *block, size_t nbytes) {
  if (nbytes > SMALL) lub_free(a->mem, block);
  else if (nbytes) keep(a, block, size_of(nbytes));
  if (a->idle > a->trim_at) (void)trim(a);
}

static void *resize_large(larena *a, void *block, size_t nbytes) {
  void *made = a->mem->realloc(a->mem->ud, block, nbytes);
  return made || !trim(a) ? made : a->mem->realloc(a->mem->ud, block, nbytes);
}

void *lub_arena_realloc(larena *a, void *block, size_t old, size_t nbytes) {
  if (!block) return nbytes ? take(a, nbytes) : NULL;
  if (nbytes > SMALL && old > SMALL) return resize_large(a, block, nbytes);
  bool small = nbytes && nbytes <= SMALL && old && old <= SMALL;
  if (small && size_of(old) == size_of(nbytes)) return block;
  void *made = nbytes ? take(a, nbytes) : NULL;
  if (nbytes && !made) return small && nbytes < old ? block : NULL;
  if (made) memcpy(made, block, old < nbytes ? old : nbytes);
  give(a, block, old);
  return made;
}
