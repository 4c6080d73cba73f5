/* SPDX-License-Identifier: MIT */
/*
 * model-inside.c - what threads did inside of holds, by looks from outside, in place of where the holds ended.
 *
 * How long each thread held the GIL, and made others wait, is known exactly; the looks say how that divides.  They have
 * the Python frames, and the function of an extension where it was on the frame's stack.  Where it was not, native
 * frames are borrowed from samples that the collector took itself at the same Python place: in the proportions in which
 * it saw them there, but none of a call that lets go of the GIL, for there a hold has ended, whatever it was spent on.
 */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-names.h"
#include "model-samples.h"
#include "model-variants.h"

#define ENOUGH 16         /* looks at a thread; threads with fewer are taken together */
#define COVERED_LEAST 0.5 /* of their exact time, that the looks stand for: else they saw a part of their life only */

static const enum model_view view_of[SEEN_VIEWS] = {[CHARGED] = MODEL_CHARGED, [HELD] = MODEL_HELD};

struct seen { /* of a stack, from outside */
    double ns[SEEN_VIEWS], oncpu_ns;
    uint32_t samples[SEEN_VIEWS];
};

struct inside {
    const struct build *build;
    struct model_stacks *stacks;
    struct variants variants; /* what the collector has seen itself */
    struct seen *seen;        /* by stack */
    size_t seen_room;
    uint32_t *copy; /* frames of one stack */
    size_t copy_room;
};

struct inside *inside_new(const struct build *build)
{
    struct inside *inside = mem_zeroed(1, sizeof *inside);

    inside->build = build;
    inside->stacks = &build->process->stacks;
    inside->variants.stacks = inside->stacks;
    return inside;
}

static void free_inside(struct inside *inside)
{
    variants_free(&inside->variants);
    free(inside->seen);
    free(inside->copy);
    free(inside);
}

void inside_know(struct inside *inside, const struct samples *samples, uint32_t id, const struct reader_stack *stack)
{
    variants_know(&inside->variants, &samples->merge, id, stack);
}

/* --- what was seen from outside ---------------------------------------------------------------------------------- */
static struct seen *seen_at(struct inside *inside, uint32_t stack)
{
    if (stack >= inside->seen_room) {
        size_t room = inside->stacks->n_stacks * 3 / 2 + 64;
        struct seen *seen = mem_zeroed(room, sizeof *seen);
        if (inside->seen_room)
            memcpy(seen, inside->seen, inside->seen_room * sizeof *seen);
        free(inside->seen);
        inside->seen = seen;
        inside->seen_room = room;
    }
    return &inside->seen[stack];
}

/* The share of what this thread held, at this place, that was on a processor. */
static double oncpu_share(const struct inside *inside, uint32_t list, uint32_t thread)
{
    const struct model_process *process = inside->build->process;
    const struct variants *variants = &inside->variants;
    double held = 0, oncpu = 0;

    for (uint32_t i = variants_first(variants, list); i != VARIANTS_NONE; i = variants->variants[i].next) {
        held += variants->variants[i].ticks[HELD];
        oncpu += variants->variants[i].oncpu;
    }
    if (held <= 0 && thread < process->n_threads) {
        held = (double)process->threads[thread].held_ns;
        oncpu = (double)process->threads[thread].states.held_oncpu_ns;
    }
    return held > 0 && oncpu < held ? oncpu / held : 1;
}

/* A stack of this thread with the frames of another one. */
static uint32_t stack_like(struct inside *inside, uint32_t thread, uint32_t other)
{
    struct model_stacks *stacks = inside->stacks;
    const struct model_stack *stack = &stacks->stacks[other];
    size_t n = stack->n_frames;

    if (n > inside->copy_room || !inside->copy) {
        free(inside->copy);
        inside->copy = mem_zeroed(n, sizeof *inside->copy);
        inside->copy_room = n;
    }
    if (n)
        memcpy(inside->copy, stacks->frame_ids + stack->first_frame, n * sizeof *inside->copy);
    return names_stack(stacks, thread, inside->copy, n);
}

/* Gives a part of a look's weight to a stack. */
static void give(struct inside *inside, uint32_t stack, int view, double ns, double samples_before, double samples,
                 double oncpu)
{
    struct seen *seen = seen_at(inside, stack);

    seen->ns[view] += ns;
    seen->samples[view] += (uint32_t)(samples_before + samples + 0.5) - (uint32_t)(samples_before + 0.5);
    if (view == HELD)
        seen->oncpu_ns += ns * oncpu;
}

/* Divides what was seen with these Python frames only by what the collector has seen there.  plain: the stack without
 * native frames. */
static void borrow(struct inside *inside, uint32_t list, uint32_t plain, int view, double ns, double samples,
                   double oncpu)
{
    const struct variants *variants = &inside->variants;
    uint32_t thread = inside->stacks->stacks[plain].thread, first = variants_first(variants, list);
    double whole = 0, used = 0;
    bool by_held = false;

    for (int pass = 0; pass < 2 && whole <= 0; pass++) {
        by_held = pass;
        for (uint32_t i = first; i != VARIANTS_NONE; i = variants->variants[i].next)
            if (variants->variants[i].native)
                whole += variants->variants[i].ticks[by_held ? HELD : view];
    }
    if (whole <= 0) {
        give(inside, plain, view, ns, 0, samples, oncpu);
        inside->stacks->stacks[plain].no_native = true;
        return;
    }
    for (uint32_t i = first; i != VARIANTS_NONE; i = variants->variants[i].next) {
        const struct variant *variant = &variants->variants[i];
        double part = variant->ticks[by_held ? HELD : view] / whole;
        if (!variant->native || part <= 0)
            continue;
        bool keeps = variant->called != VARIANTS_NONE && !variants_lets_go(variants, variant);
        uint32_t stack = keeps || variant->called == VARIANTS_NONE ? stack_like(inside, thread, variant->stack) : plain;
        give(inside, stack, view, ns * part, samples * used, samples * part, oncpu);
        used += part;
    }
}

static void see(struct inside *inside, struct samples *samples, const struct reader_stack *stack)
{
    static const enum rec_weight weight[SEEN_VIEWS] = {REC_WEIGHT_CHARGED, REC_WEIGHT_HELD};
    uint32_t id = samples_enter(samples, stack), list = variants_list_of(&inside->variants, &samples->merge);
    double oncpu = oncpu_share(inside, list, inside->stacks->stacks[id].thread);

    samples_know_call(&inside->stacks->stacks[id], stack->raw);
    for (int view = 0; view < SEEN_VIEWS; view++) {
        double ns = (double)stack->raw->weight_ticks[weight[view]];
        uint32_t n = stack->raw->samples[weight[view]];
        if (ns <= 0)
            continue;
        if (stack->n_native)
            give(inside, id, view, ns, 0, n, oncpu);
        else
            borrow(inside, list, id, view, ns, n, oncpu);
    }
}

/* --- which of both counts ---------------------------------------------------------------------------------------- */
struct share { /* of a thread in a view */
    double seen_ns, exact_ns, own_ns;
    uint64_t samples;
    double factor; /* 0 = the collector's own samples count */
};

static double factor_of(const struct share *share)
{
    if (share->seen_ns <= 0)
        return 0;
    if (share->own_ns > 0 && (share->samples < ENOUGH || share->seen_ns < COVERED_LEAST * share->exact_ns))
        return 0;
    return share->exact_ns / share->seen_ns;
}

static void add_up(const struct inside *inside, int view, struct share *shares)
{
    const struct model_process *process = inside->build->process;

    for (size_t i = 0; i < process->n_threads; i++)
        shares[i].exact_ns = (double)(view == HELD ? process->threads[i].held_ns : process->threads[i].charged_ns);
    for (size_t i = 0; i < inside->stacks->n_stacks; i++) {
        const struct model_stack *stack = &inside->stacks->stacks[i];
        shares[stack->thread].own_ns += (double)stack->ns[view_of[view]] * inside->build->ns_per_tick;
        if (i < inside->seen_room) {
            shares[stack->thread].seen_ns += inside->seen[i].ns[view];
            shares[stack->thread].samples += inside->seen[i].samples[view];
        }
    }
}

/* Each thread by itself where there are enough looks at it, the others together. */
static void choose(struct share *shares, size_t n)
{
    struct share rest = {.samples = 0};

    for (size_t i = 0; i < n; i++) {
        shares[i].factor = shares[i].samples < ENOUGH ? 0 : factor_of(&shares[i]);
        if (shares[i].factor > 0)
            continue;
        rest.seen_ns += shares[i].seen_ns;
        rest.exact_ns += shares[i].exact_ns;
        rest.own_ns += shares[i].own_ns;
        rest.samples += shares[i].samples;
    }
    rest.factor = factor_of(&rest);
    for (size_t i = 0; i < n; i++)
        if (shares[i].factor <= 0)
            shares[i].factor = rest.factor;
}

static uint64_t ticks_of(const struct inside *inside, double ns)
{
    double ticks = ns / inside->build->ns_per_tick + 0.5;

    return ticks < 4e18 ? ticks > 0 ? (uint64_t)ticks : 0 : (uint64_t)4e18;
}

static void replace(struct inside *inside, int view)
{
    const struct model_process *process = inside->build->process;
    struct model_flow *flow = &inside->stacks->flows[view_of[view]];
    struct share *shares = mem_zeroed(process->n_threads + 1, sizeof *shares);
    double sampled_ns = 0;

    add_up(inside, view, shares);
    choose(shares, process->n_threads + 1);
    for (size_t i = 0; i < inside->stacks->n_stacks; i++) {
        struct model_stack *stack = &inside->stacks->stacks[i];
        const struct share *share = &shares[stack->thread];
        struct seen seen = i < inside->seen_room ? inside->seen[i] : (struct seen){.oncpu_ns = 0};
        if (share->factor <= 0) {
            sampled_ns += (double)stack->ns[view_of[view]] * inside->build->ns_per_tick;
            continue;
        }
        stack->ns[view_of[view]] = ticks_of(inside, seen.ns[view] * share->factor);
        stack->samples[view_of[view]] = seen.samples[view];
        if (view == HELD)
            stack->oncpu_ns[MODEL_HELD] = ticks_of(inside, seen.oncpu_ns * share->factor);
        sampled_ns += seen.ns[view];
        flow->inside_samples += seen.samples[view];
    }
    flow->sampled_ns = sampled_ns < 4e18 ? (uint64_t)(sampled_ns + 0.5) : (uint64_t)4e18;
    free(shares);
}

void inside_apply(struct inside *inside, const struct reader_file *holds)
{
    struct samples samples;
    struct reader_record record = {.offset = 0};
    struct reader_stack stack;

    samples_begin(&samples, inside->build, holds);
    while (reader_next(holds, &record))
        if (reader_stack(holds, &record, &stack))
            see(inside, &samples, &stack);
    samples_end(&samples);
    for (int view = 0; view < SEEN_VIEWS; view++)
        replace(inside, view);
    free_inside(inside);
}
