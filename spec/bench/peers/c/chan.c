#include "chan.h"
#include <stdlib.h>
#include <string.h>

chan *chan_open(size_t item, size_t capacity) {
  size_t room = capacity ? capacity : 1;
  chan *ch = calloc(1, sizeof *ch + item * room);
  if (!ch) abort();
  ch->item = item;
  ch->room = room;
  ch->capacity = capacity;
  pthread_mutex_init(&ch->lock, NULL);
  pthread_cond_init(&ch->readable, NULL);
  pthread_cond_init(&ch->writable, NULL);
  pthread_cond_init(&ch->taken, NULL);
  return ch;
}

void chan_free(chan *ch) {
  pthread_mutex_destroy(&ch->lock);
  pthread_cond_destroy(&ch->readable);
  pthread_cond_destroy(&ch->writable);
  pthread_cond_destroy(&ch->taken);
  free(ch);
}

static char *slot(chan *ch, unsigned long at) { return ch->slots + at % ch->room * ch->item; }

void chan_send(chan *ch, const void *value) {
  pthread_mutex_lock(&ch->lock);
  while (ch->sent - ch->received == ch->room) pthread_cond_wait(&ch->writable, &ch->lock);
  unsigned long mine = ch->sent++;
  memcpy(slot(ch, mine), value, ch->item);
  pthread_cond_signal(&ch->readable);
  while (!ch->capacity && ch->received <= mine) pthread_cond_wait(&ch->taken, &ch->lock);
  pthread_mutex_unlock(&ch->lock);
}

static void take_locked(chan *ch, void *value) {
  memcpy(value, slot(ch, ch->received++), ch->item);
  pthread_cond_signal(&ch->writable);
  if (!ch->capacity) pthread_cond_broadcast(&ch->taken);
}

bool chan_recv(chan *ch, void *value) {
  pthread_mutex_lock(&ch->lock);
  while (ch->sent == ch->received && !ch->closed) pthread_cond_wait(&ch->readable, &ch->lock);
  bool some = ch->sent != ch->received;
  if (some) take_locked(ch, value);
  pthread_mutex_unlock(&ch->lock);
  return some;
}

bool chan_try_recv(chan *ch, void *value) {
  pthread_mutex_lock(&ch->lock);
  bool some = ch->sent != ch->received;
  if (some) take_locked(ch, value);
  pthread_mutex_unlock(&ch->lock);
  return some;
}

void chan_close(chan *ch) {
  pthread_mutex_lock(&ch->lock);
  ch->closed = true;
  pthread_cond_broadcast(&ch->readable);
  pthread_mutex_unlock(&ch->lock);
}
