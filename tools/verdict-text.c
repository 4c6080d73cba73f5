/* SPDX-License-Identifier: MIT */
/*
 * verdict-text.c - the verdict in words: what it is, the numbers behind it, and what can be done.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "mem.h"
#include "verdict-words.h"

#define NAME_BYTES 80
#define WORTH_GAINING 1.1          /* times as fast */
#define WORTH_NAMING_PERCENT 15    /* a holder that others waited less for is one of many */
#define WORTH_TELLING_WAITS 0.1    /* of the time in which threads wanted to run: they waited for the GIL */
#define WORTH_TELLING_STOPPED 0.05 /* of the time, in which the process was stopped */
#define MOSTLY_STOPPED 0.5         /* of the time: nothing about the program can be told from the rest */
#define WORTH_TELLING_LIMIT 0.05   /* of the periods of a control group's limit, in which it was reached */
#define WORTH_TELLING_LOST 0.05    /* of all threads, not measured */

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static const char *time_of(char buffer[FORMAT_BYTES], double ns)
{
    return format_time(buffer, ns > 0 ? (uint64_t)ns : 0);
}

/* "3.0 threads were" */
static const char *threads_were(char buffer[NAME_BYTES], double n)
{
    snprintf(buffer, NAME_BYTES, n >= 0.95 && n < 1.05 ? "%.1f thread was" : "%.1f threads were", n);
    return buffer;
}

/* "next to nobody waited for the GIL", unless somebody did. */
static const char *waited(char buffer[NAME_BYTES], const struct verdict_facts *facts, const char *what)
{
    char were[NAME_BYTES];
    const struct model_totals *totals = &facts->process->totals;

    if (totals->wait_share < WORTH_TELLING_WAITS)
        snprintf(buffer, NAME_BYTES, "next to nobody %s", what);
    else
        snprintf(buffer, NAME_BYTES, "%.20s waiting for the GIL at any moment", threads_were(were, totals->waiting));
    return buffer;
}

/* --- the summary ------------------------------------------------------------------------------------------------ */
static char *summary(const struct verdict_facts *facts, enum verdict_class class)
{
    const struct model_process *process = facts->process;
    char time[FORMAT_BYTES], were[NAME_BYTES];

    switch (class) {
    case VERDICT_GIL_BOUND:
        return mem_print("Threads waited for the GIL for %.0f %% of the time in which they wanted to run; %s waiting "
                         "for it at any moment.",
                         100 * process->totals.wait_share, threads_were(were, process->totals.waiting));
    case VERDICT_GIL_RELEASING:
        /* On one processor, or where each waits for the other's answer, nothing is seen to run at the same time. */
        return mem_print(
            "The work runs %swithout the GIL: %.1f of %s were in use, %.0f %% of that %s.",
            facts->cpus_used >= verdict_limits.parallel_cpus ? "in parallel " : "", process->totals.oncpu_cpus,
            format_cpus(time, process->usable_cpus), 100 * facts->released_share,
            facts->native_share < NATIVE_SHARE ? "in code that had released it" : "in code that did not hold it");
    case VERDICT_IO_BOUND:
        return mem_print("Threads mostly waited for something outside of the program, %.0f times a second: %.2f "
                         "processors were in use, and %s.",
                         facts->rate_per_s, process->totals.oncpu_cpus, waited(were, facts, "waited for the GIL"));
    case VERDICT_LOCK_BOUND:
        return mem_print("Threads waited for locks that other threads had: %s waiting for one at any moment, %.1f for "
                         "the GIL.",
                         threads_were(were, facts->lock_waiting), process->totals.waiting);
    case VERDICT_CPU_STARVED:
        return mem_print(
            "Threads waited for a processor for %.0f %% of the time in which they could have run: %s without "
            "one at any moment.",
            100 * facts->run_delay_share, threads_were(were, facts->delayed));
    case VERDICT_SINGLE_THREADED:
        return mem_print("One thread at a time does the work (%.0f %% of it is %s's), and %s.", 100 * facts->top_share,
                         facts->top->name, waited(were, facts, "waits for the GIL"));
    case VERDICT_IDLE:
        return mem_print("Next to nothing happened: %.2f processors were in use during %s.", process->totals.oncpu_cpus,
                         time_of(time, facts->wall));
    case VERDICT_MIXED:
        break;
    }
    return mem_print(
        "No single cause dominates: at any moment %.1f threads were waiting for the GIL, %.1f for locks and "
        "%.1f for a processor, and %.1f processors were in use.",
        process->totals.waiting, facts->lock_waiting, facts->delayed, process->totals.oncpu_cpus);
}

/* --- evidence --------------------------------------------------------------------------------------------------- */
static void evidence_demand(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_totals *totals = &facts->process->totals;
    char wanted[FORMAT_BYTES], had[FORMAT_BYTES], wakeup[FORMAT_BYTES];

    EVIDENCE(verdict, "Threads wanted the GIL for %s and had it for %s.", format_time(wanted, totals->wanted_ns),
             format_time(had, totals->held_ns));
    if (verdict->class == VERDICT_GIL_BOUND &&
        percent((double)totals->states.wait_wakeup_ns, (double)totals->wait_ns) >= 25)
        EVIDENCE(verdict,
                 "%.0f %% of the waiting (%s) was for a GIL that was free already: waking a thread up takes longer "
                 "than the GIL is held.",
                 percent((double)totals->states.wait_wakeup_ns, (double)totals->wait_ns),
                 format_time(wakeup, totals->states.wait_wakeup_ns));
}

static void evidence_holder(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    const struct model_thread *most = NULL;
    uint64_t blocked_ns = process->totals.states.wait_blocked_ns;
    char part[FORMAT_BYTES], whole[FORMAT_BYTES];

    for (size_t i = 0; i < process->n_threads; i++)
        if (!most || process->threads[i].charged_ns > most->charged_ns)
            most = &process->threads[i];
    if (most && percent((double)most->charged_ns, (double)blocked_ns) >= WORTH_NAMING_PERCENT)
        EVIDENCE(verdict, "%.0f %% of the waiting behind a holder was for %s (%s of %s).",
                 percent((double)most->charged_ns, (double)blocked_ns), most->name, format_time(part, most->charged_ns),
                 format_time(whole, blocked_ns));
}

static uint64_t typical_hold_ns(const struct model_thread *thread)
{
    const struct model_dist *hold = &thread->hold;

    return model_dist_has_quantiles(hold) ? hold->p50_ns : hold->sum_ns / hold->count;
}

/* How many there were, which the sampler does not know. */
static const char *forced_count(char text[FORMAT_BYTES], const struct model_process *process)
{
    char count[FORMAT_BYTES];

    text[0] = 0;
    if (process->totals.forced_switches)
        snprintf(text, FORMAT_BYTES, " (%.20s of them)", format_count(count, process->totals.forced_switches));
    return text;
}

static void evidence_patterns(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    char a[FORMAT_BYTES], b[FORMAT_BYTES], c[FORMAT_BYTES];

    if (facts->sleeper)
        EVIDENCE(verdict,
                 "%s kept the GIL for %s while it was off the processor (%.0f %% of the time that it had it), and "
                 "not for want of one.",
                 facts->sleeper->name, format_time(a, facts->sleeper->states.held_offcpu_ns),
                 percent((double)facts->sleeper->states.held_offcpu_ns, (double)facts->sleeper->held_ns));
    else if (facts->keeper)
        EVIDENCE(verdict, "%s kept the GIL for %s at a time (90th percentile), though others asked for it after %s.",
                 facts->keeper->name, format_time(a, facts->keeper->hold.p90_ns),
                 format_time(b, process->switch_interval_ns));
    if (facts->convoy)
        EVIDENCE(verdict,
                 "Convoy: %s needs the GIL for %s at a time and waited %s for it each time (%" PRIu64
                 " times), behind %s.",
                 facts->convoy->name, format_time(a, typical_hold_ns(facts->convoy)),
                 format_time(b, facts->convoy->wait.p50_ns), facts->convoy->wait.count,
                 facts->convoy_by ? facts->convoy_by->name : "several others that compute");
    if (facts->starved)
        EVIDENCE(verdict,
                 "Starvation: %s was woken for a free GIL %s times and found it taken again (lost wake-ups); its "
                 "longest wait was %s.",
                 facts->starved->name, format_count(a, facts->starved->lost_wakeups),
                 format_time(b, facts->starved->wait.max_ns));
    if ((double)process->totals.states.wait_forced_ns > verdict_limits.forced_share * facts->demand)
        EVIDENCE(verdict, "Forced switches delayed their holders by another %s%s.",
                 format_time(a, process->totals.states.wait_forced_ns), forced_count(b, process));
    if ((double)process->totals.gil_lock_wait_ns > verdict_limits.gil_lock_share * facts->wall)
        EVIDENCE(verdict, "Threads waited %s for other locks while they kept the GIL.",
                 format_time(c, process->totals.gil_lock_wait_ns));
}

static void evidence_locks(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    const struct model_thread *most = NULL;
    double most_ns = 0;
    char a[FORMAT_BYTES], b[FORMAT_BYTES];

    for (size_t i = 0; i < process->n_threads; i++) {
        double ns = verdict_lock_wait_alone(facts, &process->threads[i]);
        if (ns > most_ns) {
            most_ns = ns;
            most = &process->threads[i];
        }
    }
    if (!most)
        return;
    EVIDENCE(verdict, "Threads waited %s for locks in all; %s most of them, for %.0f %% of its time.",
             time_of(a, facts->lock_wait), most->name, percent(most_ns, (double)most->wall_ns));
    EVIDENCE(verdict, "Its median wait for a lock was %s, the longest %s.", format_time(a, most->lock_wait.p50_ns),
             format_time(b, most->lock_wait.max_ns));
}

static void evidence_work(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_totals *totals = &facts->process->totals;
    const struct model_thread *top = facts->top;
    char a[FORMAT_BYTES], b[FORMAT_BYTES], c[FORMAT_BYTES];

    EVIDENCE(verdict, "Threads used %s of CPU time in %s: %s with the GIL and the rest without it.",
             format_time(a, totals->oncpu_ns), time_of(b, facts->wall), format_time(c, totals->states.held_oncpu_ns));
    if (top && totals->oncpu_ns)
        EVIDENCE(
            verdict, "%s did %.0f %% of that.", top->name,
            percent((double)(top->states.held_oncpu_ns + top->states.released_oncpu_ns), (double)totals->oncpu_ns));
    EVIDENCE(verdict, "Threads waited %s for the GIL, %.1f %% of the time in which they wanted to run.",
             format_time(a, totals->wait_ns), 100 * totals->wait_share);
}

static void evidence_native(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_totals *totals = &facts->process->totals;
    char time[FORMAT_BYTES];

    if (facts->native_share >= NATIVE_SHARE)
        EVIDENCE(
            verdict,
            "Native threads, which never take the GIL (those of OpenMP or BLAS, say), used another %s of CPU time: "
            "%.1f processors.",
            format_time(time, totals->native_cpu_ns), (double)totals->native_cpu_ns / facts->wall);
}

static void evidence_lost(const struct verdict_facts *facts, struct verdict *verdict)
{
    if (facts->lost_threads >= WORTH_TELLING_LOST)
        EVIDENCE(verdict,
                 "%.0f %% of the threads were not measured, for want of room: they held the GIL, waited for it and ran "
                 "besides what is told here.",
                 100 * facts->lost_threads);
}

static void evidence_waiting(const struct verdict_facts *facts, struct verdict *verdict)
{
    EVIDENCE(verdict, "Threads let the GIL go for 0.1 ms or longer %.1f times a second.", facts->rate_per_s);
}

static void evidence_limit(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    char periods[FORMAT_BYTES], reached[FORMAT_BYTES];

    if (facts->limit_reached >= WORTH_TELLING_LIMIT)
        EVIDENCE(verdict,
                 "In %s of %s periods the limit was reached, and all threads were stopped to the period's end.",
                 format_count(reached, process->n_limit_reached), format_count(periods, process->n_limit_periods));
}

static void evidence_stopped(const struct verdict_facts *facts, struct verdict *verdict)
{
    char stopped[FORMAT_BYTES], wall[FORMAT_BYTES];

    if (facts->stopped >= WORTH_TELLING_STOPPED)
        EVIDENCE(
            verdict,
            "The process was stopped, by a signal or a debugger, for %s of %s: what its threads were at then, such "
            "as holding the GIL or waiting for it, went on for so long.",
            format_time(stopped, facts->process->stopped_ns), time_of(wall, facts->wall));
}

/* --- advice ----------------------------------------------------------------------------------------------------- */
/* "1.4 to 2.0", or one number where both would read the same. */
static const char *range(char buffer[FORMAT_BYTES], double low, double high)
{
    char high_text[FORMAT_BYTES];

    snprintf(buffer, FORMAT_BYTES, "%.1f", low);
    snprintf(high_text, sizeof high_text, "%.1f", high);
    if (strcmp(buffer, high_text))
        snprintf(buffer, FORMAT_BYTES, "%.1f to %.1f", low, high);
    return buffer;
}

static void advise_gil(const struct verdict_facts *facts, struct verdict *verdict)
{
    char speedup[FORMAT_BYTES], cpus[FORMAT_BYTES], *first = verdict_look_first(facts->process);

    if (first)
        verdict_add(verdict->advice, &verdict->n_advice, first);
    if (facts->sleeper) {
        ADVICE(verdict,
               "Find what %s calls while it sleeps: an extension that waits must release the GIL "
               "(Py_BEGIN_ALLOW_THREADS); until it does, put that work into a process of its own.",
               facts->sleeper->name);
    } else if (facts->keeper && facts->process->stacks.n_calls) {
        ADVICE(verdict,
               "%s runs native code that keeps the GIL: have it released around long computations "
               "(Py_BEGIN_ALLOW_THREADS, `nogil` in Cython), call it on less data at a time, or move it to "
               "another process.",
               facts->keeper->name);
    } else if (facts->keeper) { /* nothing is known that could let go of it */
        ADVICE(
            verdict,
            "%s makes calls that keep the GIL for long: an extension's can release it around long computations "
            "(Py_BEGIN_ALLOW_THREADS, `nogil` in Cython); the interpreter's own, such as sort(), re or gc.collect(), "
            "cannot: call them on less data at a time, or move them to another process.",
            facts->keeper->name);
    }
    if (facts->keeper && facts->convoy) /* who does not give the GIL up when asked does so no sooner if asked sooner */
        ;
    else if (facts->convoy && facts->convoy_by)
        ADVICE(verdict,
               "Move what %s computes to another process, or lower the switch interval "
               "(sys.setswitchinterval(0.0005)): the other threads get the GIL that much earlier.",
               facts->convoy_by->name);
    else if (facts->convoy)
        ADVICE(verdict,
               "If %s must not wait, lower the switch interval (sys.setswitchinterval(0.0005)): it gets the GIL that "
               "much earlier, at the price of more switches among those that compute.",
               facts->convoy->name);
    if (facts->starved)
        ADVICE(verdict, "Let the busy threads release the GIL less often, or for longer: a release of an instant wakes "
                        "another thread up, but not in time.");
    if (verdict->speedup_high >= WORTH_GAINING)
        ADVICE(verdict,
               "Run the work in processes (multiprocessing, ProcessPoolExecutor), in code that releases the GIL, or "
               "on a free-threaded Python: %s times as fast at best on %s.",
               range(speedup, verdict->speedup_low, verdict->speedup_high),
               format_cpus(cpus, facts->process->usable_cpus));
    else if (facts->at_limit && verdict->class != VERDICT_CPU_STARVED)
        ADVICE(verdict,
               "Its control group may use %s, and it does: without the GIL it would not be faster before "
               "that limit is raised (docker's --cpus, limits.cpu of Kubernetes).",
               format_cpus(cpus, facts->process->usable_cpus));
    else if (facts->process->usable_cpus <= 1)
        ADVICE(
            verdict,
            "It may use %s only%s: without the GIL it would not be faster, but threads would wait less for each other "
            "with fewer of them.",
            facts->process->usable_cpus < 1 ? format_cpus(cpus, facts->process->usable_cpus) : "one processor",
            facts->process->usable_cpus < facts->process->cpus ? ", by the limit of its control group" : "");
    else
        ADVICE(verdict, "Without the GIL the whole would hardly end earlier, but the threads that wait would answer "
                        "sooner: keep long computations out of the process that serves them.");
}

static void advise_locks(struct verdict *verdict)
{
    ADVICE(verdict, "Hold the lock for less: keep I/O, sleeps and long computations out of it, or divide what it "
                    "protects. Without the GIL these threads would wait all the same.");
}

static bool gil_matters(const struct verdict_facts *facts)
{
    return facts->gil_waiting >= verdict_limits.gil_waiting && facts->gil_wait_share >= verdict_limits.gil_wait_share;
}

static bool locks_matter(const struct verdict_facts *facts)
{
    return facts->lock_waiting >= verdict_limits.lock_waiting;
}

static bool processors_matter(const struct verdict_facts *facts)
{
    return facts->delayed >= verdict_limits.run_delay_threads;
}

static void advise_mixed(const struct verdict_facts *facts, struct verdict *verdict)
{
    ADVICE(verdict, "Measure the program's phases one by one: `gilscope pause` and `gilscope resume` delimit them.");
    if (processors_matter(facts))
        verdict_advise_processors(facts, verdict);
    if (locks_matter(facts))
        advise_locks(verdict);
}

static void advise(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;

    switch (verdict->class) {
    case VERDICT_GIL_BOUND:
        break;
    case VERDICT_GIL_RELEASING:
        ADVICE(verdict, "The GIL is no obstacle here; removing it would gain little.");
        if (process->totals.oncpu_cpus < 0.7 * process->usable_cpus)
            ADVICE(verdict, "%.1f processors are not in use: more threads may help%s.",
                   process->usable_cpus - process->totals.oncpu_cpus,
                   facts->cpus_used >= verdict_limits.parallel_cpus ? "" : ", if they do not wait for each other");
        return;
    case VERDICT_IO_BOUND:
        ADVICE(verdict, "Neither the GIL nor the processors are the limit: look at what is waited for, or keep more "
                        "requests in flight (threads or asyncio).");
        break;
    case VERDICT_LOCK_BOUND:
        advise_locks(verdict);
        break;
    case VERDICT_CPU_STARVED:
        verdict_advise_processors(facts, verdict);
        break;
    case VERDICT_SINGLE_THREADED:
        ADVICE(verdict,
               "Removing the GIL would gain nothing by itself: make the work of this thread faster, or divide it "
               "(among processes, or threads that release the GIL).");
        break;
    case VERDICT_IDLE:
        ADVICE(verdict, "There is nothing to gain here: measure again under load.");
        break;
    case VERDICT_MIXED:
        advise_mixed(facts, verdict);
        break;
    }
    if (gil_matters(facts) || facts->convoy || facts->starved || facts->sleeper)
        advise_gil(facts, verdict);
}

void verdict_describe(const struct verdict_facts *facts, struct verdict *verdict)
{
    verdict->summary = summary(facts, verdict->class);
    switch (verdict->class) {
    case VERDICT_GIL_BOUND:
        evidence_demand(facts, verdict);
        evidence_holder(facts, verdict);
        break;
    case VERDICT_LOCK_BOUND:
        evidence_locks(facts, verdict);
        verdict_tell_lock_places(facts, verdict);
        evidence_demand(facts, verdict);
        break;
    case VERDICT_CPU_STARVED:
        verdict_tell_processors(facts, verdict);
        evidence_limit(facts, verdict);
        evidence_demand(facts, verdict);
        break;
    case VERDICT_IO_BOUND:
    case VERDICT_IDLE:
        evidence_waiting(facts, verdict);
        evidence_work(facts, verdict);
        break;
    case VERDICT_GIL_RELEASING:
    case VERDICT_SINGLE_THREADED:
        evidence_work(facts, verdict);
        break;
    case VERDICT_MIXED:
        evidence_demand(facts, verdict);
        if (locks_matter(facts)) {
            evidence_locks(facts, verdict);
            verdict_tell_lock_places(facts, verdict);
        }
        if (processors_matter(facts))
            verdict_tell_processors(facts, verdict);
        break;
    }
    if (verdict->class != VERDICT_CPU_STARVED)
        evidence_limit(facts, verdict);
    evidence_lost(facts, verdict);
    evidence_stopped(facts, verdict);
    evidence_native(facts, verdict);
    evidence_patterns(facts, verdict);
    if (facts->stopped < MOSTLY_STOPPED)
        advise(facts, verdict);
    if (facts->stopped >= WORTH_TELLING_STOPPED)
        ADVICE(verdict, "Measure again while it runs: the times in which it was stopped are in all figures.");
}
