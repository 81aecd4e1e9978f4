/* value_test.c - one message: what it holds, who owns it, and names for values. */
#include "value.h"

#include <string.h>

#include "memory.h"
#include "test.h"

static lub_engine *e;
static memory mem;

static bool is_text(const lub_value *v, const char *bytes, size_t n) {
  size_t got = 0;
  const char *text = lub_text(v, &got);
  return text && got == n && memcmp(text, bytes, n) == 0 && text[n] == 0;
}

static void plain(void) {
  lub_value b = lub_bool(true), i = lub_int(INT64_MIN), n = lub_num(0.1);
  size_t size;
  CHECK("a boolean", b.type == LUB_BOOL && b.as.b);
  CHECK("an integer is exact", i.type == LUB_INT && i.as.i == INT64_MIN);
  CHECK("a number is exact", n.type == LUB_NUM && n.as.n == 0.1);
  CHECK("none of them is text", !lub_text(&b, &size) && !lub_text(&i, &size) && !lub_text(&n, &size));
  CHECK("nor a channel", !lub_to_chan(&b) && !lub_to_chan(&i) && !lub_to_chan(&n));
  CHECK("a message is two words", sizeof(lub_value) == 16);
  lub_value_drop(&i);
  CHECK("a dropped value is nil", i.type == LUB_NIL);
  lub_value_drop(&i);
  CHECK("nil can be dropped", i.type == LUB_NIL);
}

static void strings(void) {
  char bytes[1000];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i % 5);
  for (size_t n = 0; n < 40; n++) {
    lub_value v, copy;
    long before = atomic_load(&mem.blocks);
    CHECK("a string of any length", lub_string(e, bytes, n, &v) == LUB_OK);
    CHECK("keeps its zeros, and has one behind", is_text(&v, bytes, n));
    CHECK("a short one needs no memory", (atomic_load(&mem.blocks) > before) == (n > LUB_SHORT_MAX));
    CHECK("it can be copied", lub_value_copy(&v, &copy) == LUB_OK);
    lub_value_drop(&v);
    CHECK("the copy is another", is_text(&copy, bytes, n));
    lub_value_drop(&copy);
    CHECK("memory is given back", atomic_load(&mem.blocks) == before);
  }
}

static void large(void) {
  size_t n = (size_t)100 << 20;
  char *bytes = malloc(n);
  lub_value v;
  if (!bytes) return;
  memset(bytes, 'x', n);
  CHECK("a string of 100 MiB", lub_string(e, bytes, n, &v) == LUB_OK && is_text(&v, bytes, n));
  lub_value_drop(&v);
  free(bytes);
}

static void channels(void) {
  long before = atomic_load(&mem.blocks);
  lub_chan *ch;
  lub_chan_open(e, 0, "ch", &ch);
  lub_value v = lub_of_chan(ch), copy;
  lub_chan_drop(ch);
  CHECK("a value holds a channel", lub_to_chan(&v) == ch && strcmp(lub_chan_name(ch), "ch") == 0);
  CHECK("a copy refers to the same", lub_value_copy(&v, &copy) == LUB_OK && lub_to_chan(&copy) == ch);
  lub_value_drop(&v);
  CHECK("and keeps it alive", strcmp(lub_chan_name(ch), "ch") == 0);
  lub_value_drop(&copy);
  CHECK("the last to go frees it", atomic_load(&mem.blocks) == before);
}

static void packed(void) {
  static const lub_allocator from = {memory_realloc, &mem};
  long before = atomic_load(&mem.blocks);
  lub_chan *ch;
  lub_value copy;
  lub_chan_open(e, 0, NULL, &ch);
  lub_block *b = lub_block_new(&from, 5, 1);
  if (!b) abort();
  memcpy(b->bytes, "12345", 5);
  lub_value object = lub_of_chan(ch);
  b->objects[0] = object.as.p; /* the reference moves into the block */
  lub_value v = lub_of_block(LUB_PACKED, b);
  CHECK("a packed value can be copied", lub_value_copy(&v, &copy) == LUB_OK);
  lub_value_drop(&v);
  CHECK("with its bytes", memcmp(lub_value_block(&copy)->bytes, "12345", 5) == 0);
  lub_chan_drop(ch);
  lub_value_drop(&copy);
  CHECK("and its references", atomic_load(&mem.blocks) == before);
  CHECK("a block beyond memory is none", !lub_block_new(&from, SIZE_MAX, 0));
}

static void names(void) {
  lub_value v = lub_int(1), got = {0};
  CHECK("an unknown name is told", lub_engine_lookup(e, "n", &got) == LUB_INVALID && got.type == LUB_NIL);
  CHECK("a value gets a name", lub_engine_publish(e, "n", &v) == LUB_OK && v.type == LUB_NIL);
  CHECK("by which it is found", lub_engine_lookup(e, "n", &got) == LUB_OK && got.as.i == 1);
  CHECK("a second time too", lub_engine_lookup(e, "n", &got) == LUB_OK && got.as.i == 1);
  (void)lub_string(e, "a text that is long enough", 26, &v);
  CHECK("the same name again replaces it", lub_engine_publish(e, "n", &v) == LUB_OK);
  CHECK("a copy is found",
        lub_engine_lookup(e, "n", &got) == LUB_OK && is_text(&got, "a text that is long enough", 26));
  lub_value_drop(&got);
  memory_set(&mem, 0, 1);
  CHECK("without memory the copy is refused", lub_engine_lookup(e, "n", &got) == LUB_NOMEM);
  v = lub_int(3);
  memory_set(&mem, 0, 1);
  CHECK("and a new name, whose value stays", lub_engine_publish(e, "m", &v) == LUB_NOMEM && v.as.i == 3);
  lub_value nil = {0};
  memory_set(&mem, 0, 1);
  CHECK("to remove a name needs none", lub_engine_publish(e, "n", &nil) == LUB_OK);
  memory_set(&mem, LONG_MAX, 0);
  CHECK("it is gone", lub_engine_lookup(e, "n", &got) == LUB_INVALID);
  CHECK("removing what is not there is fine", lub_engine_publish(e, "n", &nil) == LUB_OK);
  (void)lub_engine_publish(e, "kept until the engine closes", &v);
}

int main(void) {
  memory_set(&mem, LONG_MAX, 0);
  lub_options o = {.carriers = -1, .realloc = memory_realloc, .ud = &mem};
  if (lub_engine_open(&o, &e)) return 2;
  plain();
  strings();
  large();
  channels();
  packed();
  names();
  CHECK("the engine closes", lub_engine_close(e) == LUB_OK);
  CHECK("nothing leaks", atomic_load(&mem.blocks) == 0);
  return TEST_END();
}
