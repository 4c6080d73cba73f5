/* SPDX-License-Identifier: MIT */
/*
 * verdict-speedup.c - how much faster the same program could be if its threads did not wait for the GIL.
 *
 * Two things bound it from above: the processors have the same work to do, and no thread can do its own part in less
 * than its own time.  From below: while threads wait (at least as long as the one that waits most, and at least as long
 * as all waiting divided by those that wait), waiters and holder would have run side by side.
 */
#include <math.h>

#include "verdict-facts.h"

/* What finer locks cost the same program, taken off the lower bound. */
#define FINER_LOCKS 0.95

static double most(double a, double b)
{
    return a > b ? a : b;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* The time before the main thread starts the first other one, and after the last has ended: nobody waits then, and no
 * other thread's part can be done then. */
static double time_alone(const struct model_process *process)
{
    double first = (double)process->wall_ns, last = 0, longest = 0;

    for (size_t i = 0; i < process->n_threads; i++) {
        const struct model_thread *thread = &process->threads[i];
        if (thread->folded) /* when they lived is not known */
            return 0;
        if (thread->main)
            continue;
        first = least(first, (double)thread->start_ns);
        last = most(last, (double)(thread->start_ns + thread->wall_ns));
        longest = most(longest, (double)thread->wall_ns);
    }
    return most(0, (double)process->wall_ns - most(last - first, longest));
}

/* The time that the threads' own parts need: what they waited for the GIL, and for each other's results, is left out.
 * A thread that sleeps all along, or does next to nothing in between, may be one whose sleep nobody would have to wait
 * for (it accepts connections, is a timer's, or of a pool that a library keeps), or one that fetches one thing after
 * the other: it has a part of its own for the lower end of what would be gained, not for the upper.  Recordings of
 * earlier versions do not tell whether it slept for native threads: there it has one for both. */
static double longest_own_time(const struct verdict_facts *facts, double worth, bool sleepers)
{
    const struct model_process *process = facts->process;
    double longest = 0, alone = time_alone(process);

    for (size_t i = 0; i < process->n_threads; i++) {
        const struct model_thread *thread = &process->threads[i];
        double waits = (double)(thread->wait_ns + thread->states.wait_forced_ns);
        double awaits = (double)thread->lock_wait_ns - verdict_thread_lock_wait(process, thread);
        if (!thread->folded && (sleepers || verdict_is_worker(facts, thread)))
            longest = most(longest, (thread->main ? 0 : alone) + (double)thread->wall_ns - waits * worth - awaits);
    }
    return longest;
}

/* The time during which somebody waited: at least as long as the thread that waited most, and as all waiting divided by
 * those that wait at once.  These are the ones that take a real part in it, by their shares, but for the one that holds
 * the GIL meanwhile. */
static double contended_time(const struct verdict_facts *facts)
{
    const struct model_process *process = facts->process;
    double blocked = 0, squares = 0, longest = 0, n;

    for (size_t i = 0; i < process->n_threads; i++) {
        double wait = (double)process->threads[i].states.wait_blocked_ns;
        blocked += wait;
        squares += wait * wait;
        longest = most(longest, process->threads[i].folded ? 0 : wait);
    }
    n = squares > 0 ? blocked * blocked / squares : 0;
    return least(facts->wall, n > 2 ? most(longest, blocked / (n - 1)) : longest);
}

static double rounded(double speedup)
{
    return floor(speedup * 100 + 0.5) / 100;
}

void verdict_speedup(const struct verdict_facts *facts, struct verdict *verdict)
{
    double n_cpus = facts->process->usable_cpus, wall = facts->wall;
    /* Where processors are what is short, who waited for a holder without one would have lacked one, too. */
    double worth = verdict->class == VERDICT_CPU_STARVED ? facts->had_processor : 1;
    double blocked = (double)facts->process->totals.states.wait_blocked_ns * worth;
    double contended = contended_time(facts) * worth, bound, side_by_side, high, low;
    bool told = facts->process->totals.has_native_cpu;

    verdict->speedup_low = verdict->speedup_high = 1;
    if (wall <= 0 || contended <= 0)
        return;
    bound = most(wall / n_cpus, facts->process->totals.oncpu_cpus * wall / n_cpus);
    bound = most(bound, wall - least(wall, blocked)); /* what nobody waited in stays as it is */
    side_by_side = least(n_cpus, 1 + blocked / contended);
    high = most(1, wall / most(bound, longest_own_time(facts, worth, !told)));
    bound = most(bound, longest_own_time(facts, worth, true));
    low = most(1, wall / most(bound, wall - contended + contended / side_by_side) * FINER_LOCKS);
    verdict->speedup_high = rounded(high);
    verdict->speedup_low = rounded(least(low, high));
}
