/* SPDX-License-Identifier: MIT */
/*
 * shim-quick.h - what glibc does first in a lock, an unlock and a signal, done on the spot.
 *
 * A wrapper that passes a call on costs the program a second call.  Of the eight calls of a take and a release nearly
 * all find nothing in their way: a lock is free, nobody waits for it, nobody waits for the signal.  Then all that the
 * real function does is to store three numbers (nptl/pthread_mutex_lock.c, pthread_mutex_unlock.c, type
 * PTHREAD_MUTEX_TIMED_NP; the futex protocol of sysdeps/nptl/lowlevellock.h: 0 = free, 1 = taken, greater = taken, and
 * somebody may sleep), or none (nptl/pthread_cond_signal.c: no reference of a waiter, return 0).  So these are stored
 * here, for the first GIL's own objects alone, and whenever anything else is found, the real function is called, with
 * everything as it was.
 *
 * Only where it is known to be so: shim_quick_choose and shim_quick_learn.
 */
#ifndef GILSCOPE_SHIM_QUICK_H
#define GILSCOPE_SHIM_QUICK_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* Decides whether this libc's locks are known, and nobody else stands between it and us.  Once, from the constructor,
 * in front of shim_quick_learn. */
void shim_quick_choose(void);

/* The objects of the first GIL have just been initialised: c and sc its condition variables, m and sm its mutexes.
 * Looks whether they are what is expected, and where a condition variable counts its waiters.  By the thread that
 * creates it. */
void shim_quick_learn(const void *c, const void *sc, const void *m, const void *sm);

/* The real function, for a thread whose id is not known yet: learns it.  Any thread. */
int shim_quick_lock_real(pthread_mutex_t *m);

#pragma GCC visibility pop

/* As pthread_mutex_lock and pthread_mutex_unlock, of a mutex of the first GIL.  Any thread. */
static inline int shim_quick_lock(pthread_mutex_t *m)
{
    const char *single_threaded = shim_next.single_threaded;
    int *word = &m->__data.__lock, is_free = 0, tid = T.tid;
    if (UNLIKELY(!tid))
        return shim_quick_lock_real(m);
    if (*single_threaded && __atomic_load_n(word, __ATOMIC_RELAXED) == 0)
        __atomic_store_n(word, 1, __ATOMIC_RELAXED);
    else if (UNLIKELY(!__atomic_compare_exchange_n(word, &is_free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        return shim_real.mutex_lock(m);
    m->__data.__owner = tid;
    m->__data.__nusers++;
    return 0;
}

static inline int shim_quick_unlock(pthread_mutex_t *m)
{
    int *word = &m->__data.__lock, is_mine = 1;
    if (UNLIKELY(!T.tid))
        return shim_real.mutex_unlock(m);
    /* Written to at once: where another thread has taken the line away, to sleep, looking first would move it twice. */
    int owner = m->__data.__owner;
    m->__data.__owner = 0;
    m->__data.__nusers--;
    if (*shim_next.single_threaded && __atomic_load_n(word, __ATOMIC_RELAXED) == 1) {
        __atomic_store_n(word, 0, __ATOMIC_RELEASE);
    } else if (UNLIKELY(!__atomic_compare_exchange_n(word, &is_mine, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))) {
        m->__data.__owner = owner; /* somebody has come meanwhile, and sleeps */
        m->__data.__nusers++;
        return shim_real.mutex_unlock(m);
    }
    return 0;
}

/* As pthread_cond_signal, of a condition variable of the first GIL.  Any thread. */
static inline int shim_quick_signal(pthread_cond_t *c)
{
    uint32_t at = shim_next.waiters_at;
    if (LIKELY(at) &&
        LIKELY(__atomic_load_n((uint32_t *)((char *)c + at), __ATOMIC_RELAXED) < 8)) /* the lower bits are flags */
        return 0;
    return shim_real.cond_signal(c);
}

#endif
