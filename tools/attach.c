/* SPDX-License-Identifier: MIT */
/*
 * attach.c - runs a collector: its processes, their children, and a picture of each now and then.
 */
#include "attach.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "msg.h"
#include "privileges.h"
#include "procinfo.h"
#include "stopped.h"

#define TURN_NS 100000000u /* 0.1 s: how soon an end or a child is noticed */
#define FIRST_PICTURES 5u  /* turns, each with a picture; then ... */
#define PICTURE_EVERY 10u  /* ... in every so many turns */
#define BORN_MAX 4096      /* descendants that a collector tells of */

struct process {
    int pid, pidfd, handle;
    struct recwriter *writer;
    bool over;    /* the place is free for another one */
    struct stopped stopped;
};

struct run {
    const struct attach *attach;
    struct process process[COLLECT_PROCESSES];
    int n;
    struct children children;
    int failed;
};

uint64_t collect_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static bool has_ended(const struct process *p)
{
    struct pollfd poll_on = {.fd = p->pidfd, .events = POLLIN};

    if (p->pidfd < 0)
        return kill(p->pid, 0) && errno == ESRCH;
    return poll(&poll_on, 1, 0) > 0;
}

/* Whether the process that the id stands for by now may be read, too: the one that was found may have ended meanwhile,
 * and another user's have its id. */
static bool is_still(const struct process *p, const struct find_process *found, char *error)
{
    if (find_gil_is_there(found) && !has_ended(p))
        return true;
    snprintf(error, COLLECT_ERROR_BYTES, "it has ended, or become another program");
    if (p->pidfd >= 0)
        close(p->pidfd);
    return false;
}

static int add_process(struct run *run, const struct find_process *found, char *error)
{
    const struct attach *a = run->attach;
    int i = 0;

    while (i < run->n && !run->process[i].over)
        i++;
    if (i == COLLECT_PROCESSES) {
        snprintf(error, COLLECT_ERROR_BYTES, "more than %d processes at once are not measured", COLLECT_PROCESSES);
        return -1;
    }
    struct process *p = &run->process[i];
    *p = (struct process){.pid = found->pid, .over = true};
    p->pidfd = (int)syscall(SYS_pidfd_open, found->pid, 0);
    if (!is_still(p, found, error))
        return -1;
    p->writer = recwriter_new(a->dir, found->pid, a->collector->source, found->hex, found->version);
    error[0] = 0;
    p->handle = p->writer ? a->collector->add(found, error) : -1;
    if (p->handle < 0) {
        recwriter_discard(p->writer);
        if (p->pidfd >= 0)
            close(p->pidfd);
        return -1;
    }
    p->over = false;
    p->stopped = (struct stopped){.looked_ns = collect_now_ns(), .now = procinfo_is_stopped(p->pid)};
    if (i == run->n)
        run->n++;
    return 0;
}

static void look_whether_stopped(struct process *p)
{
    stopped_look(&p->stopped, collect_now_ns(), procinfo_is_stopped(p->pid));
}

static void take_picture(struct run *run, struct process *p, bool last)
{
    uint64_t now_ns = collect_now_ns();

    recwriter_begin(p->writer);
    recwriter_stopped(p->writer, p->stopped.ns);
    run->attach->collector->picture(p->handle, p->writer, now_ns, last);
    if (recwriter_commit(p->writer, now_ns, last))
        run->failed = -1;
}

static void end_process(struct run *run, struct process *p)
{
    take_picture(run, p, true);
    run->attach->collector->forget(p->handle);
    recwriter_free(p->writer);
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->over = true;
}

static void look_for_children(struct run *run)
{
    int pids[64], parents[COLLECT_PROCESSES], born[BORN_MAX];
    struct children_of of = {.parents = parents, .born = born};

    for (int i = 0; i < run->n; i++)
        if (!run->process[i].over)
            parents[of.n_parents++] = run->process[i].pid;
    if (run->attach->collector->descendants)
        of.n_born = run->attach->collector->descendants(born, BORN_MAX);
    int n = children_new(&run->children, &of, pids, 64);
    for (int i = 0; i < n; i++) {
        struct find_process found;
        char error[FIND_GIL_ERROR_BYTES];
        if (find_gil_now(pids[i], &found, error)) {
            children_again(&run->children, pids[i]);
            continue;
        }
        if (add_process(run, &found, error) && error[0])
            msg_error("process %d is not measured: %s", pids[i], error);
    }
}

static bool turn(struct run *run, unsigned n)
{
    bool any = false;

    for (int i = 0; i < run->n; i++) {
        struct process *p = &run->process[i];
        if (p->over)
            continue;
        if (has_ended(p) || run->attach->collector->has_gone(p->handle)) {
            end_process(run, p);
            continue;
        }
        look_whether_stopped(p);
        if (n < FIRST_PICTURES || n % PICTURE_EVERY == 0)
            take_picture(run, p, false);
    }
    if (run->attach->options.follow) /* also if none is left: the last one may just have made another */
        look_for_children(run);
    for (int i = 0; i < run->n; i++)
        any |= !run->process[i].over;
    return any;
}

int attach_start(struct attach *attach, const struct collector *fallback)
{
    char error[COLLECT_ERROR_BYTES];

    if (attach->collector->usable(error) && !attach->collector->start(&attach->options, error))
        return 0;
    if (!fallback) {
        msg_error("cannot attach by --method %s: %s", attach->collector->name, error);
        return -1;
    }
    msg_error("attaching by sampling, where all figures are estimates (--method %s), because %s", fallback->name,
              error);
    attach->collector = fallback;
    return attach_start(attach, NULL);
}

int attach_run(const struct attach *attach)
{
    struct run *run = calloc(1, sizeof *run);
    char error[COLLECT_ERROR_BYTES];
    uint64_t begin_ns, end_ns;

    if (!run) {
        attach->collector->stop();
        return -1;
    }
    run->attach = attach;
    if (add_process(run, attach->first, error)) {
        if (error[0])
            msg_error("cannot attach to process %d: %s", attach->first->pid, error);
        attach->collector->stop();
        free(run);
        return -1;
    }
    privileges_drop(attach->dir, attach->file);
    begin_ns = collect_now_ns();
    end_ns = attach->seconds > 0 ? begin_ns + (uint64_t)(attach->seconds * 1e9) : UINT64_MAX;
    for (unsigned n = 0; !*attach->options.stop; n++) {
        uint64_t until_ns = begin_ns + (n + 1) * (uint64_t)TURN_NS;
        attach->collector->work(until_ns < end_ns ? until_ns : end_ns);
        if (collect_now_ns() >= end_ns || !turn(run, n))
            break;
    }
    for (int i = 0; i < run->n; i++)
        if (!run->process[i].over) {
            look_whether_stopped(&run->process[i]);
            end_process(run, &run->process[i]);
        }
    attach->collector->stop();
    children_free(&run->children);
    int failed = run->failed;
    free(run);
    return failed;
}
