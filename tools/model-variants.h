/* SPDX-License-Identifier: MIT */
/*
 * model-variants.h - which native frames the collector has seen with which Python frames.  For model-inside.c and
 * model-samples.c only.
 */
#ifndef GILSCOPE_MODEL_VARIANTS_H
#define GILSCOPE_MODEL_VARIANTS_H

#include "model-samples.h"

#define VARIANTS_NONE UINT32_MAX

enum { CHARGED, HELD, SEEN_VIEWS }; /* the views of which looks from outside know */

struct variant {    /* native frames that were seen with a list of Python frames; ticks */
    uint32_t stack; /* has these frames, of any thread */
    uint32_t list, next;
    uint32_t called; /* frame: what the innermost Python frame called; VARIANTS_NONE = nothing */
    bool native;     /* native frames were taken */
    double ticks[SEEN_VIEWS], oncpu, released;
};

struct variants_list { /* of Python frames, innermost first */
    uint32_t first_frame, n_frames, variants;
};

struct variants {
    const struct model_stacks *stacks;
    struct variants_list *lists;
    struct variant *variants;
    uint32_t *frames; /* of lists */
    size_t n_lists, lists_room, n_variants, variants_room, n_frames, frames_room;
    struct intern list_table, variant_table;
};

void variants_free(struct variants *variants);

/* A sample of the collector's own, whose stack has the number id; merge has what it was made of. */
void variants_know(struct variants *variants, const struct merge *merge, uint32_t id, const struct reader_stack *stack);

/* The number of the list of a stack's Python frames; VARIANTS_NONE if the collector has seen none such. */
uint32_t variants_list_of(struct variants *variants, const struct merge *merge);

/* The first variant of a list, which may be VARIANTS_NONE; the others follow by `next`. */
uint32_t variants_first(const struct variants *variants, uint32_t list);

/* Whether what the innermost Python frame calls there lets go of the GIL. */
bool variants_lets_go(const struct variants *variants, const struct variant *variant);

#endif
