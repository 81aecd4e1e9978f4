/* list.h - an intrusive doubly linked list; no operation allocates or fails.
 * A link that is in no list has next == NULL. Floor 1. */
#ifndef LUB_LIST_H
#define LUB_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lub_link {
  struct lub_link *next, *prev;
} lub_link;

typedef struct lub_list {
  lub_link root; /* root.next is the first, root.prev the last */
} lub_list;

static inline void lub_list_init(lub_list *l) { l->root.next = l->root.prev = &l->root; }
static inline bool lub_list_empty(const lub_list *l) { return l->root.next == &l->root; }
static inline lub_link *lub_list_first(lub_list *l) { return lub_list_empty(l) ? NULL : l->root.next; }
static inline lub_link *lub_list_next(lub_list *l, lub_link *k) {
  return k->next == &l->root ? NULL : k->next;
}
static inline bool lub_link_queued(const lub_link *k) { return k->next != NULL; }

static inline void lub_list_push(lub_list *l, lub_link *k) {
  k->next = &l->root;
  k->prev = l->root.prev;
  l->root.prev->next = k;
  l->root.prev = k;
}

static inline void lub_list_push_first(lub_list *l, lub_link *k) {
  k->prev = &l->root;
  k->next = l->root.next;
  l->root.next->prev = k;
  l->root.next = k;
}

static inline void lub_list_remove(lub_link *k) {
  k->prev->next = k->next; // NOLINT(clang-analyzer-core.NullDereference): it is in a list
  k->next->prev = k->prev;
  k->next = k->prev = NULL;
}

static inline lub_link *lub_list_pop(lub_list *l) {
  lub_link *k = lub_list_first(l);
  if (k) lub_list_remove(k);
  return k;
}

/* Moves everything in `from` to the end of `to`. */
static inline void lub_list_splice(lub_list *to, lub_list *from) {
  lub_link *k;
  while ((k = lub_list_pop(from))) lub_list_push(to, k);
}

#endif
