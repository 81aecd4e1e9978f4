/* same_time.c - preloaded, it makes time() say what SAME_TIME says. Lua takes the seed of its string hashes from time()
 * and from addresses, which valgrind keeps the same: so a run under it takes the same steps each time. */
#include <stdlib.h>
#include <time.h>

time_t time(time_t *t) {
  const char *text = getenv("SAME_TIME");
  time_t now = text ? (time_t)strtoll(text, NULL, 10) : 0;
  if (t) *t = now;
  return now;
}
