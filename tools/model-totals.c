/* SPDX-License-Identifier: MIT */
/*
 * model-totals.c - sums over a process's threads, shares, and what is too little to be shown.
 */
#include "model-build.h"

#include <stdlib.h>

#include "mem.h"

/* A thread is minor if it neither wanted to run, nor waited for locks, nor made others wait, for this part of the
 * process's time; a process, if its threads together ran for less than both of the two. */
#define MINOR_THREAD_SHARE 0.002
#define MINOR_LIFE_SHARE 0.05 /* or if it lived for less, and looks do not tell at all what it did */
#define MINOR_PROCESS_NS 200000000
#define MINOR_PROCESS_SHARE 0.01
#define MINOR_WAITING_SHARE 0.005
/* So many get their own line, so many their own section. */
#define SHOWN_THREADS 40
#define ALWAYS_SHOWN_THREADS 8 /* in a process that has no more, all do */
#define SHOWN_PROCESSES 12
#define SUM_MAX (1ull << 62)

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static struct model_shares state_shares(const struct model_states *states, uint64_t wall_ns)
{
    return (struct model_shares){
        .held_oncpu = share(states->held_oncpu_ns, wall_ns),
        .held_offcpu = share(states->held_offcpu_ns, wall_ns),
        .wait_blocked = share(states->wait_blocked_ns, wall_ns),
        .wait_wakeup = share(states->wait_wakeup_ns, wall_ns),
        .wait_forced = share(states->wait_forced_ns, wall_ns),
        .released_oncpu = share(states->released_oncpu_ns, wall_ns),
        .released_offcpu = share(states->released_offcpu_ns, wall_ns),
    };
}

static void set_thread_shares(struct model_thread *thread)
{
    uint64_t wall_ns = thread->wall_ns;

    thread->shares = state_shares(&thread->states, wall_ns);
    thread->shares.held = share(thread->held_ns, wall_ns);
    thread->shares.wait = share(thread->wait_ns + thread->states.wait_forced_ns, wall_ns);
    thread->shares.lock_wait = share(thread->lock_wait_ns, wall_ns);
    thread->shares.error = share(thread->error_ns, wall_ns);
}

/* The figures of a damaged file may be too large to be added up. */
static void add(uint64_t *sum, uint64_t more)
{
    *sum = *sum < SUM_MAX - (more < SUM_MAX ? more : SUM_MAX) ? *sum + more : SUM_MAX;
}

static void add_states(struct model_states *sum, const struct model_states *states)
{
    add(&sum->held_oncpu_ns, states->held_oncpu_ns);
    add(&sum->held_offcpu_ns, states->held_offcpu_ns);
    add(&sum->wait_blocked_ns, states->wait_blocked_ns);
    add(&sum->wait_wakeup_ns, states->wait_wakeup_ns);
    add(&sum->wait_forced_ns, states->wait_forced_ns);
    add(&sum->released_oncpu_ns, states->released_oncpu_ns);
    add(&sum->released_offcpu_ns, states->released_offcpu_ns);
}

static void add_thread(struct model_totals *totals, const struct model_thread *thread)
{
    add_states(&totals->states, &thread->states);
    add(&totals->wall_ns, thread->wall_ns);
    add(&totals->held_ns, thread->held_ns);
    add(&totals->wait_ns, thread->wait_ns);
    add(&totals->demand_ns, thread->demand_ns);
    add(&totals->lock_wait_ns, thread->lock_wait_ns);
    add(&totals->notify_wait_ns, thread->notify_wait_ns);
    add(&totals->gil_lock_wait_ns, thread->gil_lock_wait_ns);
    add(&totals->run_delay_ns, thread->run_delay_ns);
    add(&totals->charged_ns, thread->charged_ns);
    add(&totals->long_released, thread->long_released.count);
    add(&totals->acquisitions, thread->acquisitions);
    add(&totals->contended, thread->contended);
    add(&totals->forced_switches, thread->forced_switches);
    add(&totals->lost_wakeups, thread->lost_wakeups);
}

static void add_rest(struct model_thread *rest, const struct model_thread *thread)
{
    add(&rest->n_folded, thread->folded ? thread->n_folded : 1);
    add_states(&rest->states, &thread->states);
    add(&rest->wall_ns, thread->wall_ns);
    add(&rest->held_ns, thread->held_ns);
    add(&rest->released_ns, thread->released_ns);
    add(&rest->wait_ns, thread->wait_ns);
    add(&rest->demand_ns, thread->demand_ns);
    add(&rest->lock_wait_ns, thread->lock_wait_ns);
    add(&rest->charged_ns, thread->charged_ns);
    add(&rest->error_ns, thread->error_ns); /* more than it is: chance evens out */
}

/* What a reader of the report looks for: threads that want to run, and those that others wait for. */
static uint64_t importance(const struct model_thread *thread)
{
    return thread->demand_ns + thread->charged_ns + thread->lock_wait_ns - thread->notify_wait_ns;
}

static int least_important_first(const void *a, const void *b)
{
    uint64_t x = importance(*(struct model_thread *const *)a), y = importance(*(struct model_thread *const *)b);

    return x < y ? -1 : x > y;
}

static void mark_surplus(struct model_process *process)
{
    struct model_thread **order = mem_zeroed(process->n_threads, sizeof *order);

    for (size_t i = 0; i < process->n_threads; i++)
        order[i] = &process->threads[i];
    qsort(order, process->n_threads, sizeof *order, least_important_first);
    for (size_t i = 0; i + SHOWN_THREADS < process->n_threads; i++)
        order[i]->minor = !order[i]->main;
    free(order);
}

static bool is_minor(const struct model_thread *thread, double minor_ns)
{
    return (double)thread->demand_ns < minor_ns && (double)(thread->lock_wait_ns - thread->notify_wait_ns) < minor_ns &&
           (double)thread->charged_ns < minor_ns;
}

/* One look that found a thread of some milliseconds says nothing of it alone; many such threads together are known. */
static bool is_not_known(const struct model_thread *thread, const struct model_process *process)
{
    return !thread->folded && thread->error_ns && thread->error_ns >= thread->wall_ns &&
           (double)thread->wall_ns < MINOR_LIFE_SHARE * (double)process->wall_ns;
}

void build_totals(struct build *build)
{
    struct model_process *process = build->process;
    struct model_totals *totals = &process->totals;
    double minor_ns = MINOR_THREAD_SHARE * (double)process->wall_ns;

    mark_surplus(process);
    for (size_t i = 0; i < process->n_threads; i++) {
        struct model_thread *thread = &process->threads[i];
        set_thread_shares(thread);
        add_thread(totals, thread);
        thread->minor = thread->minor || (process->n_threads > ALWAYS_SHOWN_THREADS && !thread->main &&
                                          (is_not_known(thread, process) || is_minor(thread, minor_ns)));
        if (thread->minor)
            add_rest(&process->rest, thread);
    }
    set_thread_shares(&process->rest);
    process->totals.shares = state_shares(&process->totals.states, process->totals.wall_ns);
    totals->wanted_ns = totals->held_ns + totals->wait_ns;
    totals->oncpu_ns = totals->states.held_oncpu_ns + totals->states.released_oncpu_ns;
    build_native_cpu(build);
    totals->oncpu_cpus = share(totals->oncpu_ns + totals->native_cpu_ns, process->wall_ns);
    totals->wait_share = share(totals->wait_ns, totals->demand_ns);
    totals->waiting = share(totals->wait_ns, process->wall_ns);
    process->waiting_matters = share(totals->states.wait_blocked_ns, process->wall_ns) >= MINOR_WAITING_SHARE;
    process->minor =
        totals->demand_ns < MINOR_PROCESS_NS && share(totals->demand_ns, process->wall_ns) < MINOR_PROCESS_SHARE;
}

static int smallest_first(const void *a, const void *b)
{
    const struct model_process *x = *(struct model_process *const *)a, *y = *(struct model_process *const *)b;

    return x->totals.demand_ns < y->totals.demand_ns ? -1 : x->totals.demand_ns > y->totals.demand_ns;
}

void build_minor(struct model *model)
{
    struct model_process **order = mem_zeroed(model->n_processes, sizeof *order);

    for (size_t i = 0; i < model->n_processes; i++)
        order[i] = &model->processes[i];
    qsort(order, model->n_processes, sizeof *order, smallest_first);
    for (size_t i = 0; i + SHOWN_PROCESSES < model->n_processes; i++)
        order[i]->minor = true;
    if (model->n_processes) /* somebody must be shown */
        order[model->n_processes - 1]->minor = false;
    for (size_t i = 0; i < model->n_processes; i++)
        model->n_minor += model->processes[i].minor;
    free(order);
}
