/* SPDX-License-Identifier: MIT */
/*
 * toggle.c - pauses and resumes in the header of a live recording.
 *
 * A toggle is counted first and gets its time then, from whoever comes first, the command or a thread that finds it
 * counted: so what the process does before it sees the count has come before that time, and what it does after, after
 * it, whoever loses the processor in between.
 */
#include "toggle.h"

#include <stdbool.h>

#include "recfile.h"

uint64_t toggle_set_time(struct rec_header *header, uint32_t i)
{
    uint64_t *at = &header->toggle_ticks[i % REC_TOGGLES], ticks = 0;

    /* The count may lie in this processor's store buffer yet, for a microsecond or three: what others do meanwhile, who
     * cannot see it, would come after the time that is read here. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t now = recfile_now(header->clock);
    return __atomic_compare_exchange_n(at, &ticks, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? now : ticks;
}

void toggle_append(struct rec_header *header)
{
    uint32_t n = __atomic_load_n(&header->n_toggles, __ATOMIC_ACQUIRE);
    uint64_t paused = n ? header->toggle_paused_ticks[(n - 1) % REC_TOGGLES] : 0;

    if (n) {
        uint64_t last = toggle_set_time(header, n - 1); /* if a command was killed before it had said */
        if (n % 2 == 0)
            paused += last - header->toggle_ticks[(n - 2) % REC_TOGGLES];
    }
    __atomic_store_n(&header->toggle_ticks[n % REC_TOGGLES], 0, __ATOMIC_RELAXED);
    header->toggle_paused_ticks[n % REC_TOGGLES] = paused;
    __atomic_store_n(&header->n_toggles, n + 1, __ATOMIC_RELEASE);
    toggle_set_time(header, n);
}
