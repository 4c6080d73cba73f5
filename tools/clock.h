/* SPDX-License-Identifier: MIT */
/* clock.h - the system's clocks as numbers. */
#ifndef GILSCOPE_CLOCK_H
#define GILSCOPE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* A clock's time in ns; 0 if it cannot be read (a process that is gone).  Any thread, async-signal-safe. */
static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t))
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
