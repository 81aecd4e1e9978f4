/* fault.c - see fault.h. */
#include "fault.h"

#include <string.h>

#define ON 0.25 /* of the points, in one run */

struct lub_fault_point {
  lub_fault_point *next;
  lub_random random;
  bool on;
  double rate; /* of what is asked for */
  char name[];
};

static double uniform(lub_random *r) { return (double)(lub_random_next(r) >> 11) * 0x1p-53; }

/* FNV-1a */
static uint64_t hash(const char *text) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3u;
  return h;
}

static lub_fault_point *point_of(lub_faults *f, const char *name) {
  lub_fault_point *p = f->points;
  while (p && strcmp(p->name, name) != 0) p = p->next;
  if (p) return p;
  size_t n = strlen(name) + 1;
  if (!(p = lub_alloc(f->mem, sizeof *p + n))) return NULL;
  p->next = f->points;
  memcpy(p->name, name, n);
  lub_random_seed(&p->random, f->seed ^ hash(name));
  p->on = uniform(&p->random) < ON;
  p->rate = uniform(&p->random);
  return f->points = p;
}

bool lub_faults_draw(lub_faults *f, const char *name, double p, bool always_on) {
  lub_fault_point *point = point_of(f, name);
  if (!point) return false;
  double u = uniform(&point->random);
  return always_on ? u < p : point->on && u < p * point->rate;
}

void lub_faults_close(lub_faults *f) {
  while (f->points) {
    lub_fault_point *p = f->points;
    f->points = p->next;
    lub_free(f->mem, p);
  }
}
