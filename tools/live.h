/* SPDX-License-Identifier: MIT */
/*
 * live.h - what this machine knows of a recorded process: whether it still runs, and what time it is on its clock.
 */
#ifndef GILSCOPE_LIVE_H
#define GILSCOPE_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

/* A moment, read on both clocks at once. */
struct live_now {
    uint64_t ticks;  /* of the recording's clock */
    int64_t mono_ns; /* CLOCK_MONOTONIC */
};

/* True if the recording was made since this machine was started, so that its ticks can be compared with now. */
bool live_same_boot(const struct rec_header *header);

/* Reads both clocks.  False where this machine does not have the recording's clock (enum rec_clock). */
bool live_read_now(uint32_t clock, struct live_now *now);

/* The PID by which this process sees the recorded one, 0 if it does not run any more (a zombie has ended, too), or runs
 * elsewhere.  A process in another PID namespace is looked for by its start time. */
int live_pid(const struct rec_header *header);

/* False if the process does not have a file of this name (without directories) mapped: it has gone on to another
 * program by exec since.  True if that cannot be found out. */
bool live_has_mapped(int pid, const char *name);

/* A thread's time on a processor and its time on a run queue, in ns, by /proc/PID/task/TID/schedstat; pid and tid as
 * this process sees them.  False if there is no such thread or the kernel does not say. */
bool live_schedstat(int pid, uint32_t tid, uint64_t *oncpu_ns, uint64_t *run_delay_ns);

/* CPU time of all threads that a process has and has had, in ns; pid as this process sees it.  0 if it is gone. */
uint64_t live_process_cpu_ns(int pid);

#endif
