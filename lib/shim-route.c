/* SPDX-License-Identifier: MIT */
/* shim-route.c - where the wrappers' calls go: the first GIL, further ones, or, while measuring is paused, nowhere. */
#include "shim-route.h"

#include "shim-gil.h"
#include "shim-quick.h"
#include "shim-several.h"

void shim_route_set(void)
{
    bool further = SHIM.filter != 0, dormant = SHIM.dormant, slept = SHIM.slept;
    __atomic_store_n(&shim_next.mutex_lock, further ? shim_route_lock_further : shim_real.mutex_lock, __ATOMIC_RELAXED);
    __atomic_store_n(&shim_next.mutex_unlock, further ? shim_route_unlock_further : shim_real.mutex_unlock,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&shim_next.cond_signal,
                     dormant            ? shim_route_signal_dormant
                     : further || slept ? shim_route_signal_further
                                        : shim_real.cond_signal,
                     __ATOMIC_RELAXED);
}

int shim_route_signal_dormant(pthread_cond_t *c)
{
    const uint32_t *toggles = SHIM.n_toggles; /* NULL: a forked child, before it has a recording */
    uint32_t n = toggles ? __atomic_load_n(toggles, __ATOMIC_RELAXED) : 0;
    if (LIKELY(!toggles || ((n & 1) && T.asleep == n)))
        return c == SHIM.gils[0].cond || c == SHIM.gils[0].switch_cond ? shim_quick_signal(c)
                                                                       : shim_real.cond_signal(c);
    return shim_route_signal_further(c);
}

void shim_route_sleep(void)
{
    /* One that is late must not undo what another has done for the resume that came meanwhile. */
    if (__atomic_load_n(&SHIM.dormant, __ATOMIC_RELAXED) || !shim_several_enter(1))
        return;
    if (!SHIM.dormant && (__atomic_load_n(SHIM.n_toggles, __ATOMIC_ACQUIRE) & 1)) {
        /* First where calls go that match nothing, then nothing matches. */
        __atomic_store_n(&SHIM.slept, 1, __ATOMIC_RELEASE);
        __atomic_store_n(&SHIM.dormant, 1, __ATOMIC_RELEASE);
        shim_route_set();
        __atomic_store_n(&SHIM.mutex, NULL, __ATOMIC_RELEASE);
        __atomic_store_n(&SHIM.cond, NULL, __ATOMIC_RELEASE);
        __atomic_store_n(&SHIM.switch_cond, NULL, __ATOMIC_RELEASE);
        SHIM.filter = 0;
    }
    shim_several_exit();
}

bool shim_route_wake(void)
{
    if (!SHIM.dormant || !SHIM.header || (__atomic_load_n(SHIM.n_toggles, __ATOMIC_ACQUIRE) & 1) || SHIM.ended ||
        !shim_several_enter(1))
        return false;
    uint64_t filter = 0;
    for (uint32_t i = 1; i < SHIM.n_gils; i++) {
        const struct shim_gil *g = &SHIM.gils[i];
        if (g->cond)
            filter |= shim_gil_bit(g->mutex) | shim_gil_bit(g->cond) | shim_gil_bit(g->switch_cond);
    }
    __atomic_store_n(&SHIM.filter, filter, __ATOMIC_RELEASE);
    SHIM.mutex = SHIM.gils[0].mutex;
    SHIM.cond = SHIM.gils[0].cond;
    SHIM.switch_cond = SHIM.gils[0].switch_cond;
    __atomic_store_n(&SHIM.dormant, 0, __ATOMIC_RELAXED);
    shim_route_set();
    shim_several_exit();
    return true;
}
