/* watcher.h - the thread that sees what carriers, and pinned workers' threads, cannot see themselves, since they compute or
 * sit in a C call (Go's sysmon): it looks at them every 2.5 ms while anything runs, and sleeps otherwise.
 *
 * A slice of 10 ms is long: its fiber, if it has computed that long, is interrupted where others wait; a carrier in a C call
 * loses its place. While a hog has the only place it also keeps the timers, and makes it leave for who was woken. It
 * never follows a carrier's worker, which may be gone. Floor 3. Uses carrier. Part of engine. */
#ifndef LUB_WATCHER_H
#define LUB_WATCHER_H

#include "worker.h"

/* Of CPU that a lent slice gets at least. */
enum { LUB_LENT_NS = 500000 };
/* Starts it; with engine.lock. LUB_THREAD. */
lub_status lub_watcher_open_locked(lub_engine *e);
/* Waits for its end; engine.stopping was set, with engine.lock. */
void lub_watcher_close(lub_engine *e);
/* A carrier or a pinned worker's thread begins to run: the watcher is to be awake. */
void lub_watcher_rouse(lub_engine *e);
/* A carrier has a hog, which looks neither at timers nor at who waits: the watcher will, by then. */
void lub_watcher_mind_hog(lub_engine *e, int64_t due_ns);
/* Somebody was woken while every place is taken: a hog that has had a while leaves, or will. Any thread. */
void lub_watcher_make_way(lub_engine *e);
/* Whether w, which runs, is inside a C call that has lasted for 10 ms; of a pinned one, in a call that sleeps. Any thread. */
bool lub_watcher_sees_in_c(lub_engine *e, lub_worker *w);

#endif
