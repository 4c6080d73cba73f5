/* SPDX-License-Identifier: MIT */
/* cpu-limit.h - how much of the processors a process's control group lets it use. */
#ifndef GILSCOPE_CPU_LIMIT_H
#define GILSCOPE_CPU_LIMIT_H

#include <stdint.h>

#include "record.h"

#pragma GCC visibility push(hidden)

struct cpu_limit {
    uint32_t milli; /* the lowest limit of the groups that the process is in, as far as this process can see them, in
                       thousandths of a processor; 0 = there is none, or it cannot be read */
    uint64_t n_periods;   /* that group's: in which something of it wanted to run, since it was made */
    uint64_t n_throttled; /* and those in which the limit was reached, so that all of it was stopped */
};

/* Reads it.  pid: 0 = this process.  cpu.max and cpu.stat (cgroup v2), cpu.cfs_quota_us, cpu.cfs_period_us and cpu.stat
 * (v1): Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst of Linux 6.1.  One thread at a time; no
 * memory is allotted; may change errno. */
void cpu_limit_read(uint32_t pid, struct cpu_limit *limit);

/* Enter into a recording's header what there is at its start, and what there is now, at its end or so far.  As above.
 */
void cpu_limit_begin(uint32_t pid, struct rec_header *h);
void cpu_limit_end(uint32_t pid, struct rec_header *h);

/* As cpu_limit_read, by files like /proc/PID/cgroup and /proc/self/mountinfo. */
void cpu_limit_read_from(const char *cgroup, const char *mountinfo, struct cpu_limit *limit);

#pragma GCC visibility pop
#endif
