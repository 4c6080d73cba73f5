/* SPDX-License-Identifier: MIT */
/*
 * model-totals.c - sums over a process's threads, shares, and what is too little to be shown.
 */
#include "model-build.h"

/* A thread is minor if it neither wanted to run, nor waited for locks, nor made others wait, for this part of the
 * process's time; a process, if its threads together ran for less than both of the two. */
#define MINOR_THREAD_SHARE 0.002
#define MINOR_PROCESS_NS   200000000
#define MINOR_PROCESS_SHARE 0.01

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void set_thread_shares(struct model_thread *thread)
{
    const struct model_states *states = &thread->states;
    uint64_t wall_ns = thread->wall_ns;

    thread->shares = (struct model_shares){
        .held_oncpu = share(states->held_oncpu_ns, wall_ns),
        .held_offcpu = share(states->held_offcpu_ns, wall_ns),
        .wait_blocked = share(states->wait_blocked_ns, wall_ns),
        .wait_wakeup = share(states->wait_wakeup_ns, wall_ns),
        .wait_forced = share(states->wait_forced_ns, wall_ns),
        .released_oncpu = share(states->released_oncpu_ns, wall_ns),
        .released_offcpu = share(states->released_offcpu_ns, wall_ns),
        .lock_wait = share(thread->lock_wait_ns, wall_ns),
    };
}

static void add_thread(struct model_totals *totals, const struct model_thread *thread)
{
    struct model_states *sum = &totals->states;
    const struct model_states *states = &thread->states;

    sum->held_oncpu_ns += states->held_oncpu_ns;
    sum->held_offcpu_ns += states->held_offcpu_ns;
    sum->wait_blocked_ns += states->wait_blocked_ns;
    sum->wait_wakeup_ns += states->wait_wakeup_ns;
    sum->wait_forced_ns += states->wait_forced_ns;
    sum->released_oncpu_ns += states->released_oncpu_ns;
    sum->released_offcpu_ns += states->released_offcpu_ns;
    totals->wall_ns += thread->wall_ns;
    totals->held_ns += thread->held_ns;
    totals->wait_ns += thread->wait_ns;
    totals->demand_ns += thread->demand_ns;
    totals->lock_wait_ns += thread->lock_wait_ns;
    totals->notify_wait_ns += thread->notify_wait_ns;
    totals->gil_lock_wait_ns += thread->gil_lock_wait_ns;
    totals->run_delay_ns += thread->run_delay_ns;
    totals->charged_ns += thread->charged_ns;
    totals->long_released += thread->long_released.count;
    totals->acquisitions += thread->acquisitions;
    totals->contended += thread->contended;
    totals->forced_switches += thread->forced_switches;
    totals->lost_wakeups += thread->lost_wakeups;
}

void build_totals(struct build *build)
{
    struct model_process *process = build->process;
    struct model_totals *totals = &process->totals;
    double minor_ns = MINOR_THREAD_SHARE * (double)process->wall_ns;

    for (size_t i = 0; i < process->n_threads; i++) {
        struct model_thread *thread = &process->threads[i];
        set_thread_shares(thread);
        add_thread(totals, thread);
        thread->minor = !thread->main && (double)thread->demand_ns < minor_ns &&
                        (double)(thread->lock_wait_ns - thread->notify_wait_ns) < minor_ns &&
                        (double)thread->charged_ns < minor_ns;
    }
    totals->oncpu_ns = totals->states.held_oncpu_ns + totals->states.released_oncpu_ns;
    totals->oncpu_cpus = share(totals->oncpu_ns, process->wall_ns);
    totals->wait_share = share(totals->wait_ns, totals->demand_ns);
    totals->waiting = share(totals->wait_ns, process->wall_ns);
    process->minor = totals->demand_ns < MINOR_PROCESS_NS && share(totals->demand_ns, process->wall_ns) < MINOR_PROCESS_SHARE;
}
