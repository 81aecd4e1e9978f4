/* lock.c - see lock.h. After Drepper, "Futexes Are Tricky": who has waited takes the lock as contended, since others may
 * wait still. */
#include "lock.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

/* Of pauses between two looks, which double: a look takes the cache line from whoever holds the lock, who is quickly done and
 * likely to want it again. */
enum { FIRST = 64, LAST = 512 };

#ifdef __linux__
static void sleep_while_contended(lub_lock *l) {
  (void)syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, LUB_CONTENDED, NULL, NULL, 0);
}

/* l may be gone, and its address used again: at worst somebody wakes for nothing, and looks again. */
void lub_lock_wake(lub_lock *l) { (void)syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
#else
static void sleep_while_contended(lub_lock *l) {
  (void)l;
  (void)sched_yield();
}

void lub_lock_wake(lub_lock *l) { (void)l; }
#endif

void lub_lock_wait(lub_lock *l) {
  for (int pauses = FIRST; pauses <= LAST; pauses *= 2) {
    for (int i = 0; i < pauses; i++) lub_pause();
    if (atomic_load_explicit(&l->state, memory_order_relaxed) == LUB_FREE && lub_lock_try(l)) return;
  }
  while (atomic_exchange_explicit(&l->state, LUB_CONTENDED, memory_order_acquire) != LUB_FREE)
    sleep_while_contended(l);
}
