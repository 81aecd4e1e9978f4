/* lmessage.h - what a packed message consists of: items, each a tag and its data. lvalue.c writes it, lunpack.c reads it. */
#ifndef LUB_LMESSAGE_H
#define LUB_LMESSAGE_H

enum { SHARED = 0x80 }; /* ORDER TAGS: fits beside every tag */
typedef enum tag {
  T_NIL,
  T_FALSE,
  T_TRUE,
  T_INT,
  T_NUM,
  T_POINTER,
  T_STR,
  T_HANDLE,
  T_ENV,
  T_REF,
  T_TABLE,
  T_OBJECT,
  T_MODULE,
  T_FUNCTION,
  T_UPVALUE,
  T_LIBRARY,
  T_METHOD
} tag;

#endif
