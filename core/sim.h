/* sim.h - what the binding needs of a sim beyond lubdub.h. Floor 6. Uses engine. */
#ifndef LUB_SIM_H
#define LUB_SIM_H

#include "engine.h"

/* What the binding keeps with it; `end`, or NULL, is called when the sim closes and no worker is left. */
void lub_sim_set_binding(lub_sim *s, void *binding, void (*end)(void *binding));
void *lub_sim_binding(lub_sim *s);
int64_t lub_sim_now_ns(lub_sim *s);
/* Inside a step, where no fiber can run: fires what is due or moves the clock. False: nothing can ever happen. */
bool lub_sim_go_on(lub_sim *s);
/* Called when nobody can run and nothing is due, before the clock moves. True: it has made somebody ready. */
void lub_sim_at_rest(lub_sim *s, bool (*rest)(void *binding));
/* A fiber has run for so long, and the clock with it: what is due fires before the next turn. */
void lub_sim_spend(lub_sim *s, int64_t ns);
/* Moves the clock, back too: a fault. Timers that are due then fire. */
void lub_sim_jump(lub_sim *s, int64_t by_ns);
/* Moves the clock on as a machine finds it that was suspended: the judge excuses the silence of all hearts. */
void lub_sim_suspend(lub_sim *s, int64_t by_ns);
/* Whether a fault fires that was asked for: with probability p, whatever the seed. From 1 on, and down from 0, that is
 * no choice. */
bool lub_sim_chance(lub_sim *s, const char *name, double p);
/* No fault fires any more, or ever did. */
bool lub_sim_is_healed(const lub_sim *s);

#endif
