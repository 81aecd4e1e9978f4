/* life.c - see life.h. */
#include "life.h"

#include <stdio.h>

static const char *const state_names[] = {
#define LUB_STATE_TEXT(name, text) text,
    LUB_STATE_MAP(LUB_STATE_TEXT)
#undef LUB_STATE_TEXT
};

const char *lub_state_name(lub_state state) {
  return (unsigned)state < sizeof state_names / sizeof *state_names ? state_names[state] : "unknown";
}

static const char *const wishes[] = {"", "sleep", "select", "recv", "send", "join"};

void lub_life_wait_for(lub_life *l, lub_wish wish, const char *name) {
  char bytes[LUB_WHAT * 8 + 1] = {(char)wish};
  if (name) memcpy(bytes + 1, name, strnlen(name, sizeof bytes - 2));
  for (int i = 0; i < LUB_WHAT; i++) {
    uint64_t word;
    memcpy(&word, bytes + i * 8, 8);
    atomic_store_explicit(&l->what[i], word, memory_order_relaxed);
  }
}

void lub_life_what(lub_life *l, char text[LUB_WHAT_TEXT]) {
  char bytes[LUB_WHAT * 8 + 1] = {0};
  for (int i = 0; i < LUB_WHAT; i++) {
    uint64_t word = atomic_load_explicit(&l->what[i], memory_order_relaxed);
    memcpy(bytes + i * 8, &word, 8);
  }
  const char *wish = wishes[(size_t)bytes[0] % (sizeof wishes / sizeof *wishes)];
  if (bytes[1]) (void)snprintf(text, LUB_WHAT_TEXT, "%s '%s'", wish, bytes + 1);
  else (void)snprintf(text, LUB_WHAT_TEXT, "%s", wish);
}

/* `since` differs from one state to the next: two equal readings around the others mean that all are of one state. */
lub_look lub_life_look(lub_life *l, int64_t now_ns) {
  for (;;) {
    int64_t since = atomic_load_explicit(&l->since_ns, memory_order_acquire);
    lub_state state = (lub_state)atomic_load_explicit(&l->state, memory_order_acquire);
    int64_t sign = atomic_load_explicit(&l->sign_ns, memory_order_acquire);
    uint32_t signs = atomic_load_explicit(&l->signs, memory_order_acquire);
    if (since != atomic_load_explicit(&l->since_ns, memory_order_relaxed)) continue;
    int64_t age = 0;
    if (state == LUB_STATE_BUSY) age = now_ns - sign;
    else if (state == LUB_STATE_RUNNABLE) age = since - sign;
    /* preempted at this very instant, as in a sim each time: it has computed until now, and not waited for a CPU */
    if (state == LUB_STATE_RUNNABLE && since == now_ns && age > 0) state = LUB_STATE_BUSY;
    return (lub_look){state, age > 0 ? age : 0, now_ns > since ? now_ns - since : 0, signs};
  }
}

static void shift(atomic_llong *stamp, long long at, int64_t from_ns, int64_t to_ns, int64_t grace_ns) {
  if (at >= to_ns) return;
  /* fails when it was written meanwhile: then there is nothing to excuse */
  (void)atomic_compare_exchange_strong(stamp, &at, at + to_ns - (at > from_ns ? at : from_ns) + grace_ns);
}

int64_t lub_life_runnable(lub_life *l, int64_t now_ns) {
  lub_look look = lub_life_look(l, now_ns);
  int64_t spent = atomic_load_explicit(&l->spent_ns[LUB_STATE_RUNNABLE], memory_order_relaxed);
  return look.state == LUB_STATE_RUNNABLE ? spent + look.state_ns : spent;
}

void lub_life_extend(lub_life *l, int64_t more_ns) {
  long long at = atomic_load(&l->sign_ns);
  /* fails when it beat meanwhile: it has until its next deadline, as ever */
  (void)atomic_compare_exchange_strong(&l->sign_ns, &at, at + more_ns);
}

void lub_life_excuse(lub_life *l, int64_t from_ns, int64_t to_ns, int64_t grace_ns) {
  int64_t in_c = atomic_load(&l->in_c_ns); /* not before since_ns: what lies between was busy */
  if (in_c) shift(&l->in_c_ns, in_c, from_ns, to_ns, 0);
  shift(&l->since_ns, atomic_load(&l->since_ns), from_ns, to_ns, 0);
  shift(&l->sign_ns, atomic_load(&l->sign_ns), from_ns, to_ns, grace_ns);
}
