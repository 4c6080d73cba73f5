/* SPDX-License-Identifier: MIT */
/*
 * model-flame-arrange.c - the order and the places of a flame graph's nodes.
 */
#include <stdlib.h>

#include "mem.h"
#include "model-flame-build.h"

static int by_thread(const void *a, const void *b)
{
    const struct flame_self *x = a, *y = b;

    return (x->thread > y->thread) - (x->thread < y->thread);
}

void flame_give(struct flame *flame, uint32_t node, const struct flame_entry *entries, uint32_t first)
{
    size_t start = flame->n_selfs, n = start;

    for (; first != FLAME_NONE; first = entries[first].next) {
        flame->selfs = mem_grow(flame->selfs, flame->n_selfs, &flame->selfs_capacity, sizeof *flame->selfs);
        flame->selfs[flame->n_selfs++] = (struct flame_self){node, entries[first].thread, entries[first].weight};
    }
    if (flame->n_selfs == start)
        return;
    qsort(flame->selfs + start, flame->n_selfs - start, sizeof *flame->selfs, by_thread);
    for (size_t i = start + 1; i < flame->n_selfs; i++) {
        if (flame->selfs[n].thread == flame->selfs[i].thread)
            flame_add(&flame->selfs[n].weight, &flame->selfs[i].weight);
        else
            flame->selfs[++n] = flame->selfs[i];
    }
    flame->n_selfs = n + 1;
}

struct sorting {
    const struct flame_node *nodes;
    enum model_view view;
};

static int heaviest_first(const void *a, const void *b, void *context)
{
    const struct sorting *sorting = context;
    const struct flame_node *x = &sorting->nodes[*(const uint32_t *)a], *y = &sorting->nodes[*(const uint32_t *)b];
    uint64_t ns_x = x->total.ns[sorting->view], ns_y = y->total.ns[sorting->view];

    if ((x->function == FLAME_REST) != (y->function == FLAME_REST))
        return x->function == FLAME_REST ? 1 : -1;
    if (ns_x != ns_y)
        return ns_x < ns_y ? 1 : -1;
    return (x->function > y->function) - (x->function < y->function);
}

/* Sorts the children of a node, in the order in which they were built, and appends them to a list. */
static size_t sort_children(const struct sorting *sorting, uint32_t node, uint32_t *list)
{
    size_t n = 0;

    for (uint32_t child = sorting->nodes[node].first_child; child != FLAME_NONE; child = sorting->nodes[child].next)
        list[n++] = child;
    if (n)
        qsort_r(list, n, sizeof *list, heaviest_first, (void *)sorting);
    return n;
}

/* Moves the nodes so that each stands behind its parent, the heaviest first.  moved: where each has come to. */
static void reorder(struct flame *flame, enum model_view view, uint32_t *moved)
{
    struct flame_node *nodes = mem_zeroed(flame->n_nodes, sizeof *nodes);
    uint32_t *todo = mem_zeroed(flame->n_nodes, sizeof *todo), *children = mem_zeroed(flame->n_nodes, sizeof *todo);
    struct sorting sorting = {flame->nodes, view};
    size_t n_todo = 1, n_done = 0;

    todo[0] = (uint32_t)flame->n_nodes - 1; /* the root was closed last */
    while (n_todo) {
        uint32_t from = todo[--n_todo];
        size_t n = sort_children(&sorting, from, children);
        moved[from] = (uint32_t)n_done;
        nodes[n_done] = flame->nodes[from];
        if (nodes[n_done].parent != FLAME_NONE)
            nodes[n_done].parent = moved[nodes[n_done].parent];
        nodes[n_done].first_child = nodes[n_done].next = FLAME_NONE;
        n_done++;
        while (n)
            todo[n_todo++] = children[--n];
    }
    free(flame->nodes);
    free(todo);
    free(children);
    flame->nodes = nodes;
}

/* Chains the children again, and gives each its place beside the one before it. */
static void place(struct flame *flame, enum model_view view)
{
    uint32_t *last = mem_zeroed(flame->n_nodes, sizeof *last);
    double all = (double)flame->nodes[0].total.ns[view];

    for (uint32_t i = 0; i < flame->n_nodes; i++) {
        struct flame_node *node = &flame->nodes[i];
        node->share = node->width = all > 0 ? (double)node->total.ns[view] / all : 0;
        last[i] = FLAME_NONE;
        if (node->parent == FLAME_NONE)
            continue;
        if (last[node->parent] == FLAME_NONE) {
            flame->nodes[node->parent].first_child = i;
            node->x = flame->nodes[node->parent].x;
        } else {
            struct flame_node *before = &flame->nodes[last[node->parent]];
            before->next = i;
            node->x = before->x + before->width;
        }
        last[node->parent] = i;
    }
    free(last);
}

static int by_node(const void *a, const void *b)
{
    const struct flame_self *x = a, *y = b;

    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return by_thread(a, b);
}

void flame_arrange(struct flame *flame, enum model_view view)
{
    uint32_t *moved = mem_zeroed(flame->n_nodes, sizeof *moved);

    reorder(flame, view, moved);
    place(flame, view);
    for (size_t i = 0; i < flame->n_selfs; i++)
        flame->selfs[i].node = moved[flame->selfs[i].node];
    if (flame->n_selfs)
        qsort(flame->selfs, flame->n_selfs, sizeof *flame->selfs, by_node);
    free(moved);
}

static int most_first(const void *a, const void *b)
{
    const struct flame_own *x = a, *y = b;

    if (x->ns != y->ns)
        return x->ns < y->ns ? 1 : -1;
    return (x->function > y->function) - (x->function < y->function);
}

size_t flame_own(const struct model_process *process, enum model_view view, struct flame_own *list, size_t max)
{
    const struct model_stacks *stacks = &process->stacks;
    struct flame_own *all = mem_zeroed(stacks->n_functions, sizeof *all);
    size_t n = 0;

    for (size_t i = 0; i < stacks->n_functions; i++)
        all[i].function = (uint32_t)i;
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        const struct model_stack *stack = &stacks->stacks[i];
        if (stack->n_frames)
            all[stacks->frames[stacks->frame_ids[stack->first_frame + stack->n_frames - 1]].function].ns +=
                stack->ns[view];
    }
    if (stacks->n_functions)
        qsort(all, stacks->n_functions, sizeof *all, most_first);
    for (; n < max && n < stacks->n_functions && all[n].ns; n++)
        list[n] = all[n];
    free(all);
    return n;
}
