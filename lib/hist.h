/* SPDX-License-Identifier: MIT */
/*
 * hist.h - the log-linear histogram: where a value goes, and what a bucket stands for.
 *
 * 16 buckets an octave: a bucket's middle is within 3.2 % of every value in it.  Values below 16 ticks are exact.
 * Pure functions, async-signal-safe, callable by any thread.
 */
#ifndef GILSCOPE_HIST_H
#define GILSCOPE_HIST_H

#include "record.h"

struct hist_place {
    uint32_t octave, sub;
};

/* value: ticks.  Values beyond the last octave are put into its last bucket. */
static inline struct hist_place hist_place(uint64_t value)
{
    if (value < REC_HIST_SUBS)
        return (struct hist_place){0, (uint32_t)value};
    uint32_t top = 63u - (uint32_t)__builtin_clzll(value); /* >= 4 */
    uint32_t octave = top - 3;
    if (octave >= REC_HIST_OCTAVES)
        return (struct hist_place){REC_HIST_OCTAVES - 1, REC_HIST_SUBS - 1};
    return (struct hist_place){octave, (uint32_t)(value >> (top - 4)) & (REC_HIST_SUBS - 1)};
}

/* The smallest value, in ticks, of a bucket. */
static inline uint64_t hist_low(uint32_t octave, uint32_t sub)
{
    return octave == 0 ? sub : (uint64_t)(REC_HIST_SUBS + sub) << (octave - 1);
}

/* As hist_place, without a branch, of a value below hist_low(REC_HIST_OCTAVES - 1, 0). */
static inline struct hist_place hist_place_below(uint64_t value)
{
    uint32_t octave = 60u - (uint32_t)__builtin_clzll(value | (REC_HIST_SUBS - 1));
    return (struct hist_place){octave, (uint32_t)(value >> (octave - (octave != 0))) & (REC_HIST_SUBS - 1)};
}

/* The number of values, in ticks, of a bucket. */
static inline uint64_t hist_width(uint32_t octave)
{
    return octave <= 1 ? 1 : (uint64_t)1 << (octave - 1);
}

#endif
