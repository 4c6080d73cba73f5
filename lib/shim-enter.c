/* SPDX-License-Identifier: MIT */
/*
 * shim-enter.c - what can wait until gil->mutex is free: the matrix of who waited for whom, and the histograms.
 */
#include "shim-account.h"
#include "shim-file.h"
#include "shim-fold.h"
#include "shim-ring.h"

enum { TRIED = 7 }; /* entries of a full row, of which one gives way */

_Static_assert(REC_ROW_ENTRIES % TRIED == 0, "a part of a row");

/* --- the matrix -------------------------------------------------------------------------------------------------- */
/* The row is full: holders that have ended and were folded, whom no report can tell apart any more, share one entry.
 * Those that come and go by the thousand leave room for each other so, and nothing of what is known is given up. */
static bool make_room_of_ended(struct rec_thread *tr, uint32_t holder, uint64_t ticks)
{
    uint64_t *ended = NULL;
    uint32_t cell = tr->row;
    for (int n = 0; cell && n < SHIM_ROW_PARTS; n++) {
        struct rec_row *part = shim_file_at(cell);
        for (int i = 0; i < REC_ROW_ENTRIES; i++) {
            if (!shim_fold_has(part->holder[i]))
                continue;
            if (!ended) {
                part->holder[i] = UINT32_MAX;
                ended = &part->blocked_ticks[i];
                continue;
            }
            uint64_t was = part->blocked_ticks[i];
            part->blocked_ticks[i] = 0; /* as in make_room() */
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            part->holder[i] = holder;
            *ended += was;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            part->blocked_ticks[i] = ticks;
            return true;
        }
        cell = part->next;
    }
    return false;
}

/* The row is full: of a few of its entries, which chance picks, that of the holder that was waited for least becomes
 * one of the others.  So those for which a thread waits most have an entry however many have come and gone before them.
 * (If it were the least of all, several that come late would take turns in one entry and never get beyond what is in
 * the rest.)
 */
static void make_room(struct rec_thread *tr, uint32_t holder, uint64_t ticks)
{
    struct rec_row *parts[SHIM_ROW_PARTS], *part;
    uint32_t cell = tr->row, n = 0, least;
    for (; cell && n < SHIM_ROW_PARTS; cell = parts[n++]->next)
        parts[n] = shim_file_at(cell);
    if (!n) {
        tr->row_other_ticks += ticks;
        return;
    }
    uint64_t chance = ((tr->row_other_ticks + ticks) * 0x9e3779b97f4a7c15u) >> 32;
    part = parts[chance % n];
    least = (uint32_t)(chance / n % (REC_ROW_ENTRIES / TRIED)) * TRIED;
    for (uint32_t i = least + 1, end = least + TRIED; i < end; i++)
        if (part->blocked_ticks[i] < part->blocked_ticks[least])
            least = i;
    uint64_t was = part->blocked_ticks[least];
    part->blocked_ticks[least] = 0;          /* whoever is killed here loses some of it, and nobody gets it twice */
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler must not leave that out */
    part->holder[least] = holder;
    tr->row_other_ticks += was;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    part->blocked_ticks[least] = ticks;
}

bool shim_account_row_add(struct rec_thread *tr, uint32_t holder, uint64_t ticks)
{
    struct rec_row *part = NULL;
    uint32_t *link = &tr->row;
    for (int parts = 0; parts < SHIM_ROW_PARTS; parts++) {
        if (*link == 0) {
            part = shim_file_record(sizeof *part);
            if (!part)
                break;
            part->owner = tr->index;
            shim_file_publish(part, REC_ROW);
            *link = shim_file_cell(part);
        }
        part = shim_file_at(*link);
        for (int i = 0; i < REC_ROW_ENTRIES; i++) {
            if (part->holder[i] == holder || part->holder[i] == 0) {
                part->holder[i] = holder;
                part->blocked_ticks[i] += ticks;
                return true;
            }
        }
        link = &part->next;
    }
    if (make_room_of_ended(tr, holder, ticks))
        return true;
    make_room(tr, holder, ticks);
    return false;
}

static struct rec_thread *holder_of(const struct rec_change *c)
{
    struct rec_thread *holder = c->holder_cell ? shim_file_at(c->holder_cell) : NULL;
    return holder && holder->index == c->holder ? holder : c->holder ? shim_fold_record() : NULL;
}

void shim_charge_owed(void)
{
    if (T.owed)
        shim_charge(__atomic_load_n(&T.owed->index, __ATOMIC_RELAXED) == T.owed_index ? T.owed : shim_fold_record(),
                    T.owed_ticks);
    T.owed = NULL;
    T.owed_ticks = 0;
}

/* What passed before the thread was seen to wait, up to `seen`, is in no hold's account yet: its holder is charged now.
 * The number of changes, in the line that the holder writes, is left alone: who holds the GIL now is not to wait. */
void shim_account_row(struct shim_gil *g)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t low = tr->wait_held_base_ticks, high = tr->late_held_ticks, seen = tr->late_seen_ticks;
    tr->late = 0;
    if (!tr->index) /* the sink has no row */
        return;
    if (LIKELY(T.late_holder && high > low)) {
        if (seen > low)
            shim_charge_soon(T.late_holder, (seen < high ? seen : high) - low);
        if (!T.late_holder->index) /* a thread without a record */
            tr->row_other_ticks += high - low;
        else if (!shim_account_row_add(tr, T.late_holder->index, high - low))
            shim_file_loss(REC_LOSS_PAIRS);
        return;
    }
    struct rec_change c;
    struct shim_ring_walk walk = {gr, tr->late_changes};
    struct rec_thread *earliest = shim_gil_holder(g); /* holder that is known */
    while (high > low && shim_ring_earlier(&walk, &c)) {
        if (c.held_base_ticks >= high)
            continue;
        uint64_t from = c.held_base_ticks > low ? c.held_base_ticks : low;
        earliest = holder_of(&c);
        if (seen > from)
            shim_charge(earliest, (seen < high ? seen : high) - from);
        if (!c.holder)
            tr->row_other_ticks += high - from; /* a thread without a record */
        else if (!shim_account_row_add(tr, c.holder, high - from))
            shim_file_loss(REC_LOSS_PAIRS);
        high = from;
    }
    if (high > low) { /* forgotten: who held it at some moment of the wait is charged in place of those who did */
        if (seen > low) {
            shim_charge(earliest, (seen < high ? seen : high) - low);
            shim_file_loss(REC_LOSS_CHARGES);
        }
        tr->row_other_ticks += high - low;
        shim_file_loss(REC_LOSS_PAIRS);
    }
}

void shim_account_row_now(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (g->rec->unseen && g->turn->take_ticks &&
        !shim_gil_holder(g)) { /* the ring's last entry is that of whoever had it before */
        uint64_t low = tr->wait_held_base_ticks, high = tr->late_held_ticks;
        low = low > g->unknown_held_ticks ? low : g->unknown_held_ticks;
        if (high > low) {
            tr->row_other_ticks += high - low;
            tr->late_held_ticks = low;
            shim_file_loss(REC_LOSS_PAIRS);
        }
    }
    shim_account_row(g);
}

/* --- histograms -------------------------------------------------------------------------------------------------- */
static struct rec_hist_block *octave_block(struct rec_thread *tr, struct rec_hist *h, uint32_t octave)
{
    if (h->block[octave])
        return shim_file_at(h->block[octave]);
    struct rec_hist_block *block = tr->index ? shim_file_record(sizeof *block) : NULL;
    if (!block)
        return NULL;
    block->owner = tr->index;
    shim_file_publish(block, REC_HIST);
    h->block[octave] = shim_file_cell(block);
    return block;
}

void shim_account_wrapped(const struct rec_thread *tr, struct rec_hist_block *block, uint32_t sub, uint32_t times)
{
    if (!block->wraps) {
        struct rec_hist_block *wraps = shim_file_record(sizeof *wraps);
        if (!wraps)
            return;
        wraps->owner = tr->index;
        shim_file_publish(wraps, REC_HIST);
        block->wraps = shim_file_cell(wraps);
    }
    ((struct rec_hist_block *)shim_file_at(block->wraps))->count[sub] += times;
}

static void count_in(const struct rec_thread *tr, struct rec_hist_block *block, uint32_t sub)
{
    if (++block->count[sub] == 0)
        shim_account_wrapped(tr, block, sub, 1);
}

void shim_account_hist(struct rec_thread *tr, enum rec_hist_kind kind, uint64_t ticks)
{
    struct rec_hist *h = &tr->hist[kind];
    struct hist_place place = hist_place(ticks);
    struct rec_hist_block *block = octave_block(tr, h, place.octave);
    if (block)
        count_in(tr, block, place.sub);
    h->count++;
    h->sum_ticks += ticks;
    if (ticks > h->max_ticks)
        h->max_ticks = ticks;
}

void shim_account_hold_wrapped(uint64_t ticks)
{
    struct hist_place place = hist_place(ticks);
    uint32_t cell = T.rec->hist[REC_HIST_HOLD].block[place.octave];
    if (cell)
        shim_account_wrapped(T.rec, shim_file_at(cell), place.sub, 1);
}

/* Enters the late hold of the calling thread that is the first of its octave, or longer than all before. */
static void enter_hold(struct rec_thread *tr, uint64_t ticks)
{
    const uint64_t last_octave = hist_low(REC_HIST_OCTAVES - 1, 0);
    struct rec_hist *h = &tr->hist[REC_HIST_HOLD];
    struct hist_place place = hist_place(ticks);
    struct rec_hist_block *block = octave_block(tr, h, place.octave);
    if (ticks > h->max_ticks)
        h->max_ticks = ticks;
    T.hold_below = h->max_ticks < last_octave ? h->max_ticks + 1 : last_octave;
    T.later &= (uint8_t)~SHIM_LATER_HOLD;
    tr->late_hold_ticks = 0;
    if (block)
        count_in(tr, block, place.sub);
    else
        h->count++;
}

void shim_account_enter_late_hold(struct rec_thread *tr)
{
    uint64_t ticks = tr->late_hold_ticks;
    uint32_t *count = ticks < T.hold_below && !(T.later & SHIM_LATER_HOLD) ? shim_account_hold_count(tr, ticks) : NULL;
    if (UNLIKELY(!count)) { /* the release that it should have been done after was not seen, or a pause has cut it */
        enter_hold(tr, ticks);
        return;
    }
    tr->late_hold_ticks = 0;
    if (++*count == 0)
        shim_account_hold_wrapped(ticks);
}

void shim_account_enter(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (T.later & SHIM_LATER_HOLD)
        enter_hold(tr, T.hold_ticks);
    if (T.later & SHIM_LATER_RELEASED)
        shim_account_hist(tr, REC_HIST_RELEASED, T.released_ticks);
    if (T.later & SHIM_LATER_WAIT) {
        shim_account_hist(tr, REC_HIST_WAIT, tr->late_wait_ticks);
        shim_account_row(g);
    }
    T.later = 0;
}

void shim_account_missed(struct shim_gil *g)
{
    if (T.post == SHIM_POST_RELEASED)
        T.post = 0; /* else the take would be that of a wait which began with the release */
    shim_write_begin(&T.rec->seq);
    shim_account_enter(g);
    shim_write_end(&T.rec->seq);
}
