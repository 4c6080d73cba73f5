/* SPDX-License-Identifier: MIT */
/*
 * shim-account.c - the accounts that are not on the shortest path: waits, pauses, the matrix, histograms.
 *
 * H(t) is the integral of the time that the GIL was held, W(t) that of the number of waiters.  Both change only under
 * gil->mutex.  A wait from b to e was blocked for H(e) - H(b); a hold from a to r made others wait for W(r) - W(a).
 */
#include "shim-account.h"

#include "shim-file.h"

static bool locked(const struct shim_gil *g)
{
    return g->holder && SHIM_STATE(g->holder) == REC_STATE_HELD;
}

static uint64_t held(const struct shim_gil *g, uint64_t t)
{
    uint64_t sum = g->rec->held_base_ticks;
    if (g->holder)
        sum += g->holder->held_ticks;
    if (locked(g))
        sum += shim_elapsed(g->holder->state_ticks, t);
    return sum;
}

/* H when the last closed hold ended. */
static uint64_t held_closed(const struct shim_gil *g)
{
    return g->rec->held_base_ticks + (g->holder ? g->holder->held_ticks : 0);
}

/* H at b, of which we learn at t: between them lies a contended lock of gil->mutex, or a preemption in front of it.
 * Exact within the present hold, the last one that others waited for, and before them wherever a holder has held once
 * before the next one took over; else out by no more than what it let go in between. */
static uint64_t held_at(const struct shim_gil *g, uint64_t b, uint64_t t)
{
    const struct rec_gil *gr = g->rec;
    if (locked(g) && b >= g->holder->state_ticks)
        return held(g, t) - shim_elapsed(b, t);
    uint64_t next = held_closed(g);
    if (b >= g->last_take_ticks && next == g->last_held_ticks) /* no hold has come since for which nobody waited */
        return next - shim_elapsed(b, g->last_release_ticks);
    for (uint64_t i = gr->n_changes, n = 0; i > 0 && n < REC_RING; n++) {
        const struct rec_change *c = &gr->ring[--i % REC_RING];
        if (c->ticks <= b) {
            uint64_t most = next - c->held_base_ticks;
            return c->held_base_ticks + (b - c->ticks < most ? b - c->ticks : most);
        }
        next = c->held_base_ticks;
    }
    return next;
}

static void charge(struct rec_thread *holder, uint64_t ticks)
{
    if (holder && ticks)
        __atomic_fetch_add(&holder->charged_ticks, ticks, __ATOMIC_RELAXED);
}

/* Charges the blocked time from b, where H was base, to t, which passed before the thread could be counted among the
 * waiters: to the present hold, and to those before it as the ring has them. */
static void charge_late(struct shim_gil *g, uint64_t b, uint64_t base, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    uint64_t high = held_closed(g);
    if (locked(g)) {
        uint64_t since = g->holder->state_ticks;
        gr->waiters_ticks += shim_elapsed(b > since ? b : since, t);
    } else if (!g->holder && shim_gil_taken(g)) {
        gr->waiters_ticks += shim_elapsed(b, t); /* by a thread that will make itself known at its release */
    }
    for (uint64_t i = gr->n_changes, n = 0; high > base && i > 0 && n < REC_RING; n++) {
        const struct rec_change *c = &gr->ring[--i % REC_RING];
        if (c->held_base_ticks >= high)
            continue;
        uint64_t from = c->held_base_ticks > base ? c->held_base_ticks : base;
        if (c->holder_cell)
            charge(shim_file_at(c->holder_cell), high - from);
        high = from;
    }
}

/* Released time is not summed up but left over (REC_THREAD_REMAINDER). */
static void close_released(const struct rec_thread *tr, uint64_t t)
{
    shim_note_released(shim_elapsed(tr->state_ticks, t));
}

uint64_t shim_account_released(const struct rec_thread *tr, uint64_t t)
{
    uint64_t all = shim_elapsed(tr->start_ticks, t);
    uint64_t rest = tr->unmeasured_ticks + tr->held_ticks + tr->wait_blocked_ticks + tr->wait_wakeup_ticks +
                    tr->wait_forced_ticks;
    return all > rest ? all - rest : 0;
}

void shim_account_arrive(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = T.want ? T.want : t;
    T.want = 0;
    T.post = SHIM_POST_WAITING;
    if (b < tr->state_ticks)
        b = tr->state_ticks;

    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->seq);
    close_released(tr, b);
    shim_waiters_advance(gr, t);
    shim_account_leave_express(g);
    tr->wait_held_base_ticks = held_at(g, b, t);
    charge_late(g, b, tr->wait_held_base_ticks, t);
    gr->n_waiters++;
    tr->state = REC_STATE_WAITING;
    tr->state_ticks = b;
    shim_write_end(&gr->seq);
    shim_write_end(&tr->seq);
}

void shim_account_wait_end(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t b = tr->state_ticks;
    shim_waiters_advance(gr, t);
    if (SHIM_STATE(tr) == REC_STATE_WAITING) {
        if (gr->n_waiters)
            gr->n_waiters--;
    } else { /* only gil->mutex was in its way */
        b = T.want > b ? T.want : b;
        close_released(tr, b);
        tr->wait_held_base_ticks = held_at(g, b, t);
        charge_late(g, b, tr->wait_held_base_ticks, t);
    }
    T.want = 0;
    uint64_t now_held = held(g, t);
    uint64_t total = shim_elapsed(b, t);
    uint64_t blocked = shim_elapsed(tr->wait_held_base_ticks, now_held);
    if (blocked > total)
        blocked = total;
    tr->wait_held_base_ticks = now_held - blocked;
    tr->late_held_ticks = now_held;
    tr->late_changes = gr->n_changes;
    tr->late_wait_ticks = total;
    tr->late = 1;
    T.later |= SHIM_LATER_WAIT;
    tr->wait_blocked_ticks += blocked;
    tr->wait_wakeup_ticks += total - blocked;
    gr->wait_blocked_ticks += blocked;
    gr->wait_wakeup_ticks += total - blocked;
}

void shim_account_take_after_wait(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->seq);
    shim_account_wait_end(g, t);
    tr->contended++;
    gr->contended++;
    tr->state = REC_STATE_HELD;
    tr->state_ticks = t;
    T.post = 0;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    shim_write_end(&gr->seq);
    shim_write_end(&tr->seq);
}

/* tr's state is HELD, since now; the old holder's is not. */
void shim_account_holder(struct shim_gil *g, struct rec_thread *tr, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    uint64_t sum = held_closed(g);
    shim_write_begin(&gr->seq);
    gr->held_base_ticks = sum - tr->held_ticks;
    gr->holder = tr->index;
    g->holder = tr;
    gr->ring[gr->n_changes % REC_RING] = (struct rec_change){
        tr->index, tr->index ? shim_file_cell(tr) : 0, sum, t,
    };
    __atomic_store_n(&gr->n_changes, gr->n_changes + 1, __ATOMIC_RELEASE);
    shim_write_end(&gr->seq);
}

void shim_account_hold_begins(struct shim_gil *g, uint64_t t)
{
    shim_waiters_advance(g->rec, t);
    g->rec->hold_waiters_ticks = g->rec->waiters_ticks;
}

void shim_account_hold_ends(struct shim_gil *g, uint64_t from, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    shim_waiters_advance(gr, t);
    charge(T.rec, gr->waiters_ticks - gr->hold_waiters_ticks);
    gr->hold_waiters_ticks = gr->waiters_ticks;
    g->last_take_ticks = from;
    g->last_release_ticks = t;
    if (g->holder != T.rec) { /* it held the GIL already when measuring was resumed */
        shim_account_holder(g, T.rec, from);
        gr->held_base_ticks += shim_elapsed(from, t);
    } else if (SHIM.filter) /* several GILs: what this thread holds from now on may be another one */
        shim_account_settle(g, t);
    g->last_held_ticks = held_closed(g);
}

void shim_account_settle(struct shim_gil *g, uint64_t t)
{
    struct rec_gil *gr = g->rec;
    shim_account_leave_express(g);
    shim_write_begin(&gr->seq);
    gr->held_base_ticks = held(g, t);
    gr->holder = 0;
    g->holder = NULL;
    shim_write_end(&gr->seq);
}

/* --- the matrix ------------------------------------------------------------------------------------------------ */
#define ROW_PARTS 4 /* 56 holders a waiter */

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

/* The ring goes on being written meanwhile.  What is read has been overwritten only if the number of changes has run
 * ahead by the ring's size, which is looked at after each reading. */
void shim_account_row(struct shim_gil *g)
{
    struct rec_gil *gr = g->rec;
    struct rec_thread *tr = T.rec;
    uint64_t low = tr->wait_held_base_ticks, high = tr->late_held_ticks;
    tr->late = 0;
    if (!tr->index) /* the sink has no row */
        return;
    for (uint64_t i = tr->late_changes; high > low && i > 0;) {
        struct rec_change c = gr->ring[--i % REC_RING];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        /* The entry of change n is written before n_changes says so: one more may be on its way. */
        if (__atomic_load_n(&gr->n_changes, __ATOMIC_RELAXED) + 1 > i + REC_RING)
            break;
        if (c.held_base_ticks >= high)
            continue;
        uint64_t from = c.held_base_ticks > low ? c.held_base_ticks : low;
        if (!c.holder)
            tr->row_other_ticks += high - from; /* a thread without a record */
        else if (!shim_account_row_add(tr, c.holder, high - from))
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
    uint64_t d = shim_elapsed(tr->state_ticks, t);
    switch (SHIM_STATE(tr)) {
    case REC_STATE_HELD:
        tr->held_ticks += d;
        break;
    case REC_STATE_RELEASED:
        close_released(tr, t);
        break;
    case REC_STATE_WAITING: {
        uint64_t held = T.gil && T.gil->rec ? T.gil->paused_held_ticks : 0;
        uint64_t blocked = shim_elapsed(tr->wait_held_base_ticks, held);
        if (blocked > d)
            blocked = d;
        tr->wait_blocked_ticks += blocked;
        tr->wait_wakeup_ticks += d - blocked;
        tr->row_other_ticks += blocked;
        if (T.gil && T.gil->rec) {
            T.gil->rec->wait_blocked_ticks += blocked;
            T.gil->rec->wait_wakeup_ticks += d - blocked;
        }
        break;
    }
    case REC_STATE_FORCED:
        tr->wait_forced_ticks += d;
        if (T.gil && T.gil->rec)
            __atomic_fetch_add(&T.gil->rec->wait_forced_ticks, d, __ATOMIC_RELAXED);
        break;
    case REC_STATE_NONE:
    case REC_STATE_ENDED:
        break;
    }
}

/* The GIL's own accounts stop at the pause p (0: there was nothing before it) and start again at the resume r.  Who holds
 * it then is known if it is the calling thread; another holder makes itself known when it lets go. */
static void sync_gil(struct shim_gil *g, uint32_t n_toggles, uint64_t p, uint64_t r)
{
    struct rec_gil *gr = g->rec;
    if (p) {
        shim_waiters_advance(gr, p);
        if (locked(g))
            charge(g->holder, gr->waiters_ticks - gr->hold_waiters_ticks);
        shim_account_settle(g, p);
    }
    shim_write_begin(&gr->seq);
    gr->paused_ticks += shim_elapsed(p ? p : gr->start_ticks, r);
    g->paused_held_ticks = gr->held_base_ticks;
    gr->n_waiters = 0;
    gr->waiters_at_ticks = r;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    gr->n_toggles = n_toggles;
    g->last_take_ticks = g->last_release_ticks = r;
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
        sync_gil(g, n_toggles, paused, resumed);
    }
    if (T.n_toggles == n_toggles)
        return;
    shim_write_begin(&tr->seq);
    uint64_t closed = tr->state_ticks;
    if (!(T.n_toggles & 1)) {
        uint64_t paused = toggle_ticks(T.n_toggles, n_toggles);
        if (paused > closed) {
            shim_account_close(paused);
            closed = paused;
        } else if (!paused) {
            shim_file_loss(REC_LOSS_CONTROL);
        }
    }
    T.n_toggles = tr->n_toggles = n_toggles;
    if (T.dormant_cond == g->cond && T.want)
        T.want = T.want > resumed ? T.want : resumed;
    else
        T.want = T.want > resumed ? T.want : 0;
    T.dormant_cond = NULL;
    tr->state = event == SHIM_EVENT_RELEASE ? REC_STATE_HELD : REC_STATE_RELEASED;
    T.post = T.want ? SHIM_POST_WANT : 0;
    shim_account_enter(g); /* the release that it should have been done after was not seen */
    /* A thread that had no record before the resume may be younger than it: what came before its first event is
     * not claimed, unless it must have held the GIL all the time. */
    if (event == SHIM_EVENT_RELEASE || tr->state_ticks < resumed)
        tr->state_ticks = resumed;
    if (tr->start_ticks > tr->state_ticks)
        tr->start_ticks = tr->state_ticks;
    tr->unmeasured_ticks += shim_elapsed(closed, tr->state_ticks);
    tr->cpu_last_ns = 0; /* what it used while paused is nobody's: the next reading starts afresh */
    T.check_ticks = 0;
    T.cpu_burst = 0;
    shim_write_end(&tr->seq);
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

void shim_account_wrapped(const struct rec_thread *tr, struct rec_hist_block *block, uint32_t sub)
{
    if (!block->wraps) {
        struct rec_hist_block *wraps = shim_file_record(sizeof *wraps);
        if (!wraps)
            return;
        wraps->owner = tr->index;
        shim_file_publish(wraps, REC_HIST);
        block->wraps = shim_file_cell(wraps);
    }
    ((struct rec_hist_block *)shim_file_at(block->wraps))->count[sub]++;
}

static void count_in(const struct rec_thread *tr, struct rec_hist_block *block, uint32_t sub)
{
    if (++block->count[sub] == 0)
        shim_account_wrapped(tr, block, sub);
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

void shim_account_hold(uint64_t ticks)
{
    struct rec_hist *h = &T.rec->hist[REC_HIST_HOLD];
    struct hist_place place = hist_place(ticks);
    struct rec_hist_block *block = octave_block(T.rec, h, place.octave);
    if (ticks > h->max_ticks)
        h->max_ticks = ticks;
    if (!block) {
        h->count++;
        return;
    }
    count_in(T.rec, block, place.sub);
    T.holds.block = block;
    T.holds.low = hist_low(place.octave, 0);
    T.holds.shift = hist_shift(place.octave);
    /* Values beyond the maximum so far, and the last octave, which has no upper end, are not for the cache. */
    T.holds.width = hist_width(place.octave) * REC_HIST_SUBS;
    if (place.octave == REC_HIST_OCTAVES - 1)
        T.holds.width = 0;
    else if (h->max_ticks - T.holds.low < T.holds.width)
        T.holds.width = h->max_ticks - T.holds.low + 1;
}

void shim_account_enter(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (T.later & SHIM_LATER_HOLD)
        shim_account_hold(T.hold_ticks);
    if (T.later & SHIM_LATER_RELEASED)
        shim_account_hist(tr, REC_HIST_RELEASED, T.released_ticks);
    if (T.later & SHIM_LATER_WAIT) {
        shim_account_hist(tr, REC_HIST_WAIT, tr->late_wait_ticks);
        shim_account_row(g);
    }
    T.later = 0;
}
