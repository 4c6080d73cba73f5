/* SPDX-License-Identifier: MIT */
/*
 * shim.c - the wrappers that see the GIL change hands, and the accounts on the shortest path.
 *
 * take_gil and drop_gil (Python/ceval_gil.c, CPython 3.8 to 3.15) call libc through the PLT in every build:
 *   take: lock(mutex) [timedwait(cond)...] lock(switch_mutex) signal(switch_cond) unlock(switch_mutex) unlock(mutex)
 *   drop: lock(mutex) signal(cond) unlock(mutex) [lock(switch_mutex) wait(switch_cond) unlock(switch_mutex)]
 * signal(switch_cond) is the instant of the take and signal(cond) that of the release; both lie inside the critical
 * section of gil->mutex, so that the accounts of the GIL need no lock of their own.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "shim-account.h"
#include "shim-gil.h"
#include "shim-thread.h"
#include "shim.h"

/* Is measuring on?  n: header.n_toggles.  A signal handler on top of our own code is not measured. */
static inline bool measuring(uint32_t *n)
{
    *n = __atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED);
    return !(*n & 1) && !T.busy;
}

static inline bool out_of_step(const struct shim_gil *g, uint32_t n)
{
    return T.n_toggles != n || g->rec->n_toggles != n;
}

/* A lock of gil->mutex by a thread that does not hold the GIL starts a take.  It is stamped only if something is in
 * its way at this instant: the uncontended take costs two loads and no clock. */
static inline void want(struct shim_gil *g, const pthread_mutex_t *m)
{
    uint32_t n;
    if (!measuring(&n))
        return;
    if (UNLIKELY(T.generation != SHIM.generation))
        shim_thread_attach(shim_ticks(), false);
    if (T.state == REC_STATE_HELD)
        return;
    /* glibc's lock word is the mutex's first int: 0 = free (nptl/lowlevellock.h); elsewhere this costs a clock. */
    if (__atomic_load_n(&g->rec->locked, __ATOMIC_RELAXED) || __atomic_load_n((const int *)m, __ATOMIC_RELAXED)) {
        T.want = shim_ticks();
        T.post |= SHIM_POST_WANT;
    }
}

/* The GIL has been taken.  Holding gil->mutex and gil->switch_mutex. */
static inline void acquired(struct shim_gil *g)
{
    uint32_t n;
    if (!measuring(&n))
        return;
    struct rec_gil *gr = g->rec;
    if (UNLIKELY(T.generation != SHIM.generation))
        shim_thread_attach(shim_ticks(), false);
    T.busy = 1;
    if (UNLIKELY(out_of_step(g, n)))
        shim_account_sync(g, n, SHIM_EVENT_TAKE);
    struct rec_thread *tr = T.rec;
    uint64_t t = shim_ticks();
    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->seq);
    uint8_t post = SHIM_POST_ACQUIRED;
    if (UNLIKELY(T.want != 0 || T.state == REC_STATE_WAITING)) {
        shim_account_wait_end(g, t);
        tr->contended++;
        gr->contended++;
        post |= SHIM_POST_WAITED;
    } else {
        uint64_t d = shim_elapsed(T.since, t);
        tr->released_ticks += d;
        tr->cpu_pending_released_ticks += d;
        T.released_ticks = d;
        if (gr->n_waiters)
            shim_waiters_advance(gr, t);
    }
    tr->acquisitions++;
    gr->acquisitions++;
    gr->locked = 1;
    gr->change_ticks = t;
    gr->hold_waiters_ticks = gr->waiters_ticks;
    if (gr->holder != tr->index || UNLIKELY(gr->n_changes == 0)) {
        gr->holder = tr->index;
        gr->ring[gr->n_changes % REC_RING] = (struct rec_change){ tr->index, 0, gr->held_ticks };
        gr->n_changes++;
    }
    tr->state = T.state = REC_STATE_HELD;
    tr->state_ticks = T.since = t;
    T.gil = g;
    T.post = post;
    /* gil->last_holder is this thread's state now (facts: 16 below locked, 24 below cond; 3.8 to 3.15). */
    T.tstate = *(const uintptr_t *)((const char *)g->cond - 24);
    shim_write_end(&gr->seq);
    shim_write_end(&tr->seq);
    T.busy = 0;
}

/* The GIL has been given up.  Holding gil->mutex. */
static inline void released(struct shim_gil *g)
{
    uint32_t n;
    if (!measuring(&n))
        return;
    struct rec_gil *gr = g->rec;
    if (UNLIKELY(T.generation != SHIM.generation))
        shim_thread_attach(shim_ticks(), false);
    T.busy = 1;
    if (UNLIKELY(out_of_step(g, n)))
        shim_account_sync(g, n, SHIM_EVENT_RELEASE);
    if (UNLIKELY(T.state != REC_STATE_HELD || T.gil != g)) {
        shim_gil_unexplained(g);
        T.busy = 0;
        return;
    }
    struct rec_thread *tr = T.rec;
    uint64_t t = shim_ticks();
    uint64_t d = shim_elapsed(T.since, t);
    shim_write_begin(&tr->seq);
    shim_write_begin(&gr->seq);
    gr->held_ticks += d;
    gr->locked = 0;
    gr->change_ticks = t;
    if (gr->n_waiters)
        shim_waiters_advance(gr, t);
    if (gr->waiters_ticks != gr->hold_waiters_ticks)
        __atomic_fetch_add(&tr->charged_ticks, gr->waiters_ticks - gr->hold_waiters_ticks, __ATOMIC_RELAXED);
    g->last_take_ticks = T.since;
    g->last_release_ticks = t;
    g->last_rec = tr;
    tr->held_ticks += d;
    tr->cpu_pending_held_ticks += d;
    tr->state = T.state = REC_STATE_RELEASED;
    tr->state_ticks = T.since = t;
    T.hold_ticks = d;
    T.want = 0;
    T.post = SHIM_POST_RELEASED;
    shim_write_end(&gr->seq);
    shim_write_end(&tr->seq);
    T.busy = 0;
}

/* After the real unlock: what would have delayed the others. */
static inline void after(struct shim_gil *g, uint8_t post)
{
    struct rec_thread *tr = T.rec;
    T.busy = 1;
    shim_write_begin(&tr->seq);
    if (post & SHIM_POST_RELEASED)
        shim_account_hist(tr, REC_HIST_HOLD, T.hold_ticks);
    if (post & SHIM_POST_ACQUIRED) {
        if (UNLIKELY(T.released_ticks >= REC_LONG_RELEASED_TICKS))
            shim_account_hist(tr, REC_HIST_RELEASED, T.released_ticks);
        if (post & SHIM_POST_WAITED) {
            shim_account_hist(tr, REC_HIST_WAIT, T.wait_ticks);
            shim_account_row(g);
        }
    }
    if (UNLIKELY(T.since >= T.check_ticks))
        shim_thread_check((post & SHIM_POST_ACQUIRED) != 0);
    shim_write_end(&tr->seq);
    T.busy = 0;
}

static int unlock_gil(struct shim_gil *g, pthread_mutex_t *m)
{
    uint8_t post = T.post;
    if (T.busy || T.generation != SHIM.generation)
        return SHIM_REAL(mutex_unlock)(m);
    T.post = 0;
    if (!(post & (SHIM_POST_ACQUIRED | SHIM_POST_RELEASED))) {
        /* Neither taken nor released: signal_active_thread (3.13+), or a wait given up because of finalization. */
        T.want = 0;
        if (T.state == REC_STATE_WAITING && T.gil == g)
            shim_gil_abandoned(g);
        return SHIM_REAL(mutex_unlock)(m);
    }
    int result = SHIM_REAL(mutex_unlock)(m);
    after(g, post);
    return result;
}

/* --- the wrappers ------------------------------------------------------------------------------------------------ */
SHIM_EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
    struct shim_gil *g = shim_gil_by_mutex(m);
    if (UNLIKELY(g != NULL))
        want(g, m);
    return SHIM_REAL(mutex_lock)(m);
}

SHIM_EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
    struct shim_gil *g = shim_gil_by_mutex(m);
    if (LIKELY(g == NULL) || (T.post == 0 && T.state != REC_STATE_WAITING))
        return SHIM_REAL(mutex_unlock)(m);
    return unlock_gil(g, m);
}

SHIM_EXPORT int pthread_cond_signal(pthread_cond_t *c)
{
    struct shim_gil *g = shim_gil_by_switch(c);
    if (g)
        acquired(g);
    else if ((g = shim_gil_by_cond(c)) != NULL)
        released(g);
    return SHIM_REAL(cond_signal)(c);
}

SHIM_EXPORT int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    struct shim_gil *g = shim_gil_by_cond(c);
    if (LIKELY(g == NULL) || g->mutex != m)
        return SHIM_REAL(cond_timedwait)(c, m, until);
    unsigned long switches = shim_gil_wait_begin(g);
    int result = SHIM_REAL(cond_timedwait)(c, m, until);
    shim_gil_wait_woken(g, result, switches);
    return result;
}

SHIM_EXPORT int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    struct shim_gil *g = shim_gil_by_switch(c);
    if (LIKELY(g == NULL))
        return SHIM_REAL(cond_wait)(c, m);
    shim_gil_forced_begin(g);
    int result = SHIM_REAL(cond_wait)(c, m);
    shim_gil_forced_end(g);
    return result;
}
