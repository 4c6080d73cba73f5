/* SPDX-License-Identifier: MIT */
/*
 * model-time.c - a recording's time: its clock's rate, its end, and when it was paused.
 */
#include "model-build.h"

#include <math.h>
#include <string.h>

#include "live.h"

/* Two points that lie closer than this do not give the rate well enough if there are better ones. */
#define GOOD_SPAN_NS 90000000
/* So far may the rate be off that is known in the first moments. */
#define EARLY_RATE_ERROR 1e-4
/* 36 years: what is more is damage.  The states of a thread can be added up without a thought of 64 bits. */
#define NS_MAX (1ull << 60)

static bool rate_between(const struct rec_header *header, uint64_t ticks, int64_t mono_ns, double *ns_per_tick)
{
    double rate;

    if (ticks <= header->start_ticks || mono_ns <= header->start_mono_ns)
        return false;
    rate = ((double)mono_ns - (double)header->start_mono_ns) / (double)(ticks - header->start_ticks);
    if (!(rate > 1e-3 && rate < 1e3)) /* counters run at some MHz to some GHz */
        return false;
    *ns_per_tick = rate;
    return true;
}

static void set_rate(struct build *build, const struct live_now *now)
{
    const struct rec_header *header = &build->file->header;
    double span_ns =
        (double)header->beat_mono_ns - (double)header->start_mono_ns; /* may be anything in a damaged file */
    bool by_beat;

    build->calibrated = true;
    build->ns_per_tick = 1;
    if (header->clock == REC_CLOCK_MONOTONIC)
        return;
    if (header->rate_ticks && rate_between(header, header->rate_ticks, header->rate_mono_ns, &build->ns_per_tick))
        return;
    if (build->running && header->first_ticks &&
        rate_between(header, header->first_ticks, header->first_mono_ns, &build->ns_per_tick)) {
        build->ns_per_tick *= 1 - EARLY_RATE_ERROR;
        return;
    }
    by_beat = rate_between(header, header->beat_ticks, header->beat_mono_ns, &build->ns_per_tick);
    /* Now is a point as good as any, and farther away, as long as the counter has not been reset.  But each report on
     * the same recording would then have slightly other figures. */
    if (now && (!by_beat || span_ns < GOOD_SPAN_NS))
        by_beat |= rate_between(header, now->ticks, now->mono_ns, &build->ns_per_tick);
    build->calibrated = by_beat;
    if (build->running) /* there will be a better one, and no time is to be less by it than it was */
        build->ns_per_tick *= 1 - EARLY_RATE_ERROR;
}

static void latest(uint64_t *ticks, uint64_t candidate)
{
    if (candidate > *ticks)
        *ticks = candidate;
}

static void latest_not(uint64_t *ticks, uint64_t limit)
{
    if (*ticks > limit)
        *ticks = limit;
}

/* A thread has lived at least as long as its intervals, of which only the last change of state has a stamp: it may have
 * come out of a lock since. */
static uint64_t lived_until(const struct rec_thread *thread)
{
    const uint64_t parts[] = {thread->unmeasured_ticks,  thread->held_ticks,        thread->wait_blocked_ticks,
                              thread->wait_wakeup_ticks, thread->wait_forced_ticks, thread->lock_wait_ticks};
    uint64_t until = thread->start_ticks;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (__builtin_add_overflow(until, parts[i], &until))
            return 0;
    return thread->flags & REC_THREAD_FOLDED ? 0 : until;
}

/* The last thing that the file knows of. */
static uint64_t last_stamp(const struct reader_file *file)
{
    uint64_t ticks = file->header.start_ticks;

    latest(&ticks, file->header.beat_ticks);
    for (size_t i = 0; i < file->n_threads; i++) {
        const struct rec_thread *thread = &file->threads[i];
        latest(&ticks, thread->start_ticks);
        latest(&ticks, thread->state_ticks);
        latest(&ticks, thread->end_ticks);
        latest(&ticks, thread->lock_open_ticks);
        latest(&ticks, lived_until(thread));
    }
    for (size_t i = 0; i < file->n_gils; i++) {
        const struct rec_gil *gil = &file->gils[i];
        latest(&ticks, gil->start_ticks);
        latest(&ticks, gil->end_ticks);
        latest(&ticks, gil->waiters_at_ticks);
    }
    return ticks;
}

/* Where the same process, by exec, began its next recording; 0 if it did not. */
static uint64_t next_program(const struct reader_file *file, struct reader_file *const *others, size_t n_others)
{
    const struct rec_header *header = &file->header;
    uint64_t next = 0;

    for (size_t i = 0; i < n_others; i++) {
        const struct rec_header *other = &others[i]->header;
        if (other->pid == header->pid && other->proc_start_jiffies == header->proc_start_jiffies &&
            !strcmp(other->boot_id, header->boot_id) && other->clock == header->clock &&
            other->start_ticks > header->start_ticks && (!next || other->start_ticks < next))
            next = other->start_ticks;
    }
    return next;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool build_is_cut(const struct build *build)
{
    const struct rec_header *header = &build->file->header;

    return !header->complete &&
           (header->source != REC_SOURCE_PRELOAD || header->losses[REC_LOSS_STORAGE] || build->file->truncated);
}

bool build_seen(const struct build *build, const struct rec_thread *thread)
{
    return thread->seen_ticks && thread->seen_index == thread->index && !(thread->flags & REC_THREAD_FOLDED) &&
           thread->seen_ticks >= thread->start_ticks && thread->seen_ticks <= build->end_ticks;
}

/* The last that is known of a process whose end nobody saw: what its file knows of, or that it was seen to be there. */
static uint64_t last_seen(const struct build *build)
{
    const struct reader_file *file = build->file;
    uint64_t ticks = last_stamp(file);

    if (build_is_cut(build))
        return ticks;
    latest(&ticks, file->header.seen_ticks);
    for (size_t i = 0; i < file->n_threads; i++)
        if (file->threads[i].seen_index == file->threads[i].index)
            latest(&ticks, file->threads[i].seen_ticks);
    return ticks;
}

static void set_end(struct build *build, uint64_t next, const struct live_now *now)
{
    const struct reader_file *file = build->file;

    build->end_seen = file->header.end_ticks || next || build->running;
    if (file->header.end_ticks)
        build->end_ticks = file->header.end_ticks;
    else if (next)
        build->end_ticks = next;
    else if (build->running && now)
        build->end_ticks = now->ticks;
    else
        build->end_ticks = last_seen(build);
    latest(&build->end_ticks, file->header.start_ticks);
}

static void set_pauses(struct build *build)
{
    const struct rec_header *header = &build->file->header;
    uint32_t n = header->n_toggles, first = n > REC_TOGGLES ? n - REC_TOGGLES : 0;

    build->n_lost_toggles = first;
    build->stop_ticks = build->end_ticks;
    build->keeps_pauses = build->file->n_threads && build->file->threads[0].flags & REC_THREAD_PAUSES;
    for (uint32_t i = first; i < n; i++) {
        uint64_t at = header->toggle_ticks[i % REC_TOGGLES];
        if (i % 2 == 0) /* a pause begins, and lasts unless another toggle follows */
            build->pauses[build->n_pauses++] = (struct build_span){at, UINT64_MAX};
        else if (build->n_pauses)
            build->pauses[build->n_pauses - 1].to = at;
    }
    if (n && build->keeps_pauses)
        build->paused_ticks = header->toggle_paused_ticks[(n - 1) % REC_TOGGLES];
    for (size_t i = 0; i < build->n_pauses; i++) {
        const struct build_span *pause = &build->pauses[i];
        bool counted = build->keeps_pauses && i + 1 < build->n_pauses, ended = pause->to <= build->end_ticks;
        if (ended && !counted)
            build->paused_ticks += pause->to - pause->from;
        else if (!ended && counted) /* toggles that came after the end, which was read before them */
            build->paused_ticks -= pause->to - pause->from;
        if (!ended)
            latest_not(&build->stop_ticks, pause->from);
    }
}

void build_time(struct build *build, struct reader_file *const *others, size_t n_others)
{
    const struct reader_file *file = build->file;
    const struct rec_header *header = &file->header;
    uint64_t next = next_program(file, others, n_others);
    struct live_now now = file->now;
    bool has_now = now.ticks != 0;

    /* A collector outside of the process closes its accounts whenever it writes: the last beat is their end. */
    build->running = file->pid_here && !next && has_now && header->source == REC_SOURCE_PRELOAD &&
                     live_has_mapped(file->pid_here, base_name(file->path));
    build->replaced = next != 0;
    set_rate(build, has_now ? &now : NULL);
    set_end(build, next, has_now ? &now : NULL);
    set_pauses(build);
    build->wall_ticks = build_measured_since(build, header->start_ticks, 0);
    if (build->running && !(header->n_toggles & 1)) { /* what has ended since that moment is in the sums */
        uint64_t stop_ticks = build->stop_ticks;
        latest(&build->stop_ticks, last_stamp(file));
        build->wall_ticks = build_measured_since(build, header->start_ticks, 0);
        build->stop_ticks = stop_ticks;
    }
}

uint64_t build_measured(const struct build *build, uint64_t from, uint64_t to)
{
    uint64_t ticks;

    if (to <= from)
        return 0;
    ticks = to - from;
    for (size_t i = 0; i < build->n_pauses; i++) {
        uint64_t begin = build->pauses[i].from > from ? build->pauses[i].from : from;
        uint64_t end = build->pauses[i].to < to ? build->pauses[i].to : to;
        if (end > begin)
            ticks = ticks > end - begin ? ticks - (end - begin) : 0;
    }
    return ticks;
}

uint64_t build_measured_since(const struct build *build, uint64_t from, uint64_t paused_ticks)
{
    uint64_t ticks = build->stop_ticks > from ? build->stop_ticks - from : 0;
    uint64_t paused = build->paused_ticks > paused_ticks ? build->paused_ticks - paused_ticks : 0;

    return ticks > paused ? ticks - paused : 0;
}

uint64_t build_open(const struct build *build, const struct rec_thread *thread, uint64_t from)
{
    /* The pauses that the header knows are all that there were since a state began, unless it says otherwise. */
    if (thread->flags & REC_THREAD_PAUSES && !thread->end_ticks)
        return build_measured_since(build, from, thread->paused_ticks);
    return build_measured(build, from, thread->end_ticks ? thread->end_ticks : build->end_ticks);
}

uint64_t build_ns(const struct build *build, uint64_t ticks)
{
    double ns;

    if (build->ns_per_tick == 1)
        return ticks < NS_MAX ? ticks : NS_MAX;
    /* A double's 53 bits are 104 days in ns: rounding is far below a clock's error. */
    ns = floor((double)ticks * build->ns_per_tick + 0.5);
    return ns < (double)NS_MAX ? (uint64_t)ns : NS_MAX;
}
