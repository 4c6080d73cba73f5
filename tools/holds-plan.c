/* SPDX-License-Identifier: MIT */
/*
 * holds-plan.c - moments at exponentially distributed distances.
 */
#include "holds-plan.h"

#include <math.h>

#define LATE_MAX_NS 1000000000

static uint64_t distance(uint64_t *random, double mean_ns)
{
    *random ^= *random << 13; /* xorshift64 */
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (uint64_t)(-log(((double)(*random >> 11) + 1) * 0x1p-53) * mean_ns);
}

void holds_plan_begin(struct holds_plan *p, uint64_t *random, uint64_t now_ns, double mean_ns)
{
    p->mean_ns = mean_ns;
    p->due_ns = now_ns + distance(random, mean_ns);
}

uint64_t holds_plan_look(struct holds_plan *p, uint64_t *random, uint64_t now_ns)
{
    double stands_for_ns = 0;

    if (now_ns - p->due_ns > LATE_MAX_NS)
        p->due_ns = now_ns;
    do {
        stands_for_ns += p->mean_ns;
        p->due_ns += distance(random, p->mean_ns);
    } while (p->due_ns <= now_ns);
    return (uint64_t)stands_for_ns;
}

/* How long it still takes is exponentially distributed, too, whatever has passed. */
void holds_plan_change(struct holds_plan *p, uint64_t now_ns, double mean_ns)
{
    p->due_ns = now_ns + (uint64_t)((double)(p->due_ns - now_ns) * (mean_ns / p->mean_ns));
    p->mean_ns = mean_ns;
}
