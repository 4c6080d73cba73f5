/* SPDX-License-Identifier: MIT */
/*
 * shim-lock.c - waits for threading locks.
 *
 * A Python-level acquire that finds its lock taken (Python/thread_pthread.h, up to 3.12; Python/parking_lot.c later):
 *   semaphore locks  sem_trywait = EAGAIN with the GIL held, GIL released, sem_wait or sem_timedwait or sem_clockwait
 *   PyMutex locks    sem_init(stack, 0, 0), GIL released, the same wait on it
 * so the semaphore of the last failed trywait, or of the last sem_init to 0, marks the wait that follows as a lock's.
 *
 * Waits to be notified are told from waits for mutual exclusion by who gives the semaphore up.  The wait is for a
 * notification if
 *  - the waiter took the semaphore itself (Condition, Event and Queue take a fresh lock twice);
 *  - another thread than the one that took it has posted it before (SimpleQueue, and whatever hands a lock on);
 *  - it is a thread's sentinel, which that thread creates and takes first of all and gives up at its end (join,
 * <= 3.12);
 *  - it is a parking semaphore and the object waited for is no PyMutex (3.13+: PyEvent for joins, SimpleQueue).
 * Takes of a PyMutex are invisible, so that Condition, Event and Queue on 3.13.5 and later count as mutual exclusion.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "shim-account.h"
#include "shim-name.h"
#include "shim-pause.h"
#include "shim-thread.h"
#include "shim.h"

/* sem_post may come from a signal handler (CPython's own does up to 3.12): only the thread's own state is touched. */

#define NAME_TRIES_AT_LOCKS 4

static bool python_thread(void)
{
    return T.generation && T.generation == SHIM.generation && !T.busy;
}

static void own(const void *sem)
{
    for (uint32_t i = 0; i < SHIM_OWN_LOCKS; i++)
        if (!T.own_locks[i]) {
            T.own_locks[i] = sem;
            return;
        }
    T.own_locks[T.own_next++ % SHIM_OWN_LOCKS] = sem;
}

/* Semaphores that notify, by address.  One that shares its place with another is forgotten; the next post tells again.
 */
#define NOTIFIERS 1024
static const void *notifiers[NOTIFIERS];

static const void **notifier_place(const void *sem)
{
    return &notifiers[((uintptr_t)sem >> 4) * 0x9e3779b97f4a7c15u >> 54];
}

static void set_notifier(const void *sem)
{
    __atomic_store_n(notifier_place(sem), sem, __ATOMIC_RELAXED);
}

static bool is_notifier(const void *sem)
{
    return __atomic_load_n(notifier_place(sem), __ATOMIC_RELAXED) == sem;
}

/* Its memory may be another lock's next. */
static void forget_notifier(const void *sem)
{
    if (is_notifier(sem))
        __atomic_store_n(notifier_place(sem), NULL, __ATOMIC_RELAXED);
}

static bool disown(const void *sem)
{
    bool found = false;
    for (int i = 0; i < SHIM_OWN_LOCKS; i++)
        if (T.own_locks[i] == sem) {
            T.own_locks[i] = NULL;
            found = true;
        }
    return found;
}

static bool owned(const void *sem)
{
    for (int i = 0; i < SHIM_OWN_LOCKS; i++)
        if (T.own_locks[i] == sem)
            return true;
    return false;
}

/* In front of a parking semaphore lies the address waited for (Python/parking_lot.c, struct wait_entry).  The byte
 * there is 3 in a PyMutex, locked and with waiters; 2 in a PyEvent, and 1 in a SimpleQueue, with waiters. */
static bool parked_for_mutex(const void *sem)
{
    unsigned char state = 3;
    const void *address = ((const void *const *)sem)[-1];
    return !address || shim_name_read_self(address, &state, 1) != 0 || state == 3;
}

struct wait {
    struct rec_thread *tr; /* NULL = not measured */
    uint64_t from, paused_ticks;
    uint32_t generation, n_toggles;
    bool held, notify, parking;
};

static struct wait wait_begin(const void *sem)
{
    struct wait w = {.tr = NULL};
    if (!python_thread() || T.step != *SHIM.n_toggles + 1 || !T.rec->index)
        return w;
    w.held = SHIM_STATE(T.rec) == REC_STATE_HELD;
    if (!w.held && T.lock_failed != sem)
        return w;
    w.tr = T.rec;
    w.generation = T.generation;
    w.n_toggles = T.n_toggles;
    w.paused_ticks = T.rec->paused_ticks;
    w.parking = T.parking && T.lock_failed == sem;
    if (!w.parking && owned(sem))
        set_notifier(sem); /* another waiter's, too: a SimpleQueue's idle getters all wait for one semaphore */
    w.notify = w.parking ? !parked_for_mutex(sem) : is_notifier(sem);
    w.from = shim_ticks();
    if (!w.held) {
        w.tr->lock_open_notify = w.notify;
        __atomic_store_n(&w.tr->lock_open_ticks, w.from, __ATOMIC_RELEASE);
    }
    return w;
}

static void wait_end(const struct wait *w, const void *sem)
{
    struct rec_thread *tr = w->tr;
    if (!tr || w->generation != SHIM.generation || w->generation != T.generation)
        return;
    uint64_t d = w->n_toggles == *SHIM.n_toggles ? shim_elapsed(w->from, shim_ticks())
                                                 : shim_pause_measured(w->from, w->paused_ticks);
    shim_enter();
    shim_write_begin(&tr->seq);
    tr->lock_open_ticks = 0;
    if (w->held) {
        tr->gil_lock_wait_ticks += d;
    } else {
        tr->lock_wait_ticks += d;
        if (w->notify || (!w->parking && is_notifier(sem))) /* its first post may have come just now */
            tr->notify_wait_ticks += d;
        shim_account_hist(tr, REC_HIST_LOCK, d);
    }
    shim_write_end(&tr->seq);
    shim_leave();
}

/* Before the thread has ever given the GIL up. */
static bool in_first_hold(void)
{
    return SHIM_STATE(T.rec) == REC_STATE_HELD && T.rec->held_ticks == 0;
}

SHIM_EXPORT int sem_init(sem_t *sem, int shared, unsigned value)
{
    if (python_thread()) {
        forget_notifier(sem);
        T.parking = value == 0;
        if (value == 0)
            T.lock_failed = sem;
        else if (!T.n_semaphores++ && !(T.rec->flags & REC_THREAD_MAIN) && in_first_hold())
            set_notifier(sem);
    }
    return shim_real.sem_init(sem, shared, value);
}

SHIM_EXPORT int sem_destroy(sem_t *sem)
{
    if (python_thread()) {
        disown(sem);
        forget_notifier(sem);
    }
    return shim_real.sem_destroy(sem);
}

SHIM_EXPORT int sem_post(sem_t *sem)
{
    if (python_thread() && !disown(sem))
        set_notifier(sem);
    return shim_real.sem_post(sem);
}

/* A thread that takes the GIL once and ends has no later take at which its name could be read; but a threading.Thread
 * uses locks before it runs its target. */
static void read_name(void)
{
    if (T.name_tries < NAME_TRIES_AT_LOCKS && SHIM_STATE(T.rec) == REC_STATE_HELD && T.step &&
        T.rec->name_source < REC_NAME_PYTHON)
        shim_thread_check_name();
}

SHIM_EXPORT int sem_trywait(sem_t *sem)
{
    int result = shim_real.sem_trywait(sem);
    if (python_thread()) {
        read_name();
        if (result == 0)
            own(sem);
        else
            T.lock_failed = sem;
        T.parking = false;
    }
    return result;
}

/* After the real call, errno is what its caller looks at. */
static void waited(const struct wait *w, const void *sem, int result)
{
    int saved_errno = errno;
    wait_end(w, sem);
    if (result == 0 && w->tr && !w->parking)
        own(sem);
    errno = saved_errno;
}

SHIM_EXPORT int sem_wait(sem_t *sem)
{
    struct wait w = wait_begin(sem);
    int result = shim_real.sem_wait(sem);
    waited(&w, sem, result);
    return result;
}

SHIM_EXPORT int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until)
{
    struct wait w = wait_begin(sem);
    int result = shim_real.sem_timedwait(sem, until);
    waited(&w, sem, result);
    return result;
}

SHIM_EXPORT int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until)
{
    struct wait w = wait_begin(sem);
    int result = shim_real.sem_clockwait(sem, clock, until);
    waited(&w, sem, result);
    return result;
}
