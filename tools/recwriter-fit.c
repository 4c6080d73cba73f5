/* SPDX-License-Identifier: MIT */
/*
 * recwriter-fit.c - makes estimates fit what is known for certain, and adds up those of a GIL's threads.
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

void recwriter_add_to_gil(struct recwriter_gil *gil, const struct recwriter_thread *t)
{
    gil->held_ns += t->held_ns;
    gil->wait_blocked_ns += t->wait_blocked_ns;
    gil->wait_wakeup_ns += t->wait_wakeup_ns;
    gil->wait_forced_ns += t->wait_forced_ns;
    gil->contended += t->contended;
    gil->drop_requests += t->drop_requests;
    gil->forced_switches += t->forced_switches;
    gil->lost_wakeups += t->lost_wakeups;
    gil->switches += t->contended;
}

void recwriter_join_ended(struct recwriter_thread *out, const struct recwriter_thread *by_gil,
                          struct recwriter_gil *gils, uint32_t n)
{
    out->held_ns = out->held_oncpu_ns = out->released_ns = out->released_oncpu_ns = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!by_gil[i].index)
            continue;
        out->held_ns += by_gil[i].held_ns;
        out->held_oncpu_ns += by_gil[i].held_oncpu_ns;
        out->released_ns += by_gil[i].released_ns;
        out->released_oncpu_ns += by_gil[i].released_oncpu_ns;
        recwriter_add_to_gil(&gils[i], &by_gil[i]);
        if (i) {
            out->elsewhere += by_gil[i].contended;
            gils[i].acquisitions += by_gil[i].contended;
        }
    }
}
