/* SPDX-License-Identifier: MIT */
/*
 * holds-sum.h - makes looks add up to an exact sum.
 *
 * How many looks come in a state is left to chance.  What they have given too much or too little is made up for bit by
 * bit: it is settled before the next look, so that no place has more of it than another.
 */
#ifndef GILSCOPE_HOLDS_SUM_H
#define GILSCOPE_HOLDS_SUM_H

#include <stdbool.h>
#include <stdint.h>

#define HOLDS_SUM_PARTS 32        /* of what looks lack, so much is made up for with each */
#define HOLDS_SUM_FRESH_PARTS 8   /* and with those of whose kind some are missing, which are few, so much: */
#define HOLDS_SUM_CHANCE_LOOKS 16 /* with others only what is more than so many looks */

struct holds_sum { /* zeroed at first */
    bool begun;
    double from_ns;    /* the exact sum at the first look */
    double given_ns;   /* by looks since then */
    double lacking_ns; /* the exact sum had grown by so much more, at the last look */
};

/* What a look gives that stands for ns, with so much more, or less: at most the limit. */
static inline uint64_t holds_sum_with(uint64_t ns, double more, double limit)
{
    return ns + (uint64_t)(int64_t)(more < -limit ? -limit : more > limit ? limit : more);
}

/* What a look gives that stands for ns.  sum: NULL = it is not known. */
static inline uint64_t holds_sum_made_up(const struct holds_sum *sum, uint64_t ns)
{
    double limit = (double)ns / 2, more = sum ? sum->lacking_ns / HOLDS_SUM_PARTS : 0;

    return holds_sum_with(ns, more, limit);
}

/* The same for what holders are charged with.  fresh: whoever waits has begun to a short time ago. */
static inline uint64_t holds_sum_charged(const struct holds_sum *sum, uint64_t ns, bool fresh)
{
    double limit = fresh ? (double)ns : (double)ns / 2, chance = HOLDS_SUM_CHANCE_LOOKS * (double)ns,
           more = sum ? sum->lacking_ns : 0;

    if (fresh)
        more /= HOLDS_SUM_FRESH_PARTS;
    else
        more = (more > chance ? more - chance : more < -chance ? more + chance : 0) / HOLDS_SUM_PARTS;
    return holds_sum_with(ns, more, limit);
}

/* A look has given ns; the exact sum is exact_ns now. */
static inline void holds_sum_given(struct holds_sum *sum, uint64_t ns, double exact_ns)
{
    sum->given_ns += (double)ns;
    if (!sum->begun)
        sum->from_ns = exact_ns - sum->given_ns;
    sum->begun = true;
    sum->lacking_ns = exact_ns - sum->from_ns - sum->given_ns;
}

#endif
