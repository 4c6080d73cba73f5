/* SPDX-License-Identifier: MIT */
/* shim-gil.h - which objects are a GIL, and the events that are off the shortest path. */
#ifndef GILSCOPE_SHIM_GIL_H
#define GILSCOPE_SHIM_GIL_H

#include "shim-account.h"
#include "shim-pause.h"
#include "shim.h"

/* Look-ups in the registry by address.  Any thread, async-signal-safe. */
struct shim_gil *shim_gil_find(const void *address, int which); /* which: 0 mutex, 1 cond, 2 switch_cond */

static inline uint64_t shim_gil_bit(const void *address)
{
    return (uint64_t)1 << (((uintptr_t)address >> 4) & 63);
}
static inline struct shim_gil *shim_gil_by(const void *address, const void *first, int which)
{
    if (LIKELY(address == first))
        return &SHIM.gils[0];
    if (LIKELY(!SHIM.filter) || !(SHIM.filter & shim_gil_bit(address)))
        return NULL;
    return shim_gil_find(address, which);
}
static inline struct shim_gil *shim_gil_by_mutex(const void *m)
{
    return shim_gil_by(m, SHIM.mutex, 0);
}
static inline struct shim_gil *shim_gil_by_cond(const void *c)
{
    return shim_gil_by(c, SHIM.cond, 1);
}
static inline struct shim_gil *shim_gil_by_switch(const void *c)
{
    return shim_gil_by(c, SHIM.switch_cond, 2);
}

/* Is the calling thread in step with this GIL and the recording, and measuring on?  Any thread. */
static inline __attribute__((always_inline)) bool shim_gil_in_step(const struct shim_gil *g)
{
    uint32_t n_toggles = __atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED);
    return LIKELY(T.step == n_toggles + 1 && T.gil == g && !(n_toggles & 1));
}

/* It is not: attaches the thread, moves it to this GIL, and follows pauses and resumes, which `event` helps to
 * interpret.  True: *t is now, in ticks.  False: not to be measured now (paused, or a signal handler on top of our own
 * code).  Holding gil->mutex. */
bool shim_gil_step(struct shim_gil *g, enum shim_event event, uint64_t *t);

/* Around the real pthread_cond_timedwait on gil->cond; the first returns gil->switch_number.  Holding gil->mutex. */
unsigned long shim_gil_wait_begin(struct shim_gil *g);
void shim_gil_wait_woken(struct shim_gil *g, int result, unsigned long switches_before);

/* Around the real pthread_cond_wait on gil->switch_cond.  Holding gil->switch_mutex. */
void shim_gil_forced_begin(struct shim_gil *g);
void shim_gil_forced_end(struct shim_gil *g);

/* The thread unlocks gil->mutex without having got the GIL that it waited for: its wait ends here.  Holding
 * gil->mutex. */
void shim_gil_abandoned(struct shim_gil *g);

/* A signal of gil->cond by a thread that does not hold the GIL: a free-threaded build that was woken after its GIL had
 * been disabled, or something that no rule explains.  Holding gil->mutex. */
void shim_gil_unexplained(struct shim_gil *g);

#endif
