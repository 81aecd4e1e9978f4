/* beat_c.c - the workload "a beat from C": `beat_c N` prints "result SECONDS N". */
#include <lubdub.h>
#include <stdio.h>
#include <stdlib.h>

static double beat(lub_engine *e, lub_heart *h, long n) {
  double start = lub_engine_now(e);
  for (long i = 0; i < n; i++)
    if (lub_beat(h) != LUB_OK) abort();
  return lub_engine_now(e) - start;
}

int main(int argc, char **argv) {
  long n = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
  lub_options o = {.carriers = 1};
  lub_heart_options heart = {.name = "c", .interval = 1};
  lub_engine *e;
  lub_heart *h;
  if (n < 1 || lub_engine_open(&o, &e) || lub_heart_open(e, &heart, &h)) return EXIT_FAILURE;
  (void)beat(e, h, n / 10);
  printf("result %.9g %ld\n", beat(e, h, n), n);
  (void)lub_heart_close(h);
  lub_heart_drop(h);
  return lub_engine_close(e) == LUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
