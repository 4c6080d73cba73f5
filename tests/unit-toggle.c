/* SPDX-License-Identifier: MIT */
/*
 * unit-toggle.c - a pause or resume has its time after everything that was done by those who could not know of it yet: on
 * another processor, a thread reads the clock and looks at the count all the time.  (Where there is no other one, this
 * cannot fail.)
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "recfile.h"
#include "toggle.h"
#include "unit-check.h"

enum { TOGGLES = 20000, SPINS = 3000 };

static struct rec_header header __attribute__((aligned(4096)));
static uint64_t last_before[TOGGLES]; /* the last moment at which the thread did not know of it */

/* Keeps the calling thread on the nth of the processors that it may use, if there are so many. */
static void stay_on(int nth)
{
    cpu_set_t all, one;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && nth-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&one))
        sched_setaffinity(0, sizeof one, &one);
}

static void *look(void *unused)
{
    uint32_t seen = 0;
    uint64_t last = 0;

    stay_on(1);
    while (seen < TOGGLES) {
        uint64_t now = recfile_now(header.clock);
        uint32_t n = __atomic_load_n(&header.n_toggles, __ATOMIC_RELAXED);
        for (; seen < n; seen++)
            last_before[seen] = last;
        last = now;
    }
    return unused;
}

int main(void)
{
    static uint64_t at[TOGGLES];
    pthread_t thread;
    unsigned early = 0;
    volatile unsigned spins;

    header.clock = recfile_now(REC_CLOCK_TSC) ? REC_CLOCK_TSC : REC_CLOCK_MONOTONIC;
    if (pthread_create(&thread, NULL, look, NULL))
        return 99;
    stay_on(0);
    for (uint32_t i = 0; i < TOGGLES; i++) {
        for (spins = 0; spins < SPINS;)
            spins++;
        toggle_append(&header);
        at[i] = toggle_set_time(&header, i);
    }
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < TOGGLES; i++)
        early += at[i] < last_before[i];
    CHECK_NUMBER(early, 0);
    return check_result();
}
