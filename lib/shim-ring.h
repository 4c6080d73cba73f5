/* SPDX-License-Identifier: MIT */
/*
 * shim-ring.h - who has had the GIL of late: each change of holder with H at that time, for those who have waited.
 *
 * While nobody waits, changes go to `recent`, which is small: a thread that hands the GIL to and fro with another finds
 * its lines in its processor's innermost cache, and what is written there costs nothing that could be measured, where a
 * long ring made the hand-off up to a tenth slower.  What somebody may need for longer goes to `ring`: while threads
 * wait, and where changes are not quick.
 */
#ifndef GILSCOPE_SHIM_RING_H
#define GILSCOPE_SHIM_RING_H

#include "shim.h"

#pragma GCC visibility push(hidden)

#define SHIM_RING_QUICK_TICKS (1u << 14) /* some 6 us: a thread that takes the GIL from others once in less is quick   \
                                          */

/* Enters that tr, whose record is in cell, has had the GIL since t, when H was `sum`.  Holding gil->mutex, within the
 * turn's sequence counter. */
static inline void shim_ring_enter(struct rec_gil *gr, const struct rec_thread *tr, uint32_t cell, uint64_t t,
                                   uint64_t sum)
{
    uint64_t n = gr->turn.n_changes;
    struct rec_recent *r = &gr->recent[REC_RECENT_PLACE(n)];
    struct rec_change *c = &r->change;
    uint64_t *number = &r->number;
    if (gr->turn.n_waiters || t - T.ring_ticks >= SHIM_RING_QUICK_TICKS) {
        c = &gr->ring[REC_RING_PLACE(n)];
        number = &gr->ring_number[REC_RING_PLACE(n)];
    }
    T.ring_ticks = t;
    /* It may be read meanwhile, by a thread that enters its last wait: it is made void first (shim_ring_earlier). */
    __atomic_store_n(&c->held_base_ticks, UINT64_MAX, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    c->holder = tr->index;
    c->holder_cell = tr->index ? cell : 0;
    c->ticks = t;
    *number = n + 1;
    __atomic_store_n(&c->held_base_ticks, sum, __ATOMIC_RELEASE);
    __atomic_store_n(&gr->turn.n_changes, n + 1, __ATOMIC_RELEASE);
}

/* When the latest change was, ticks; there has been one.  Holding gil->mutex. */
static inline uint64_t shim_ring_latest(const struct rec_gil *gr)
{
    uint64_t n = gr->turn.n_changes;
    const struct rec_recent *r = &gr->recent[REC_RECENT_PLACE(n - 1)];
    return r->number == n ? r->change.ticks : gr->ring[REC_RING_PLACE(n - 1)].ticks;
}

/* Where somebody has got to who goes through the changes, from the latest to the earliest. */
struct shim_ring_walk {
    const struct rec_gil *gr;
    uint64_t number; /* of changes that have not been looked at: it comes from change `number` */
};

/* The change before the last one that was had from this.  False: it is not known any more, nor is any before it.  Any
 * thread, whatever it holds. */
bool shim_ring_earlier(struct shim_ring_walk *walk, struct rec_change *change);

#pragma GCC visibility pop
#endif
