/* SPDX-License-Identifier: MIT */
/*
 * verdict-facts.c - boils a process down to the few quantities that tell the situations apart.
 */
#include "verdict-facts.h"

#include <string.h>

#define SLICE_NS 3e6            /* for which the kernel lets a thread run while others want to, roughly */
#define WAKE_UP_NS 5e4          /* an idle processor, of a virtual machine, needs that long to go on with a thread */
#define INTERVAL_DEFAULT_NS 5e6 /* CPython's switch interval */
#define CONVOY_SHARE 0.7        /* of what a thread waits behind holders: it is held up by one, and not by two */
#define WORKER_SHARE 0.1        /* of the busiest thread's work: who does less takes no part in it */

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double switch_interval(const struct model_process *process)
{
    return process->switch_interval_ns ? (double)process->switch_interval_ns : INTERVAL_DEFAULT_NS;
}

static double thread_work(const struct model_thread *thread)
{
    return (double)(thread->states.held_oncpu_ns + thread->states.released_oncpu_ns);
}

bool verdict_is_worker(const struct verdict_facts *facts, const struct model_thread *thread)
{
    double top_work = facts->top ? thread_work(facts->top) : 0;
    double work = thread_work(thread) - (thread->main && thread != facts->top ? facts->startup : 0);

    return top_work > 0 && work >= WORKER_SHARE * top_work;
}

/* Thread.join() waits on a lock, too, and is no contention.  It cannot be told from a lock wait by itself, but a thread
 * that only starts and joins others waits at most twice for each of them. */
static bool may_be_joins(const struct model_process *process, const struct model_thread *thread)
{
    uint64_t n_others = process->n_threads_ever > process->n_threads ? process->n_threads_ever : process->n_threads;

    return thread->main && thread->lock_wait.count <= 2 * n_others;
}

double verdict_thread_lock_wait(const struct model_process *process, const struct model_thread *thread)
{
    if (may_be_joins(process, thread))
        return 0;
    return (double)(thread->lock_wait_ns - thread->notify_wait_ns);
}

/* A thread that waits for the GIL wakes up once in a switch interval to ask for it; if it has no processor for that,
 * nothing is lost.  What counts are the delays after waits, after releases, and when the processor was taken away; each
 * kind is given its share by how often it can have happened.  And to wake up takes its time on an idle processor, too:
 * that much after each sleep is no want of processors. */
static double missing_processor(const struct verdict_facts *facts, const struct model_thread *thread, double *preempted)
{
    const struct model_process *process = facts->process;
    const struct model_states *states = &thread->states;
    uint64_t usable_ns = states->held_offcpu_ns + states->released_offcpu_ns + states->wait_wakeup_ns;
    double n_slices = thread_work(thread) / SLICE_NS;
    double n_useful = (double)(thread->contended + thread->long_released.count) + n_slices;
    double n_idle = ratio((double)states->wait_blocked_ns, switch_interval(process));
    double n_woken = (double)(thread->contended + thread->long_released.count);
    /* Where a limit stops a thread on its way to its end, or all of them are killed, nobody has asked for its delay. */
    uint64_t delay_ns = facts->at_limit && !thread->run_delay_ns ? states->held_offcpu_ns : thread->run_delay_ns;
    double delay = (double)delay_ns * ratio(n_useful, n_useful + n_idle) - n_woken * WAKE_UP_NS;

    delay = least(most(0, delay), (double)usable_ns);
    *preempted = delay * ratio(n_slices, n_useful);
    return delay;
}

/* A thread whose lock has been let go has to wait for a processor before it can go on, and its wait for the lock seems
 * to last until then.  It was off the processor without the GIL for one of the two at a time: what they add up to
 * beyond that was the processor.  Of its want of one, what may have been with the GIL, or on the way to it, is left
 * out. */
double verdict_lock_wait_alone(const struct verdict_facts *facts, const struct model_thread *thread)
{
    const struct model_states *states = &thread->states;
    double lock_wait = verdict_thread_lock_wait(facts->process, thread), preempted;
    double delay = missing_processor(facts, thread, &preempted);

    delay = most(0, delay - (double)(states->held_offcpu_ns + states->wait_wakeup_ns));
    return lock_wait - least(lock_wait, most(0, lock_wait + delay - (double)states->released_offcpu_ns));
}

static void gather_thread(const struct model_thread *thread, struct verdict_facts *facts)
{
    double lock_wait = verdict_lock_wait_alone(facts, thread), work = thread_work(thread);
    double asleep = (double)thread->states.released_offcpu_ns - lock_wait, preempted;

    facts->lock_wait += lock_wait;
    facts->run_delay += missing_processor(facts, thread, &preempted);
    facts->preempted += preempted;
    if (!facts->top || work > thread_work(facts->top))
        facts->top = thread;
    if (ratio((double)thread->long_released.count, (double)thread->wall_ns / 1e9) >= verdict_limits.io_rate_per_s) {
        facts->io_wait += most(0, asleep - (double)thread->run_delay_ns);
        facts->io_threads_wall += (double)thread->wall_ns;
    }
}

#define MATTERS_NS 1000000
#define MATTERS_PARTS 10 /* shorter ones matter if they take one part in so many of the time, all together */

/* How many of the thread's long intervals without the GIL say that it works with something outside of the program:
 * those of a millisecond or longer, by the quantiles at least so many, or all where they fill its time.  A start-up
 * reads some hundred files, and what then sleeps for good is idle, not bound by these. */
static double that_matter(const struct model_thread *thread)
{
    const struct model_dist *d = &thread->long_released;
    double n = (double)d->count;

    if (!model_dist_has_quantiles(d) || d->p50_ns >= MATTERS_NS ||
        n * (double)d->p50_ns * MATTERS_PARTS >= (double)thread->wall_ns)
        return n;
    return d->p90_ns >= MATTERS_NS ? n * 0.1 : d->p99_ns >= MATTERS_NS ? n * 0.01 : 0;
}

/* Waiting for a holder that itself waits for a processor is a want of processors; so is a wake-up while others run.
 * Where neighbours have the processors, threads that ran in place of waiting would get more of them; where a limit is
 * reached, they would not: then all such waiting is for processors. */
static void set_gil_wait(struct verdict_facts *facts, const struct model_totals *totals)
{
    const struct model_states *states = &totals->states;
    double delay = most(0, facts->run_delay), preempted;

    if (facts->at_limit) /* of a process that was killed, nobody has asked for the delays */
        delay = (double)(totals->run_delay_ns ? totals->run_delay_ns : states->held_offcpu_ns);
    preempted = least((double)states->held_offcpu_ns, delay);

    facts->had_processor = 1 - ratio(preempted, (double)totals->held_ns);
    if (facts->at_limit)
        facts->limit_wait = (double)states->wait_blocked_ns * (1 - facts->had_processor);
    facts->gil_wait = (double)states->wait_blocked_ns * facts->had_processor +
                      most(0, (double)states->wait_wakeup_ns - facts->run_delay);
}

static void gather_sums(struct verdict_facts *facts)
{
    const struct model_process *process = facts->process;
    const struct model_totals *totals = &process->totals;
    double preempted, all_work = (double)(totals->oncpu_ns + totals->native_cpu_ns);

    facts->wall = (double)process->wall_ns;
    facts->limit_reached = ratio((double)process->n_limit_reached, (double)process->n_limit_periods);
    facts->stopped = ratio((double)process->stopped_ns, facts->wall);
    facts->at_limit = process->usable_cpus < process->cpus &&
                      (totals->oncpu_cpus >= verdict_limits.limit_share * process->cpu_limit ||
                       facts->limit_reached >= verdict_limits.limit_share);
    for (size_t i = 0; i < process->n_threads; i++) {
        const struct model_thread *thread = &process->threads[i];
        gather_thread(thread, facts);
        if (thread->main) {
            /* Of a run that is all start-up, most counts. */
            facts->startup = least(verdict_limits.startup_ns, verdict_limits.startup_share * facts->wall);
            facts->startup = least(facts->startup, (double)thread->states.held_oncpu_ns);
            facts->run_delay -=
                missing_processor(facts, thread, &preempted) * ratio(facts->startup, thread_work(thread));
        }
    }
    /* With the rest of a long run, this makes no difference. */
    facts->work = most(0, all_work - facts->startup);
    facts->demand = most(0, (double)totals->demand_ns - facts->startup);
    set_gil_wait(facts, totals);
    facts->released_work = (double)(totals->states.released_oncpu_ns + totals->native_cpu_ns);
}

static double lost_threads(const struct model_process *process)
{
    for (size_t i = 0; i < process->n_losses; i++)
        if (!strcmp(process->losses[i].cause, "threads"))
            return ratio((double)process->losses[i].count,
                         (double)process->n_threads_ever + (double)process->losses[i].count);
    return 0;
}

static void derive(struct verdict_facts *facts)
{
    const struct model_process *process = facts->process;
    double top_work = facts->top ? thread_work(facts->top) : 0;
    double native_work = (double)process->totals.native_cpu_ns,
           all_work = (double)process->totals.oncpu_ns + native_work;

    facts->gil_wait_share = ratio(facts->gil_wait, facts->demand);
    facts->gil_waiting = ratio(facts->gil_wait, facts->wall);
    facts->lock_wait_share = ratio(facts->lock_wait, facts->lock_wait + facts->demand);
    facts->lock_waiting = ratio(facts->lock_wait, facts->wall);
    facts->run_delay_share = ratio(facts->run_delay, facts->run_delay + (double)process->totals.oncpu_ns);
    facts->delayed = ratio(facts->run_delay, facts->wall);
    facts->lacking = facts->run_delay + facts->limit_wait;
    facts->preempted_threads = ratio(facts->preempted, facts->wall);
    facts->lacking_threads = ratio(facts->lacking, facts->wall);
    facts->lacking_share = ratio(facts->lacking, facts->lacking + (double)process->totals.oncpu_ns);
    facts->cpus_used = ratio(facts->work, facts->wall);
    facts->native_share = ratio(native_work, all_work);
    facts->released_share = ratio(facts->released_work, all_work);
    facts->top_share = ratio(top_work, all_work);
    facts->io_share = ratio(facts->io_wait, facts->io_threads_wall);
    facts->lost_threads = lost_threads(process);
    facts->rate_per_s = ratio((double)process->totals.long_released, facts->wall / 1e9);
    for (size_t i = 0; i < process->n_threads; i++) {
        facts->n_workers += verdict_is_worker(facts, &process->threads[i]);
        facts->matter_per_s += ratio(that_matter(&process->threads[i]), facts->wall / 1e9);
    }
    if (native_work >= WORKER_SHARE * top_work && native_work > 0)
        facts->n_workers++;
}

static double mean(const struct model_dist *dist)
{
    return ratio((double)dist->sum_ns, (double)dist->count);
}

/* The thread for which others waited most, if that is a third of all waiting at least. */
static const struct model_thread *most_waited_for(const struct model_process *process)
{
    const struct model_thread *found = NULL;

    for (size_t i = 0; i < process->n_threads; i++)
        if (!found || process->threads[i].charged_ns > found->charged_ns)
            found = &process->threads[i];
    if (!found || (double)found->charged_ns < (double)process->totals.states.wait_blocked_ns / 3)
        return NULL;
    return found;
}

static void find_keeper(struct verdict_facts *facts, double interval)
{
    const struct model_process *process = facts->process;
    const struct model_thread *thread = most_waited_for(process);
    double asleep, expected_wait, preempted;

    if (!thread || facts->gil_waiting < verdict_limits.gil_waiting / 3)
        return;
    /* To ask, a waiter needs a processor: where the interval is shorter than a slice, it may get none for that long. */
    interval = most(interval, SLICE_NS);
    /* A holder that is asked for the GIL gives it up within an interval; with several waiters each waits for the
     * others' turns, too.  Holds that nobody asked to end are no fault, however long. */
    expected_wait = interval * (1 + facts->gil_waiting);
    /* Where it is not known how long it was ready to run, all that it was off the processor may have been want of one. */
    preempted = least((double)thread->states.held_offcpu_ns,
                      (double)thread->run_delay_ns + (double)thread->run_delay_unknown_ns);
    /* Nor can it give the GIL up while it has no processor, or the process is stopped. */
    double hindered = least((double)thread->states.held_offcpu_ns, preempted + (double)process->stopped_ns);
    if ((double)thread->hold.p90_ns * (1 - ratio(hindered, (double)thread->held_ns)) >
            verdict_limits.long_hold_intervals * interval &&
        ratio((double)process->totals.wait_ns, (double)process->totals.contended) > 1.5 * expected_wait)
        facts->keeper = thread;
    /* What sampling cannot tell from chance is no sleep, nor that the whole process was stopped. */
    asleep = (double)thread->states.held_offcpu_ns - preempted - (double)thread->error_ns - (double)process->stopped_ns;
    if (asleep > verdict_limits.sleeps_share * (double)thread->held_ns && (double)thread->held_ns > 0.05 * facts->wall)
        facts->sleeper = thread;
}

static void find_starved(struct verdict_facts *facts, double interval)
{
    const struct model_process *process = facts->process;

    for (size_t i = 0; i < process->n_threads; i++) {
        const struct model_thread *thread = &process->threads[i];
        double lost = ratio((double)thread->lost_wakeups, most(1, (double)thread->contended));
        if (lost < verdict_limits.lost_per_contended ||
            (double)thread->wait.max_ns < verdict_limits.starved_intervals * interval)
            continue;
        if (!facts->starved || thread->lost_wakeups > facts->starved->lost_wakeups)
            facts->starved = thread;
    }
}

/* The holder, if most of what the waiter waited behind holders was for it: of several that compute, none is the one. */
static const struct model_thread *most_of_all(const struct model_thread *waiter, const struct model_thread *holder,
                                              uint64_t ns)
{
    return (double)ns >= CONVOY_SHARE * (double)waiter->states.wait_blocked_ns ? holder : NULL;
}

/* How long a thread has the GIL between two waits for it.  The mean of its holds does not tell: a start-up of a
 * thousand short ones makes it short for a thread that computes for the rest of its time, too. */
static double held_for_each_wait(const struct verdict_facts *facts, const struct model_thread *thread)
{
    return ratio((double)thread->held_ns - (thread->main ? facts->startup : 0), (double)thread->wait.count);
}

/* A thread that needs the GIL for moments only and gets it after an interval each time, because others compute. */
static void find_convoy(struct verdict_facts *facts, double interval)
{
    const struct model_process *process = facts->process;

    for (size_t i = 0; i < process->n_pairs; i++) {
        const struct model_thread *waiter = model_find_thread(process, process->pairs[i].waiter);
        const struct model_thread *holder = model_find_thread(process, process->pairs[i].holder);
        if (!waiter || !holder || (double)waiter->wait_ns < 0.02 * facts->wall)
            continue;
        if (mean(&waiter->hold) < 0.1 * interval && held_for_each_wait(facts, waiter) < 0.5 * interval &&
            mean(&waiter->wait) > 0.5 * interval && mean(&holder->hold) > 0.5 * interval && waiter->wait.count >= 10) {
            facts->convoy = waiter;
            facts->convoy_by = most_of_all(waiter, holder, process->pairs[i].ns);
            return;
        }
    }
}

void verdict_gather(const struct model_process *process, struct verdict_facts *facts)
{
    double interval = switch_interval(process);

    memset(facts, 0, sizeof *facts);
    facts->process = process;
    gather_sums(facts);
    derive(facts);
    find_keeper(facts, interval);
    find_starved(facts, interval);
    find_convoy(facts, interval);
}
