/* lock_test.c - the lock of one word: who holds it is alone, and whoever waits for it gets it. */
#include "lock.h"

#include <pthread.h>
#include <sched.h>

#include "test.h"

enum { THREADS = 4, TURNS = 20000 };

static lub_lock lock;
static long count; /* guarded by lock */
static atomic_int inside, intruders;

/* Now and then the holder gives up its CPU, so that the others come to sleep. */
static void *take_turns(void *arg) {
  (void)arg;
  for (int i = 0; i < TURNS; i++) {
    lub_lock_take(&lock);
    if (atomic_fetch_add(&inside, 1)) atomic_fetch_add(&intruders, 1);
    count++;
    if (i % 16 == 0) sched_yield();
    atomic_fetch_sub(&inside, 1);
    lub_lock_give(&lock);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  lub_lock_init(&lock);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, take_turns, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  CHECK("nobody is inside beside the holder", atomic_load(&intruders) == 0);
  CHECK("every turn counts", count == (long)THREADS * TURNS);
  CHECK("it is free at the end", atomic_load(&lock.state) == LUB_FREE);
  CHECK("who tries gets it then", lub_lock_try(&lock));
  CHECK("but not while it is held", !lub_lock_try(&lock));
  lub_lock_give(&lock);
  return TEST_END();
}
