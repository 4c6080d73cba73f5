/* SPDX-License-Identifier: MIT */
/*
 * sim.h - included in front of each file of the shim that the search of orders runs (tests/unit-pause.c): the clock is
 * the search's, and so are the calls of libc by which threads meet; each look at what others write is a point at which
 * another thread may go on.
 */
#ifndef GILSCOPE_SIM_H
#define GILSCOPE_SIM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <time.h>

#include "record.h"

/* Another thread may go on here. */
void sim_point(void);

/* Now: ticks, which nothing but the search moves. */
uint64_t sim_ticks(void);

#define GILSCOPE_SHIM_CLOCK_H /* in place of lib/shim-clock.h */
static inline int shim_ticks_are_fast(void)
{
    return 1;
}
static inline uint64_t shim_ticks_fast(void)
{
    return sim_ticks();
}
static inline uint64_t shim_ticks(void)
{
    return sim_ticks();
}
static inline uint64_t shim_ticks_since_then(void)
{
    return sim_ticks();
}
static inline uint64_t shim_clock_ticks_per_us(void)
{
    return 1000;
}
static inline void shim_clock_both(uint64_t *ticks, int64_t *mono_ns)
{
    *ticks = sim_ticks();
    *mono_ns = (int64_t)*ticks;
}

#define __atomic_load_n(place, order) (sim_point(), __atomic_load_n(place, order))

int sim_mutex_lock(pthread_mutex_t *m);
int sim_mutex_trylock(pthread_mutex_t *m);
int sim_mutex_unlock(pthread_mutex_t *m);
int sim_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int sim_mutex_destroy(pthread_mutex_t *m);
int sim_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr);
int sim_cond_destroy(pthread_cond_t *c);
int sim_cond_signal(pthread_cond_t *c);
int sim_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int sim_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int sim_key_create(pthread_key_t *key, void (*destructor)(void *));
int sim_setspecific(pthread_key_t key, const void *value);

/* The wrappers of lib/shim.c must not be those of this program. */
#define pthread_mutex_lock sim_mutex_lock
#define pthread_mutex_trylock sim_mutex_trylock
#define pthread_mutex_unlock sim_mutex_unlock
#define pthread_mutex_init sim_mutex_init
#define pthread_mutex_destroy sim_mutex_destroy
#define pthread_cond_init sim_cond_init
#define pthread_cond_destroy sim_cond_destroy
#define pthread_cond_signal sim_cond_signal
#define pthread_cond_wait sim_cond_wait
#define pthread_cond_timedwait sim_cond_timedwait
#define pthread_key_create sim_key_create
#define pthread_setspecific sim_setspecific

#endif
