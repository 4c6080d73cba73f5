/* SPDX-License-Identifier: MIT */
/*
 * recwriter-fit.c - makes estimates fit what is known for certain.
 */
#include "recwriter.h"

void recwriter_fit(struct recwriter_thread *threads, size_t n, uint32_t n_gils, uint64_t wall_ns)
{
    for (uint32_t gil = 0; gil < n_gils; gil++) {
        uint64_t held_ns = 0, oncpu_ns = 0;
        for (size_t i = 0; i < n; i++) {
            if (threads[i].index && threads[i].gil == gil) {
                held_ns += threads[i].held_ns;
                oncpu_ns += threads[i].held_oncpu_ns;
            }
        }
        if (held_ns <= wall_ns || !oncpu_ns)
            continue;
        double excess = (double)(held_ns - wall_ns), share = excess < (double)oncpu_ns ? excess / (double)oncpu_ns : 1;
        for (size_t i = 0; i < n; i++) {
            struct recwriter_thread *t = &threads[i];
            uint64_t cut_ns = (uint64_t)(share * (double)t->held_oncpu_ns + 0.5);
            if (!t->index || t->gil != gil)
                continue;
            cut_ns = cut_ns < t->held_oncpu_ns ? cut_ns : t->held_oncpu_ns;
            t->held_ns -= cut_ns;
            t->held_oncpu_ns -= cut_ns;
            t->released_ns += cut_ns;
            t->released_oncpu_ns += cut_ns;
        }
    }
}
