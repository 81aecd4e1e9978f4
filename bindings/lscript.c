/* lscript.c - see lubdub_lua.h. */
#include <signal.h>
#include <string.h>

#include "llub.h"
#include "lubdub_lua.h"

lub_status lub_lua_engine_open(const lub_options *opts, lub_engine **out) {
  lub_options o = opts ? *opts : (lub_options){0};
  if (!o.preempt_signal) {
    o.preempt_signal = SIGURG;
    lub_set_signal();
  }
  return lub_engine_open(&o, out);
}

/* ---- start ---------------------------------------------------------------------------------------------------- */

static void load(lua_State *L, const lub_script *s, const char *mode) {
  int status = LUA_OK;
  if (s->path) {
    status = luaL_loadfilex(L, strcmp(s->path, "-") != 0 ? s->path : NULL, mode);
  } else {
    lua_pushfstring(L, "=%s", s->name ? s->name : "script");
    status = luaL_loadbufferx(L, s->text, s->nbytes, lua_tostring(L, -1), mode);
    lua_remove(L, -2);
  }
  if (status) lua_error(L);
}

static int begin_script(lua_State *L) {
  const lub_script *s = lua_touserdata(L, 1);
  lworker *lw = lub_lworker(L);
  lua_settop(L, 0);
  luaL_checkstack(L, s->argc + 8, "too many arguments");
  lua_State *co = lua_newthread(L);
  load(L, s, lw->bytecode ? NULL : "t");
  lua_createtable(L, s->argc, 1);
  lua_pushstring(L, s->path ? s->path : s->name ? s->name : "script");
  lua_rawseti(L, -2, 0);
  for (int i = 0; i < s->argc; i++) {
    lua_pushstring(L, s->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
  for (int i = 0; i < s->argc; i++) lua_pushstring(L, s->argv[i]);
  if (!lua_checkstack(co, s->argc + 4)) return luaL_error(L, "too many arguments");
  lua_xmove(L, co, s->argc + 1);
  lw->main = lub_fiber_new(L, lw, co, s->argc);
  lw->main->main = true;
  return 0;
}

static char *copy_text(const char *text) { return text ? strdup(text) : NULL; }

lub_status lub_script_start(lub_engine *e, const lub_script *s, lub_worker **out, char **error) {
  lworker *lw, *here = lub_here;
  const char *name = s->name ? s->name : s->path ? s->path : "script";
  *error = NULL;
  if (lub_lworker_open(e, name, NULL, NULL, &lw)) return LUB_NOMEM;
  lw->memory_limit = s->memory;
  lw->bytecode = s->bytecode;
  lw->script = true;
  (void)snprintf(lw->site, sizeof lw->site, "%.60s", s->path ? s->path : name);
  lub_here = lw;
  lua_pushcfunction(lw->L, begin_script);
  lua_pushlightuserdata(lw->L, (void *)(uintptr_t)s);
  if (lua_pcall(lw->L, 1, 0, 0)) {
    *error = copy_text(lua_tostring(lw->L, -1));
    lub_lworker_abandon(lw);
    lub_here = here;
    return LUB_FAILED;
  }
  lub_here = here;
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
