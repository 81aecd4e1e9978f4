/* errors.c - what goes wrong in a script is told to its host, and ends neither the host nor other scripts. */
#include "host.h"

/* ---- a script that does not start ------------------------------------------------------------------------------- */

static lub_status refused(lub_engine *e, const lub_script *s, char *text) {
  lub_worker *w = NULL;
  lub_value error = lub_int(1);
  lub_status status = lub_script_start(e, s, &w, &error);
  (void)snprintf(text, 512, "%s", lub_text(&error, NULL) ? lub_text(&error, NULL) : "");
  lub_value_drop(&error);
  if (w) abort();
  return status;
}

static void does_not_start(void) {
  host h;
  lub_engine *e = host_open(&h, 1);
  char text[512];
  lub_worker *w;
  lub_script s = {.text = "local x =\n= 1", .name = "bad"};
  CHECK("a script that does not parse", refused(e, &s, text) == LUB_FAILED);
  CHECK("says where", strstr(text, "bad:2:") == text);
  CHECK("the host need not ask", lub_script_start(e, &s, &w, NULL) == LUB_FAILED);
  s = (lub_script){.path = "/nowhere/x.lua"};
  CHECK("a file that does not exist", refused(e, &s, text) == LUB_FAILED && strstr(text, "/nowhere/x.lua"));
  s = (lub_script){.name = "none"};
  CHECK("no script at all", refused(e, &s, text) == LUB_INVALID && !*text);
  s = (lub_script){.text = "", .nargs = SIZE_MAX};
  CHECK("more arguments than there can be", refused(e, &s, text) == LUB_INVALID);
  s = (lub_script){.text = "\x1bLua\x54", .nbytes = 5, .name = "binary"};
  CHECK("a binary chunk, unless the host allows it",
        refused(e, &s, text) == LUB_FAILED && strstr(text, "binary chunk"));
  s = (lub_script){.text = "return 1 error", .nbytes = 8, .memory = 1000};
  CHECK("a state that has no room for it", refused(e, &s, text) == LUB_NOMEM && strstr(text, "memory"));
  s.memory = 0;
  CHECK("nbytes are read, not more",
        lub_script_start(e, &s, &w, NULL) == LUB_OK && host_end(w, NULL) == LUB_OK);
  CHECK("nothing of it is logged", h.nlog == 0 && lub_engine_failures(e) == 0);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- one that fails ---------------------------------------------------------------------------------------------- */

static void fails(int carriers) {
  host h;
  lub_engine *e = host_open(&h, carriers);
  char text[512];
  CHECK("an error comes with its place",
        host_end(host_start(e, "local t\nt.x = 1", NULL, 0), text) == LUB_FAILED &&
            strstr(text, "test:2: attempt to index a nil value (local 't')"));
  CHECK("and its traceback", strstr(text, "stack traceback:") != NULL);
  CHECK("so does one in a fiber that nobody joins",
        host_end(host_start(e, "local lub = require 'lubdub' lub.go(error, 'fiber') lub.sleep(60)", NULL, 0),
                 text) == LUB_FAILED &&
            strstr(text, "fiber"));
  CHECK("any value may be raised",
        host_end(host_start(e, "error({})", NULL, 0), text) == LUB_FAILED && *text);
  CHECK("also nil", host_end(host_start(e, "error()", NULL, 0), text) == LUB_FAILED && *text);
  lub_worker *w = host_start(e, "require 'lubdub'.chan():recv()", NULL, 0);
  lub_worker_cancel(w, NULL);
  CHECK("a cancel is no error", host_end(w, NULL) == LUB_OK);
  w = host_start(e, "while true do end", NULL, 0);
  lub_worker_kill(w, "enough");
  CHECK("a kill is none either, nor a result", host_end(w, NULL) == LUB_KILLED);
  CHECK("who joins hears of it, and the log does not", h.nlog == 0 && lub_engine_failures(e) == 0);
  CHECK("results of all kinds are results",
        host_end(host_start(e, "return {}, 2", NULL, 0), text) == LUB_OK && !*text);
  CHECK("a worker of a script's", host_end(host_start(e,
                                                      "local lub = require 'lubdub'\n"
                                                      "local w = lub.spawn(function() error 'unheard' end)\n"
                                                      "while w:state() ~= 'dead' do lub.yield() end",
                                                      NULL, 0),
                                           NULL) == LUB_OK);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
  CHECK("that nobody joins is logged at the latest then", strstr(h.log, "unheard") != NULL);
}

/* ---- two engines, and a deadlock ------------------------------------------------------------------------------------ */

static void *wait_for_ever(void *arg) {
  lub_value got;
  lub_status status = lub_chan_recv(arg, &got, LUB_FOREVER);
  return (void *)(uintptr_t)status;
}

static void two_engines(void) {
  host h, k;
  lub_engine *e = host_open(&h, 1), *f = host_open(&k, 1);
  lub_chan *here = host_chan(e, 0, "here"), *there = host_chan(f, 0, "there");
  lub_value got, v = lub_of_chan(there);
  pthread_t held;
  void *status;
  pthread_create(&held, NULL, wait_for_ever, here);
  lub_worker *w = host_start(f, "(...):recv()", &v, 1);
  lub_engine_release(f); /* this host only waits now */
  CHECK("who waits for what nobody can do is told",
        lub_worker_join(w, LUB_FOREVER) == LUB_DEADLOCK &&
            lub_chan_recv(there, &got, LUB_FOREVER) == LUB_DEADLOCK);
  CHECK("in time, it is a timeout", lub_chan_recv(there, &got, 0.001) == LUB_TIMEOUT);
  lub_engine_hold(f);
  v = lub_int(1);
  CHECK("with a hold it goes on", lub_chan_send(there, &v, LONG) == LUB_OK && host_end(w, NULL) == LUB_OK);
  v = lub_of_chan(here);
  w = host_start(e, "(...):send(require 'lubdub'.now())", &v, 1);
  pthread_join(held, &status);
  CHECK("the other engine, which is held, has heard nothing of it",
        (lub_status)(uintptr_t)status == LUB_OK && host_end(w, NULL) == LUB_OK);
  lub_chan_drop(there);
  CHECK("one closes", host_close(&k, f));
  v = lub_of_chan(here);
  w = host_start(e, "(...):send('still here')", &v, 1);
  CHECK("and the other goes on", lub_chan_recv(here, &got, LONG) == LUB_OK && lub_text(&got, NULL));
  lub_value_drop(&got);
  CHECK("to its end", host_end(w, NULL) == LUB_OK);
  lub_chan_drop(here);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

/* ---- memory that ends -------------------------------------------------------------------------------------------------- */

/* One script asks for more than it may have: the error is that fiber's. */
static void limit(void) {
  host h;
  lub_engine *e = host_open(&h, 2);
  lub_chan *ch = host_chan(e, 0, "pulse");
  lub_value args[] = {lub_of_chan(ch)}, got;
  char text[512];
  lub_worker *other = host_start(e, "local ch = ... for i = 1, 3 do ch:send(i) end", args, 1), *w = NULL;
  lub_script s = {.text = "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end",
                  .name = "glutton",
                  .memory = 1 << 20};
  CHECK("a script with a limit", lub_script_start(e, &s, &w, NULL) == LUB_OK);
  CHECK("is told when it has used it up",
        host_end(w, text) == LUB_FAILED && strstr(text, "not enough memory"));
  s.text =
      "local lub = require 'lubdub'\n"
      "local f = lub.go(function() local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end end)\n"
      "local results, why = f:join()\n"
      "collectgarbage()\n"
      "return results == nil and why:match 'not enough memory' and 'goes on'";
  CHECK("or the fiber of it that asked", lub_script_start(e, &s, &w, NULL) == LUB_OK &&
                                             host_end(w, text) == LUB_OK && !strcmp(text, "goes on"));
  bool all = true;
  for (int i = 1; i <= 3; i++) all &= lub_chan_recv(ch, &got, LONG) == LUB_OK && got.as.i == i;
  CHECK("everything else goes on", all && host_end(other, NULL) == LUB_OK);
  lub_chan_drop(ch);
  CHECK("it closes, and leaks nothing", host_close(&h, e));
}

static const char scenario_text[] =
    "local lub = require 'lubdub'\n"
    "local work, results = ...\n"
    "local f = lub.go(function() for n in work do results:send(n .. ' is even') end end)\n"
    "lub.select(lub.after(0), 1)\n"
    "local w = lub.spawn(function(t) return t.x end, { x = 'a string' })\n"
    "assert(w:join() == 'a string')\n"
    "f:join()\n"
    "return lub.named('name')";

/* Sends one number and receives what comes of it; LUB_OK also when the script ends meanwhile. */
static lub_status exchange(lub_engine *e, lub_worker *w, lub_chan *work, lub_chan *results, int number) {
  lub_case cases[] = {
      {.ch = work, .value = lub_int(number), .send = true}, {.ch = results}, {.ch = lub_worker_done(w)}};
  bool steps = lub_engine_threads(e) == 0;
  for (;;) {
    size_t at = 0;
    lub_status s = lub_select(e, cases, 3, false, steps ? 0 : LONG, &at);
    if (s == LUB_TIMEOUT && steps) s = lub_engine_step(e, 0);
    else if (s == LUB_OK && at == 0) cases[0].ch = NULL; /* sent: only the result is missing */
    else if (s == LUB_OK || s == LUB_CLOSED) break;
    if (s != LUB_OK) return s;
  }
  lub_value_drop(&cases[1].value);
  return LUB_OK;
}

static lub_status end_script(lub_engine *e, lub_worker *w) {
  lub_value result = lub_nil();
  while (!lub_engine_threads(e) && lub_engine_step(e, 0) == LUB_OK) continue;
  lub_status s = lub_worker_join(w, lub_engine_threads(e) ? LUB_FOREVER : 0);
  if (!s) s = lub_script_result(w, &result);
  lub_value_drop(&result);
  return s;
}

/* All that a host does, on memory of which some allocation fails. Returns the first status that is not LUB_OK. */
static lub_status scenario(lub_engine *e) {
  lub_chan *work = NULL, *results = NULL;
  lub_worker *w = NULL;
  lub_value v = lub_nil(), error = lub_nil();
  lub_status s = lub_string(e, "what a host has published", 25, &v);
  if (!s) s = lub_engine_publish(e, "name", &v);
  if (!s) s = lub_chan_open(e, 0, "work", &work);
  if (!s) s = lub_chan_open(e, 2, "results", &results);
  if (!s) {
    lub_value args[] = {lub_of_chan(work), lub_of_chan(results)};
    lub_script script = {.text = scenario_text, .name = "scenario", .args = args, .nargs = 2};
    s = lub_script_start(e, &script, &w, &error);
    lub_value_drop(&args[0]);
    lub_value_drop(&args[1]);
  }
  for (int i = 0; i < 2 && !s; i++) s = exchange(e, w, work, results, i * 2);
  if (work) (void)lub_chan_close(work);
  if (!s) s = end_script(e, w);
  if (w) lub_worker_drop(w);
  if (work) lub_chan_drop(work);
  if (results) lub_chan_drop(results);
  lub_value_drop(&v);
  lub_value_drop(&error);
  return s;
}

/* Allocation n and `fail - 1` after it are refused, n = 1, 2, 3, ... until the scenario passes whole. */
static void out_of_memory(int carriers, long fail) {
  bool clear = true, leaks = false, whole = false;
  long n = 0;
  for (; !whole && n < 20000; n++) {
    host h;
    host_init(&h);
    lub_options o = host_options(&h, carriers);
    lub_engine *e;
    memory_set(&h.mem, n, fail);
    lub_status s = lub_lua_engine_open(&o, &e), closed = LUB_OK;
    if (s == LUB_OK) {
      s = scenario(e);
      closed = lub_engine_close(e);
    }
    if (s != LUB_OK && s != LUB_NOMEM && s != LUB_FAILED)
      clear = printf("allocation %ld: %s\n", n, lub_strerror(s)) < 0;
    if (closed || atomic_load(&h.mem.blocks))
      leaks = printf("allocation %ld: %s, %ld blocks out\n%s", n, lub_strerror(closed),
                     atomic_load(&h.mem.blocks), h.log) > 0;
    whole = s == LUB_OK && atomic_load(&h.mem.before) > 0;
    pthread_mutex_destroy(&h.lock);
  }
  CHECK("an allocation that fails is told, or was not needed", clear && n > 60);
  CHECK("the scenario passes in the end", whole);
  CHECK("the engine closes all the same, and nothing leaks", !leaks);
}

int main(void) {
  does_not_start();
  fails(1);
  fails(2);
  two_engines();
  limit();
  out_of_memory(-1, 1);
  out_of_memory(-1, 2);
  out_of_memory(-1, LONG_MAX); /* and all that follow: no end of anything may need memory */
  out_of_memory(2, 2);
  out_of_memory(1, LONG_MAX);
  return TEST_END();
}
