/* chan.h - a channel of pthreads: a ring, a mutex, conditions. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct chan {
  pthread_mutex_t lock;
  pthread_cond_t readable, writable, taken;
  size_t item;           /* bytes of a value */
  size_t room, capacity; /* slots of the ring; 0 is a rendezvous through one slot */
  unsigned long sent, received;
  bool closed;
  char slots[];
} chan;

chan *chan_open(size_t item, size_t capacity);
void chan_free(chan *ch);
void chan_send(chan *ch, const void *value);
/* False when the channel is closed and drained. */
bool chan_recv(chan *ch, void *value);
/* False when there is nothing at once. */
bool chan_try_recv(chan *ch, void *value);
void chan_close(chan *ch);
