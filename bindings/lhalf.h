/* lhalf.h - the Lua half of the module: the files of bindings/lua/lubdub, as they are at build time (half.sh).
 * A stock Lua that has not required lubdub finds each by itself, as luaopen_lubdub_NAME in lubdub.so. */
#ifndef LUB_LHALF_H
#define LUB_LHALF_H

#include <lua.h>
#include <stddef.h>

typedef struct lhalf {
  const char *name; /* "lubdub.steward"; NULL ends the list */
  const unsigned char *text;
  size_t nbytes;
} lhalf;

extern const lhalf lub_half[];
/* Runs it; pushes what it returns. */
int lub_load_half(lua_State *L, const lhalf *m);

#endif
