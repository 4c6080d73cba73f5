/* SPDX-License-Identifier: MIT */
/*
 * verdict-processors.c - who had the processors that threads lacked: the process itself, others of the recording, or
 * somebody else.
 */
#include "format.h"
#include "model.h"
#include "verdict-words.h"

#define BUSY_SHARE 0.8       /* of the processors: there is next to nothing left of them */
#define BESIDE_SHARE 0.25    /* of the processors that the process did not use: these others are worth naming */
#define SERIAL_SHARE 0.75    /* of the time: with the GIL held, more processors are not worth much */
#define OFTEN_BUSY_SHARE 0.5 /* of the processors, on average: at times there may be nothing left of them */

/* Whether the process's own threads may be the ones that have the processors which others of them lack: at times, where
 * on average there is something left of them, and then only if there are more threads that compute than processors. */
static bool competes_with_itself(const struct verdict_facts *facts)
{
    const double used = facts->process->totals.oncpu_cpus, usable = facts->process->usable_cpus;

    return used > BUSY_SHARE * usable ||
           (used > OFTEN_BUSY_SHARE * usable && (facts->n_workers > usable || facts->native_share >= NATIVE_SHARE));
}

/* Whether the other processes of the recording had a good part of the processors that this one lacked. */
static bool lacks_for_recorded(const struct verdict_facts *facts)
{
    const struct model_process *process = facts->process;
    const double left = process->usable_cpus - process->totals.oncpu_cpus;

    return !facts->at_limit && left > 0 && process->beside_cpus > BESIDE_SHARE * left;
}

/* Whether the processes of the recording explain that next to nothing was left of the processors. */
static bool all_is_recorded(const struct verdict_facts *facts)
{
    const struct model_process *process = facts->process;

    return process->totals.oncpu_cpus + process->beside_cpus > BUSY_SHARE * process->usable_cpus;
}

static void tell_recorded(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    const double used = process->totals.oncpu_cpus;
    char cpus[FORMAT_BYTES];

    EVIDENCE(verdict, "%.1f of the %s%s were in use by this process, and %.1f by others of this recording%s.", used,
             format_cpus(cpus, process->usable_cpus),
             process->usable_cpus < process->cpus ? " that its control group may use" : "", process->beside_cpus,
             all_is_recorded(facts) ? "" : ": processes that are not recorded, or a limit, had the rest");
}

void verdict_tell_processors(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_totals *totals = &facts->process->totals;
    const double used = totals->oncpu_cpus, usable = facts->process->usable_cpus;
    char a[FORMAT_BYTES], b[FORMAT_BYTES];

    EVIDENCE(verdict, "Threads ran for %s and could have run for another %s, but had no processor.",
             format_time(a, totals->oncpu_ns), format_time(b, facts->run_delay > 0 ? (uint64_t)facts->run_delay : 0));
    if (facts->at_limit) {
        EVIDENCE(verdict, "This process used %.2f processors, and its control group may use %s of %u.", used,
                 format_cpus(a, usable), facts->process->cpus);
        return;
    }
    if (lacks_for_recorded(facts)) {
        tell_recorded(facts, verdict);
        return;
    }
    EVIDENCE(verdict, "%.1f of the %s%s were in use by this process: %s.", used, format_cpus(a, usable),
             usable < facts->process->cpus ? " that its control group may use" : "",
             used > BUSY_SHARE * usable ? "its own threads compete for them"
             : competes_with_itself(facts)
                 ? "its own threads compete for them at times, or others, or a limit, had the rest"
                 : "others, or a limit, had the rest");
}

/* Where a thread that had a processor held the GIL nearly all the time, the others would have waited for that. */
static void advise_serial(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    const double held = (double)process->totals.held_ns * facts->had_processor / facts->wall;

    if (process->n_gils == 1 && held > SERIAL_SHARE && !facts->at_limit)
        ADVICE(verdict,
               "More processors alone make it %.1f times as fast at best: %.0f %% of the time a thread that had one "
               "held the GIL, for which the others would wait then.",
               held < 1 ? 1 / held : 1.0, 100 * (held < 1 ? held : 1.0));
}

static void advise_processors(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    const bool competes = competes_with_itself(facts);
    char cpus[FORMAT_BYTES];

    format_cpus(cpus, process->usable_cpus);
    if (facts->at_limit)
        ADVICE(verdict,
               "Raise the limit of its control group (%s; docker's --cpus, limits.cpu of Kubernetes): when "
               "that is used up, all threads are stopped until the next period begins.",
               cpus);
    if (competes && facts->native_share >= NATIVE_SHARE)
        ADVICE(verdict,
               "There are more threads that compute than there are processors for (%s), those that extensions start "
               "for themselves "
               "among them: let these start fewer (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, torch.set_num_threads).",
               cpus);
    else if (competes && !facts->at_limit)
        ADVICE(verdict,
               "There are more threads that compute than there are processors for (%s): use fewer threads, or more "
               "processors.",
               cpus);
    if (lacks_for_recorded(facts))
        ADVICE(verdict,
               "The processes of this recording compete with each other for %s: start fewer of them, or give them "
               "more.",
               cpus);
    if (lacks_for_recorded(facts) && all_is_recorded(facts))
        return;
    if (facts->at_limit || process->totals.oncpu_cpus > BUSY_SHARE * process->usable_cpus)
        return;
    if (competes || lacks_for_recorded(facts))
        ADVICE(verdict,
               "If other processes, or a CPU limit (cgroup quota, affinity), take the processors as well: give "
               "this one more, or move the others.");
    else
        ADVICE(verdict, "Other processes, or a CPU limit (cgroup quota, affinity), take the processors: give this one "
                        "more, or move the others.");
}

void verdict_advise_processors(const struct verdict_facts *facts, struct verdict *verdict)
{
    advise_processors(facts, verdict);
    advise_serial(facts, verdict);
}
