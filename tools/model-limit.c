/* SPDX-License-Identifier: MIT */
/* model-limit.c - the limit of a process's control group, and in how many periods it was reached. */
#include "cpu-limit.h"
#include "model-build.h"

void build_cpu_limit(struct build *build)
{
    struct rec_header h = build->file->header;
    struct model_process *process = build->process;

    process->cpu_limit = (double)h.cpu_limit_milli / 1000;
    process->usable_cpus = process->cpus;
    if (process->cpu_limit <= 0)
        return;
    if (process->cpu_limit < process->usable_cpus)
        process->usable_cpus = process->cpu_limit;
    if (build->running)
        cpu_limit_end((uint32_t)build->file->pid_here, &h);
    if (h.cpu_end_periods <= h.cpu_start_periods || h.cpu_end_throttled < h.cpu_start_throttled)
        return;
    process->n_limit_periods = h.cpu_end_periods - h.cpu_start_periods;
    process->n_limit_reached = h.cpu_end_throttled - h.cpu_start_throttled;
    if (process->n_limit_reached > process->n_limit_periods)
        process->n_limit_reached = process->n_limit_periods;
}
