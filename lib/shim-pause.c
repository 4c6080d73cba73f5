/* SPDX-License-Identifier: MIT */
/*
 * shim-pause.c - pauses: threads and GILs that have come from one period to another.
 *
 * Toggles divide the time into periods: in period n there have been n toggles, odd ones are pauses.  A call belongs to
 * the period that it finds; toggles get their time after they are counted (record.h), so that what did not know of one
 * came before it, and what does comes after.  In a pause time stands still: all that happens does at its begin.
 *
 * Each thread's first take or release in each period is seen, and all waits are.  So a thread that was not seen in a
 * period was at its begin what it was seen to be last, and at its end, too.  What is not seen are the further takes and
 * releases in a pause.  After such a period a thread's next call says what it was since: a release, that it has had
 * the GIL ever since; any other, that it had not.
 */
#include "shim-pause.h"

#include "shim-account.h"
#include "shim-cpu.h"
#include "shim-file.h"
#include "shim-thread.h"

/* When toggle i, one of the last two, happened. */
static uint64_t toggle_ticks(struct rec_header *h, uint32_t i)
{
    uint64_t *at = &h->toggle_ticks[i % REC_TOGGLES], ticks = __atomic_load_n(at, __ATOMIC_ACQUIRE);
    if (LIKELY(ticks))
        return ticks;
    uint64_t now = shim_ticks_since_then();
    return __atomic_compare_exchange_n(at, &ticks, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? now : ticks;
}

struct shim_period shim_pause_period(void)
{
    struct rec_header *h = SHIM.header;
    struct shim_period p = {.n = __atomic_load_n(&h->n_toggles, __ATOMIC_ACQUIRE), .begin = h->start_ticks};
    if (p.n) {
        p.begin = toggle_ticks(h, p.n - 1);
        p.paused = h->toggle_paused_ticks[(p.n - 1) % REC_TOGGLES];
        if (!(p.n & 1))
            p.paused += shim_elapsed(toggle_ticks(h, p.n - 2), p.begin);
    }
    return p;
}

/* The present period, and now, which lies in it, or else its begin, if it is a pause; ticks. */
static uint64_t now_in(struct shim_period *p)
{
    uint64_t t;
    do {
        *p = shim_pause_period();
        t = p->n & 1 ? p->begin : shim_ticks_since_then();
    } while (__atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED) != p->n); /* else t may be in the next one */
    return t;
}

/* From `from`, before which measuring had been paused for `paused`, to `to` in period p. */
static uint64_t measured(uint64_t from, uint64_t paused, const struct shim_period *p, uint64_t to)
{
    uint64_t all = shim_elapsed(from, to), off = p->paused - paused;
    return all > off ? all - off : 0;
}

/* --- the GIL ----------------------------------------------------------------------------------------------------- */
/* Brings its accounts to the begin of period p.  held: it has been held at the calling thread's event, and thus since
 * its last event. */
static void sync_gil(struct shim_gil *g, const struct shim_period *p, bool held)
{
    struct rec_gil *gr = g->rec;
    if (gr->n_toggles == p->n)
        return;
    shim_write_begin(&gr->turn.seq);
    gr->waiters_ticks += g->turn->n_waiters * measured(gr->waiters_at_ticks, gr->paused_ticks, p, p->begin);
    if (gr->unseen && !g->turn->take_ticks && held) { /* by a thread that will make itself known at its release */
        g->turn->take_ticks = gr->waiters_at_ticks;
        g->unknown_held_ticks = g->turn->closed_ticks;
    } else if (gr->unseen && !g->turn->take_ticks) {
        gr->unseen = 0;
    }
    struct rec_thread *holder = g->turn->take_ticks ? shim_gil_holder(g) : NULL;
    if (g->turn->take_ticks) {
        g->turn->closed_ticks += measured(g->turn->take_ticks, gr->paused_ticks, p, p->begin);
        g->turn->take_ticks = p->begin;
    }
    if (gr->unseen) {
        gr->turn.held_base_ticks = g->turn->closed_ticks;
        gr->unknown_since_ticks = p->begin;
        gr->unknown_tstate = shim_gil_last_tstate(g);
    } else {
        gr->known_toggles = p->n;
    }
    g->turn->last_take_ticks = g->turn->last_release_ticks = p->begin;
    gr->waiters_at_ticks = p->begin;
    gr->paused_ticks = p->paused;
    gr->n_toggles = p->n;
    shim_write_end(&gr->turn.seq);
    /* Its time in the ring is in another period, where H at some moment of this one cannot be told by it. */
    if (holder && !(p->n & 1))
        shim_account_change(g, holder, p->begin, g->turn->closed_ticks);
}

struct shim_period shim_pause_of(uint32_t n)
{
    struct shim_period p = shim_pause_period();
    if (n < p.n && (n & 1) && p.n - n < REC_TOGGLES - 1) {
        p.n = n;
        p.begin = toggle_ticks(SHIM.header, n - 1);
        p.paused = SHIM.header->toggle_paused_ticks[(n - 1) % REC_TOGGLES];
    }
    return p;
}

uint64_t shim_pause_catch_up(struct shim_gil *g)
{
    struct shim_period p;
    uint64_t t = now_in(&p);
    sync_gil(g, &p, false);
    return t;
}

/* Taken or given up in a pause, which begins at t: what comes after it is not seen. */
static void forget_holder(struct shim_gil *g, bool released)
{
    struct rec_gil *gr = g->rec;
    uint64_t t = gr->waiters_at_ticks;
    bool measured_thread = T.generation == SHIM.generation;
    if (released && g->turn->take_ticks) {
        uint64_t charge = gr->waiters_ticks - gr->hold_waiters_ticks;
        struct rec_thread *holder = shim_gil_holder(g);
        if (!holder && measured_thread)
            shim_account_change(g, T.rec, t, g->unknown_held_ticks);
        shim_charge(holder ? holder : measured_thread ? T.rec : NULL, charge);
    }
    shim_write_begin(&gr->turn.seq);
    gr->turn.held_base_ticks = g->turn->closed_ticks;
    g->turn->holder = g->turn->holder_cell = 0;
    g->turn->take_ticks = 0;
    gr->unknown_since_ticks = 0;
    gr->unseen = 1;
    gr->known_toggles = gr->n_toggles;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    shim_write_end(&gr->turn.seq);
}

/* --- the thread -------------------------------------------------------------------------------------------------- */
/* Closes the thread's interval at `to` in period p.  Does not touch a wait. */
static void close_interval(const struct shim_period *p, uint64_t to, bool held)
{
    struct rec_thread *tr = T.rec;
    uint64_t d = measured(tr->state_ticks, tr->paused_ticks, p, to);
    if (SHIM_STATE(tr) == REC_STATE_HELD || (SHIM_STATE(tr) == REC_STATE_NONE && held)) {
        shim_account_held(tr, d);
    } else if (SHIM_STATE(tr) == REC_STATE_FORCED) {
        tr->wait_forced_ticks += d;
        if (T.gil && T.gil->rec)
            __atomic_fetch_add(&T.gil->rec->wait_forced_ticks, d, __ATOMIC_RELAXED);
    }
    tr->unmeasured_ticks += shim_elapsed(tr->state_ticks, to) - d;
    tr->paused_ticks = p->paused;
    tr->state_ticks = tr->state_ticks > to ? tr->state_ticks : to;
}

/* Ends the thread's wait at the pause, holding gil->mutex, with the GIL or without. */
static void end_wait(struct shim_gil *g, const struct shim_period *p)
{
    struct rec_thread *tr = T.rec;
    uint64_t d = measured(tr->state_ticks, tr->paused_ticks, p, p->begin);
    uint64_t blocked = shim_elapsed(tr->wait_held_base_ticks, g->turn->closed_ticks);
    if (g->turn->n_waiters)
        shim_account_waiters(g, g->turn->n_waiters - 1);
    if (blocked > d) {
        blocked = d;
        tr->wait_held_base_ticks = g->turn->closed_ticks - blocked;
    }
    tr->wait_blocked_ticks += blocked;
    tr->wait_wakeup_ticks += d - blocked;
    T.late_holder = NULL;
    tr->late_held_ticks = g->turn->closed_ticks;
    tr->late_changes = g->turn->n_changes;
    shim_account_row_now(g);
    tr->hist[REC_HIST_WAIT].sum_ticks += d; /* it has not ended: its length is not known */
    tr->unmeasured_ticks += shim_elapsed(tr->state_ticks, p->begin) - d;
    tr->paused_ticks = p->paused;
    tr->state_ticks = p->begin;
}

/* What had to wait for a release that was not seen. */
static void enter_late(void)
{
    shim_account_late_hold(T.rec);
    if (T.gil && T.gil->rec)
        shim_account_enter(T.gil);
    shim_charge_owed();
}

/* The thread has waited since a pause in which it had been noted, and is counted among the waiters from now on.  What
 * was held since then is charged when the wait is entered into the row. */
static void count_waiter(struct shim_gil *g)
{
    struct rec_gil *gr = g->rec;
    uint64_t since = g->turn->take_ticks ? g->turn->take_ticks : g->turn->last_release_ticks;
    shim_write_begin(&gr->turn.seq);
    if (gr->waiters_at_ticks < since)
        shim_waiters_advance(gr, since);
    T.rec->late_seen_ticks =
        g->turn->closed_ticks + (g->turn->take_ticks ? shim_elapsed(g->turn->take_ticks, gr->waiters_at_ticks) : 0);
    shim_account_waiters(g, g->turn->n_waiters + 1);
    shim_write_end(&gr->turn.seq);
    T.rec->state = REC_STATE_WAITING;
    T.post = SHIM_POST_WAITING;
}

/* The thread has come to period p, in which it measures. */
static void sync_thread(const struct shim_period *p, enum shim_event event)
{
    struct rec_thread *tr = T.rec;
    bool held = event == SHIM_EVENT_RELEASE;
    if (SHIM_STATE(tr) != REC_STATE_WAITING) {
        close_interval(p, p->begin, held);
        if (SHIM_STATE(tr) == REC_STATE_NONE)
            tr->state = held ? REC_STATE_HELD : REC_STATE_RELEASED;
        else if (SHIM_STATE(tr) == REC_STATE_FORCED)
            tr->state = REC_STATE_RELEASED;
        if (held || T.want < p->begin)
            T.want = tr->want_ticks = 0;
        T.post = T.want ? SHIM_POST_WANT : 0;
    }
    T.want_seen = false;
    shim_cpu_forget();
}

/* The thread is in a pause. */
static void note_thread(struct shim_gil *g, const struct shim_period *p, enum shim_event event)
{
    struct rec_thread *tr = T.rec;
    bool waits = SHIM_STATE(tr) == REC_STATE_WAITING, held = SHIM_STATE(tr) == REC_STATE_HELD;
    uint64_t held_before = tr->held_ticks;
    if (waits && event == SHIM_EVENT_WAIT)
        return;
    if (waits)
        end_wait(g, p);
    else
        close_interval(p, p->begin, event == SHIM_EVENT_RELEASE);
    if (waits && event == SHIM_EVENT_ABANDON) {
        shim_write_begin(&g->turn->seq);
        shim_account_given_up(g);
        shim_write_end(&g->turn->seq);
    }
    if (held || tr->held_ticks != held_before)
        tr->late_hold_ticks = (tr->held_ticks - held_before) | 1;
    T.want = tr->want_ticks = 0;
    T.post = 0;
    tr->cpu_last_ns = 0;
    if (event == SHIM_EVENT_WAIT) {
        tr->state = REC_STATE_WAITING;
        tr->wait_held_base_ticks = tr->late_seen_ticks = g->turn->closed_ticks;
        shim_account_waiters(g, g->turn->n_waiters + 1);
        T.post = SHIM_POST_WAITING;
    } else {
        tr->state = REC_STATE_NONE;
        tr->tstate = shim_gil_last_tstate(g);
    }
}

/* A wait is written down where nobody else looks: there may be many. */
bool shim_pause_is_noted(const struct shim_gil *g, enum shim_event event, uint32_t n_toggles)
{
    bool attached = T.generation == SHIM.generation;
    if (T.n_toggles != n_toggles || T.gil != g || g->rec->n_toggles != n_toggles || !g->rec->unseen ||
        (attached ? SHIM_STATE(T.rec) != REC_STATE_NONE : event == SHIM_EVENT_WAIT))
        return false;
    if (event == SHIM_EVENT_WAIT && !T.waits_noted) {
        T.waits_noted = true;
        T.asleep = 0;
        T.rec->wait_held_base_ticks = g->turn->closed_ticks;
    } else if (event != SHIM_EVENT_WAIT && T.waits_noted) {
        T.waits_noted = false;
        T.asleep = SHIM.n_gils < 2 ? n_toggles : 0;
    }
    return true;
}

/* A forked child has no toggles before it has a recording. */
static bool is_paused(uint32_t n)
{
    const uint32_t *toggles = SHIM.n_toggles;
    return toggles && (n & 1) && __atomic_load_n(toggles, __ATOMIC_RELAXED) == n;
}

bool shim_pause_waits(const void *c, uint32_t *n)
{
    *n = T.asleep;
    return is_paused(*n) && c == SHIM.gils[0].cond && !T.busy && SHIM.generation &&
           shim_pause_is_noted(&SHIM.gils[0], SHIM_EVENT_WAIT, *n);
}

bool shim_pause_has_waited(uint32_t n)
{
    return is_paused(n) && shim_pause_is_noted(&SHIM.gils[0], SHIM_EVENT_TAKE, n);
}

/* *p is the present period, or becomes it. */
static bool sync_both(struct shim_gil *g, struct shim_period *p, enum shim_event event)
{
    bool held =
        event == SHIM_EVENT_RELEASE || ((event == SHIM_EVENT_WAIT || event == SHIM_EVENT_ABANDON) && shim_gil_taken(g));
    bool changes = event == SHIM_EVENT_RELEASE || event == SHIM_EVENT_TAKE, paused = p->n & 1;
    sync_gil(g, p, held);
    /* In a pause no record is made without need: it takes time, perhaps much.  But whoever has held the GIL while it
     * was measured has to answer for it, and who waits may do so when it is measured again. */
    if (T.generation != SHIM.generation && paused && changes && !(event == SHIM_EVENT_RELEASE && g->turn->take_ticks)) {
        T.n_toggles = p->n;
        forget_holder(g, false);
        T.asleep = SHIM.n_gils > 1 ? 0 : p->n;
        return false;
    }
    if (T.generation != SHIM.generation) {
        shim_thread_attach(shim_ticks(), false);
        T.busy = 1;
        /* That may have taken so long that the record is of a later period by now, and so is the event, then. */
        if (T.n_toggles > p->n) {
            *p = shim_pause_period();
            paused = p->n & 1;
            sync_gil(g, p, held);
        }
    }
    struct rec_thread *tr = T.rec;
    shim_write_begin(&tr->seq);
    if (T.n_toggles != p->n || T.later)
        enter_late();
    if (T.waits_noted && SHIM_STATE(tr) == REC_STATE_NONE && event != SHIM_EVENT_RELEASE)
        count_waiter(g);
    T.waits_noted = false;
    if (paused)
        note_thread(g, p, event);
    else if (T.n_toggles != p->n)
        sync_thread(p, event);
    T.n_toggles = tr->n_toggles = p->n;
    shim_write_end(&tr->seq);
    if (paused && changes)
        forget_holder(g, event == SHIM_EVENT_RELEASE);
    T.asleep = paused && changes && SHIM.n_gils < 2 ? p->n : 0;
    return !paused;
}

bool shim_pause_sync(struct shim_gil *g, enum shim_event event, uint64_t *t)
{
    struct shim_period p;
    do {
        p = shim_pause_period();
        if (!sync_both(g, &p, event))
            return false;
        *t = shim_ticks_since_then();
    } while (__atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED) != p.n); /* else t may be in the next one */
    T.step = p.n + 1;
    return true;
}

uint64_t shim_pause_close(void)
{
    struct rec_thread *tr = T.rec;
    struct shim_period p;
    uint64_t t = now_in(&p);
    if (SHIM_STATE(tr) == REC_STATE_WAITING) {
        uint64_t d = measured(tr->state_ticks, tr->paused_ticks, &p, t), sum, blocked = 0;
        if (T.gil && T.gil->rec && shim_account_peek(T.gil, t, &sum))
            blocked = shim_elapsed(tr->wait_held_base_ticks, sum);
        blocked = blocked < d ? blocked : d;
        tr->wait_blocked_ticks += blocked;
        tr->wait_wakeup_ticks += d - blocked;
        tr->row_other_ticks += blocked;
        tr->hist[REC_HIST_WAIT].sum_ticks += d;
    }
    close_interval(&p, t, false);
    if (T.n_toggles != p.n) {
        shim_cpu_forget();
        T.step = 0;
        T.n_toggles = tr->n_toggles = p.n;
    }
    return tr->state_ticks;
}

uint64_t shim_pause_measured(uint64_t from, uint64_t paused_ticks)
{
    struct shim_period p;
    uint64_t t = now_in(&p);
    return measured(from, paused_ticks, &p, t);
}
