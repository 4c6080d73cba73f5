/* SPDX-License-Identifier: MIT */
/*
 * holds-see.c - who holds the GIL, by the live recording, which is read as in recscan.h.
 */
#include "holds-see.h"

#include <limits.h>
#include <unistd.h>

#define WAITERS_MAX 100000u /* more is damage */

bool holds_get(const struct holds_process *p, void *to, size_t n, uint64_t at)
{
    return at <= INT64_MAX - n && pread(p->fd, to, n, (off_t)at) == (ssize_t)n;
}

static bool add_gil(void *context, uint64_t at)
{
    struct holds_process *p = context;
    uint64_t cond;

    for (uint32_t i = 0; i < p->n_gils; i++)
        if (p->gil[i].at == at)
            return true;
    if (holds_get(p, &cond, sizeof cond, at + offsetof(struct rec_gil, address)))
        p->gil[p->n_gils++] = (struct holds_gil){.at = at, .cond = cond};
    return p->n_gils < HOLDS_GILS;
}

void holds_scan(struct holds_process *p)
{
    if (p->n_gils < HOLDS_GILS)
        recscan(&p->scan, p->fd, REC_GIL, add_gil, p);
}

bool holds_see(const struct holds_process *p, struct holds_gil *g)
{
    struct rec_turn turn;
    struct rec_thread thread;

    g->state = REC_STATE_NONE;
    if (!holds_get(p, &turn, sizeof turn, g->at + offsetof(struct rec_gil, turn)) || !turn.holder)
        return false;
    g->holder = turn.holder;
    g->n_changes = turn.n_changes;
    g->n_waiters = turn.n_waiters < WAITERS_MAX ? turn.n_waiters : 0;
    if (g->n_waiters && !holds_get(p, &g->waiters_at_ticks, sizeof g->waiters_at_ticks,
                                   g->at + offsetof(struct rec_gil, waiters_at_ticks)))
        return false;
    if (!holds_get(p, &thread, offsetof(struct rec_thread, released_ticks),
                   (uint64_t)turn.holder_cell * REC_CELL_BYTES) ||
        thread.head.type != REC_THREAD || thread.index != g->holder)
        return false;
    g->state_ticks = thread.state_ticks;
    g->held_ticks = turn.held_base_ticks + thread.held_ticks;
    g->charged_ticks = thread.charged_ticks + thread.charged_late_ticks;
    g->state = thread.state;
    return g->state == REC_STATE_HELD;
}

void holds_read_rate(struct holds_process *p)
{
    struct rec_header h;
    const size_t from = offsetof(struct rec_header, beat_seq);

    if (!holds_get(p, (char *)&h + from, offsetof(struct rec_header, losses) - from, from) || h.beat_seq & 1 ||
        h.beat_ticks <= p->header.start_ticks || h.beat_mono_ns <= p->header.start_mono_ns)
        return;
    p->ns_per_tick =
        (double)(h.beat_mono_ns - p->header.start_mono_ns) / (double)(h.beat_ticks - p->header.start_ticks);
}

double holds_time_ns(const struct holds_process *p, uint64_t ticks)
{
    return (double)p->header.start_mono_ns + (double)(int64_t)(ticks - p->header.start_ticks) * p->ns_per_tick;
}

double holds_held_ns(const struct holds_process *p, const struct holds_gil *g, uint64_t now_ns)
{
    double since_ns = holds_time_ns(p, g->state_ticks);
    bool open = g->state == REC_STATE_HELD && (double)now_ns > since_ns;

    return (double)g->held_ticks * p->ns_per_tick + (open ? (double)now_ns - since_ns : 0);
}
