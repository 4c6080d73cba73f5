/* SPDX-License-Identifier: MIT */
/*
 * model-hot.c - what a stack was doing last, and the Python functions that others waited for most.
 */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-build.h"

#define HOT_MAX 20
#define CANDIDATES 8 /* extensions' functions that are told apart behind one Python function */
#define MOST_OF_IT 0.5

struct model_doing build_doing(const struct model_stacks *stacks, const struct model_stack *stack)
{
    uint32_t none = (uint32_t)stacks->n_frames;
    struct model_doing doing = {none, none, !stack->no_native};

    for (size_t i = stack->n_frames; i > 0; i--) { /* from the leaf */
        uint32_t frame = stacks->frame_ids[stack->first_frame + i - 1];
        enum model_role role = stacks->functions[stacks->frames[frame].function].role;
        if (role == MODEL_ROLE_EXTENSION)
            doing.extension = frame;
        if (role == MODEL_ROLE_PYTHON) {
            doing.python = frame;
            break;
        }
    }
    return doing;
}

static int by_ns(const void *a, const void *b)
{
    const struct model_hot *x = a, *y = b;

    return (x->ns < y->ns) - (x->ns > y->ns);
}

/* The list of functions with what others waited for them; frame_ns: the same for each place in them. */
static void rank(struct model_stacks *stacks, uint64_t *frame_ns)
{
    uint64_t *best_ns = mem_zeroed(stacks->n_functions, sizeof *best_ns);
    size_t n = 0;

    stacks->hot = mem_zeroed(stacks->n_functions, sizeof *stacks->hot);
    for (size_t i = 0; i < stacks->n_frames; i++) {
        uint32_t function = stacks->frames[i].function;
        stacks->hot[function].ns += frame_ns[i];
        if (frame_ns[i] > best_ns[function]) {
            best_ns[function] = frame_ns[i];
            stacks->hot[function].line = stacks->frames[i].line;
        }
    }
    free(best_ns);
    for (size_t i = 0; i < stacks->n_functions; i++) {
        struct model_hot hot = stacks->hot[i];
        hot.function = (uint32_t)i;
        hot.native = (uint32_t)stacks->n_functions;
        if (hot.ns)
            stacks->hot[n++] = hot;
    }
    if (n)
        qsort(stacks->hot, n, sizeof *stacks->hot, by_ns);
    stacks->n_hot = n < HOT_MAX ? n : HOT_MAX;
}

struct candidate {
    uint32_t function;
    uint64_t ns;
};

static void add_candidate(struct candidate *candidates, uint32_t function, uint64_t ns)
{
    for (size_t i = 0; i < CANDIDATES; i++) {
        if (candidates[i].ns && candidates[i].function != function)
            continue;
        candidates[i].function = function;
        candidates[i].ns += ns;
        return;
    }
}

/* What the function called most, and whether it is with the GIL or without it. */
static void look_closer(struct model_stacks *stacks, struct model_hot *hot)
{
    struct candidate candidates[CANDIDATES] = {{0, 0}};
    uint64_t held_ns = 0, released_ns = 0;

    for (size_t i = 0; i < stacks->n_stacks; i++) {
        const struct model_stack *stack = &stacks->stacks[i];
        struct model_doing doing = build_doing(stacks, stack);
        if (doing.python == stacks->n_frames || stacks->frames[doing.python].function != hot->function)
            continue;
        held_ns += stack->ns[MODEL_HELD];
        released_ns += stack->ns[MODEL_RELEASED];
        if (stack->ns[MODEL_CHARGED] && doing.extension < stacks->n_frames)
            add_candidate(candidates, stacks->frames[doing.extension].function, stack->ns[MODEL_CHARGED]);
    }
    hot->lets_go = !stacks->flows[MODEL_CHARGED].inside && released_ns > held_ns;
    for (size_t i = 0; i < CANDIDATES; i++)
        if ((double)candidates[i].ns >= MOST_OF_IT * (double)hot->ns)
            hot->native = candidates[i].function;
}

void build_hot(struct build *build)
{
    struct model_stacks *stacks = &build->process->stacks;
    uint64_t total_ns = stacks->flows[MODEL_CHARGED].total_ns;
    uint64_t *frame_ns = mem_zeroed(stacks->n_frames, sizeof *frame_ns);

    for (size_t i = 0; i < stacks->n_stacks; i++) {
        struct model_doing doing = build_doing(stacks, &stacks->stacks[i]);
        uint32_t frame = doing.python < stacks->n_frames ? doing.python : doing.extension;
        if (frame < stacks->n_frames)
            frame_ns[frame] += stacks->stacks[i].ns[MODEL_CHARGED];
    }
    rank(stacks, frame_ns);
    free(frame_ns);
    for (size_t i = 0; i < stacks->n_hot; i++) {
        stacks->hot[i].share = total_ns ? (double)stacks->hot[i].ns / (double)total_ns : 0;
        look_closer(stacks, &stacks->hot[i]);
    }
}
