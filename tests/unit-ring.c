/* SPDX-License-Identifier: MIT */
/*
 * unit-ring.c - what is still known of who had the GIL: by the library, which goes back from a change to those before
 * it, and by the reader, which puts them in order.  Changes come in many mixes, quick and slow, waited for and not.
 */
#include "shim-ring.h"

#include <stdlib.h>

#include "reader.h"
#include "unit-check.h"
#include "unit-maker.h"

#define CHANGES 20000
#define HOLDERS 5

__thread struct shim_thread shim_thread; /* all of them are this one */

/* What was entered, all of it. */
static struct rec_change truth[CHANGES];
static uint64_t
    waited_since[CHANGES]; /* the first change of those without a gap that were waited for, up to this one */
static struct maker maker;

static uint64_t pick(uint64_t n)
{
    return (uint64_t)random() % n;
}

static bool is_same(const struct rec_change *a, const struct rec_change *b)
{
    return a->holder == b->holder && a->holder_cell == b->holder_cell && a->ticks == b->ticks &&
           a->held_base_ticks == b->held_base_ticks;
}

/* From change n on, back. */
static void check_walk(const struct rec_gil *gil, uint64_t n)
{
    struct shim_ring_walk walk = {gil, n};
    uint64_t now = gil->turn.n_changes, i = n;
    struct rec_change change;
    bool right = true;

    while (shim_ring_earlier(&walk, &change))
        right &= i > 0 && is_same(&change, &truth[--i]);
    CHECK(right);
    /* As far back as it has to know. */
    uint64_t least = now > REC_RECENT ? now - REC_RECENT : 0;
    CHECK(n <= least || i <= least);
    if (n == now && waited_since[n - 1] < least) {
        least = waited_since[n - 1];
        CHECK(i <= (now - least > REC_RING ? now - REC_RING : least));
    }
}

/* What the reader makes of it, of this moment. */
static void check_reader(const struct rec_gil *gil)
{
    char error[READER_ERROR_BYTES] = "";
    struct reader_file *file = reader_open(maker_write(&maker, "one.gil", maker.header->used_bytes), error);
    uint64_t n = gil->turn.n_changes, n_known = 0, held_base_ticks = UINT64_MAX;
    bool right = true;

    CHECK(file && file->n_gils == 1 && file->gils[0].n_changes == n);
    for (uint64_t i = n > REC_RING ? n - REC_RING : 0; file && i < n; i++) {
        const struct rec_change *change = &file->gils[0].ring[i % REC_RING];
        if (change->holder)
            held_base_ticks = truth[i].held_base_ticks;
        n_known += change->holder != 0;
        right &= change->holder ? is_same(change, &truth[i]) : change->held_base_ticks == held_base_ticks;
    }
    CHECK(right);
    CHECK(n_known >= (n < REC_RECENT ? n : REC_RECENT));
    reader_close(file);
}

/* parts: of 16 changes so many are waited for, and so many come late. */
static void check_mix(unsigned waited_parts, unsigned slow_parts)
{
    uint64_t t = MAKER_START, held = 0;
    struct rec_gil *gil;
    bool waited = false, before = false;

    maker_begin(&maker);
    maker.header->version_min = REC_VERSION_RECENT;
    gil = maker_gil(&maker, 0);
    gil->has_turn = gil->has_recent = 1;
    for (uint64_t n = 0; n < CHANGES; n++) {
        const struct rec_thread holder = {.index = 1 + (uint32_t)pick(HOLDERS)};
        uint64_t passed = 1 + pick(pick(16) < slow_parts ? 2 * SHIM_RING_QUICK_TICKS : 500);
        t += passed;
        held += pick(passed + 1);
        if (pick(40) == 0)
            waited = pick(16) < waited_parts;
        truth[n] = (struct rec_change){holder.index, holder.index + 100, held, t};
        gil->turn.n_waiters = waited;
        shim_ring_enter(gil, &holder, holder.index + 100, t, held);
        waited_since[n] = !waited ? n : n > 0 && before ? waited_since[n - 1] : n;
        before = waited;
        check_walk(gil, n + 1);
        check_walk(gil, n + 1 - pick(n + 1 < 10 ? n + 1 : 10));
        if (pick(CHANGES / 20) == 0)
            check_reader(gil);
    }
    check_reader(gil);
    maker_end(&maker);
}

/* Where all are slow, all are kept. */
static void test_slow_changes_are_kept(void)
{
    struct rec_gil *gil;
    struct rec_change change;
    uint64_t n = 0;

    maker_begin(&maker);
    gil = maker_gil(&maker, 0);
    for (uint64_t i = 0; i < 3 * REC_RING; i++) {
        const struct rec_thread holder = {.index = 1 + (uint32_t)(i % 2)};
        shim_ring_enter(gil, &holder, 1, MAKER_START + i * SHIM_RING_QUICK_TICKS, i);
    }
    for (struct shim_ring_walk walk = {gil, gil->turn.n_changes}; shim_ring_earlier(&walk, &change);)
        n++;
    CHECK_NUMBER(n, REC_RING);
    maker_end(&maker);
}

int main(void)
{
    srandom(1);
    for (unsigned waited = 0; waited <= 16; waited += 8)
        for (unsigned slow = 0; slow <= 16; slow += 8)
            check_mix(waited, slow);
    test_slow_changes_are_kept();
    return check_result();
}
