/* SPDX-License-Identifier: MIT */
/*
 * shim-ring.h - who has had the GIL of late: each change of holder with H at that time, for those who have waited.
 *
 * The last changes are in `recent`, which is small: a thread that hands the GIL to and fro with another finds its lines
 * in its processor's innermost cache, and what is written there at each change costs nothing that could be measured,
 * where a long ring made the hand-off a tenth slower.  What somebody may need for longer is kept in `ring` as well:
 * while threads wait, changes that a wait has been through, and all of them where they are not quick.
 */
#ifndef GILSCOPE_SHIM_RING_H
#define GILSCOPE_SHIM_RING_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* Some 6 us: a thread that takes the GIL from others once in less is quick; if it is not for as many changes as there
 * is room for in `recent`, they are kept.  Its own memory says so: a look at what is in the ring makes the hand-off
 * slower. */
#define SHIM_RING_QUICK_TICKS (1u << 14)

/* Keeps the last changes, up to the latest, those that are not kept yet.  Holding gil->mutex. */
void shim_ring_keep(struct rec_gil *gr);

/* Enters that tr, whose record is in cell, has had the GIL since t, when H was `sum`.  waits: some thread's wait, open
 * or just ended, may have to be divided among more holders than the last.  Holding gil->mutex, within the turn's
 * sequence counter. */
static inline void shim_ring_enter(struct rec_gil *gr, const struct rec_thread *tr, uint32_t cell, uint64_t t,
                                   uint64_t sum, bool waits)
{
    uint64_t n = gr->turn.n_changes;
    struct rec_recent *r = &gr->recent[REC_RECENT_PLACE(n)];
    T.ring_slow = t - T.ring_ticks < SHIM_RING_QUICK_TICKS ? 0 : T.ring_slow + 1;
    T.ring_ticks = t;
    /* It may be read meanwhile, by a thread that enters its last wait: it is made void first (shim_ring_earlier). */
    __atomic_store_n(&r->change.held_base_ticks, UINT64_MAX, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    r->change.holder = tr->index;
    r->change.holder_cell = tr->index ? cell : 0;
    r->change.ticks = t;
    r->number = n;
    __atomic_store_n(&r->change.held_base_ticks, sum, __ATOMIC_RELEASE);
    __atomic_store_n(&gr->turn.n_changes, n + 1, __ATOMIC_RELEASE);
    if (UNLIKELY(waits || T.ring_slow > REC_RECENT / 2))
        shim_ring_keep(gr);
}

/* When the latest change was, ticks; there has been one.  Holding gil->mutex. */
static inline uint64_t shim_ring_latest(const struct rec_gil *gr)
{
    return gr->recent[REC_RECENT_PLACE(gr->turn.n_changes - 1)].change.ticks;
}

/* Where somebody has got to who goes through the changes, from the latest to the earliest. */
struct shim_ring_walk {
    const struct rec_gil *gr;
    uint64_t number, kept, oldest; /* changes, and of those that are kept, that have not been looked at */
};

/* Starts in front of change n, which with all later ones is left out.  Any thread, whatever it holds. */
static inline struct shim_ring_walk shim_ring_from(const struct rec_gil *gr, uint64_t n)
{
    uint64_t kept = __atomic_load_n(&gr->n_ring, __ATOMIC_ACQUIRE);
    return (struct shim_ring_walk){gr, n, kept, kept > REC_RING ? kept - REC_RING : 0};
}

/* The change before the last one that was had from this.  False: it is not known any more, nor is any before it.  Any
 * thread, whatever it holds. */
bool shim_ring_earlier(struct shim_ring_walk *walk, struct rec_change *change);

#pragma GCC visibility pop
#endif
