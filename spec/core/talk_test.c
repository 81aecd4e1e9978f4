/* talk_test.c - whether workers that talk stay together: by what a talk takes, apart, and costs, alone; and for how long. Both
 * are made here: this thread, which stands for both carriers', burns CPU. */
#include "talk.h"

#include "engine.h"
#include "test.h"

enum { BURN_NS = 20000000, ALONE_NS = 300, LESS_NS = 200, AS_MUCH_NS = 320, LONG_NS = 1250 };

static lub_engine e;
static lub_place places[2];
static lub_carrier carriers[2], *victim = &carriers[0], *thief = &carriers[1];

static void open_all(void) {
  pthread_mutex_init(&e.lock, NULL);
  e.carriers = carriers;
  e.places = places;
  e.threads = e.nplaces = 2;
  for (int i = 0; i < 2; i++) {
    lub_place_init(&places[i]);
    carriers[i] = (lub_carrier){.engine = &e};
    carriers[i].lives = true;
    atomic_init(&carriers[i].place, &places[i]);
  }
}

static void talk(lub_carrier *c, uint32_t n) { atomic_fetch_add(&c->clock.talks, n); }

/* Burns CPU; returns how much it was since began_ns, or how long it took, since a machine may take its time. */
static int64_t burn_since(clockid_t clock, int64_t began_ns) {
  int64_t ns;
  do ns = lub_clock_ns(clock) - began_ns;
  while (ns < BURN_NS);
  return ns;
}

static int64_t burn(clockid_t clock) { return burn_since(clock, lub_clock_ns(clock)); }

/* The thief steals, and talks, with the victim or alone, so long for each talk; and it is weighed. */
static bool goes_back(bool both, int64_t each_ns) {
  lub_talk_stole(thief, &places[0]);
  uint32_t talks = (uint32_t)(burn_since(CLOCK_MONOTONIC, (int64_t)thief->scales.began_ns) / each_ns);
  talk(thief, both ? talks / 2 : talks);
  talk(victim, both ? talks / 2 : 0);
  return lub_talk_weigh(thief, &places[1]) == &places[0];
}

/* That it does not pay is believed the second time. */
static bool stay_together(bool both, int64_t each_ns) {
  CHECK("once may be the machine's fault", !goes_back(both, each_ns));
  return goes_back(both, each_ns);
}

/* For how many ticks the victim's place keeps its workers. */
static int kept(void) {
  int ticks = 0;
  while (atomic_load(&places[0].kept)) {
    bool over = lub_talk_tick(&places[0]);
    CHECK("a tick tells the end", over == !atomic_load(&places[0].kept));
    ticks++;
  }
  (void)lub_talk_weigh(victim, &places[0]);
  return ticks;
}

static void measure_alone(int64_t each_ns) {
  CHECK("who measures takes nothing back", !lub_talk_weigh(victim, &places[0]));
  talk(victim, (uint32_t)(burn_since(CLOCK_THREAD_CPUTIME_ID, (int64_t)victim->scales.cpu_ns) / each_ns));
  (void)lub_talk_weigh(victim, &places[0]);
}

static void decisions(void) {
  CHECK("who has stolen nothing weighs nothing", !lub_talk_weigh(thief, &places[1]));
  CHECK("what nobody knows is tried", goes_back(true, ALONE_NS));
  measure_alone(ALONE_NS);
  uint64_t alone_ps = atomic_load(&places[0].alone_ps);
  CHECK("alone it costs so much", alone_ps >= ALONE_NS * 1000 && alone_ps < AS_MUCH_NS * 1000);
  CHECK("first two ticks", kept() == 2);
  CHECK("as much, once", !goes_back(true, AS_MUCH_NS));
  CHECK("less is worth a second carrier", !stay_together(true, LESS_NS));
  CHECK("as much is not", stay_together(true, AS_MUCH_NS));
  CHECK("two ticks, since it did pay", kept() == 2);
  CHECK("nor then", stay_together(true, AS_MUCH_NS));
  CHECK("four", kept() == 4);
  CHECK("nor then", stay_together(true, AS_MUCH_NS));
  CHECK("eight", kept() == 8);
  CHECK("nor then", stay_together(true, AS_MUCH_NS));
  CHECK("at most eight", kept() == 8);
  CHECK("who does not talk is no reason", !stay_together(false, AS_MUCH_NS));
  CHECK("who computes between two talks needs a carrier of its own", !stay_together(true, LONG_NS));
  CHECK("what takes less than ever has changed, and is tried", stay_together(true, ALONE_NS / 8));
  measure_alone(ALONE_NS / 5);
  CHECK("two ticks", kept() == 2);
  CHECK("it costs less alone now", atomic_load(&places[0].alone_ps) < ALONE_NS * 1000);
  CHECK("as much is not worth it", stay_together(true, AS_MUCH_NS));
  (void)lub_talk_weigh(victim, &places[0]);
  lub_talk_pause(victim);
  (void)burn(CLOCK_MONOTONIC);
  CHECK("who sleeps between two slices does not compute", !lub_talk_weigh(victim, &places[0]));
  (void)burn(CLOCK_MONOTONIC);
  CHECK("once may be the machine's fault", !lub_talk_weigh(victim, &places[0]));
  talk(victim, 1 << 20);
  CHECK("somebody talks", !lub_talk_weigh(victim, &places[0]));
  (void)burn(CLOCK_MONOTONIC);
  CHECK("who computes ends it", lub_talk_weigh(victim, &places[0]) == &places[0]);
  CHECK("at once", !atomic_load(&places[0].kept));
  CHECK("it is kept again", stay_together(true, AS_MUCH_NS));
  CHECK("from two ticks on", kept() == 2);
  CHECK("a tick lets go", stay_together(true, AS_MUCH_NS));
  atomic_store(&places[0].idle, true);
  CHECK("of who is idle", lub_talk_tick(&places[0]) && !atomic_load(&places[0].kept));
  atomic_store(&places[0].idle, false);
  (void)lub_talk_weigh(victim, &places[0]);
  atomic_store(&places[1].kept, 1);
  lub_talk_stole(thief, &places[0]);
  CHECK("whose own are kept gives none back", !stay_together(true, AS_MUCH_NS));
  atomic_store(&places[1].kept, 0);
  (void)lub_talk_weigh(thief, &places[1]);
  atomic_store(&victim->place, NULL);
  CHECK("a victim that has lost its place takes nothing back", !stay_together(true, AS_MUCH_NS));
  atomic_store(&victim->place, &places[0]);
}

static void thefts(void) {
  lub_worker a = {0}, b = {0};
  lub_place *from = &places[0], *to = &places[1];
  lub_place_push(from, &a);
  lub_place_push(from, &b);
  atomic_store(&from->kept, 1);
  CHECK("what is kept is not stolen", !lub_place_offers(from) && !lub_place_steal(to, from));
  CHECK("the tick ends that", lub_talk_tick(from) && lub_place_offers(from));
  CHECK("the older is stolen, one stays", lub_place_steal(to, from) == &a && lub_place_pop(from) == &b);
  CHECK("nothing is left", !lub_place_pop(from) && !lub_place_pop(to) && !lub_place_offers(from));
}

int main(void) {
  open_all();
  decisions();
  thefts();
  for (int i = 0; i < 2; i++) lub_place_close(&places[i]);
  pthread_mutex_destroy(&e.lock);
  return TEST_END();
}
