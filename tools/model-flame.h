/* SPDX-License-Identifier: MIT */
/*
 * model-flame.h - the stacks of a process as a tree, for flame graphs: small branches are put together, so that it
 * stays of a size that can be drawn.
 */
#ifndef GILSCOPE_MODEL_FLAME_H
#define GILSCOPE_MODEL_FLAME_H

#include "model.h"

#define FLAME_NONE UINT32_MAX
#define FLAME_REST (UINT32_MAX - 1) /* as a function: branches too small to be told apart */
#define FLAME_ROOT (UINT32_MAX - 2) /* as a function: all of it */

struct flame_weight {
    uint64_t ns[MODEL_VIEWS];
    uint64_t oncpu_ns[MODEL_VIEWS];
    uint64_t samples[MODEL_VIEWS];
};

struct flame_node {
    uint32_t function; /* or FLAME_REST, FLAME_ROOT; a thread, if is_thread */
    bool is_thread;
    uint32_t parent, first_child, next; /* nodes; FLAME_NONE */
    uint32_t depth;                     /* the root's is 0 */
    struct flame_weight total;          /* with all that it called */
    double x, width;                    /* where it is drawn, 0..1 of the root; for the flame's view */
    double share;                       /* of the root, for the flame's view */
};

struct flame_self { /* what a node has of its own, by thread */
    uint32_t node, thread;
    struct flame_weight weight;
};

struct flame {
    struct flame_node *nodes; /* the root first, parents before their children, the heaviest child first */
    size_t n_nodes;
    uint32_t depth;           /* of the deepest node */
    struct flame_self *selfs; /* by node */
    size_t n_selfs;
    uint64_t n_small; /* branches that were put together */
    size_t nodes_capacity, selfs_capacity;
};

/* Builds the tree with at most about max_nodes nodes, for one view or, with MODEL_VIEWS, for all of them (the heaviest
 * child is then that of the charged view).  by_thread: threads are the first level.  To be ended with flame_free(). */
void flame_build(struct flame *flame, const struct model_process *process, enum model_view view, bool by_thread,
                 size_t max_nodes);
void flame_free(struct flame *flame);

struct flame_own { /* a function with what it had itself, over all stacks */
    uint32_t function;
    uint64_t ns;
};

/* The functions with the most of a view, the most first; returns how many, at most max. */
size_t flame_own(const struct model_process *process, enum model_view view, struct flame_own *list, size_t max);

#endif
