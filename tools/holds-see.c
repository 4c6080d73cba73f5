/* SPDX-License-Identifier: MIT */
/*
 * holds-see.c - who holds the GIL, by the live recording.
 *
 * It is read with pread(), which comes from the page cache as a mapping would, but is no SIGBUS where somebody cuts the
 * file short.
 */
#include "holds-see.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#define WAITERS_MAX 100000u /* more is damage */
#define CHUNK_BYTES 65536u

bool holds_get(const struct holds_process *p, void *to, size_t n, uint64_t at)
{
    return at <= INT64_MAX - n && pread(p->fd, to, n, (off_t)at) == (ssize_t)n;
}

static void add_gil(struct holds_process *p, uint64_t at)
{
    uint64_t cond;

    for (uint32_t i = 0; i < p->n_gils; i++)
        if (p->gil[i].at == at)
            return;
    if (p->n_gils < HOLDS_GILS && holds_get(p, &cond, sizeof cond, at + offsetof(struct rec_gil, address)))
        p->gil[p->n_gils++] = (struct holds_gil){.at = at, .cond = cond};
}

/* What is no record may be one that is being made, or only room in front of one that begins at a cache line
 * (shim_file_record()): it is passed over, and looked at once more by the next scan. */
void holds_scan(struct holds_process *p)
{
    static unsigned char chunk[CHUNK_BYTES];
    uint64_t used, at = p->scanned, doubtful = 0;

    if (!holds_get(p, &used, sizeof used, offsetof(struct rec_header, used_bytes)) || used > INT64_MAX)
        return;
    while (at + sizeof(struct rec_head) <= used && p->n_gils < HOLDS_GILS) {
        size_t n = used - at < sizeof chunk ? used - at : sizeof chunk, i = 0;
        if (!holds_get(p, chunk, n, at))
            return;
        while (i + sizeof(struct rec_head) <= n) {
            struct rec_head head;
            memcpy(&head, chunk + i, sizeof head);
            bool sound = head.mark == REC_HEAD_MARK && head.size >= sizeof head && head.size % REC_CELL_BYTES == 0;
            if ((!sound || !head.type) && !doubtful && at + i >= p->scanned_once)
                doubtful = at + i;
            if (sound && head.type == REC_GIL)
                add_gil(p, at + i);
            i += sound ? head.size : REC_CELL_BYTES;
        }
        at += i;
    }
    p->scanned = doubtful ? doubtful : at;
    p->scanned_once = at;
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
