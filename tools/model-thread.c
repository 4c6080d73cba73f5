/* SPDX-License-Identifier: MIT */
/*
 * model-thread.c - the figures of each thread, with what was open at the end closed there.
 */
#include "model-build.h"

#include <stdlib.h>

#include "mem.h"
#include "utf8.h"

/* The states' sum may miss the time from start to end by this much before it is called unexplained. */
#define UNEXPLAINED_NS 100000
#define UNEXPLAINED_SHARE 0.001

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void close_wait(const struct build *build, const struct rec_thread *thread, uint64_t open,
                       struct build_closed *closed)
{
    const struct rec_gil *gil = build_gil(build, thread->gil);
    uint64_t held = gil ? build_gil_held(build, gil) : 0, blocked = 0;

    /* Whether it has been blocked since will be known when the GIL changes hands. */
    if (gil && build_gil_unknown(build, gil))
        open -= least(open, build_measured_since(build, gil->waiters_at_ticks, gil->paused_ticks));
    if (held > thread->wait_held_base_ticks)
        blocked = least(held - thread->wait_held_base_ticks, open);
    closed->open_wait = open;
    closed->blocked += blocked;
    closed->wakeup += open - blocked;
}

/* Has it taken a GIL in a pause, and has it still? */
static bool has_since_pause(const struct build *build, const struct rec_thread *thread)
{
    const struct rec_gil *gil = build_gil(build, thread->gil);

    return gil && build_gil_unseen_holder(build, gil) == thread;
}

void build_close(const struct build *build, const struct rec_thread *thread, struct build_closed *closed)
{
    uint64_t end = thread->end_ticks ? thread->end_ticks : build->end_ticks, open;

    *closed = (struct build_closed){
        .held = thread->held_ticks,
        .released = thread->released_ticks,
        .blocked = thread->wait_blocked_ticks,
        .wakeup = thread->wait_wakeup_ticks,
        .forced = thread->wait_forced_ticks,
        .end_ticks = end,
    };
    if (thread->flags & REC_THREAD_FOLDED)
        return;
    open = build_open(build, thread, thread->state_ticks);
    switch (thread->state) {
    case REC_STATE_NONE: /* until it is known better, or never will be */
        if (has_since_pause(build, thread)) {
            closed->open_held = open;
            closed->held += open;
            break;
        }
        if (build->running && !build_gil_is_not_held_by(build, thread))
            break;
        /* fall through */
    case REC_STATE_RELEASED:
        if (build->running && thread->want_ticks >= thread->state_ticks && thread->want_ticks) /* it is about to wait */
            open -= least(open, build_open(build, thread, thread->want_ticks));
        closed->released += open;
        break;
    case REC_STATE_HELD:
        closed->open_held = open;
        closed->held += open;
        break;
    case REC_STATE_WAITING:
        close_wait(build, thread, open, closed);
        break;
    case REC_STATE_FORCED:
        closed->forced += open;
        break;
    }
}

static void set_name(const struct rec_thread *rec, struct model_thread *thread)
{
    if (rec->name[0])
        thread->name = utf8_clean(rec->name, sizeof rec->name);
    else if (thread->folded)
        thread->name = mem_print("(ended threads)");
    else if (thread->main)
        thread->name = mem_print("MainThread");
    else
        thread->name = mem_print("thread-%u", thread->index);
}

/* The wall time and how it divides into states, before those are split into on and off CPU. */
static void set_states(struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                       struct model_thread *thread)
{
    struct model_states *states = &thread->states;
    uint64_t sum = closed->held + closed->released + closed->blocked + closed->wakeup + closed->forced, span, gap_ns;

    states->wait_blocked_ns = build_ns(build, closed->blocked);
    states->wait_wakeup_ns = build_ns(build, closed->wakeup);
    states->wait_forced_ns = build_ns(build, closed->forced);
    thread->held_ns = build_ns(build, closed->held);
    thread->released_ns = build_ns(build, closed->released);
    thread->wait_ns = states->wait_blocked_ns + states->wait_wakeup_ns;
    thread->wall_ns = thread->held_ns + thread->released_ns + thread->wait_ns + states->wait_forced_ns;

    span = thread->folded ? rec->folded_wall_ticks : build_measured(build, rec->start_ticks, closed->end_ticks);
    if (build->file->header.n_toggles) /* not everything between two instants was measured */
        return;
    gap_ns = build_ns(build, span > sum ? span - sum : sum - span);
    if (gap_ns < UNEXPLAINED_NS || (double)gap_ns < UNEXPLAINED_SHARE * (double)thread->wall_ns)
        return;
    thread->unexplained_ns = gap_ns;
    build->unexplained_ns += gap_ns;
    if (span > sum)
        thread->wall_ns = build_ns(build, span);
}

static void set_error(const struct rec_thread *rec, struct model_thread *thread)
{
    double share = (double)(rec->error_ppm < 1000000 ? rec->error_ppm : 1000000) / 1e6;

    thread->error_ns = (uint64_t)(share * (double)thread->wall_ns);
}

static void set_locks(const struct build *build, const struct rec_thread *rec, struct model_thread *thread)
{
    uint64_t open = rec->lock_open_ticks ? build_open(build, rec, rec->lock_open_ticks) : 0;

    if (rec->end_ticks)
        open = 0;
    thread->open_lock = open > 0;
    thread->lock_wait_ns = least(build_ns(build, rec->lock_wait_ticks + open), thread->released_ns);
    thread->notify_wait_ns = build_ns(build, rec->notify_wait_ticks + (rec->lock_open_notify ? open : 0));
    thread->notify_wait_ns = least(thread->notify_wait_ns, thread->lock_wait_ns);
    thread->gil_lock_wait_ns = least(build_ns(build, rec->gil_lock_wait_ticks), thread->held_ns);
}

/* The longest and the sum know of an interval that was open at the end; the count and the percentiles do not. */
static void add_open(uint64_t ns, struct model_dist *dist)
{
    dist->sum_ns += ns;
    if (ns > dist->max_ns)
        dist->max_ns = ns;
}

static void set_dists(const struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                      struct model_thread *thread)
{
    build_dist(build, rec, REC_HIST_WAIT, &thread->wait);
    build_dist(build, rec, REC_HIST_HOLD, &thread->hold);
    build_dist(build, rec, REC_HIST_LOCK, &thread->lock_wait);
    build_dist(build, rec, REC_HIST_RELEASED, &thread->long_released);
    add_open(build_ns(build, closed->open_wait), &thread->wait);
    add_open(build_ns(build, closed->open_held), &thread->hold);
    if (thread->open_lock && thread->lock_wait_ns > thread->lock_wait.sum_ns)
        add_open(thread->lock_wait_ns - thread->lock_wait.sum_ns, &thread->lock_wait);
}

static uint64_t charged_ticks(const struct build *build, const struct rec_thread *rec, uint64_t late)
{
    uint64_t ticks = rec->charged_ticks + rec->charged_late_ticks + late;

    for (size_t i = 0; i < build->file->n_gils; i++) {
        const struct rec_gil *gil = &build->file->gils[i];
        if (gil->holder == rec->index || build_gil_unseen_holder(build, gil) == rec)
            ticks += build_gil_open_charge(build, gil);
    }
    return ticks;
}

static void build_one(struct build *build, const struct rec_thread *rec, uint64_t late, struct model_thread *thread)
{
    const struct rec_header *header = &build->file->header;
    struct build_closed closed;

    build_close(build, rec, &closed);
    thread->index = rec->index;
    thread->tid = rec->tid;
    thread->main = rec->flags & REC_THREAD_MAIN;
    thread->folded = rec->flags & REC_THREAD_FOLDED;
    thread->n_folded = thread->folded ? rec->folded : 0;
    thread->gil = rec->gil;
    thread->start_ns = build_ns(build, build_measured(build, header->start_ticks, rec->start_ticks));
    set_name(rec, thread);
    set_states(build, rec, &closed, thread);
    build_cpu(build, rec, &closed, thread);
    set_locks(build, rec, thread);
    set_error(rec, thread);
    set_dists(build, rec, &closed, thread);
    thread->demand_ns =
        thread->held_ns + thread->wait_ns + thread->states.wait_forced_ns + thread->states.released_oncpu_ns;
    thread->charged_ns = build_ns(build, charged_ticks(build, rec, late));
    /* The closed holds and the open one. */
    thread->acquisitions = thread->hold.count + (rec->state == REC_STATE_HELD || has_since_pause(build, rec));
    thread->contended = rec->contended;
    thread->drop_requests = rec->drop_requests;
    thread->forced_switches = rec->forced_switches;
    thread->lost_wakeups = rec->lost_wakeups;
    thread->forced_max_ns = build_ns(build, rec->forced_max_ticks);
}

void build_threads(struct build *build)
{
    struct model_process *process = build->process;

    process->threads = mem_zeroed(build->file->n_threads, sizeof *process->threads);
    process->n_threads = build->file->n_threads;
    uint64_t *late = mem_zeroed(process->n_threads, sizeof *late);
    build_late_charges(build, late);
    for (size_t i = 0; i < process->n_threads; i++)
        build_one(build, &build->file->threads[i], late[i], &process->threads[i]);
    free(late);
}
