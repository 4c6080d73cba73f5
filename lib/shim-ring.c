/* SPDX-License-Identifier: MIT */
/* shim-ring.c - who has had the GIL of late. */
#include "shim-ring.h"

/* Reads an entry, which goes on being written meanwhile.  False if it has been, or is being, written anew, or is
 * another change than the one looked for: H grows from one change at a place to the next. */
static bool read_change(const struct rec_change *entry, const uint64_t *number, uint64_t wanted, struct rec_change *c)
{
    uint64_t before = __atomic_load_n(&entry->held_base_ticks, __ATOMIC_ACQUIRE);
    *c = *entry;
    bool found = *number == wanted;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    c->held_base_ticks = before;
    return found && before != UINT64_MAX && before == __atomic_load_n(&entry->held_base_ticks, __ATOMIC_RELAXED);
}

bool shim_ring_earlier(struct shim_ring_walk *walk, struct rec_change *change)
{
    const struct rec_gil *gr = walk->gr;
    uint64_t n = walk->number;
    if (n == 0)
        return false;
    walk->number--;
    const struct rec_recent *r = &gr->recent[REC_RECENT_PLACE(n - 1)];
    const uint64_t place = REC_RING_PLACE(n - 1);
    return read_change(&r->change, &r->number, n, change) ||
           read_change(&gr->ring[place], &gr->ring_number[place], n, change);
}
