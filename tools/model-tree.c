/* SPDX-License-Identifier: MIT */
/*
 * model-tree.c - which process started which.
 */
#include "model-build.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define NONE SIZE_MAX

static int by_start(const void *a, const void *b)
{
    const struct model_process *x = a, *y = b;

    if (x->start_realtime_ns != y->start_realtime_ns)
        return x->start_realtime_ns < y->start_realtime_ns ? -1 : 1;
    return x->pid < y->pid ? -1 : x->pid > y->pid;
}

/* The process that another one was before it went on to its present program by exec, else the last one with its
 * parent's PID that began before it. */
static size_t parent_of(const struct model *model, size_t child)
{
    const struct model_process *c = &model->processes[child];
    size_t found = NONE;

    for (size_t i = 0; i < child; i++) {
        const struct model_process *p = &model->processes[i];
        if (strcmp(p->host, c->host))
            continue;
        if (p->pid == c->pid && p->proc_start_jiffies == c->proc_start_jiffies)
            return i;
        if (p->pid == c->ppid)
            found = i;
    }
    return found;
}

/* Moves a process and then its descendants to the end of sorted.  The parent always comes first in model->processes. */
static size_t place(const struct model *model, const size_t *parents, struct model_process *sorted, size_t n_sorted,
                    size_t parent, int depth)
{
    for (size_t i = parent == NONE ? 0 : parent + 1; i < model->n_processes; i++) {
        if (parents[i] != parent)
            continue;
        sorted[n_sorted] = model->processes[i];
        sorted[n_sorted++].depth = depth;
        n_sorted = place(model, parents, sorted, n_sorted, i, depth + 1);
    }
    return n_sorted;
}

void build_tree(struct model *model)
{
    struct model_process *sorted = mem_zeroed(model->n_processes, sizeof *sorted);
    size_t *parents = mem_zeroed(model->n_processes, sizeof *parents);

    if (model->n_processes)
        qsort(model->processes, model->n_processes, sizeof *model->processes, by_start);
    for (size_t i = 0; i < model->n_processes; i++)
        parents[i] = parent_of(model, i);
    place(model, parents, sorted, 0, NONE, 0);
    free(parents);
    free(model->processes);
    model->processes = sorted;
}
