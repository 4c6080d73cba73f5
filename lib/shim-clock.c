/* SPDX-License-Identifier: MIT */
/* shim-clock.c - which counter to read, and how fast it is. */
#include "shim-clock.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

uint32_t shim_clock_kind = REC_CLOCK_MONOTONIC;
static uint64_t ticks_per_us = 1000; /* until shim_clock_rate */

int64_t shim_clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The pair is read three times, the closest one taken: a thread may be preempted between the two clocks. */
void shim_clock_both(uint64_t *ticks, int64_t *mono_ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        uint64_t before = shim_ticks();
        int64_t mono = shim_clock_monotonic_ns();
        uint64_t after = shim_ticks();
        if (after - before < best) {
            best = after - before;
            *ticks = before + (after - before) / 2;
            *mono_ns = mono;
        }
    }
    if (shim_clock_kind == REC_CLOCK_MONOTONIC)
        *ticks = (uint64_t)*mono_ns;
}

uint64_t shim_clock_ticks_per_us(void)
{
    return ticks_per_us;
}

#if defined(__x86_64__)
/* CPUID 0x80000007 EDX bit 8: the counter runs at one rate whatever the processor does (Intel SDM vol. 3, 18.17). */
static int counter_is_invariant(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8));
}
#endif

void shim_clock_choose(void)
{
#if defined(__x86_64__)
    if (!counter_is_invariant())
        return;
    shim_clock_kind = REC_CLOCK_TSC;
#elif defined(__aarch64__)
    shim_clock_kind = REC_CLOCK_CNTVCT;
#endif
}

void shim_clock_rate(uint64_t ticks0, int64_t mono0_ns, uint64_t ticks1, int64_t mono1_ns)
{
    if (mono1_ns - mono0_ns >= 1000 && ticks1 > ticks0)
        ticks_per_us = (uint64_t)((double)(ticks1 - ticks0) * 1000 / (double)(mono1_ns - mono0_ns));
    if (ticks_per_us == 0)
        ticks_per_us = 1;
}
