/* lpath.h - how a value inside another was reached, for the error that names it: argument 2.limits[3]. */
#ifndef LUB_LPATH_H
#define LUB_LPATH_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lpath {
  const struct lpath *up; /* that of the value around it, or NULL */
  const char *upvalue;    /* its name, or NULL */
  int key;                /* stack index of the key; 0: the value is a key itself */
} lpath;

enum { LUB_PATH_DEPTH = 200 }; /* steps at most */
enum { LUB_PATH_TEXT = 4000 }; /* bytes of the longest text, abbreviated */

/* Writes the way from `what` ("argument 2"; may be empty) to `at`, which may be NULL. `spawned`: `what` is the function of a
 * spawn, which is left out before its upvalues. */
void lub_path_text(lua_State *L, const char *what, bool spawned, const lpath *at, char text[LUB_PATH_TEXT]);

#endif
