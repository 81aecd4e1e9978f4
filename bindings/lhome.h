/* lhome.h - functions of C by the names under which another state holds them too. */
#ifndef LUB_LHOME_H
#define LUB_LHOME_H

#include <lua.h>
#include <stdbool.h>

typedef struct lhome {       /* the strings live in the tables that hold the function */
  const char *module, *name; /* of a method: its type; NULL: nobody holds the function */
  int rank;                  /* how sure another state has it there: see lhome.c */
} lhome;

/* The surest of the loaded modules that hold the function at index. */
lhome lub_home_in_modules(lua_State *L, int index);
/* ch.send, file.read and the like. */
lhome lub_home_in_methods(lua_State *L, int index);
/* Pushes the methods of a type, or something that is no table. */
void lub_push_methods(lua_State *L, const char *type);

#endif
