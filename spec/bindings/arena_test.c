/* arena_test.c - the memory of a state, against a copy of what must be in each block: random changes of size, with an
 * allocator that fails now and then and counts what it lends. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../core/test.h"
#include "larena.h"

/* Under the address sanitizer each block is the allocator's. */
#ifdef __SANITIZE_ADDRESS__
enum { CHUNKS = false };
#else
enum { CHUNKS = true };
#endif

enum { BLOCKS = 2000, STEPS = 200000, LARGEST = 3000 };

typedef struct lender {
  size_t blocks, calls;
  size_t every; /* so many calls, one fails; 0: none */
  size_t most;  /* blocks that it lends at a time; 0: no bound */
} lender;

static void *lend(void *ud, void *block, size_t nbytes) {
  lender *l = ud;
  if (!nbytes) {
    l->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  l->calls++;
  if (l->every && l->calls % l->every == 0) return NULL;
  if (!block && l->most && l->blocks == l->most) return NULL;
  void *made = realloc(block, nbytes);
  l->blocks += made && !block;
  return made;
}

typedef struct held {
  unsigned char *at;
  size_t nbytes;
  unsigned char filled; /* each byte is that */
} held;

static uint32_t seed = 1;
static uint32_t below(uint32_t n) {
  seed = seed * 1664525 + 1013904223;
  return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static bool is_filled(const held *h, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (h->at[i] != h->filled) return false;
  return true;
}

static void fill(held *h, unsigned char with) {
  h->filled = with;
  memset(h->at, with, h->nbytes);
}

/* Most blocks of a state are small. */
static size_t some_size(void) {
  uint32_t kind = below(10);
  return kind == 0 ? 0 : kind < 8 ? 1 + below(200) : 1 + below(LARGEST);
}

static held blocks[BLOCKS];

/* One block takes another size. False: something that it held was lost, or it lies where it must not. */
static bool change(larena *a, held *h, size_t *failures) {
  size_t nbytes = some_size(), kept = nbytes < h->nbytes ? nbytes : h->nbytes;
  if (h->at && !is_filled(h, h->nbytes)) return false;
  unsigned char *made = lub_arena_realloc(a, h->at, h->at ? h->nbytes : below(10), nbytes);
  if (!nbytes) {
    *h = (held){0};
    return made == NULL;
  }
  if (!made) {
    ++*failures;
    return !h->at || is_filled(h, h->nbytes);
  }
  h->at = made;
  h->nbytes = nbytes;
  if (!is_filled(h, kept) || (uintptr_t)made % 8) return false;
  fill(h, (unsigned char)below(256));
  return true;
}

static void test_random(size_t every) {
  lender l = {.every = every};
  lub_allocator mem = {lend, &l};
  larena a;
  size_t failures = 0;
  bool ok = true;
  memset(blocks, 0, sizeof blocks);
  lub_arena_init(&a, &mem);
  for (int i = 0; ok && i < STEPS; i++) ok = change(&a, &blocks[below(BLOCKS)], &failures);
  CHECK("each block holds what was written to it, whatever happens to others", ok);
  CHECK("there was no memory when the allocator had none", (failures > 0) == (every > 0));
  for (int i = 0; i < BLOCKS; i++)
    if (blocks[i].at) (void)lub_arena_realloc(&a, blocks[i].at, blocks[i].nbytes, 0);
  lub_arena_close(&a);
  CHECK("everything goes back to the allocator", l.blocks == 0);
}

static void test_reuse(void) {
  lender l = {0};
  lub_allocator mem = {lend, &l};
  larena a;
  void *all[1000];
  lub_arena_init(&a, &mem);
  for (int i = 0; i < 1000; i++) all[i] = lub_arena_realloc(&a, NULL, 0, 48);
  size_t calls = l.calls;
  for (int round = 0; round < 100; round++) {
    for (int i = 0; i < 1000; i++) (void)lub_arena_realloc(&a, all[i], 48, 0);
    for (int i = 0; i < 1000; i++) all[i] = lub_arena_realloc(&a, NULL, 0, 33 + (size_t)i % 16);
  }
  CHECK("few large chunks serve many small blocks", !CHUNKS || calls < 50);
  CHECK("what was given back serves the next of its size", !CHUNKS || l.calls == calls);
  CHECK("a block that was never there is not given back", lub_arena_realloc(&a, NULL, 5, 0) == NULL);
  for (int i = 0; i < 1000; i++) (void)lub_arena_realloc(&a, all[i], 48, 0);
  lub_arena_close(&a);
  CHECK("everything goes back to the allocator", l.blocks == 0);
  void *again = lub_arena_realloc(&a, NULL, 0, 10);
  CHECK("a closed arena may be used again", again != NULL);
  (void)lub_arena_realloc(&a, again, 10, 0);
  lub_arena_close(&a);
}

/* Of every size some, in turn; returns how many there were. */
static size_t fill_up(larena *a, void **all, size_t most) {
  size_t n = 0;
  while (n < most && (all[n] = lub_arena_realloc(a, NULL, 0, 1 + n % 300))) n++;
  return n;
}

static void empty(larena *a, void **all, size_t n) {
  for (size_t i = 0; i < n; i++) (void)lub_arena_realloc(a, all[i], 1 + i % 300, 0);
}

static void test_back(void) {
  enum { MANY = 200000 };
  lender l = {0};
  lub_allocator mem = {lend, &l};
  larena a;
  void **all = malloc(MANY * sizeof *all);
  if (!all) abort();
  lub_arena_init(&a, &mem);
  CHECK("there is memory", fill_up(&a, all, MANY) == MANY);
  size_t full = l.blocks;
  for (size_t i = 0; i < MANY; i++)
    if (i / 300 % 4) (void)lub_arena_realloc(&a, all[i], 1 + i % 300, 0);
  CHECK("of what is in use nothing goes", !CHUNKS || l.blocks > full / 5);
  CHECK("what is not goes back, but for some", l.blocks < full * 9 / 10);
  for (size_t i = 0; i < MANY; i++)
    if (i / 300 % 4 == 0) (void)lub_arena_realloc(&a, all[i], 1 + i % 300, 0);
  CHECK("so in the end nearly all does", l.blocks < full / 3);
  CHECK("and may be had again", fill_up(&a, all, MANY) == MANY && l.blocks <= full + 20);
  lub_arena_begin_close(&a);
  full = l.blocks;
  empty(&a, all, MANY);
  CHECK("before it closes nothing goes that will go at once", !CHUNKS || l.blocks == full);
  lub_arena_close(&a);
  l.most = 20;
  size_t n = fill_up(&a, all, MANY);
  CHECK("memory ends", n < MANY && !lub_arena_realloc(&a, NULL, 0, 2000));
  empty(&a, all, n);
  void *large = lub_arena_realloc(&a, NULL, 0, 2000);
  CHECK("what small blocks have left serves a large one", large != NULL);
  n = fill_up(&a, all, MANY);
  large = lub_arena_realloc(&a, large, 2000, 0);
  CHECK("and the other way round", n > 0 && !large);
  empty(&a, all, n);
  lub_arena_close(&a);
  CHECK("everything goes back to the allocator", l.blocks == 0);
  free(all);
}

static void test_without_memory(void) {
  lender l = {0};
  lub_allocator mem = {lend, &l};
  larena a;
  lub_arena_init(&a, &mem);
  unsigned char *block = lub_arena_realloc(&a, NULL, 0, 100);
  if (!block) abort();
  memset(block, 7, 100);
  l.every = 1;
  while (lub_arena_realloc(&a, NULL, 0, 40)) continue;
  const unsigned char *less = CHUNKS ? lub_arena_realloc(&a, block, 100, 40) : block;
  CHECK("a small block can be made smaller", less == block && less[0] == 7 && less[39] == 7);
  CHECK("but not larger", !lub_arena_realloc(&a, block, 40, 2001) && block[39] == 7);
  (void)lub_arena_realloc(&a, block, 40, 0);
  lub_arena_close(&a);
  CHECK("everything goes back to the allocator", l.blocks == 0);
}

int main(void) {
  test_random(0);
  test_random(7);
  test_reuse();
  test_back();
  test_without_memory();
  return TEST_END();
}
