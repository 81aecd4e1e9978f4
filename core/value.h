/* value.h - one message: its blocks and who frees them. A value has one owner; handing it on is a copy
 * of the struct, after which the giver must not touch it. Floor 2. Uses base. */
#ifndef LUB_VALUE_H
#define LUB_VALUE_H

#include "base.h"
#include "lubdub.h"

/* What LUB_STRING and LUB_PACKED point to. */
typedef struct lub_block {
  const lub_allocator *mem;
  size_t nbytes;
  uint32_t nobjects;    /* references that the packed bytes speak of by number */
  lub_object **objects; /* [nobjects], behind the bytes; each holds one reference */
  char bytes[];
} lub_block;

/* A block with room for nbytes and nobjects (to be filled by the caller), or NULL. */
lub_block *lub_block_new(const lub_allocator *mem, size_t nbytes, uint32_t nobjects);

/* *to = *from, for values that were made just now. To load all of it, a CPU waits until its parts are stored, and what was
 * stored before them, too: an integer goes part by part. */
static inline void lub_value_move(lub_value *to, const lub_value *from) {
  if (lub_likely(from->type == LUB_INT)) {
    to->type = LUB_INT;
    to->as.i = from->as.i;
  } else {
    *to = *from;
  }
}

static inline lub_block *lub_value_block(const lub_value *v) { return v->as.p; }

/* Takes one reference to o. */
lub_value lub_of_object(lub_object *o, uint8_t flags);
lub_value lub_of_block(lub_type type, lub_block *b);
/* Copies: blocks are duplicated, objects counted. LUB_NOMEM. */
lub_status lub_value_copy(const lub_value *v, lub_value *out);

#endif
