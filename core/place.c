/* place.c - see place.h. */
#include "place.h"

#include <string.h>

enum { STEAL_MAX = 32 };

void lub_place_init(lub_place *p) {
  memset(p, 0, sizeof *p);
  lub_list_init(&p->queue);
  pthread_mutex_init(&p->lock, NULL);
}

void lub_place_close(lub_place *p) { pthread_mutex_destroy(&p->lock); }

void lub_place_push(lub_place *p, lub_worker *w) {
  pthread_mutex_lock(&p->lock);
  lub_list_push(&p->queue, &w->link);
  atomic_fetch_add(&p->length, 1); /* IDLE (carrier.c) */
  pthread_mutex_unlock(&p->lock);
}

lub_worker *lub_place_pop(lub_place *p) {
  if (atomic_load_explicit(&p->length, memory_order_relaxed) == 0) return NULL;
  pthread_mutex_lock(&p->lock);
  lub_link *k = lub_list_pop(&p->queue);
  if (k) atomic_fetch_sub(&p->length, 1);
  pthread_mutex_unlock(&p->lock);
  return k ? lub_container(k, lub_worker, link) : NULL;
}

/* After Go's runqsteal. */
lub_worker *lub_place_steal(lub_place *to, lub_place *from) {
  if (!lub_place_offers(from)) return NULL;
  lub_link *taken[STEAL_MAX];
  int n = 0;
  pthread_mutex_lock(&from->lock);
  int half = (atomic_load(&from->length) + 1) / 2;
  while (n < half && n < STEAL_MAX) taken[n++] = lub_list_pop(&from->queue);
  atomic_fetch_sub(&from->length, n);
  pthread_mutex_unlock(&from->lock);
  for (int i = 1; i < n; i++) lub_place_push(to, lub_container(taken[i], lub_worker, link));
  return n ? lub_container(taken[0], lub_worker, link) : NULL;
}
