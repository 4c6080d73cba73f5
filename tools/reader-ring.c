/* SPDX-License-Identifier: MIT */
/* reader-ring.c - the changes of a GIL's holder, in order. */
#include "reader-ring.h"

#include <stdbool.h>
#include <string.h>

struct flat {
    struct rec_change change[REC_RING];
    bool known[REC_RING];
};

/* Enters a change, counted from 1, unless it is older than what is wanted, was not made, or was being written. */
static void enter(struct flat *flat, const struct rec_gil *gil, uint64_t number, const struct rec_change *change)
{
    if (!number || number > gil->n_changes || gil->n_changes - number >= REC_RING ||
        change->held_base_ticks == UINT64_MAX)
        return;
    flat->change[(number - 1) % REC_RING] = *change;
    flat->known[(number - 1) % REC_RING] = true;
}

static void fill_gaps(struct flat *flat, uint64_t n)
{
    uint64_t held_base_ticks = UINT64_MAX; /* where nothing is known yet: behind all that is looked for */

    for (uint64_t i = n > REC_RING ? n - REC_RING : 0; i < n; i++) {
        struct rec_change *change = &flat->change[i % REC_RING];
        if (flat->known[i % REC_RING])
            held_base_ticks = change->held_base_ticks;
        else
            *change = (struct rec_change){.held_base_ticks = held_base_ticks};
    }
}

static void flatten(struct rec_gil *gil)
{
    struct flat flat = {.known = {false}};

    for (uint32_t i = 0; i < REC_RING; i++)
        enter(&flat, gil, gil->ring_number[i], &gil->ring[i]);
    for (uint32_t i = 0; i < REC_RECENT; i++)
        enter(&flat, gil, gil->recent[i].number, &gil->recent[i].change);
    fill_gaps(&flat, gil->n_changes);
    memcpy(gil->ring, flat.change, sizeof flat.change);
}

static void put_in_order(struct rec_gil *gil)
{
    struct rec_change ring[REC_RING];

    for (uint32_t i = 0; i < REC_RING; i++)
        ring[i] = gil->ring[REC_RING_PLACE(i)];
    memcpy(gil->ring, ring, sizeof ring);
}

void reader_ring_fill_in(struct rec_gil *gil)
{
    if (!gil->has_turn)
        return;
    gil->seq = gil->turn.seq;
    gil->holder = gil->turn.holder;
    gil->held_base_ticks = gil->turn.held_base_ticks;
    gil->n_changes = gil->turn.n_changes;
    if (gil->has_recent)
        flatten(gil);
    else
        put_in_order(gil);
}
