/* lpath.c - see lpath.h. */
#include "lpath.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct text {
  char *s; /* [LUB_PATH_TEXT]: PATH_HEAD + PATH_TAIL names, every byte escaped */
  size_t n;
} text;

enum {
  PATH_HEAD = 8,
  PATH_TAIL = 8,
  NAME_SHOWN = 40
}; /* what is longer is abbreviated; ends fit into text */

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(t->s + t->n, LUB_PATH_TEXT - t->n, format, args);
  va_end(args);
  if (n > 0) t->n += (size_t)n < LUB_PATH_TEXT - t->n ? (size_t)n : LUB_PATH_TEXT - t->n - 1;
}

/* n, or less: where a name of n bytes is cut, never inside a UTF-8 character. */
static size_t cut(const char *s, size_t n) {
  if (n <= NAME_SHOWN) return n;
  for (n = NAME_SHOWN; n > NAME_SHOWN - 4 && (s[n] & 0xC0) == 0x80;) n--;
  return n;
}

static void put_name(text *t, const char *s, size_t n) {
  size_t shown = cut(s, n);
  put(t, "%.*s%s", (int)shown, s, shown < n ? "..." : "");
}

static bool is_identifier(const char *s, size_t n) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  return n > 0 && !(*s >= '0' && *s <= '9') && strspn(s, letters) == n;
}

static void put_quoted(text *t, const char *s, size_t n) {
  size_t shown = cut(s, n);
  put(t, "[\"");
  for (size_t i = 0; i < shown; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c == '"' || c == '\\') put(t, "\\%c", c);
    else if (c < ' ' || c == 127) put(t, "\\%03d", c);
    else put(t, "%c", c);
  }
  put(t, "%s\"]", shown < n ? "..." : "");
}

static void put_key(text *t, lua_State *L, int key) {
  size_t n;
  const char *s = lua_type(L, key) == LUA_TSTRING ? lua_tolstring(L, key, &n) : NULL;
  if (s && is_identifier(s, n)) {
    put(t, ".");
    put_name(t, s, n);
  } else if (s) put_quoted(t, s, n);
  else if (lua_isinteger(L, key)) put(t, "[%lld]", (long long)lua_tointeger(L, key));
  else if (lua_type(L, key) == LUA_TNUMBER) put(t, "[%.14g]", lua_tonumber(L, key));
  else if (lua_isboolean(L, key)) put(t, "[%s]", lua_toboolean(L, key) ? "true" : "false");
  else put(t, "[a %s]", luaL_typename(L, key));
}

static void put_step(text *t, lua_State *L, const lpath *step, bool after_word) {
  if (after_word) put(t, " ");
  if (!step->upvalue) {
    if (step->key) put_key(t, L, step->key);
    else put(t, "[a key]");
    return;
  }
  put(t, "%supvalue '", t->n && !after_word ? " " : "");
  put_name(t, step->upvalue, strlen(step->upvalue));
  put(t, "'");
}

void lub_path_text(lua_State *L, const char *what, bool spawned, const lpath *at, char s[LUB_PATH_TEXT]) {
  text own = {.s = s}, *t = &own;
  const lpath *steps[LUB_PATH_DEPTH + 1];
  int n = 0;
  for (; at && n <= LUB_PATH_DEPTH; at = at->up) steps[n++] = at;
  bool bare = spawned && n > 0 && steps[n - 1]->upvalue;
  put(t, "%s", bare ? "" : what);
  for (int i = n - 1; i >= 0; i--) {
    bool outer = i < n - PATH_HEAD, inner = i < PATH_TAIL;
    if (outer && !inner) {
      if (i == PATH_TAIL) put(t, " ... ");
      continue;
    }
    bool after_word = i == n - 1 ? t->n > 0 && t->s[t->n - 1] != ']' : steps[i + 1]->upvalue != NULL;
    put_step(t, L, steps[i], after_word);
  }
}
