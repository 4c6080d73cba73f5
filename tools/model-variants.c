/* SPDX-License-Identifier: MIT */
/* model-variants.c - which native frames the collector has seen with which Python frames. */
#include "model-variants.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

void variants_free(struct variants *variants)
{
    intern_free(&variants->list_table);
    intern_free(&variants->variant_table);
    free(variants->lists);
    free(variants->variants);
    free(variants->frames);
}

struct list_key {
    const struct variants *variants;
    const struct merge *merge;
};

static bool same_list(const void *context, uint32_t id)
{
    const struct list_key *key = context;
    const struct variants_list *list = &key->variants->lists[id];

    if (list->n_frames != key->merge->n_python)
        return false;
    for (size_t i = 0; i < list->n_frames; i++)
        if (key->variants->frames[list->first_frame + i] != key->merge->python[i].frame)
            return false;
    return true;
}

/* The number of the list of a stack's Python frames; VARIANTS_NONE if there is none, unless it is to be added. */
static uint32_t list_of(struct variants *variants, const struct merge *merge, bool add)
{
    struct list_key key = {variants, merge};
    uint64_t hash = 0;

    for (size_t i = 0; i < merge->n_python; i++)
        hash = intern_hash(hash, &merge->python[i].frame, sizeof merge->python[i].frame);
    uint32_t id = intern(&variants->list_table, hash, same_list, &key, add ? (uint32_t)variants->n_lists : INTERN_NONE);
    if (id != variants->n_lists || !add)
        return id;
    variants->lists = mem_grow(variants->lists, variants->n_lists, &variants->lists_room, sizeof *variants->lists);
    variants->lists[variants->n_lists++] =
        (struct variants_list){(uint32_t)variants->n_frames, (uint32_t)merge->n_python, VARIANTS_NONE};
    for (size_t i = 0; i < merge->n_python; i++) {
        variants->frames =
            mem_grow(variants->frames, variants->n_frames, &variants->frames_room, sizeof *variants->frames);
        variants->frames[variants->n_frames++] = merge->python[i].frame;
    }
    return id;
}

static bool same_frames(const struct model_stacks *stacks, uint32_t a, uint32_t b)
{
    const struct model_stack *x = &stacks->stacks[a], *y = &stacks->stacks[b];

    return x->n_frames == y->n_frames &&
           (!x->n_frames || !memcmp(stacks->frame_ids + x->first_frame, stacks->frame_ids + y->first_frame,
                                    x->n_frames * sizeof *stacks->frame_ids));
}

struct variant_key {
    const struct variants *variants;
    uint32_t list, stack;
    bool native;
};

static bool same_variant(const void *context, uint32_t id)
{
    const struct variant_key *key = context;
    const struct variant *variant = &key->variants->variants[id];

    return variant->list == key->list && variant->native == key->native &&
           same_frames(key->variants->stacks, variant->stack, key->stack);
}

/* The frame behind the innermost Python one. */
static uint32_t called_by(const struct model_stacks *stacks, const struct model_stack *stack)
{
    uint32_t called = VARIANTS_NONE;

    for (size_t i = stack->n_frames; i > 0; i--) {
        uint32_t frame = stacks->frame_ids[stack->first_frame + i - 1];
        if (!stacks->functions[stacks->frames[frame].function].native)
            break;
        called = frame;
    }
    return called;
}

uint32_t variants_list_of(struct variants *variants, const struct merge *merge)
{
    return list_of(variants, merge, false);
}

void variants_know(struct variants *variants, const struct merge *merge, uint32_t id, const struct reader_stack *stack)
{
    const struct model_stacks *stacks = variants->stacks;
    const struct model_stack *merged = &stacks->stacks[id];
    struct variant_key key = {variants, list_of(variants, merge, true), id, stack->n_native};
    const uint32_t *frames = merged->n_frames ? stacks->frame_ids + merged->first_frame : NULL; /* there may be none yet */
    uint64_t hash = intern_hash(key.list, frames, merged->n_frames * sizeof *frames);
    uint32_t number =
        intern(&variants->variant_table, hash + key.native, same_variant, &key, (uint32_t)variants->n_variants);

    if (number == variants->n_variants) {
        variants->variants =
            mem_grow(variants->variants, variants->n_variants, &variants->variants_room, sizeof *variants->variants);
        struct variants_list *list = &variants->lists[key.list];
        variants->variants[variants->n_variants++] = (struct variant){.stack = id,
                                                                      .list = key.list,
                                                                      .next = list->variants,
                                                                      .called = called_by(stacks, merged),
                                                                      .native = key.native};
        list->variants = number;
    }
    struct variant *variant = &variants->variants[number];
    variant->ticks[CHARGED] += (double)stack->raw->weight_ticks[REC_WEIGHT_CHARGED];
    variant->ticks[HELD] += (double)stack->raw->weight_ticks[REC_WEIGHT_HELD];
    variant->oncpu += (double)stack->raw->weight_ticks[REC_WEIGHT_HELD_ONCPU];
    variant->released += (double)stack->raw->weight_ticks[REC_WEIGHT_RELEASED];
}

uint32_t variants_first(const struct variants *variants, uint32_t list)
{
    return list == VARIANTS_NONE ? VARIANTS_NONE : variants->lists[list].variants;
}

bool variants_lets_go(const struct variants *variants, const struct variant *variant)
{
    double held = 0, released = 0;

    for (uint32_t i = variants->lists[variant->list].variants; i != VARIANTS_NONE; i = variants->variants[i].next) {
        const struct variant *other = &variants->variants[i];
        if (other->called != variant->called)
            continue;
        held += other->ticks[HELD];
        released += other->released;
    }
    return released > BUILD_LETS_GO_SHARE * held;
}
