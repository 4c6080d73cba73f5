/* SPDX-License-Identifier: MIT */
/*
 * brief.c - what a thread may ask of the scheduler without any privilege.
 */
#include "brief.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the shortest that the kernel knows */
#define SLACK_NS 1000ul
#define NICE 10 /* of a processor that two want, a tenth */

/* Whoever wakes up for a short while is let in front of those that run for long: on Linux 6.12 and later, which keep
 * them running else.  include/uapi/linux/sched/types.h, struct sched_attr; no privilege is needed. */
void brief_be(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attributes = {.size = sizeof attributes};

    prctl(PR_SET_TIMERSLACK, SLACK_NS);
    if (!syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) && attributes.policy == 0) {
        attributes.runtime_ns = SLICE_NS;
        syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
}

void brief_give_way(void)
{
    const struct sched_param none = {0};

    errno = 0;
    if (getpriority(PRIO_PROCESS, 0) < NICE && !errno)
        setpriority(PRIO_PROCESS, 0, NICE);
    if (sched_getscheduler(0) == SCHED_OTHER)
        sched_setscheduler(0, SCHED_BATCH, &none);
}
