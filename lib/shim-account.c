/* SPDX-License-Identifier: MIT */
/*
 * shim-account.c - the accounts that are not on the shortest path: waits, and holds that others waited for.
 *
 * H(t) is the integral of the time that the GIL was held, W(t) that of the number of waiters.  Both change only under
 * gil->mutex.  A wait from b to e was blocked for H(e) - H(b); a hold from a to r made others wait for W(r) - W(a).
 */
#include "shim-account.h"

#include <stddef.h>

#include "shim-file.h"
#include "shim-ring.h"

_Static_assert(sizeof(struct rec_turn) == SHIM_LINE_BYTES && offsetof(struct rec_gil, turn) % SHIM_LINE_BYTES == 0,
               "rec_turn is a line");

static uint64_t held(const struct shim_gil *g, uint64_t t)
{
    return g->turn->closed_ticks + (g->turn->take_ticks ? shim_elapsed(g->turn->take_ticks, t) : 0);
}

/* H at b, of which we learn at t: between them lies a contended lock of gil->mutex, or a preemption in front of it.
 * Exact within the present hold and the last one, and before them wherever a holder has held once before the next one
 * took over; else out by no more than what it let go in between. */
static uint64_t held_at(const struct shim_gil *g, uint64_t b, uint64_t t)
{
    const struct rec_gil *gr = g->rec;
    if (g->turn->take_ticks && b >= g->turn->take_ticks)
        return held(g, t) - shim_elapsed(b, t);
    uint64_t next = g->turn->closed_ticks;
    if (b >= g->turn->last_take_ticks)
        return next - shim_elapsed(b, g->turn->last_release_ticks);
    struct rec_change c;
    for (struct shim_ring_walk walk = {gr, gr->turn.n_changes}; shim_ring_earlier(&walk, &c);) {
        if (c.ticks <= b) {
            uint64_t most = next - c.held_base_ticks;
            return c.held_base_ticks + (b - c.ticks < most ? b - c.ticks : most);
        }
        next = c.held_base_ticks;
    }
    return next;
}

uint64_t shim_account_released(const struct rec_thread *tr, uint64_t t)
{
    uint64_t all = shim_elapsed(tr->start_ticks, t);
    uint64_t rest =
        tr->unmeasured_ticks + tr->held_ticks + tr->wait_blocked_ticks + tr->wait_wakeup_ticks + tr->wait_forced_ticks;
    return all > rest ? all - rest : 0;
}

bool shim_account_peek(const struct shim_gil *g, uint64_t t, uint64_t *sum)
{
    const struct rec_gil *gr = g->rec;
    for (int tries = 0; tries < 3; tries++) {
        uint32_t seq = __atomic_load_n(&gr->turn.seq, __ATOMIC_ACQUIRE);
        uint32_t cell = __atomic_load_n(&g->turn->holder_cell, __ATOMIC_RELAXED);
        const struct rec_thread *holder = shim_holder_at(cell);
        uint64_t take = __atomic_load_n(&g->turn->take_ticks, __ATOMIC_ACQUIRE);
        uint64_t base = gr->turn.held_base_ticks;
        if ((seq & 1) || !holder)
            continue;
        uint64_t closed = __atomic_load_n(&holder->held_ticks, __ATOMIC_ACQUIRE);
        uint64_t since = __atomic_load_n(&holder->state_ticks, __ATOMIC_ACQUIRE);
        bool holds = SHIM_STATE(holder) == REC_STATE_HELD;
        /* The state is stored before the sum and the GIL's own time of the take after both: whoever finds them
         * unchanged, and in agreement, has seen no half of a take or release, nor a hold that has been through a pause.
         */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (take != (holds ? since : 0) || __atomic_load_n(&holder->state_ticks, __ATOMIC_ACQUIRE) != since ||
            __atomic_load_n(&holder->held_ticks, __ATOMIC_RELAXED) != closed ||
            __atomic_load_n(&g->turn->take_ticks, __ATOMIC_RELAXED) != take ||
            __atomic_load_n(&g->turn->holder_cell, __ATOMIC_RELAXED) != cell ||
            __atomic_load_n(&gr->turn.seq, __ATOMIC_RELAXED) != seq)
            continue;
        *sum = base + closed + (holds ? shim_elapsed(since, t) : 0);
        return true;
    }
    return false;
}

/* H where the calling thread's wait began, at b.  What it saw of H then may be too much: a holder that had read the
 * clock for its release, and lost its processor before it had written that down, seemed to hold it yet.  So that counts
 * only where the last holds do not tell, and is no more than what they allow for. */
static uint64_t held_when_wanted(const struct shim_gil *g, uint64_t b, uint64_t t)
{
    uint64_t most = held_at(g, b, t), now = held(g, t);
    bool seen = T.want_seen && b == T.want && b < g->turn->last_take_ticks;
    T.want_seen = false;
    if (seen && shim_elapsed(T.want_held, now) <= shim_elapsed(b, t) && T.want_held <= most)
        return T.want_held;
    return most;
}

void shim_account_arrive(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = T.want ? T.want : t;
    if (UNLIKELY(T.later))
        shim_account_missed(g);
    T.post = SHIM_POST_WAITING;
    if (b < tr->state_ticks)
        b = tr->state_ticks;

    shim_account_late_hold(tr);
    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->turn.seq);
    shim_note_released(tr->state_ticks, b);
    shim_waiters_advance(gr, t);
    tr->wait_held_base_ticks = held_when_wanted(g, b, t);
    /* What has passed since b is charged to the present hold, as if W had been counted from then on, and to those
     * before it when the wait is entered into the row. */
    tr->late_seen_ticks = g->turn->closed_ticks;
    if (g->turn->take_ticks)
        gr->waiters_ticks += shim_elapsed(b > g->turn->take_ticks ? b : g->turn->take_ticks, t);
    T.want = 0;
    shim_account_waiters(g, g->turn->n_waiters + 1);
    tr->state = REC_STATE_WAITING;
    tr->state_ticks = b;
    shim_write_end(&gr->turn.seq);
    shim_write_end(&tr->seq);
}

/* Has the GIL had its last holder since b, or before?  Looked up only where its last hold, which may be an open one,
 * does not say so: the ring's line is in the cache of whoever wrote it.  Holding gil->mutex. */
static bool one_holder_since(const struct shim_gil *g, uint64_t b)
{
    uint64_t last = g->turn->take_ticks ? g->turn->take_ticks : g->turn->last_take_ticks;
    return b >= last || b >= shim_ring_latest(g->rec);
}

void shim_account_wait_end(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = tr->state_ticks, paused = 0;
    uint64_t now_held = held(g, t);
    if (SHIM_STATE(tr) == REC_STATE_WAITING) {
        paused = gr->paused_ticks - tr->paused_ticks;
        tr->unmeasured_ticks += paused;
        tr->paused_ticks = gr->paused_ticks;
        shim_waiters_advance(gr, t);
        if (g->turn->n_waiters)
            shim_account_waiters(g, g->turn->n_waiters - 1);
    } else { /* only gil->mutex was in its way */
        b = T.want > b ? T.want : b;
        shim_note_released(tr->state_ticks, b);
        tr->wait_held_base_ticks = held_when_wanted(g, b, t);
        tr->late_seen_ticks = now_held;
    }
    T.want = 0;
    uint64_t total = shim_elapsed(b + paused, t);
    shim_sample_end(SHIM_SAMPLE_WAIT, b + paused, t);
    uint64_t blocked = shim_elapsed(tr->wait_held_base_ticks, now_held);
    if (blocked > total) {
        blocked = total;
        tr->wait_held_base_ticks = now_held - blocked;
    }
    T.late_holder = one_holder_since(g, b) ? shim_gil_holder(g) : NULL;
    tr->late_held_ticks = now_held;
    tr->late_changes = gr->turn.n_changes;
    tr->late_wait_ticks = total;
    tr->late = 1;
    T.later |= SHIM_LATER_WAIT;
    tr->wait_blocked_ticks += blocked;
    tr->wait_wakeup_ticks += total - blocked;
    if (UNLIKELY(!tr->index)) { /* nobody reads the sink: REC_THREAD_OWN_WAITS */
        __atomic_fetch_add(&gr->wait_blocked_ticks, blocked, __ATOMIC_RELAXED);
        __atomic_fetch_add(&gr->wait_wakeup_ticks, total - blocked, __ATOMIC_RELAXED);
    }
}

void shim_account_take_after_wait(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->turn.seq);
    shim_account_wait_end(g, t);
    tr->contended++;
    if (UNLIKELY(!tr->index))
        __atomic_fetch_add(&gr->contended, 1, __ATOMIC_RELAXED);
    tr->state = REC_STATE_HELD;
    tr->state_ticks = t;
    T.post = 0;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    shim_write_end(&gr->turn.seq);
    shim_write_end(&tr->seq);
}

void shim_account_change(struct shim_gil *g, const struct rec_thread *tr, uint64_t t, uint64_t sum)
{
    shim_write_begin(&g->turn->seq);
    shim_ring_enter(g->rec, tr, shim_file_cell(tr), t, sum);
    shim_write_end(&g->turn->seq);
}

/* Its state is HELD, since now; the old holder's is not. */
void shim_account_holder(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    const struct rec_thread *tr = T.rec;
    uint64_t sum = g->turn->closed_ticks;
    shim_write_begin(&gr->turn.seq);
    if (UNLIKELY(gr->unseen)) {
        gr->unseen = 0;
        gr->unknown_since_ticks = 0;
        gr->known_toggles = gr->n_toggles;
    }
    gr->turn.held_base_ticks = sum - tr->held_ticks;
    g->turn->holder = tr->index;
    g->turn->holder_cell = T.rec_cell;
    shim_ring_enter(g->rec, tr, shim_file_cell(tr), t, sum);
    shim_write_end(&gr->turn.seq);
}

void shim_account_hold_begins(struct shim_gil *g, uint64_t t)
{
    shim_waiters_advance(g->rec, t);
    g->rec->hold_waiters_ticks = g->rec->waiters_ticks;
}

void shim_account_hold_ends(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    shim_waiters_advance(gr, t);
    T.rec->charged_ticks += gr->waiters_ticks - gr->hold_waiters_ticks;
    shim_sample_charge(gr->waiters_ticks - gr->hold_waiters_ticks);
    gr->hold_waiters_ticks = gr->waiters_ticks;
}

void shim_account_unknown_hold(struct shim_gil *g, uint64_t from, uint64_t t)
{
    shim_account_hold_ends(g, t); /* waits that have been abandoned meanwhile, too */
    if (g->rec->unseen && g->turn->take_ticks &&
        g->unknown_held_ticks != g->turn->closed_ticks) /* in earlier periods, too */
        shim_account_change(g, T.rec, from, g->unknown_held_ticks);
    shim_account_holder(g, from);
    g->turn->held_base_ticks += shim_elapsed(from, t);
    g->turn->closed_ticks += shim_elapsed(from, t);
}

void shim_account_settle(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *holder = g->turn->take_ticks ? shim_gil_holder(g) : NULL;
    if (holder && SHIM_STATE(holder) != REC_STATE_HELD) {
        /* It ended with the GIL, or its interpreter did. */
        g->turn->closed_ticks = gr->turn.held_base_ticks + holder->held_ticks;
        g->turn->take_ticks = 0;
    }
    shim_write_begin(&gr->turn.seq);
    gr->turn.held_base_ticks = g->turn->closed_ticks = held(g, t);
    g->turn->holder = g->turn->holder_cell = 0;
    gr->unknown_since_ticks = gr->unseen = 0;
    if (g->turn->take_ticks) {
        g->turn->last_take_ticks = g->turn->take_ticks;
        g->turn->last_release_ticks = t;
    }
    g->turn->take_ticks = 0;
    shim_write_end(&gr->turn.seq);
}
