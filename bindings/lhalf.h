/* lhalf.h - the Lua half of the module: the files of bindings/lua/lubdub, as they are at build time (half.sh). */
#ifndef LUB_LHALF_H
#define LUB_LHALF_H

#include <stddef.h>

typedef struct lhalf {
  const char *name; /* "lubdub.steward"; NULL ends the list */
  const unsigned char *text;
  size_t nbytes;
} lhalf;

extern const lhalf lub_half[];

#endif
