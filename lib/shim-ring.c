/* SPDX-License-Identifier: MIT */
/* shim-ring.c - who has had the GIL of late. */
#include "shim-ring.h"

void shim_ring_keep(struct rec_gil *gr)
{
    uint64_t n = gr->turn.n_changes, k = gr->n_ring;
    uint64_t i = k ? gr->ring_number[(k - 1) % REC_RING] + 1 : 0;
    if (n - i > REC_RECENT)
        i = n - REC_RECENT;
    for (; i < n; i++, k++) {
        const struct rec_change *from = &gr->recent[REC_RECENT_PLACE(i)].change;
        struct rec_change *to = &gr->ring[k % REC_RING];
        __atomic_store_n(&to->held_base_ticks, UINT64_MAX, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        to->holder = from->holder;
        to->holder_cell = from->holder_cell;
        to->ticks = from->ticks;
        gr->ring_number[k % REC_RING] = i;
        __atomic_store_n(&to->held_base_ticks, from->held_base_ticks, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&gr->n_ring, k, __ATOMIC_RELEASE);
}

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
    if (walk->number == 0)
        return false;
    uint64_t wanted = --walk->number;
    const struct rec_recent *r = &gr->recent[REC_RECENT_PLACE(wanted)];
    if (read_change(&r->change, &r->number, wanted, change))
        return true;
    while (walk->kept > walk->oldest) {
        uint64_t place = --walk->kept % REC_RING;
        uint64_t number = __atomic_load_n(&gr->ring_number[place], __ATOMIC_RELAXED);
        if (number <= wanted)
            return read_change(&gr->ring[place], &gr->ring_number[place], wanted, change);
    }
    return false;
}
