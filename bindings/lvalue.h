/* lvalue.h - the buffer in which a worker packs what it sends. It lives in the lworker, so that nothing
 * is on the heap unowned when a lua_* call raises. Used by one message at a time: no Lua code runs, and no
 * collector, between the first byte of a message and the last. */
#ifndef LUB_LVALUE_H
#define LUB_LVALUE_H

#include <lua.h>

#include "value.h"

struct lworker;

/* A table, function, upvalue or long string that the message under way has met. */
typedef struct lmet {
  const void *identity;
  size_t at;          /* where in bytes it begins: later meetings refer to that place */
  const char *module; /* a loaded module that has not been met yet, by name; at means nothing then */
} lmet;

typedef struct lpack {
  char *bytes;
  size_t len, room;
  lub_object **objects; /* not counted: the values that hold them are on the Lua stack */
  size_t nobjects, objects_room;
  lmet *met;
  size_t nmet, met_room;
  uint32_t *slots; /* hash of met: its index + 1, 0: free; in use when nslots > 0 */
  size_t nslots, slots_room;
} lpack;

/* Frees the buffer; it may be used again. */
void lub_pack_free(struct lworker *lw);
/* Pushes *v and drops it, also when pushing raises. */
void lub_take_any(lua_State *L, lub_value *v);
static inline void lub_take(lua_State *L, lub_value *v) {
  if (v->type == LUB_INT) lua_pushinteger(L, v->as.i);
  else lub_take_any(L, v);
}

#endif
