/* SPDX-License-Identifier: MIT */
/* model-limit.c - the limit of a process's control group, and in how many periods it was reached. */
#include "cpu-limit.h"
#include "model-build.h"

void build_cpu_limit(struct build *build)
{
    const struct rec_header *header = &build->file->header;
    struct model_process *process = build->process;
    uint64_t periods = header->cpu_end_periods, throttled = header->cpu_end_throttled;

    process->cpu_limit = (double)header->cpu_limit_milli / 1000;
    process->usable_cpus = process->cpus;
    if (process->cpu_limit <= 0)
        return;
    if (process->cpu_limit < process->usable_cpus)
        process->usable_cpus = process->cpu_limit;
    if (build->running) {
        struct cpu_limit now;
        cpu_limit_read(build->file->pid_here, &now);
        if (now.milli == header->cpu_limit_milli) {
            periods = now.n_periods;
            throttled = now.n_throttled;
        }
    }
    if (periods <= header->cpu_start_periods || throttled < header->cpu_start_throttled)
        return;
    process->n_limit_periods = periods - header->cpu_start_periods;
    process->n_limit_reached = throttled - header->cpu_start_throttled;
    if (process->n_limit_reached > process->n_limit_periods)
        process->n_limit_reached = process->n_limit_periods;
}
