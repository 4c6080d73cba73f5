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
#include "shim-cpu.h"
#include "shim-gil.h"
#include "shim-life.h"
#include "shim-quick.h"
#include "shim-route.h"
#include "shim-sample.h"
#include "shim-thread.h"
#include "shim.h"

/* The wrappers below are written for what the machine makes of them.  Between two locked instructions, of which a take
 * and a release have six, nothing overlaps: what counts is the longest chain of loads behind a reading of the counter,
 * and the number of branches.  So the common case, a thread that takes or gives up the GIL while nobody waits and
 * nothing is due, is one straight line, ended by a tail call of the real function; every other case is
 * a tail call to a function that does it all in full. */
#define APART __attribute__((noinline))

/* The shortest path is for this thread: it is attached, and so has a record, measuring is on, and there is nothing that
 * has to be done first. */
static inline bool straight(void)
{
    return T.extra == 0 && T.step == __atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED) + 1;
}

/* --- takes begin ------------------------------------------------------------------------------------------------- */
/* The GIL itself says whether it is taken: gil->locked, 16 bytes before gil->cond, which ends where gil->mutex begins
 * (shim-gil.c).  Only for a mutex that is being locked, and so is there.  glibc's lock word is the mutex's first int,
 * 0 = free (nptl/lowlevellock.h); where it is something else, this costs a clock. */
static inline int is_taken(const pthread_mutex_t *m)
{
    return __atomic_load_n((const int *)((const char *)m - sizeof(pthread_cond_t) - 16), __ATOMIC_RELAXED);
}
static inline bool in_the_way(const pthread_mutex_t *m)
{
    return (is_taken(m) | __atomic_load_n((const int *)m, __ATOMIC_RELAXED)) != 0;
}

/* A lock of gil->mutex by a thread that does not hold the GIL starts a take.  It is stamped only if something is in
 * its way at this instant: the uncontended take costs a few loads and no clock. */
static APART int lock_slow(pthread_mutex_t *m)
{
    struct shim_gil *g = shim_gil_by_mutex(m);
    if (g && (shim_gil_in_step(g) || shim_thread_present()) && SHIM_STATE(T.rec) != REC_STATE_HELD) {
        bool in_step = shim_gil_in_step(g), taken = is_taken(m);
        uint64_t t = in_step && !taken && (T.cpu_burst || T.look_switches) ? shim_cpu_before_take() : 0;
        bool wait = in_the_way(m);
        if (!t) {
            t = shim_ticks();
            T.want_seen = false; /* of an earlier one */
        }
        if (!T.want && wait) {
            T.want = T.rec->want_ticks = t;
            T.post = SHIM_POST_WANT;
            if (in_step && taken)
                shim_cpu_before_wait(t);
        }
        /* Not where it may have the GIL since a pause: what unwinding waits for may wait for the GIL. */
        if (SHIM_STATE(T.rec) == REC_STATE_RELEASED)
            shim_sample_before_take(t, wait);
    }
    return shim_real.mutex_lock(m);
}

/* The lock will write to this line: looked at before that, it would travel twice, to be read and to be written.
 * (gcc has no prefetchw without -mprfchw.) */
static inline void prefetch_to_write(const void *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
    __builtin_prefetch(line, 1);
#endif
}

/* Of the first GIL, of which there is nothing to measure: gil->switch_mutex, and in a pause gil->mutex, too. */
static inline bool is_quick(const pthread_mutex_t *m)
{
    return m == SHIM.quick_switch_mutex || m == SHIM.quick_mutex;
}

SHIM_EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
    if (LIKELY(m == SHIM.mutex)) {
        prefetch_to_write(m);
        if (in_the_way(m) || UNLIKELY(T.look)) { /* the GIL is in the way of whoever gives it up, too */
            const struct rec_thread *tr = T.rec;
            if (UNLIKELY(!tr || SHIM_STATE(tr) != REC_STATE_HELD))
                return lock_slow(m);
        }
        return shim_quick_lock(m);
    }
    if (is_quick(m))
        return shim_quick_lock(m);
    return shim_next.mutex_lock(m);
}

/* --- takes and releases ------------------------------------------------------------------------------------------ */
#define LOOK_TICKS (1u << 16) /* some 25 us: in front of takes after such a time without the GIL, the clock is read */

/* The GIL has been taken.  Holding gil->mutex and gil->switch_mutex.
 *
 * Here and below, state and time are stored before the sums (record.h, "Rules"). */
static inline void acquired(struct shim_gil *g, uint64_t t)
{
    if (UNLIKELY(!shim_gil_in_step(g))) {
        uint64_t now;
        if (!shim_gil_step(g, SHIM_EVENT_TAKE, &now))
            return;
        t = now;
    }
    struct rec_thread *tr = T.rec;
    if (UNLIKELY(T.later || T.post == SHIM_POST_RELEASED))
        shim_account_missed(g);
    shim_account_late_hold(tr);
    T.look_native = t - tr->state_ticks >= LOOK_TICKS;
    if (T.post) {
        shim_account_take_after_wait(g, t);
    } else {
        shim_note_released(tr->state_ticks, t);
        tr->state = REC_STATE_HELD;
        __atomic_store_n(&tr->state_ticks, t, __ATOMIC_RELEASE);
    }
    if (!shim_gil_is_mine(g))
        shim_account_holder(g, t);
    g->turn->take_ticks = t;
    if (g->turn->n_waiters)
        shim_account_hold_begins(g, t);
    if (UNLIKELY(t >= T.name_due_ticks || T.sample.pending))
        T.post = SHIM_POST_TAKEN;
    else
        T.sample.have_native = false;
    shim_account_due();
}

/* The GIL has been given up.  Holding gil->mutex. */
static inline void released(struct shim_gil *g, uint64_t t)
{
    if (UNLIKELY(!shim_gil_in_step(g))) {
        uint64_t now;
        if (!shim_gil_step(g, SHIM_EVENT_RELEASE, &now))
            return;
        t = now;
    }
    struct rec_thread *tr = T.rec;
    if (UNLIKELY(SHIM_STATE(tr) != REC_STATE_HELD)) {
        shim_gil_unexplained(g);
        return;
    }
    uint64_t from = tr->state_ticks, d = shim_elapsed(from, t);
    tr->state = REC_STATE_RELEASED;
    __atomic_store_n(&tr->state_ticks, t, __ATOMIC_RELEASE);
    shim_account_held(tr, d);
    uint32_t *count = d < T.hold_below ? shim_account_hold_count(tr, d) : NULL;
    if (LIKELY(count)) {
        if (UNLIKELY(++*count == 0))
            shim_account_hold_wrapped(d);
    } else {
        T.later |= SHIM_LATER_HOLD;
        if (tr->index) /* until then a reader adds it; shim_sink has none, and is several threads' */
            tr->late_hold_ticks = d ? d : 1;
    }
    T.hold_ticks = d;
    shim_sample_end(SHIM_SAMPLE_HELD, from, t);
    T.post = T.later != 0 || t >= T.check_ticks ? SHIM_POST_RELEASED : 0;
    if (g->turn->n_waiters)
        shim_account_hold_ends(g, t);
    if (LIKELY(shim_gil_is_mine(g)))
        g->turn->closed_ticks += d;
    else
        shim_account_unknown_hold(g, from, t);
    g->turn->take_ticks = 0;
    g->turn->last_take_ticks = from;
    g->turn->last_release_ticks = t;
    if (UNLIKELY(SHIM.n_gils > 1)) /* what this thread holds from now on may be another GIL */
        shim_account_settle(g, t);
    if (UNLIKELY(T.sample.pending)) {
        T.post = SHIM_POST_RELEASED;
        T.sample.asked = g->asked_ticks >= from;
        T.sample.callee = T.sample.asked ? g->callee : 0;
        T.sample.callee_place = g->callee_place;
        T.sample.call_ticks = T.sample.callee > 1 ? t - g->asked_ticks : 0;
    }
    shim_account_due();
}

static APART int signal_taken(pthread_cond_t *c, uint64_t t)
{
    acquired(&SHIM.gils[0], LIKELY(shim_ticks_are_fast()) ? t : shim_ticks());
    return shim_quick_signal(c);
}

static APART int signal_released(pthread_cond_t *c, uint64_t t)
{
    released(&SHIM.gils[0], LIKELY(shim_ticks_are_fast()) ? t : shim_ticks());
    return shim_quick_signal(c);
}

static APART int signal_wrapped(pthread_cond_t *c, uint64_t hold)
{
    shim_account_hold_wrapped(hold);
    return shim_quick_signal(c);
}

SHIM_EXPORT int pthread_cond_signal(pthread_cond_t *c)
{
    struct shim_gil *g = &SHIM.gils[0];
    if (LIKELY(c == SHIM.switch_cond)) {
        struct rec_thread *tr = T.rec;
        uint64_t t = shim_ticks_fast(); /* due_ticks is 0 where there is none */
        if (UNLIKELY(g->turn->n_waiters || t >= T.due_ticks || !straight()))
            return signal_taken(c, t);
        uint64_t hold = tr->late_hold_ticks;
        uint32_t *count = shim_account_hold_count(tr, hold);
        if (UNLIKELY(!hold || !count ||
                     t - tr->state_ticks >= LOOK_TICKS)) /* a negative difference is a very long one */
            return signal_taken(c, t);
        tr->state = REC_STATE_HELD;
        __atomic_store_n(&tr->state_ticks, t, __ATOMIC_RELEASE);
        tr->late_hold_ticks = 0;
        if (!shim_gil_is_mine(g))
            shim_account_holder(g, t);
        g->turn->take_ticks = t;
        if (UNLIKELY(++*count == 0))
            return signal_wrapped(c, hold);
        return shim_quick_signal(c);
    }
    if (LIKELY(c == SHIM.cond)) {
        struct rec_thread *tr = T.rec;
        uint64_t t = shim_ticks_fast(); /* due_ticks is 0 where there is none */
        if (UNLIKELY(!shim_gil_is_mine(g) || g->turn->n_waiters || t >= T.due_ticks || !straight() ||
                     SHIM_STATE(tr) != REC_STATE_HELD))
            return signal_released(c, t);
        uint64_t from = tr->state_ticks, d = t - from;
        if (UNLIKELY(d >= T.hold_below || !shim_account_hold_count(tr, d)))
            return signal_released(c, t);
        tr->state = REC_STATE_RELEASED;
        __atomic_store_n(&tr->state_ticks, t, __ATOMIC_RELEASE);
        shim_account_held(tr, d);
        tr->late_hold_ticks =
            d | 1; /* entered into the histogram by the next take, which has all that it needs at hand */
        g->turn->take_ticks = 0;
        g->turn->last_take_ticks = from;
        g->turn->last_release_ticks = t;
        g->turn->closed_ticks += d;
        return shim_quick_signal(c);
    }
    return shim_next.cond_signal(c);
}

/* --- where there is more to look at than the first GIL (shim_route_set) ------------------------------------------- */
/* In a pause what addresses are compared with is put away, and it may come back at any moment. */
static inline struct shim_gil *awake(struct shim_gil *g, const pthread_cond_t *c, int which)
{
    if (LIKELY(g || !shim_route_has_slept() || SHIM.ended))
        return g;
    shim_route_wake();
    return shim_gil_find(c, which);
}

static struct shim_gil *by_switch(const pthread_cond_t *c)
{
    return awake(shim_gil_by_switch(c), c, 2);
}

static struct shim_gil *by_cond(const pthread_cond_t *c)
{
    return awake(shim_gil_by_cond(c), c, 1);
}

int shim_route_lock_further(pthread_mutex_t *m)
{
    return SHIM.filter ? lock_slow(m) : shim_real.mutex_lock(m);
}

/* Of another GIL than the first, or measuring has been paused. */
int shim_route_signal_further(pthread_cond_t *c)
{
    uint64_t t = shim_ticks();
    struct shim_gil *g = by_switch(c);
    if (g)
        acquired(g, t);
    else if ((g = by_cond(c)) != NULL)
        released(g, t);
    return shim_real.cond_signal(c);
}

/* --- after it ---------------------------------------------------------------------------------------------------- */
/* After the real unlock that follows a release: what would have delayed the others, all of it.  Not even after a take
 * is anything done that can wait until here, because then the thread holds the GIL. */
static void after_release(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (T.later) {
        shim_enter();
        shim_write_begin(&tr->seq);
        shim_account_enter(g);
        shim_write_end(&tr->seq);
        shim_leave();
    }
    if (T.sample.pending)
        shim_sample_released(T.hold_ticks);
    if (tr->state_ticks >= T.check_ticks)
        shim_thread_check_release();
}

static APART int unlock_slow(pthread_mutex_t *m)
{
    struct shim_gil *g = shim_gil_by_mutex(m);
    uint8_t post = T.post;
    if (!g || T.busy || T.generation != SHIM.generation)
        return shim_real.mutex_unlock(m);
    T.post = 0;
    if (post == SHIM_POST_RELEASED) {
        int result = shim_real.mutex_unlock(m);
        after_release(g);
        return result;
    }
    if (post == SHIM_POST_TAKEN) {
        int result = shim_real.mutex_unlock(m);
        if (T.rec->state_ticks >= T.name_due_ticks)
            shim_thread_check_name();
        if (T.sample.pending)
            shim_sample_taken();
        return result;
    }
    /* Neither taken nor released: signal_active_thread (3.13+), or a wait given up because of finalization. */
    T.want = T.rec->want_ticks = 0;
    if (SHIM_STATE(T.rec) == REC_STATE_WAITING && T.gil == g)
        shim_gil_abandoned(g);
    return shim_real.mutex_unlock(m);
}

SHIM_EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
    if (LIKELY(m == SHIM.mutex)) {
        if (UNLIKELY(T.post))
            return unlock_slow(m);
        return shim_quick_unlock(m);
    }
    if (is_quick(m))
        return shim_quick_unlock(m);
    return shim_next.mutex_unlock(m);
}

int shim_route_unlock_further(pthread_mutex_t *m)
{
    return SHIM.filter && T.post ? unlock_slow(m) : shim_real.mutex_unlock(m);
}

/* --- waits ------------------------------------------------------------------------------------------------------- */
static inline int timed_wait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    int result = shim_real.cond_timedwait(c, m, until);
    if (LIKELY(result != ETIMEDOUT || !__atomic_load_n(&shim_life_leaving, __ATOMIC_ACQUIRE)) || !shim_life_wait_on(c))
        return result;
    struct timespec longer = {.tv_sec = until->tv_sec + 1, .tv_nsec = until->tv_nsec};
    return shim_real.cond_timedwait(c, m, &longer);
}

SHIM_EXPORT int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    uint32_t pause;
    bool noted = SHIM.dormant && m == SHIM.gils[0].mutex && shim_pause_waits(c, &pause);
    struct shim_gil *g = noted ? &SHIM.gils[0] : by_cond(c);
    if (LIKELY(g == NULL) || g->mutex != m)
        return timed_wait(c, m, until);
    unsigned long switches = noted ? shim_gil_switches(g) : shim_gil_wait_begin(g);
    int result = timed_wait(c, m, until);
    if (!noted || !shim_pause_has_waited(pause))
        shim_gil_wait_woken(g, result, switches);
    return result;
}

SHIM_EXPORT int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    struct shim_gil *g = by_switch(c);
    if (LIKELY(g == NULL))
        return shim_real.cond_wait(c, m);
    shim_gil_forced_begin(g);
    int result = shim_real.cond_wait(c, m);
    shim_gil_forced_end(g);
    return result;
}
