/* base.h - what every file of the core may use: assertions, containers, the engine's memory.
 * Floor 1. Includes libc only. */
#ifndef LUB_BASE_H
#define LUB_BASE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define lub_assert(x) assert(x)
#define lub_container(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define LUB_NEVER INT64_MAX /* a deadline that does not come */
#define LUB_CACHE_LINE 64

#if defined(__x86_64__) || defined(__i386__)
#define lub_pause() __builtin_ia32_pause()
#else
#define lub_pause() ((void)0)
#endif

/* Which way a branch goes as a rule: what runs lies in a line. */
#define lub_likely(x) __builtin_expect(!!(x), 1)
#define lub_unlikely(x) __builtin_expect(!!(x), 0)

/* What will be read there soon. */
static inline void lub_prefetch(const void *p) { __builtin_prefetch(p); }

/* Thread-local, at the price of a load also in a shared library. Only glibc lets a library that was opened late have
 * such variables; they must stay few and small. */
#ifdef __GLIBC__
#define LUB_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define LUB_THREAD_LOCAL _Thread_local
#endif

/* Where an engine's memory comes from. A block is freed through the allocator that made it. */
typedef struct lub_allocator {
  void *(*realloc)(void *ud, void *block, size_t nbytes);
  void *ud;
} lub_allocator;

static inline void *lub_alloc(const lub_allocator *a, size_t nbytes) {
  return a->realloc(a->ud, NULL, nbytes);
}

static inline void lub_free(const lub_allocator *a, void *block) {
  if (block) (void)a->realloc(a->ud, block, 0);
}

/* A counted object: the first member of every handle that values may carry. */
typedef struct lub_object {
  atomic_uint refs;
  void (*free)(struct lub_object *self); /* called once, by the thread that dropped the last reference */
} lub_object;

static inline void lub_object_ref(lub_object *o) {
  atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}

static inline void lub_object_drop(lub_object *o) {
  /* acq_rel: what others did before their drop happens before the free */
  if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1) o->free(o);
}

#endif
