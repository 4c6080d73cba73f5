/* SPDX-License-Identifier: MIT */
/*
 * verdict.c - decides which situation a process is in.
 *
 * Contention is never inferred from utilisation: first comes what threads were seen waiting for, then, if that is
 * little, what they did.
 */
#include "verdict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "verdict-facts.h"

const struct verdict_limits verdict_limits = {
    .startup_ns = 100e6,
    .startup_share = 0.10,
    .gil_wait_share = 0.20,
    .gil_waiting = 0.15,
    .lock_wait_share = 0.25,
    .lock_waiting = 0.15,
    .run_delay_share = 0.25,
    .run_delay_threads = 0.30,
    .runner_up = 0.67,
    .limit_share = 0.90,
    .saturated_share = 0.95,
    .saturated_waiting = 1,
    .idle_cpus = 0.10,
    .idle_rate_per_s = 25,
    .io_cpus = 0.50,
    .io_share = 0.50,
    .io_rate_per_s = 2,
    .parallel_cpus = 1.2,
    .released_share = 0.30,
    .native_share = 0.50,
    .one_thread_share = 0.70,
    .lost_per_contended = 5,
    .starved_intervals = 10,
    .long_hold_intervals = 3,
    .sleeps_share = 0.30,
    .forced_share = 0.05,
    .gil_lock_share = 0.02,
};

/* A run that is shorter says little. */
#define SURE_AFTER_NS 1e9

/* A cause of waiting: how much, and how far beyond its thresholds (1 = just there). */
struct cause {
    enum verdict_class class;
    double ns;
    double strength;
};
#define N_CAUSES 3

const char *verdict_name(enum verdict_class class)
{
    static const char *const names[] = {
        [VERDICT_GIL_BOUND] = "gil-bound",
        [VERDICT_GIL_RELEASING] = "gil-releasing",
        [VERDICT_IO_BOUND] = "io-bound",
        [VERDICT_LOCK_BOUND] = "lock-bound",
        [VERDICT_CPU_STARVED] = "cpu-starved",
        [VERDICT_SINGLE_THREADED] = "single-threaded",
        [VERDICT_IDLE] = "idle",
        [VERDICT_MIXED] = "mixed",
    };
    return names[class];
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* How often a threshold fits into a value, or with at_most, a value into its threshold; between 0 and 10. */
static double beyond(double value, double threshold)
{
    return least(10, value / threshold);
}

static double within(double value, double threshold)
{
    return value * 10 > threshold ? threshold / value : 10;
}

static int stronger_first(const void *a, const void *b)
{
    const struct cause *x = a, *y = b;
    int x_there = x->strength >= 1, y_there = y->strength >= 1;

    if (x_there != y_there)
        return y_there - x_there;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static void weigh_causes(const struct verdict_facts *facts, struct cause causes[N_CAUSES])
{
    const struct verdict_limits *limits = &verdict_limits;

    causes[0] = (struct cause){
        VERDICT_GIL_BOUND,
        facts->gil_wait,
        least(beyond(facts->gil_wait_share, limits->gil_wait_share), beyond(facts->gil_waiting, limits->gil_waiting)),
    };
    causes[1] = (struct cause){
        VERDICT_LOCK_BOUND,
        facts->lock_wait,
        least(beyond(facts->lock_wait_share, limits->lock_wait_share),
              beyond(facts->lock_waiting, limits->lock_waiting)),
    };
    causes[2] = (struct cause){
        VERDICT_CPU_STARVED,
        facts->lacking,
        least(beyond(facts->lacking_share, limits->run_delay_share),
              beyond(facts->lacking_threads, limits->run_delay_threads)),
    };
    /* Who has next to nothing to do does not lack processors, however late each wake-up is; unless that is all that it
     * gets of them. */
    if (!facts->at_limit && facts->preempted_threads < limits->idle_cpus)
        causes[2].strength = least(causes[2].strength, beyond(facts->cpus_used, limits->idle_cpus));
    qsort(causes, N_CAUSES, sizeof *causes, stronger_first);
}

/* Nobody waits much for the GIL, a lock or a processor: what do the threads do?  Sets how clear that is. */
static enum verdict_class judge_work(const struct verdict_facts *facts, double *strength)
{
    const struct verdict_limits *limits = &verdict_limits;
    bool shared = facts->n_workers > 1 && facts->top_share < limits->one_thread_share;

    if (facts->cpus_used < limits->idle_cpus) {
        *strength = within(facts->cpus_used, limits->idle_cpus);
        if (facts->matter_per_s < limits->idle_rate_per_s) {
            *strength = least(*strength, within(facts->matter_per_s, limits->idle_rate_per_s));
            return VERDICT_IDLE;
        }
        *strength = least(*strength, beyond(facts->matter_per_s, limits->idle_rate_per_s));
        return VERDICT_IO_BOUND;
    }
    if (shared && facts->released_share >= limits->released_share && facts->cpus_used >= limits->parallel_cpus) {
        *strength = least(beyond(facts->cpus_used, limits->parallel_cpus),
                          beyond(facts->released_share, limits->released_share));
        return VERDICT_GIL_RELEASING;
    }
    /* Who sleeps meanwhile waits for that work, not for something outside of the program. */
    if (shared && facts->native_share >= limits->native_share) {
        *strength =
            least(beyond(facts->native_share, limits->native_share), beyond(facts->cpus_used, limits->idle_cpus));
        return VERDICT_GIL_RELEASING;
    }
    if (facts->cpus_used < limits->io_cpus && facts->io_share >= limits->io_share &&
        facts->rate_per_s >= limits->io_rate_per_s) {
        *strength = least(within(facts->cpus_used, limits->io_cpus), beyond(facts->io_share, limits->io_share));
        return VERDICT_IO_BOUND;
    }
    /* On one processor, or when there is not always something to do, parallel work does not add up to more. */
    if (shared && facts->released_share >= 0.5) {
        *strength = beyond(facts->released_share, 0.5);
        return VERDICT_GIL_RELEASING;
    }
    if (!shared || facts->cpus_used < limits->parallel_cpus) {
        *strength = least(beyond(facts->cpus_used, limits->idle_cpus),
                          shared ? within(facts->cpus_used, limits->parallel_cpus)
                                 : beyond(facts->top_share, limits->one_thread_share) * 2);
        return VERDICT_SINGLE_THREADED;
    }
    *strength = 1;
    return VERDICT_MIXED;
}

static bool is_one_of(const char *text, const char *const *texts)
{
    while (*texts && strcmp(text, *texts))
        texts++;
    return *texts != NULL;
}

/* 0.5 on a threshold, towards 1 far from it; less after a short run, with losses, or if another cause comes close. */
static double confidence(const struct verdict_facts *facts, double strength, double rival)
{
    const struct model_process *process = facts->process;
    static const char *const harmless[] = {"names_unread", "threads_folded", "stacks", "stacks_unread", NULL};
    double sure = 1 - 0.5 / pow(strength > 1 ? strength : 1, 1.5);

    sure *= 1 - 0.3 * least(1, rival) * least(1, rival);
    if (facts->wall < SURE_AFTER_NS)
        sure *= 0.6 + 0.4 * facts->wall / SURE_AFTER_NS;
    for (size_t i = 0; i < process->n_losses; i++)
        if (!is_one_of(process->losses[i].cause, harmless))
            sure *= 0.9;
    sure *= 1 - facts->lost_threads;
    sure *= facts->stopped < 1 ? 1 - facts->stopped : 0;
    return floor(least(0.99, sure) * 100 + 0.5) / 100;
}

/* A GIL that is never free and always waited for limits the whole: who waits for a lock or a queue meanwhile, waits for
 * threads that wait for the GIL. */
static bool is_saturated(const struct verdict_facts *facts, const struct cause causes[N_CAUSES])
{
    const struct model_process *process = facts->process;
    const enum verdict_class other = causes[causes[0].class == VERDICT_GIL_BOUND].class;

    return (causes[0].class == VERDICT_GIL_BOUND || causes[1].class == VERDICT_GIL_BOUND) &&
           other == VERDICT_LOCK_BOUND && process->n_gils == 1 &&
           (double)process->totals.held_ns >= verdict_limits.saturated_share * facts->wall &&
           facts->gil_waiting >= verdict_limits.saturated_waiting;
}

static void judge(const struct verdict_facts *facts, struct verdict *verdict)
{
    struct cause causes[N_CAUSES];
    double strength, rival;

    weigh_causes(facts, causes);
    const bool is_close = causes[1].strength >= 1 && causes[1].ns >= verdict_limits.runner_up * causes[0].ns;
    if (causes[0].strength < 1) {
        verdict->class = judge_work(facts, &strength);
        rival = 0;
        for (int i = 0; i < N_CAUSES; i++)
            rival = rival > causes[i].strength ? rival : causes[i].strength;
    } else if (is_close && is_saturated(facts, causes)) {
        verdict->class = VERDICT_GIL_BOUND;
        strength = least(facts->gil_waiting / verdict_limits.saturated_waiting, causes[0].strength);
        rival = 1;
    } else if (is_close) {
        verdict->class = VERDICT_MIXED;
        strength = causes[1].ns / (verdict_limits.runner_up * causes[0].ns);
        rival = 0;
    } else {
        verdict->class = causes[0].class;
        strength = causes[0].strength;
        rival = causes[1].strength >= 1 ? causes[1].ns / causes[0].ns : 0;
    }
    verdict->confidence = confidence(facts, strength, rival);
}

void verdict_judge(struct model_process *process)
{
    struct verdict *verdict = &process->verdict;
    struct verdict_facts facts;

    verdict->speedup_low = verdict->speedup_high = 1;
    if (!process->n_gils || !process->n_threads) {
        verdict->class = VERDICT_IDLE;
        verdict->summary =
            mem_print("Nothing was measured: %s",
                      process->inert ? process->inert
                      : process->cut ? "its recording was cut short."
                                     : "the interpreter had not got as far as its GIL.");
        return;
    }
    verdict_gather(process, &facts);
    judge(&facts, verdict);
    verdict_speedup(&facts, verdict);
    verdict_describe(&facts, verdict);
}

void verdict_free(struct verdict *verdict)
{
    free(verdict->summary);
    for (size_t i = 0; i < verdict->n_evidence; i++)
        free(verdict->evidence[i]);
    for (size_t i = 0; i < verdict->n_advice; i++)
        free(verdict->advice[i]);
}
