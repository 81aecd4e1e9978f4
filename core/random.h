/* random.h - xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64: the same numbers on every platform.
 * One generator has one user at a time. Floor 1. */
#ifndef LUB_RANDOM_H
#define LUB_RANDOM_H

#include <stdint.h>

typedef struct lub_random {
  uint64_t s[4];
} lub_random;

static inline uint64_t lub_splitmix(uint64_t *x) {
  uint64_t z = (*x += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static inline void lub_random_seed(lub_random *r, uint64_t seed) {
  for (int i = 0; i < 4; i++) r->s[i] = lub_splitmix(&seed);
}

static inline uint64_t lub_random_next(lub_random *r) {
  uint64_t *s = r->s, m = s[1] * 5, out = ((m << 7) | (m >> 57)) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = (s[3] << 45) | (s[3] >> 19);
  return out;
}

/* Uniform in [0, n), n > 0 (Lemire's multiplication, bias below n / 2^32). */
static inline uint32_t lub_random_below(lub_random *r, uint32_t n) {
  return (uint32_t)(((lub_random_next(r) >> 32) * n) >> 32);
}

#endif
