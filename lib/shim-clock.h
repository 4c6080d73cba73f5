/* SPDX-License-Identifier: MIT */
/* shim-clock.h - the clock of the recording. */
#ifndef GILSCOPE_SHIM_CLOCK_H
#define GILSCOPE_SHIM_CLOCK_H

#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "record.h"

#pragma GCC visibility push(hidden)
extern uint32_t shim_clock_kind; /* enum rec_clock; set by shim_clock_choose, before that MONOTONIC */

/* Decides which counter can be trusted here.  Once, from the constructor or before the first recording. */
void shim_clock_choose(void);

/* Learns the counter's rate from two points of shim_clock_both, which should lie at least 1 ms apart. */
void shim_clock_rate(uint64_t ticks0, int64_t mono0_ns, uint64_t ticks1, int64_t mono1_ns);

/* CLOCK_MONOTONIC in ns.  Any thread, async-signal-safe. */
int64_t shim_clock_monotonic_ns(void);

/* Ticks a microsecond, roughly (within 1 %): for budgets, never for figures.  After shim_clock_rate. */
uint64_t shim_clock_ticks_per_us(void);

/* Both clocks at the same instant.  Any thread, async-signal-safe. */
void shim_clock_both(uint64_t *ticks, int64_t *mono_ns);

#pragma GCC visibility pop

/* Is the clock a counter that is read with one instruction?  Then shim_ticks_fast reads it. */
static inline int shim_ticks_are_fast(void)
{
    return shim_clock_kind != REC_CLOCK_MONOTONIC;
}

static inline uint64_t shim_ticks_fast(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return 0;
#endif
}

/* Now, in ticks.  Any thread, async-signal-safe, also while gil->mutex is held.  Not serialising: it may be read a few
 * ns early, which costs less than fencing each transition would. */
static inline __attribute__((always_inline)) uint64_t shim_ticks(void)
{
    if (__builtin_expect(shim_ticks_are_fast(), 1))
        return shim_ticks_fast();
    return (uint64_t)shim_clock_monotonic_ns();
}

/* As shim_ticks, but not before the loads in front of it: the time of what has been learnt from another processor. */
static inline uint64_t shim_ticks_since_then(void)
{
#if defined(__x86_64__)
    __builtin_ia32_lfence();
#elif defined(__aarch64__)
    __asm__ volatile("isb" : : : "memory");
#endif
    return shim_ticks();
}

#endif
