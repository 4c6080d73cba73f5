/* SPDX-License-Identifier: MIT */
/*
 * collect-sample-threads.c - the sampler's threads: which there are, and what /proc says of each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect-sample.h"
#include "mem.h"

#define LIST_NS 100000000u /* whether there are more GILs, and thread states of old threads, is asked after this */
#define YOUNG_NS 20000000u

int sample_open_task(int pid, uint32_t tid, const char *file)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task/%u/%s", pid, tid, file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool sample_read(const struct sample_process *p, const struct sample_thread *t, int fd, const char *file, char *text,
                 size_t size)
{
    int own = fd < 0 ? sample_open_task(p->found.pid, t->outer_tid, file) : -1;
    ssize_t n = fd >= 0 || own >= 0 ? pread(fd >= 0 ? fd : own, text, size - 1, 0) : -1;

    if (own >= 0)
        close(own);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

uint64_t sample_cpu_ns(const struct sample_process *p, struct sample_thread *t)
{
    char text[128], *rest;

    if (!sample_read(p, t, t->schedstat_fd, "schedstat", text, sizeof text))
        return t->cpu_last_ns;
    uint64_t ns = strtoull(text, &rest, 10);
    t->run_delay_ns = strtoull(rest, &rest, 10);
    t->slices = strtoull(rest, NULL, 10);
    return ns;
}

void sample_close_thread(struct sample_thread *t)
{
    if (t->syscall_fd >= 0)
        close(t->syscall_fd);
    if (t->schedstat_fd >= 0)
        close(t->schedstat_fd);
    t->syscall_fd = t->schedstat_fd = -1;
}

void sample_free_thread(struct sample_thread *t)
{
    sample_close_thread(t);
    free((void *)(uintptr_t)t->wait.buckets);
    free(t->pairs);
}

/* /proc lists threads in the order of their creation (next_tid() in fs/proc/base.c), as the array has them. */
static bool is_known(struct sample_process *p, uint32_t tid)
{
    for (size_t i = 0; i < p->n_threads; i++) {
        if (p->cursor >= p->n_threads)
            p->cursor = 0;
        if (p->threads[p->cursor++].outer_tid == tid)
            return true;
    }
    return false;
}

static void see_thread(void *context, uint32_t tid)
{
    struct sample_process *p = context;

    if (is_known(p, tid))
        return;
    p->threads = mem_grow(p->threads, p->n_threads, &p->capacity, sizeof *p->threads);
    struct sample_thread *t = &p->threads[p->n_threads++];
    memset(t, 0, sizeof *t);
    t->index = ++p->n_indices;
    t->outer_tid = tid;
    t->tid = threads_inner_tid(p->found.pid, tid);
    t->is_new = p->looked_ns != p->now_ns;
    t->start_ns = t->last_ns = p->looked_ns;
    t->met_ns = p->now_ns;
    t->syscall_fd = sample_open_task(p->found.pid, tid, "syscall");
    t->schedstat_fd = sample_open_task(p->found.pid, tid, "schedstat");
    t->cpu_last_ns = sample_cpu_ns(p, t);
    /* All that it has used, but no more than it could since the last look: a list that changes while it is read may
     * have left it out then. */
    uint64_t gap_ns = p->now_ns - p->looked_ns;
    t->cpu_last_ns = t->cpu_last_ns > gap_ns ? t->cpu_last_ns - gap_ns : 0;
    t->run_delay_first_ns = t->is_new ? 0 : t->run_delay_ns;
    t->wait.buckets = mem_zeroed(REC_HIST_OCTAVES * REC_HIST_SUBS, sizeof(uint32_t));
}

static void match_tstates(struct sample_process *p)
{
    for (size_t i = 0; i < p->n_threads; i++) {
        struct sample_thread *t = &p->threads[i];
        for (uint32_t j = 0; j < p->list.n && !t->pthread_id; j++)
            if (p->list.thread[j].native_id == t->tid)
                t->pthread_id = p->list.thread[j].pthread_id;
    }
}

/* A thread begins without a thread state; if it has got none soon, it is none of Python's, mostly. */
static bool is_any_to_be_matched(const struct sample_process *p)
{
    for (size_t i = p->n_threads; i-- > 0;)
        if (!p->threads[i].pthread_id && p->now_ns - p->threads[i].met_ns < YOUNG_NS)
            return true;
    return false;
}

void sample_see_threads(struct sample_process *p)
{
    bool all = p->now_ns - p->list_ns > LIST_NS;

    p->cursor = 0;
    threads_each(p->found.pid, see_thread, p);
    if (all) {
        find_gil_again(&p->found);
        p->list_ns = p->now_ns;
    }
    if (all || is_any_to_be_matched(p)) {
        threads_read(&p->list, &p->found);
        match_tstates(p);
    }
}
