/* value.c - see value.h. */
#include "value.h"

#include <string.h>

lub_value lub_nil(void) { return (lub_value){.type = LUB_NIL}; }
lub_value lub_bool(bool b) { return (lub_value){.type = LUB_BOOL, .as.b = b}; }
lub_value lub_int(int64_t i) { return (lub_value){.type = LUB_INT, .as.i = i}; }
lub_value lub_num(double n) { return (lub_value){.type = LUB_NUM, .as.n = n}; }
lub_value lub_of_block(lub_type type, lub_block *b) { return (lub_value){.type = (uint8_t)type, .as.p = b}; }

lub_value lub_of_object(lub_object *o, uint8_t flags) {
  lub_object_ref(o);
  return (lub_value){.type = LUB_OBJECT, .flags = flags, .as.p = o};
}

lub_block *lub_block_new(const lub_allocator *mem, size_t nbytes, uint32_t nobjects) {
  size_t padded =
      (nbytes + 1 + sizeof(void *) - 1) & ~(sizeof(void *) - 1); /* 1: lub_text ends with a zero */
  if (padded <= nbytes) return NULL;
  lub_block *b = lub_alloc(mem, sizeof *b + padded + nobjects * sizeof(void *));
  if (!b) return NULL;
  b->mem = mem;
  b->nbytes = nbytes;
  b->bytes[nbytes] = 0;
  b->nobjects = nobjects;
  b->objects = (lub_object **)(void *)(b->bytes + padded);
  return b;
}

const char *lub_text(const lub_value *v, size_t *nbytes) {
  if (v->type != LUB_SHORT && v->type != LUB_STRING) return NULL;
  const lub_block *b = v->type == LUB_STRING ? lub_value_block(v) : NULL;
  if (nbytes) *nbytes = b ? b->nbytes : v->s.len;
  return b ? b->bytes : v->s.text;
}

lub_status lub_value_copy(const lub_value *v, lub_value *out) {
  lub_value copy = *v;
  if (v->type == LUB_OBJECT) lub_object_ref(v->as.p);
  if (v->type == LUB_STRING || v->type == LUB_PACKED) {
    lub_block *from = lub_value_block(v), *to = lub_block_new(from->mem, from->nbytes, from->nobjects);
    if (!to) return LUB_NOMEM;
    memcpy(to->bytes, from->bytes, from->nbytes);
    for (uint32_t i = 0; i < from->nobjects; i++) {
      to->objects[i] = from->objects[i];
      lub_object_ref(to->objects[i]);
    }
    copy.as.p = to;
  }
  *out = copy;
  return LUB_OK;
}

void lub_value_drop(lub_value *v) {
  if (v->type == LUB_OBJECT) lub_object_drop(v->as.p);
  if (v->type == LUB_STRING || v->type == LUB_PACKED) {
    lub_block *b = lub_value_block(v);
    for (uint32_t i = 0; i < b->nobjects; i++) lub_object_drop(b->objects[i]);
    lub_free(b->mem, b);
  }
  v->type = LUB_NIL;
}
