/* SPDX-License-Identifier: MIT */
/*
 * shim-pause.c - a thread and a GIL that meet again after a pause: what was open is closed at the pause, and what the
 * event implies is opened at the resume.
 */
#include "shim-account.h"
#include "shim-file.h"

void shim_account_close(uint64_t t)
{
    struct rec_thread *tr = T.rec;
    uint64_t d = shim_elapsed(tr->state_ticks, t);
    switch (SHIM_STATE(tr)) {
    case REC_STATE_HELD:
        shim_account_held(tr, d);
        break;
    case REC_STATE_RELEASED:
        shim_note_released(tr->state_ticks, t);
        break;
    case REC_STATE_WAITING: {
        uint64_t held = T.gil && T.gil->rec ? T.gil->paused_held_ticks : 0;
        uint64_t blocked = shim_elapsed(tr->wait_held_base_ticks, held);
        if (blocked > d)
            blocked = d;
        tr->wait_blocked_ticks += blocked;
        tr->wait_wakeup_ticks += d - blocked;
        tr->row_other_ticks += blocked;
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

/* The GIL's own accounts stop at the pause p (0: there was nothing before it) and start again at the resume r.  Who
 * holds it then is known if it is the calling thread; another holder makes itself known when it lets go. */
static void sync_gil(struct shim_gil *g, uint32_t n_toggles, uint64_t p, uint64_t r)
{
    struct rec_gil *gr = g->rec;
    if (p) {
        shim_waiters_advance(gr, p);
        if (g->take_ticks)
            shim_charge(g->holder, gr->waiters_ticks - gr->hold_waiters_ticks);
        shim_account_settle(g, p);
    }
    shim_write_begin(&gr->seq);
    gr->paused_ticks += shim_elapsed(p ? p : gr->start_ticks, r);
    g->paused_held_ticks = gr->held_base_ticks;
    shim_account_waiters(g, 0);
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
    shim_account_late_hold(tr);
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
    shim_charge_owed();
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
