/* SPDX-License-Identifier: MIT */
/* shim-route.h - where the wrappers' calls go: the first GIL, further ones, or, while measuring is paused, nowhere. */
#ifndef GILSCOPE_SHIM_ROUTE_H
#define GILSCOPE_SHIM_ROUTE_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* While measuring is paused no address matches, and the wrappers are hardly more than a jump.  Of those, only that of
 * pthread_cond_signal looks whether measuring has been resumed, when shim_route_wake is true.  Any thread. */
void shim_route_sleep(void);
bool shim_route_wake(void);

/* Has measuring been paused before?  Then an address that matches nothing may be a GIL's all the same. */
static inline bool shim_route_has_slept(void)
{
    return __atomic_load_n(&SHIM.slept, __ATOMIC_ACQUIRE) && SHIM.n_toggles; /* NULL: forked, in a signal handler */
}

/* Sets shim_next by what there is to look at now: further GILs (SHIM.filter), a resume (SHIM.dormant), or nothing.  Any
 * thread, at any time after shim_real_resolve. */
void shim_route_set(void);

/* What shim_next leads to where there is.  They are right at any time, and pass on what is none of ours. */
int shim_route_lock_further(pthread_mutex_t *m);
int shim_route_unlock_further(pthread_mutex_t *m);
int shim_route_signal_further(pthread_cond_t *c);
int shim_route_signal_dormant(pthread_cond_t *c);

#pragma GCC visibility pop
#endif
