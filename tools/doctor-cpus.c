/* SPDX-License-Identifier: MIT */
/* doctor-cpus.c - the processors that a process may use. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdbool.h>

#include "cpu-limit.h"
#include "doctor.h"
#include "format.h"

void doctor_cpus(int pid)
{
    struct cpu_limit limit;
    cpu_set_t set;
    char cpus[FORMAT_BYTES], reached[FORMAT_BYTES], periods[FORMAT_BYTES];

    if (sched_getaffinity(pid, sizeof set, &set))
        return;
    cpu_limit_read((uint32_t)pid, &limit);
    int n = CPU_COUNT(&set);
    bool limited = limit.milli && limit.milli < 1000u * (unsigned)n;
    format_cpus_of(cpus, (uint32_t)n, (double)limit.milli / 1000);
    if (!limited)
        doctor_line("processors", DOCTOR_OK, "%s, not limited by a control group", cpus);
    else if (!limit.n_periods)
        doctor_line("processors", DOCTOR_NOTE, "%s by a control group", cpus);
    else
        doctor_line("processors", DOCTOR_NOTE, "%s by a control group, which reached that in %s of %s periods so far",
                    cpus, format_count(reached, limit.n_throttled), format_count(periods, limit.n_periods));
}
