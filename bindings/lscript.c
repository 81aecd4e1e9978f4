/* lscript.c - see lubdub_lua.h. */
#include <signal.h>
#include <string.h>

#include "llub.h"
#include "lubdub_lua.h"

enum { MAX_ARGS = 1 << 20 };

lub_status lub_lua_engine_open(const lub_options *opts, lub_engine **out) {
  lub_options o = opts ? *opts : (lub_options){0};
  if (!o.preempt_signal) {
    o.preempt_signal = SIGURG;
    lub_set_signal();
  }
  return lub_engine_open(&o, out);
}

/* ---- start ---------------------------------------------------------------------------------------------------- */

/* What `arg[0]` is. */
static const char *script_name(const lub_script *s) {
  return s->path ? s->path : s->name ? s->name : "script";
}

static void load(lua_State *L, const lub_script *s, const char *mode) {
  int status = LUA_OK;
  if (s->path) {
    status = luaL_loadfilex(L, strcmp(s->path, "-") != 0 ? s->path : NULL, mode);
  } else {
    size_t n = s->nbytes ? s->nbytes : strlen(s->text);
    lua_pushfstring(L, "=%s", script_name(s));
    status = luaL_loadbufferx(L, s->text, n, lua_tostring(L, -1), mode);
    lua_remove(L, -2);
  }
  if (status) lua_error(L);
}

static int begin_script(lua_State *L) {
  const lub_script *s = lua_touserdata(L, 1);
  lworker *lw = lub_lworker(L);
  int n = (int)s->nargs;
  lua_settop(L, 0);
  luaL_checkstack(L, n + 8, "too many arguments");
  lua_State *co = lua_newthread(L);
  load(L, s, lw->bytecode ? NULL : "t");
  for (int i = 0; i < n; i++) lub_unpack(L, &s->args[i]);
  lua_createtable(L, n, 1);
  lua_pushstring(L, script_name(s));
  lua_rawseti(L, -2, 0);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, 2 + i);
    lua_rawseti(L, -2, i);
  }
  lua_setglobal(L, "arg");
  if (!lua_checkstack(co, n + 4)) return luaL_error(L, "too many arguments");
  lua_xmove(L, co, n + 1);
  lw->main = lub_fiber_new(L, lw, co, n);
  lw->main->main = true;
  return 0;
}

/* The error that begin_script left, for the host. */
static lub_status refuse(lworker *lw, int status, lub_value *error) {
  size_t n;
  const char *text = lua_tolstring(lw->L, -1, &n);
  if (error && (!text || lub_string(lw->core->engine, text, n, error))) *error = (lub_value){0};
  lub_lworker_abandon(lw);
  return status == LUA_ERRMEM ? LUB_NOMEM : LUB_FAILED;
}

lub_status lub_script_start(lub_engine *e, const lub_script *s, lub_worker **out, lub_value *error) {
  lworker *lw, *here = lub_here;
  const char *name = s->name ? s->name : s->path ? s->path : "script";
  if (error) *error = (lub_value){0};
  if ((!s->path && !s->text) || s->nargs > MAX_ARGS) return LUB_INVALID;
  if (lub_lworker_open(e, name, NULL, NULL, &lw)) return LUB_NOMEM;
  lw->memory_limit = s->memory;
  lw->bytecode = s->bytecode;
  lw->script = true;
  (void)snprintf(lw->site, sizeof lw->site, "%.60s", s->path ? s->path : name);
  lub_here = lw;
  lua_pushcfunction(lw->L, begin_script);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)s);
  int status = lua_pcall(lw->L, 1, 0, 0);
  lub_status refused = status ? refuse(lw, status, error) : LUB_OK;
  lub_here = here;
  if (refused) return refused;
  *out = lw->core;
  lub_fiber_inbox(&lw->main->core);
  lub_worker_start(*out);
  return LUB_OK;
}

/* ---- end ------------------------------------------------------------------------------------------------------- */

lub_status lub_script_result(lub_worker *w, lub_value *out) {
  lworker *lw = w->data;
  atomic_store(&w->joined, true);
  switch (atomic_load_explicit(&w->fate, memory_order_acquire)) {
    case LUB_ALIVE: return LUB_BUSY;
    case LUB_FATE_KILLED: return LUB_KILLED;
    default: break;
  }
  lub_status status = lub_value_copy(lw->failed ? &lw->result : &lw->first, out);
  return status == LUB_OK && lw->failed ? LUB_FAILED : status;
}

void lub_report(lub_engine *e, FILE *out) { lub_report_all(e, out); }
