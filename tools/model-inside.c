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

#define ENOUGH 16         /* looks at a thread; threads with fewer are taken together */
#define COVERED_LEAST 0.5 /* of their exact time, that the looks stand for: else they saw a part of their life only */
#define NONE UINT32_MAX

enum { CHARGED, HELD, SEEN_VIEWS };
static const enum model_view view_of[SEEN_VIEWS] = {MODEL_CHARGED, MODEL_HELD};

struct list { /* of Python frames, innermost first */
    uint32_t first_frame, n_frames, variants;
};

struct variant {    /* native frames that were seen with them; ticks */
    uint32_t stack; /* has these frames, of any thread */
    uint32_t list, next;
    uint32_t called; /* frame: what the innermost Python frame called; NONE = nothing */
    bool native;     /* native frames were taken */
    double ticks[SEEN_VIEWS], oncpu, released;
};

struct seen { /* of a stack, from outside */
    double ns[SEEN_VIEWS], oncpu_ns;
    uint32_t samples[SEEN_VIEWS];
};

struct inside {
    const struct build *build;
    struct model_stacks *stacks;
    struct list *lists;
    struct variant *variants;
    uint32_t *frames; /* of lists */
    size_t n_lists, lists_room, n_variants, variants_room, n_frames, frames_room;
    struct intern list_table, variant_table;
    struct seen *seen; /* by stack */
    size_t seen_room;
    uint32_t *copy; /* frames of one stack */
    size_t copy_room;
};

struct inside *inside_new(const struct build *build)
{
    struct inside *inside = mem_zeroed(1, sizeof *inside);

    inside->build = build;
    inside->stacks = &build->process->stacks;
    return inside;
}

static void free_inside(struct inside *inside)
{
    intern_free(&inside->list_table);
    intern_free(&inside->variant_table);
    free(inside->lists);
    free(inside->variants);
    free(inside->frames);
    free(inside->seen);
    free(inside->copy);
    free(inside);
}

/* --- what the collector has seen --------------------------------------------------------------------------------- */
struct list_key {
    const struct inside *inside;
    const struct merge *merge;
};

static bool same_list(const void *context, uint32_t id)
{
    const struct list_key *key = context;
    const struct list *list = &key->inside->lists[id];

    if (list->n_frames != key->merge->n_python)
        return false;
    for (size_t i = 0; i < list->n_frames; i++)
        if (key->inside->frames[list->first_frame + i] != key->merge->python[i].frame)
            return false;
    return true;
}

/* The number of the list of a stack's Python frames; NONE if there is none, unless it is to be added. */
static uint32_t list_of(struct inside *inside, const struct merge *merge, bool add)
{
    struct list_key key = {inside, merge};
    uint64_t hash = 0;

    for (size_t i = 0; i < merge->n_python; i++)
        hash = intern_hash(hash, &merge->python[i].frame, sizeof merge->python[i].frame);
    uint32_t id = intern(&inside->list_table, hash, same_list, &key, add ? (uint32_t)inside->n_lists : INTERN_NONE);
    if (id != inside->n_lists || !add)
        return id;
    inside->lists = mem_grow(inside->lists, inside->n_lists, &inside->lists_room, sizeof *inside->lists);
    inside->lists[inside->n_lists++] = (struct list){(uint32_t)inside->n_frames, (uint32_t)merge->n_python, NONE};
    for (size_t i = 0; i < merge->n_python; i++) {
        inside->frames = mem_grow(inside->frames, inside->n_frames, &inside->frames_room, sizeof *inside->frames);
        inside->frames[inside->n_frames++] = merge->python[i].frame;
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
    const struct inside *inside;
    uint32_t list, stack;
    bool native;
};

static bool same_variant(const void *context, uint32_t id)
{
    const struct variant_key *key = context;
    const struct variant *variant = &key->inside->variants[id];

    return variant->list == key->list && variant->native == key->native &&
           same_frames(key->inside->stacks, variant->stack, key->stack);
}

/* The frame behind the innermost Python one. */
static uint32_t called_by(const struct model_stacks *stacks, const struct model_stack *stack)
{
    uint32_t called = NONE;

    for (size_t i = stack->n_frames; i > 0; i--) {
        uint32_t frame = stacks->frame_ids[stack->first_frame + i - 1];
        if (!stacks->functions[stacks->frames[frame].function].native)
            break;
        called = frame;
    }
    return called;
}

void inside_know(struct inside *inside, const struct samples *samples, uint32_t id, const struct reader_stack *stack)
{
    struct model_stacks *stacks = inside->stacks;
    const struct model_stack *merged = &stacks->stacks[id];
    struct variant_key key = {inside, list_of(inside, &samples->merge, true), id, stack->n_native};
    uint64_t hash =
        intern_hash(key.list, stacks->frame_ids + merged->first_frame, merged->n_frames * sizeof *stacks->frame_ids);
    uint32_t number =
        intern(&inside->variant_table, hash + key.native, same_variant, &key, (uint32_t)inside->n_variants);

    if (number == inside->n_variants) {
        inside->variants =
            mem_grow(inside->variants, inside->n_variants, &inside->variants_room, sizeof *inside->variants);
        struct list *list = &inside->lists[key.list];
        inside->variants[inside->n_variants++] = (struct variant){.stack = id,
                                                                  .list = key.list,
                                                                  .next = list->variants,
                                                                  .called = called_by(stacks, merged),
                                                                  .native = key.native};
        list->variants = number;
    }
    struct variant *variant = &inside->variants[number];
    variant->ticks[CHARGED] += (double)stack->raw->weight_ticks[REC_WEIGHT_CHARGED];
    variant->ticks[HELD] += (double)stack->raw->weight_ticks[REC_WEIGHT_HELD];
    variant->oncpu += (double)stack->raw->weight_ticks[REC_WEIGHT_HELD_ONCPU];
    variant->released += (double)stack->raw->weight_ticks[REC_WEIGHT_RELEASED];
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
    double held = 0, oncpu = 0;

    for (uint32_t i = list == NONE ? NONE : inside->lists[list].variants; i != NONE; i = inside->variants[i].next) {
        held += inside->variants[i].ticks[HELD];
        oncpu += inside->variants[i].oncpu;
    }
    if (held <= 0 && thread < process->n_threads) {
        held = (double)process->threads[thread].held_ns;
        oncpu = (double)process->threads[thread].states.held_oncpu_ns;
    }
    return held > 0 && oncpu < held ? oncpu / held : 1;
}

static bool lets_go(const struct inside *inside, const struct variant *variant)
{
    double held = 0, released = 0;

    for (uint32_t i = inside->lists[variant->list].variants; i != NONE; i = inside->variants[i].next) {
        const struct variant *other = &inside->variants[i];
        if (other->called != variant->called)
            continue;
        held += other->ticks[HELD];
        released += other->released;
    }
    return released > BUILD_LETS_GO_SHARE * held;
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
    uint32_t thread = inside->stacks->stacks[plain].thread, first = list == NONE ? NONE : inside->lists[list].variants;
    double whole = 0, used = 0;
    bool by_held = false;

    for (int pass = 0; pass < 2 && whole <= 0; pass++) {
        by_held = pass;
        for (uint32_t i = first; i != NONE; i = inside->variants[i].next)
            if (inside->variants[i].native)
                whole += inside->variants[i].ticks[by_held ? HELD : view];
    }
    if (whole <= 0) {
        give(inside, plain, view, ns, 0, samples, oncpu);
        inside->stacks->stacks[plain].no_native = true;
        return;
    }
    for (uint32_t i = first; i != NONE; i = inside->variants[i].next) {
        const struct variant *variant = &inside->variants[i];
        double part = variant->ticks[by_held ? HELD : view] / whole;
        if (!variant->native || part <= 0)
            continue;
        bool keeps = variant->called != NONE && !lets_go(inside, variant);
        uint32_t stack = keeps || variant->called == NONE ? stack_like(inside, thread, variant->stack) : plain;
        give(inside, stack, view, ns * part, samples * used, samples * part, oncpu);
        used += part;
    }
}

static void see(struct inside *inside, struct samples *samples, const struct reader_stack *stack)
{
    static const enum rec_weight weight[SEEN_VIEWS] = {REC_WEIGHT_CHARGED, REC_WEIGHT_HELD};
    uint32_t id = samples_enter(samples, stack), list = list_of(inside, &samples->merge, false);
    double oncpu = oncpu_share(inside, list, inside->stacks->stacks[id].thread);

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
