/* SPDX-License-Identifier: MIT */
/*
 * shim-account.c - the accounts that are not on the shortest path: waits, pauses, the matrix, histograms.
 *
 * H(t) is the integral of the time that the GIL was held, W(t) that of the number of waiters.  Both change only under
 * gil->mutex.  A wait from b to e was blocked for H(e) - H(b); a hold from a to r made others wait for W(r) - W(a).
 */
#include "shim-account.h"

#include "shim-file.h"

/* H at b, which lies at most a contended lock of gil->mutex in the past: the present hold and the last closed one are
 * all that it can reach. */
static uint64_t held_at(const struct shim_gil *g, uint64_t b)
{
    const struct rec_gil *gr = g->rec;
    if (gr->locked && b >= gr->change_ticks)
        return gr->held_ticks + (b - gr->change_ticks);
    if (b >= g->last_release_ticks)
        return gr->held_ticks;
    uint64_t from = b > g->last_take_ticks ? b : g->last_take_ticks;
    return gr->held_ticks - shim_elapsed(from, g->last_release_ticks);
}

/* Charges the time from b to t, which passed before the thread could be counted among the waiters, to the last closed
 * hold and to the present one.  Where a thread waits for gil->mutex itself, its holder is most often the one that is
 * just giving the GIL up. */
static void charge_late(struct shim_gil *g, uint64_t b, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    if (b < g->last_release_ticks && g->last_rec) {
        uint64_t from = b > g->last_take_ticks ? b : g->last_take_ticks;
        __atomic_fetch_add(&g->last_rec->charged_ticks, shim_elapsed(from, g->last_release_ticks), __ATOMIC_RELAXED);
    }
    if (gr->locked)
        gr->waiters_ticks += shim_elapsed(b > gr->change_ticks ? b : gr->change_ticks, t);
}

static void close_released(struct rec_thread *tr, uint64_t t)
{
    uint64_t d = shim_elapsed(T.since, t);
    tr->released_ticks += d;
    tr->cpu_pending_released_ticks += d;
    T.released_ticks = d;
}

void shim_account_arrive(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = T.want ? T.want : t;
    T.want = 0;
    T.post &= (uint8_t)~SHIM_POST_WANT;
    if (T.state == REC_STATE_NONE)
        T.since = b; /* its first event since measuring was resumed: nothing is known of the time before */
    if (b < T.since)
        b = T.since;

    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->seq);
    close_released(tr, b);
    shim_waiters_advance(gr, t);
    T.held_base = held_at(g, b);
    charge_late(g, b, t);
    gr->n_waiters++;
    tr->wait_held_base_ticks = T.held_base;
    tr->gil = gr->index;
    T.gil = g;
    tr->state = T.state = REC_STATE_WAITING;
    tr->state_ticks = T.since = b;
    shim_write_end(&gr->seq);
    shim_write_end(&tr->seq);
}

void shim_account_wait_end(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = T.since;
    shim_waiters_advance(gr, t);
    if (T.state == REC_STATE_WAITING) {
        if (gr->n_waiters)
            gr->n_waiters--;
    } else { /* only gil->mutex was in its way */
        b = T.want > T.since ? T.want : T.since;
        close_released(tr, b);
        T.held_base = held_at(g, b);
        charge_late(g, b, t);
    }
    T.want = 0;
    uint64_t held = gr->held_ticks + (gr->locked ? shim_elapsed(gr->change_ticks, t) : 0);
    uint64_t total = shim_elapsed(b, t);
    uint64_t blocked = shim_elapsed(T.held_base, held);
    if (blocked > total)
        blocked = total;
    T.held_base = held - blocked;
    T.held_end = held;
    T.wait_ticks = total;
    tr->wait_blocked_ticks += blocked;
    tr->wait_wakeup_ticks += total - blocked;
    gr->wait_blocked_ticks += blocked;
    gr->wait_wakeup_ticks += total - blocked;
}

/* --- the matrix ------------------------------------------------------------------------------------------------ */
#define ROW_PARTS 10 /* 140 holders a waiter */

bool shim_account_row_add(struct rec_thread *tr, uint32_t holder, uint64_t ticks)
{
    struct rec_row *part = NULL;
    uint32_t *link = &tr->row;
    for (int parts = 0; parts < ROW_PARTS; parts++) {
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
    tr->row_other_ticks += ticks;
    return false;
}

void shim_account_row(struct shim_gil *g)
{
    const struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t low = T.held_base, high = T.held_end;
    uint64_t i = gr->n_changes, oldest = i > REC_RING ? i - REC_RING : 0;
    if (!tr->index) /* the sink has no row */
        return;
    while (high > low && i > oldest) {
        const struct rec_change *c = &gr->ring[--i % REC_RING];
        if (c->held_base_ticks >= high)
            continue;
        uint64_t from = c->held_base_ticks > low ? c->held_base_ticks : low;
        if (!c->holder)
            tr->row_other_ticks += high - from; /* a thread without a record */
        else if (!shim_account_row_add(tr, c->holder, high - from))
            shim_file_loss(REC_LOSS_PAIRS);
        high = from;
    }
    if (high > low) {
        tr->row_other_ticks += high - low;
        shim_file_loss(REC_LOSS_PAIRS);
    }
}

/* --- pauses ------------------------------------------------------------------------------------------------------ */
void shim_account_close(uint64_t t)
{
    struct rec_thread *tr = T.rec;
    uint64_t d = shim_elapsed(T.since, t);
    switch (T.state) {
    case REC_STATE_HELD:
        tr->held_ticks += d;
        tr->cpu_pending_held_ticks += d;
        break;
    case REC_STATE_RELEASED:
        close_released(tr, t);
        break;
    case REC_STATE_WAITING: {
        uint64_t held = T.gil && T.gil->rec ? T.gil->paused_held_ticks : 0;
        uint64_t blocked = shim_elapsed(T.held_base, held);
        if (blocked > d)
            blocked = d;
        tr->wait_blocked_ticks += blocked;
        tr->wait_wakeup_ticks += d - blocked;
        tr->row_other_ticks += blocked;
        break;
    }
    case REC_STATE_FORCED:
        tr->wait_forced_ticks += d;
        break;
    }
}

/* The GIL's own accounts stop at the pause p and start again at the resume r, held or not as the event implies. */
static void sync_gil(struct shim_gil *g, uint32_t n_toggles, uint64_t p, uint64_t r, enum shim_event event)
{
    struct rec_gil *gr = g->rec;
    shim_write_begin(&gr->seq);
    if (p) {
        uint64_t held = 0;
        if (gr->locked) {
            held = shim_elapsed(gr->change_ticks, p);
            gr->held_ticks += held;
        }
        shim_waiters_advance(gr, p);
        if (gr->locked && g->last_rec && gr->waiters_ticks > gr->hold_waiters_ticks)
            __atomic_fetch_add(&g->last_rec->charged_ticks, gr->waiters_ticks - gr->hold_waiters_ticks,
                               __ATOMIC_RELAXED);
        gr->paused_ticks += shim_elapsed(p, r);
    } else {
        gr->paused_ticks += shim_elapsed(gr->start_ticks, r);
    }
    g->paused_held_ticks = gr->held_ticks;
    gr->n_waiters = 0;
    gr->waiters_at_ticks = r;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    gr->locked = event != SHIM_EVENT_TAKE;
    gr->change_ticks = r;
    gr->holder = event == SHIM_EVENT_RELEASE ? T.rec->index : 0;
    gr->ring[gr->n_changes % REC_RING] = (struct rec_change){ gr->holder, 0, gr->held_ticks };
    gr->n_changes++;
    gr->n_toggles = n_toggles;
    g->last_take_ticks = g->last_release_ticks = r;
    g->last_rec = NULL;
    shim_write_end(&gr->seq);
}

/* The toggle with this number, or 0 if it has been overwritten since. */
static uint64_t toggle_ticks(uint32_t number, uint32_t n_toggles)
{
    return n_toggles - number <= REC_TOGGLES ? SHIM.header->toggle_ticks[number % REC_TOGGLES] : 0;
}

void shim_account_sync(struct shim_gil *g, uint32_t n_toggles, enum shim_event event)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t resumed = n_toggles ? toggle_ticks(n_toggles - 1, n_toggles) : SHIM.header->start_ticks;

    if (gr->n_toggles != n_toggles) {
        uint64_t paused = gr->n_toggles & 1 ? 0 : toggle_ticks(gr->n_toggles, n_toggles);
        sync_gil(g, n_toggles, paused, resumed, event);
    }
    if (T.n_toggles == n_toggles)
        return;
    shim_write_begin(&tr->seq);
    if (!(T.n_toggles & 1)) {
        uint64_t paused = toggle_ticks(T.n_toggles, n_toggles);
        if (paused)
            shim_account_close(paused);
        else
            shim_file_loss(REC_LOSS_CONTROL);
    }
    T.n_toggles = tr->n_toggles = n_toggles;
    T.want = T.want > resumed ? T.want : 0;
    T.state = event == SHIM_EVENT_RELEASE ? REC_STATE_HELD : REC_STATE_RELEASED;
    /* A thread that had no record before the resume may be younger than it: what came before its first event is
     * not claimed, unless it must have held the GIL all the time. */
    if (event == SHIM_EVENT_RELEASE || T.since < resumed)
        T.since = resumed;
    if (tr->start_ticks > T.since)
        tr->start_ticks = T.since;
    T.gil = g;
    tr->gil = gr->index;
    tr->state = T.state;
    tr->state_ticks = T.since;
    tr->cpu_last_ns = 0; /* what it used while paused is nobody's: the next reading starts afresh */
    T.check_ticks = 0;
    shim_write_end(&tr->seq);
}

/* --- histograms -------------------------------------------------------------------------------------------------- */
void shim_account_hist(struct rec_thread *tr, enum rec_hist_kind kind, uint64_t ticks)
{
    struct rec_hist *h = &tr->hist[kind];
    struct hist_place place = hist_place(ticks);
    if (UNLIKELY(h->block[place.octave] == 0)) {
        struct rec_hist_block *block = tr->index ? shim_file_record(sizeof *block) : NULL;
        if (!block)
            return;
        block->owner = tr->index;
        shim_file_publish(block, REC_HIST);
        h->block[place.octave] = shim_file_cell(block);
    }
    struct rec_hist_block *block = shim_file_at(h->block[place.octave]);
    block->count[place.sub]++;
    h->count++;
    h->sum_ticks += ticks;
    if (ticks > h->max_ticks)
        h->max_ticks = ticks;
}
