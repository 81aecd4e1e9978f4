/* chrome.h - what a sim did, in Chrome's trace format: a JSON file that ui.perfetto.dev and chrome://tracing show.
 *
 * A thread is a worker, and one more the hearts. On a worker's thread each turn of a fiber is a slice (X); slices nest
 * where a fiber cannot be left, and overlap nowhere. What a fiber waits for, and the life of a heart, are async events (b,
 * e), beats instants among them (n), verdicts instants (i).
 * Virtual time stands while a fiber runs. So that turns can be seen, each begins and ends a microsecond after what was
 * before it, or when its virtual time has come, if that is later: the order is true, and the time never too early; too
 * late by two microseconds at most for each turn at this instant. `args.time` is the virtual time in seconds.
 * One process has one trace. */
#ifndef LUB_CHROME_H
#define LUB_CHROME_H

#include "lubdub.h"

/* False: the file cannot be written; it says so. */
bool lub_chrome_begin(const char *path);
void lub_chrome_watch(lub_sim *s);
/* For lub_options.record. */
void lub_chrome_event(void *ud, const lub_event *event);
/* Nothing more is to be in it. Who still waits, and what beats, does so up to here. */
void lub_chrome_end(void);
/* False: something is missing in it. */
bool lub_chrome_write(void);

#endif
