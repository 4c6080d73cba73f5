/* SPDX-License-Identifier: MIT */
/*
 * model-flame-build.h - what the parts of the flame graph's model share.  For model-flame*.c only.
 */
#ifndef GILSCOPE_MODEL_FLAME_BUILD_H
#define GILSCOPE_MODEL_FLAME_BUILD_H

#include "model-flame.h"

struct flame_entry { /* what a node has of its own, in a chain */
    uint32_t thread, next;
    struct flame_weight weight;
};

static inline void flame_add(struct flame_weight *to, const struct flame_weight *weight)
{
    for (int view = 0; view < MODEL_VIEWS; view++) {
        to->ns[view] += weight->ns[view];
        to->oncpu_ns[view] += weight->oncpu_ns[view];
        to->samples[view] += weight->samples[view];
    }
}

/* Gives a node the entries of a chain, by thread. */
void flame_give(struct flame *flame, uint32_t node, const struct flame_entry *entries, uint32_t first);

/* Puts the nodes into their order and works out where each is drawn. */
void flame_arrange(struct flame *flame, enum model_view view);

#endif
