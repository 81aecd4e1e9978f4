/* intervals.c - see intervals.h. */
#include "intervals.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

#define get(x) atomic_load_explicit(&(x), memory_order_relaxed)
/* release, so that what is written while `seq` is odd is not seen before that; acquire, likewise */
#define put(x, v) atomic_store_explicit(&(x), (v), memory_order_release)
#define see(x) atomic_load_explicit(&(x), memory_order_acquire)

lub_intervals *lub_intervals_make(const lub_allocator *mem, uint32_t size) {
  size_t bytes = sizeof(lub_intervals) + size * sizeof(float);
  lub_intervals *s = lub_alloc(mem, bytes);
  if (!s) return NULL;
  memset(s, 0, bytes);
  s->size = size;
  return s;
}

static inline void add_sums(lub_intervals *s, double d, double sign) {
  put(s->sum, get(s->sum) + sign * d);
  put(s->sum2, get(s->sum2) + sign * d * d);
}

/* Sums that had values added and taken away for a whole round are made anew: no error grows. */
static void sum_again(lub_intervals *s) {
  double sum = 0, sum2 = 0;
  for (uint32_t i = 0; i < s->size; i++) {
    double d = (double)get(s->ring[i]) - get(s->base);
    sum += d;
    sum2 += d * d;
  }
  put(s->sum, sum);
  put(s->sum2, sum2);
}

static void add_to_ring(lub_intervals *s, double x, uint32_t n) {
  uint32_t head = get(s->head), next = head + 1 == s->size ? 0 : head + 1;
  bool full = n == s->size;
  if (full) add_sums(s, (double)get(s->ring[head]) - get(s->base), -1);
  put(s->ring[head], (float)x);
  put(s->head, next);
  add_sums(s, x - get(s->base), 1);
  if (!full) put(s->samples, n + 1);
  else if (next == 0) sum_again(s);
}

void lub_intervals_add(lub_intervals *s, double x) {
  uint32_t n = get(s->samples);
  uint32_t odd = get(s->seq) | 1; /* so it ends even, also when two write at once, who may not */
  put(s->seq, odd);
  if (s->size) x = (double)(float)x;
  if (n == 0) put(s->base, x);
  if (n == 0 || x < get(s->min)) put(s->min, x);
  if (n == 0 || x > get(s->max)) put(s->max, x);
  if (s->size) {
    add_to_ring(s, x, n);
  } else {
    add_sums(s, x - get(s->base), 1);
    if (n < UINT32_MAX) put(s->samples, n + 1);
  }
  put(s->seq, odd + 1);
}

size_t lub_intervals_window(lub_intervals *s, double *out, size_t most) {
  for (;;) {
    uint32_t seq = see(s->seq), n = s->size ? see(s->samples) : 0, head = see(s->head);
    uint32_t first = n < s->size ? 0 : head, skip = n > most ? n - (uint32_t)most : 0;
    for (uint32_t i = skip; i < n; i++) out[i - skip] = (double)see(s->ring[(first + i) % s->size]);
    if (!(seq & 1) && see(s->seq) == seq) return n - skip;
    sched_yield();
  }
}

static void look_at_ring(lub_intervals *s, uint32_t n, lub_snapshot *out) {
  for (uint32_t i = 0; i < n; i++) {
    double x = (double)see(s->ring[i]);
    if (i == 0 || x < out->min) out->min = x;
    if (i == 0 || x > out->max) out->max = x;
  }
}

void lub_intervals_look(lub_intervals *s, lub_snapshot *out) {
  for (;;) {
    uint32_t seq = see(s->seq), n = see(s->samples);
    double sum = see(s->sum), sum2 = see(s->sum2), base = see(s->base);
    out->min = see(s->min);
    out->max = see(s->max);
    if (s->size) look_at_ring(s, n, out);
    if ((seq & 1) || see(s->seq) != seq) {
      sched_yield();
      continue;
    }
    double mean = n ? sum / n : 0, variance = n ? sum2 / n - mean * mean : 0;
    out->samples = n;
    out->mean = n ? base + mean : 0;
    out->sd = variance > 0 ? sqrt(variance) : 0;
    return;
  }
}
