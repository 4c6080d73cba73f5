/* SPDX-License-Identifier: MIT */
/*
 * watch-process.c - looks at a process from outside, and notes what it sees in the process's recording.
 *
 * The kernel keeps how long a thread was ready to run without a processor for as long as the thread is there
 * (/proc/PID/task/TID/schedstat): of a process that is killed, that of the main thread until its parent has waited for
 * it, and that of the others not at all.  So it is read while they live.
 */
#include "watch-process.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "procstat.h"
#include "recfile.h"

#define THREADS_MAX 65536u

static bool get(const struct watch_process *p, void *to, size_t n, uint64_t at)
{
    return pread(p->fd, to, n, (off_t)at) == (ssize_t)n;
}

/* Without it, the recording says less. */
static void put(const struct watch_process *p, const void *from, size_t n, uint64_t at)
{
    ssize_t written = pwrite(p->fd, from, n, (off_t)at);

    (void)written;
}

static bool add_thread(void *context, uint64_t at)
{
    struct watch_process *p = context;

    for (size_t i = p->n_threads; i > 0 && p->threads[i - 1] >= at; i--)
        if (p->threads[i - 1] == at)
            return true;
    if (p->n_threads == p->room) {
        size_t room = p->room ? 2 * p->room : 16;
        uint64_t *threads = room <= THREADS_MAX ? realloc(p->threads, room * sizeof *threads) : NULL;
        if (!threads)
            return false;
        p->threads = threads;
        p->room = room;
    }
    size_t i =
        p->n_threads++; /* in order: one that is told twice was not finished at the first time, or is near the end */
    for (; i > 0 && p->threads[i - 1] > at; i--)
        p->threads[i] = p->threads[i - 1];
    p->threads[i] = at;
    return true;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */
static void look_at_thread(const struct watch_process *p, uint64_t at, bool ended)
{
    struct rec_thread t;
    const size_t from = offsetof(struct rec_thread, seen_index);

    if (!get(p, &t, offsetof(struct rec_thread, seq), at) || t.head.type != REC_THREAD || t.end_ticks || t.folded ||
        t.head.size < sizeof t)
        return;
    /* In another PID namespace, the main thread's id is known only; and after the end, there is only that. */
    uint32_t tid = t.tid == p->inner_pid ? (uint32_t)p->pid : ended || p->inner_pid != (uint32_t)p->pid ? 0 : t.tid;
    if (!tid || !live_schedstat(p->pid, tid, &t.seen_cpu_ns, &t.seen_run_delay_ns))
        return;
    t.seen_index = t.index;
    t.seen_pad = 0;
    t.seen_ticks = recfile_now(p->clock);
    put(p, (const char *)&t + from, sizeof t - from, at + from);
}

static void look_at_threads(struct watch_process *p, bool ended)
{
    recscan(&p->scan, p->fd, REC_THREAD, add_thread, p);
    for (size_t i = 0; i < p->n_threads; i++)
        look_at_thread(p, p->threads[i], ended);
}

/* The recording of a process that has closed it, or that ended where its disk did, is as it is. */
static bool is_open(const struct watch_process *p)
{
    struct rec_header h;

    return get(p, &h, sizeof h, 0) && !h.complete && !h.end_ticks && !h.losses[REC_LOSS_STORAGE];
}

static void note_end(const struct watch_process *p, uint32_t status)
{
    uint64_t now_ticks = recfile_now(p->clock), cpu_ns = live_process_cpu_ns(p->pid);

    if (!is_open(p))
        return;
    put(p, &now_ticks, sizeof now_ticks, offsetof(struct rec_header, end_ticks));
    if (cpu_ns && status & REC_END_KNOWN) /* a zombie's, of all threads that it had */
        put(p, &cpu_ns, sizeof cpu_ns, offsetof(struct rec_header, seen_cpu_ns));
    if (status)
        put(p, &status, sizeof status, offsetof(struct rec_header, end_status));
}

static bool has_ended(const struct watch_process *p, const struct procstat *stat)
{
    struct pollfd end = {.fd = p->pidfd, .events = POLLIN};

    if (p->pidfd >= 0)
        return poll(&end, 1, 0) > 0;
    return stat->start != p->start || stat->state == 'Z' || stat->state == 'X';
}

/* By an exec its memory becomes another one.  (A program may change the addresses of its own, too, and becomes secret
 * where it changes its user: what it has mapped decides then.) */
static bool is_other_program(struct watch_process *p, const struct procstat *stat)
{
    if (stat->state == 'Z' || !memcmp(p->program, stat->program, sizeof p->program))
        return false;
    memcpy(p->program, stat->program, sizeof p->program);
    return !live_has_mapped(p->pid, p->name);
}

bool watch_process_look(struct watch_process *p, uint64_t now_ns, bool stopped_with_us, bool threads)
{
    const uint64_t seen_ticks = recfile_now(p->clock);
    struct procstat stat = {.state = 0};
    bool there = procstat_read(p->pid, p->pid, &stat);

    if (has_ended(p, &stat)) {
        /* Its status is secret where the addresses were: the last of them is never 0. */
        bool known = there && stat.start == p->start && stat.state == 'Z' && p->program[2];
        look_at_threads(p, true);
        note_end(p, known ? REC_END_KNOWN | (stat.exit_status & 0xffff) : 0);
        return false;
    }
    if (!there)
        return true; /* it may not be looked at */
    if (is_other_program(p, &stat)) {
        note_end(p, REC_END_EXEC);
        return false;
    }
    p->stopped.now |= stopped_with_us;
    stopped_look(&p->stopped, now_ns, stopped_with_us || procstat_is_stopped(stat.state));
    p->stopped.now = procstat_is_stopped(stat.state);
    const uint64_t seen[] = {p->stopped.ns, seen_ticks, live_process_cpu_ns(p->pid)};
    if (is_open(p)) /* one that somebody has cut short is not to grow again */
        put(p, seen, sizeof seen, offsetof(struct rec_header, stopped_ns));
    if (threads)
        look_at_threads(p, false);
    return true;
}

/* --- processes --------------------------------------------------------------------------------------------------- */
void watch_process_free(struct watch_process *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    if (p->pidfd >= 0)
        close(p->pidfd);
    free(p->threads);
    free(p->name);
    free(p);
}

static bool begin(struct watch_process *p, const struct rec_header *header, uint64_t now_ns)
{
    struct procstat stat;

    if (header->source != REC_SOURCE_PRELOAD || header->complete || header->end_ticks || !p->name ||
        !(p->pid = live_pid(header)))
        return false;
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    p->inner_pid = header->pid;
    p->start = header->proc_start_jiffies;
    p->clock = header->clock;
    p->scan.scanned = header->header_bytes;
    if (!procstat_read(p->pid, p->pid, &stat) || stat.start != p->start || has_ended(p, &stat))
        return false;
    memcpy(p->program, stat.program, sizeof p->program);
    p->stopped = (struct stopped){.looked_ns = now_ns, .now = procstat_is_stopped(stat.state)};
    if (live_has_mapped(p->pid, p->name))
        return true;
    note_end(p, REC_END_EXEC);
    return false;
}

struct watch_process *watch_process_new(const char *path, uint64_t now_ns, bool *later)
{
    struct watch_process *p = calloc(1, sizeof *p);
    struct rec_header header;
    const char *problem;

    *later = false;
    if (!p)
        return NULL;
    p->pidfd = -1;
    p->name = strdup(strrchr(path, '/') + 1);
    p->fd = recfile_open(path, &header, &problem);
    if (p->fd >= 0 && begin(p, &header, now_ns))
        return p;
    *later = p->fd < 0 && errno == EMFILE;
    watch_process_free(p);
    return NULL;
}
