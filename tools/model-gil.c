/* SPDX-License-Identifier: MIT */
/*
 * model-gil.c - the figures of each GIL.
 */
#include "model-build.h"

#include <stdlib.h>

#include "mem.h"

const struct rec_gil *build_gil(const struct build *build, uint32_t index)
{
    const struct rec_gil *found = NULL;

    /* A GIL whose memory was used for another one has an index of its own; the last one wins if not. */
    for (size_t i = 0; i < build->file->n_gils; i++)
        if (build->file->gils[i].index == index)
            found = &build->file->gils[i];
    return found;
}

static uint64_t end_of(const struct build *build, const struct rec_gil *gil)
{
    return gil->end_ticks ? gil->end_ticks : build->end_ticks;
}

bool build_gil_unknown(const struct build *build, const struct rec_gil *gil)
{
    return build->running && gil->unseen && !gil->unknown_since_ticks && !gil->end_ticks;
}

const struct rec_thread *build_gil_unseen_holder(const struct build *build, const struct rec_gil *gil)
{
    for (size_t i = 0; gil->unknown_since_ticks && gil->unknown_tstate && i < build->file->n_threads; i++) {
        const struct rec_thread *thread = &build->file->threads[i];
        if (thread->state == REC_STATE_NONE && thread->tstate == gil->unknown_tstate && thread->gil == gil->index)
            return thread;
    }
    return NULL;
}

bool build_gil_is_not_held_by(const struct build *build, const struct rec_thread *thread)
{
    for (size_t i = 0; i < build->file->n_gils; i++)
        if (!build->file->gils[i].end_ticks && build->file->gils[i].known_toggles <= thread->n_toggles)
            return false;
    return true;
}

static uint64_t wall(const struct build *build, const struct rec_gil *gil)
{
    uint64_t all, unknown = 0;

    if (!build->keeps_pauses)
        return build_measured(build, gil->start_ticks, end_of(build, gil));
    if (gil->end_ticks) {
        all = gil->end_ticks - gil->start_ticks;
        uint64_t paused = gil->paused_ticks - gil->start_paused_ticks;
        return gil->end_ticks > gil->start_ticks && all > paused ? all - paused : 0;
    }
    all = build_measured_since(build, gil->start_ticks, gil->start_paused_ticks);
    if (build_gil_unknown(build, gil))
        unknown = build_measured_since(build, gil->waiters_at_ticks, gil->paused_ticks);
    return all > unknown ? all - unknown : 0;
}

/* The thread that took it last, NULL if that is not known. */
static const struct rec_thread *holder_of(const struct build *build, const struct rec_gil *gil)
{
    for (size_t i = 0; gil->holder && i < build->file->n_threads; i++)
        if (build->file->threads[i].index == gil->holder)
            return &build->file->threads[i];
    return NULL;
}

bool build_gil_locked(const struct build *build, const struct rec_gil *gil)
{
    const struct rec_thread *holder = holder_of(build, gil);

    return holder && holder->state == REC_STATE_HELD && holder->gil == gil->index;
}

uint64_t build_gil_held(const struct build *build, const struct rec_gil *gil)
{
    const struct rec_thread *holder = holder_of(build, gil);
    uint64_t held = gil->held_base_ticks;

    if (holder)
        held += holder->held_ticks; /* modulo 2^64, as the base is */
    if (gil->unknown_since_ticks && !gil->end_ticks)
        held += build_measured_since(build, gil->unknown_since_ticks, gil->paused_ticks);
    if (build_gil_locked(build, gil))
        held += gil->end_ticks ? build_measured(build, holder->state_ticks, gil->end_ticks)
                               : build_open(build, holder, holder->state_ticks);
    return held;
}

static uint64_t measured_since_waiters(const struct build *build, const struct rec_gil *gil)
{
    return gil->end_ticks || !build->keeps_pauses
               ? build_measured(build, gil->waiters_at_ticks, end_of(build, gil))
               : build_measured_since(build, gil->waiters_at_ticks, gil->paused_ticks);
}

uint64_t build_gil_open_charge(const struct build *build, const struct rec_gil *gil)
{
    uint64_t waiters_ticks;

    if (!build_gil_locked(build, gil) && !build_gil_unseen_holder(build, gil))
        return 0;
    const struct rec_thread *holder = build_gil_locked(build, gil) ? holder_of(build, gil) : NULL;
    if (holder && holder->state_ticks > gil->waiters_at_ticks) /* the GIL was read before this hold began */
        return gil->n_waiters * build_open(build, holder, holder->state_ticks);
    waiters_ticks = gil->waiters_ticks + gil->n_waiters * measured_since_waiters(build, gil);
    return waiters_ticks > gil->hold_waiters_ticks ? waiters_ticks - gil->hold_waiters_ticks : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What the threads of a GIL have to add: takes, waits that are not in its sums (REC_THREAD_OWN_WAITS), and those that are
 * still open. */
static void add_threads(const struct build *build, const struct rec_gil *rec, struct model_gil *gil)
{
    uint64_t blocked = rec->wait_blocked_ticks, wakeup = rec->wait_wakeup_ticks, forced = rec->wait_forced_ticks;

    for (size_t i = 0; i < build->file->n_threads; i++) {
        const struct rec_thread *thread = &build->file->threads[i];
        struct build_closed closed;
        if (thread->gil != rec->index)
            continue;
        build_close(build, thread, &closed);
        if (thread->flags & REC_THREAD_OWN_WAITS) {
            gil->contended += thread->contended - least(thread->gil_contended, thread->contended);
            blocked += thread->wait_blocked_ticks - least(thread->gil_blocked_ticks, thread->wait_blocked_ticks);
            wakeup += thread->wait_wakeup_ticks - least(thread->gil_wakeup_ticks, thread->wait_wakeup_ticks);
        }
        if (closed.open_wait) {
            blocked += closed.blocked - thread->wait_blocked_ticks;
            wakeup += closed.wakeup - thread->wait_wakeup_ticks;
        }
        forced += closed.forced - thread->wait_forced_ticks;
        gil->acquisitions += build->process->threads[i].acquisitions -
                             least(thread->gil_counted, build->process->threads[i].acquisitions);
    }
    gil->wait_blocked_ns = build_ns(build, blocked);
    gil->wait_ns = build_ns(build, blocked + wakeup);
    if (build->keeps_pauses) /* as below */
        gil->wait_ns = gil->wait_blocked_ns + build_ns(build, wakeup);
    gil->wait_blocked_ns = least(gil->wait_blocked_ns, gil->wait_ns); /* of a damaged file the sum may be anything */
    gil->wait_wakeup_ns = gil->wait_ns - gil->wait_blocked_ns;
    gil->wait_forced_ns = build_ns(build, forced);
}

static void build_one(const struct build *build, const struct rec_gil *rec, struct model_gil *gil)
{
    gil->index = rec->index;
    uint64_t held = build_gil_held(build, rec), all = wall(build, rec);
    gil->wall_ns = build_ns(build, all);
    gil->held_ns = build_ns(build, held);
    if (build->keeps_pauses) /* a difference of two that grow could be less than it was, by a rounding */
        gil->wall_ns = gil->held_ns + build_ns(build, all > held ? all - held : 0);
    if (gil->held_ns > gil->wall_ns) /* by a rounding, or in a damaged file */
        gil->wall_ns = gil->held_ns;
    gil->free_ns = gil->wall_ns - gil->held_ns;
    gil->acquisitions = rec->acquisitions;
    gil->contended = rec->contended;
    gil->drop_requests = rec->drop_requests;
    gil->forced_switches = rec->forced_switches;
    gil->lost_wakeups = rec->lost_wakeups;
    gil->switches = rec->n_changes;
    add_threads(build, rec, gil);
    gil->held_share = gil->wall_ns ? (double)gil->held_ns / (double)gil->wall_ns : 0;
    gil->free_share = gil->wall_ns ? 1 - gil->held_share : 0;
    gil->forced_share = gil->switches ? (double)gil->forced_switches / (double)gil->switches : 0;
    build_gil_dist(build, rec->index, REC_HIST_WAIT, &gil->wait);
    build_gil_dist(build, rec->index, REC_HIST_HOLD, &gil->hold);
}

/* A thread's held time off CPU goes to the GIL that it used last, as far as that was held for so long at all.  What
 * is left is that of threads which have used several; it goes to the GILs that were held for longer than the threads
 * that used them last say. */
static void share_offcpu(const struct model_process *process)
{
    double left = 0, all_excess = 0, *excess = mem_zeroed(process->n_gils, sizeof *excess);

    for (size_t i = 0; i < process->n_gils; i++) {
        struct model_gil *gil = &process->gils[i];
        double held = 0, offcpu = 0, part;
        for (size_t j = 0; j < process->n_threads; j++) {
            if (process->threads[j].gil != gil->index)
                continue;
            held += (double)process->threads[j].held_ns;
            offcpu += (double)process->threads[j].states.held_offcpu_ns;
        }
        part = held > (double)gil->held_ns ? offcpu * ((double)gil->held_ns / held) : offcpu;
        excess[i] = (double)gil->held_ns > held ? (double)gil->held_ns - held : 0;
        gil->held_offcpu_ns = part < (double)gil->held_ns ? (uint64_t)(part + 0.5) : gil->held_ns;
        all_excess += excess[i];
        left += offcpu - part;
    }
    for (size_t i = 0; i < process->n_gils && all_excess > 0; i++) {
        struct model_gil *gil = &process->gils[i];
        double more = left * (excess[i] / all_excess), room = (double)(gil->held_ns - gil->held_offcpu_ns);
        gil->held_offcpu_ns = more < room ? gil->held_offcpu_ns + (uint64_t)(more + 0.5) : gil->held_ns;
    }
    free(excess);
}

void build_gils(struct build *build)
{
    struct model_process *process = build->process;

    process->gils = mem_zeroed(build->file->n_gils, sizeof *process->gils);
    process->n_gils = build->file->n_gils;
    for (size_t i = 0; i < process->n_gils; i++)
        build_one(build, &build->file->gils[i], &process->gils[i]);
    share_offcpu(process);
    if (process->n_gils)
        process->switch_interval_ns = build->file->gils[0].interval_us * 1000;
}
