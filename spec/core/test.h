/* test.h - the least a C test needs: sentences, checks, a closing count. */
#ifndef LUB_TEST_H
#define LUB_TEST_H
#include <stdio.h>
#include <stdlib.h>

static int passed, failed;
#define CHECK(sentence, condition)                                                            \
  do {                                                                                        \
    if (condition) passed++;                                                                  \
    else failed++, printf("FAILED %s:%d %s: %s\n", __FILE__, __LINE__, sentence, #condition); \
  } while (0)
#define TEST_END() (printf("%d passed, %d failed\n", passed, failed), failed != 0)
#endif
