/* tidy.h - for clang-tidy alone: Lua's headers do not say that these never return. */
#include <lauxlib.h>
LUA_API int(lua_error)(lua_State *L) __attribute__((noreturn));
LUALIB_API int(luaL_error)(lua_State *L, const char *fmt, ...) __attribute__((noreturn));
LUALIB_API int(luaL_argerror)(lua_State *L, int arg, const char *extramsg) __attribute__((noreturn));
LUALIB_API int(luaL_typeerror)(lua_State *L, int arg, const char *tname) __attribute__((noreturn));
