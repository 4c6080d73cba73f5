/* SPDX-License-Identifier: MIT */
/*
 * model-samples.c - reads the recording's stacks: merges their frames, and puts those together that are then the same.
 */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-names.h"
#include "model-samples.h"

/* --- Python frames */
static const char *text_at(const struct samples *samples, uint32_t cell, const char *otherwise)
{
    const char *bytes;
    size_t n;

    if (!reader_string(samples->file, cell, &bytes, &n) || !n)
        return names_text(samples->stacks, otherwise, strlen(otherwise));
    return names_text(samples->stacks, bytes, n);
}

static uint32_t read_frame(const struct samples *samples, uint32_t cell)
{
    const struct rec_frame *raw = reader_frame(samples->file, cell);
    struct model_function function = {.role = MODEL_ROLE_PYTHON, .named = true};

    function.name = text_at(samples, raw ? raw->function : 0, "?");
    function.file = text_at(samples, raw ? raw->file : 0, "");
    if (function.name[0] == '[' && !function.file[0]) /* a mark of the collector's: no code */
        function.role = MODEL_ROLE_UNKNOWN;
    function.basename = names_base(function.file);
    function.first_line = raw ? raw->first_line : 0;
    return names_frame(samples->stacks, names_function(samples->stacks, &function), raw ? raw->line : 0);
}

struct place_key {
    const struct samples *samples;
    uint32_t cell;
};

static bool same_place(const void *context, uint32_t id)
{
    const struct place_key *key = context;

    return key->samples->places[id].cell == key->cell;
}

static uint32_t python_frame(struct samples *samples, uint32_t cell)
{
    struct place_key key = {samples, cell};
    uint32_t id = intern(&samples->place_table, intern_hash(0, &cell, sizeof cell), same_place, &key,
                         (uint32_t)samples->n_places);

    if (id == samples->n_places) {
        samples->places =
            mem_grow(samples->places, samples->n_places, &samples->places_capacity, sizeof *samples->places);
        samples->places[samples->n_places++] = (struct place){cell, read_frame(samples, cell)};
    }
    return samples->places[id].frame;
}

/* --- threads */
static int by_number(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static void number_threads(struct samples *samples, const struct model_process *process)
{
    samples->threads = mem_zeroed(process->n_threads, sizeof *samples->threads);
    samples->ended = (uint32_t)process->n_threads;
    for (size_t i = 0; i < process->n_threads; i++) {
        samples->threads[i] = (struct numbered){process->threads[i].index, (uint32_t)i};
        if (process->threads[i].folded)
            samples->ended = (uint32_t)i;
    }
    qsort(samples->threads, process->n_threads, sizeof *samples->threads, by_number);
}

static uint32_t thread_of(const struct samples *samples, uint32_t number)
{
    struct numbered key = {number, 0};
    const struct numbered *found =
        bsearch(&key, samples->threads, samples->build->process->n_threads, sizeof *samples->threads, by_number);

    return found ? found->i : samples->ended;
}

/* --- one stack */
static void make_room(struct samples *samples, size_t n)
{
    if (samples->frames && n <= samples->room)
        return;
    free(samples->native_frames);
    free(samples->python_frames);
    free(samples->frames);
    samples->native_frames = mem_zeroed(n, sizeof *samples->native_frames);
    samples->python_frames = mem_zeroed(n, sizeof *samples->python_frames);
    samples->frames = mem_zeroed(n, sizeof *samples->frames);
    samples->room = n;
}

void samples_know_call(struct model_stack *stack, const struct rec_stack *raw)
{
    uint64_t call_ns = raw->samples[REC_STACK_LONGEST_CALL] * UINT64_C(1000);

    if (call_ns > stack->longest_call_ns)
        stack->longest_call_ns = call_ns;
}

static void add_weights(struct model_stack *stack, const struct rec_stack *raw)
{
    static const struct {
        enum rec_weight weight, oncpu;
    } from[MODEL_VIEWS] = {
        [MODEL_WAIT] = {REC_WEIGHT_WAIT, REC_WEIGHTS},
        [MODEL_CHARGED] = {REC_WEIGHT_CHARGED, REC_WEIGHTS},
        [MODEL_HELD] = {REC_WEIGHT_HELD, REC_WEIGHT_HELD_ONCPU},
        [MODEL_RELEASED] = {REC_WEIGHT_RELEASED, REC_WEIGHT_RELEASED_ONCPU},
    };

    for (int view = 0; view < MODEL_VIEWS; view++) {
        stack->ns[view] += raw->weight_ticks[from[view].weight]; /* ticks, until they are scaled */
        stack->samples[view] += raw->samples[from[view].weight];
        if (from[view].oncpu != REC_WEIGHTS)
            stack->oncpu_ns[view] += raw->weight_ticks[from[view].oncpu];
    }
    if (raw->weight_ticks[REC_STACK_LONGEST_HOLD] > stack->longest_hold_ns)
        stack->longest_hold_ns = raw->weight_ticks[REC_STACK_LONGEST_HOLD];
    stack->holds += raw->weight_ticks[REC_STACK_HOLDS];
    samples_know_call(stack, raw);
}

static bool has_weight(const struct rec_stack *raw)
{
    for (int i = 0; i < REC_WEIGHTS; i++)
        if (raw->weight_ticks[i])
            return true;
    return raw->weight_ticks[REC_STACK_HOLDS];
}

uint32_t samples_enter(struct samples *samples, const struct reader_stack *stack)
{
    bool called = stack->raw->flags & REC_STACK_CALLEE; /* what is nearer to the root was not looked at */
    struct merge *merge = &samples->merge;
    struct model_stack *merged;
    uint32_t id;

    *merge = (struct merge){.n_native = stack->n_native,
                            .n_python = stack->n_python,
                            .native_cut = called || stack->raw->flags & REC_STACK_NATIVE_CUT,
                            .python_cut = stack->raw->flags & REC_STACK_PYTHON_CUT};
    make_room(samples, stack->n_native + stack->n_python);
    for (size_t i = 0; i < stack->n_native; i++)
        samples->native_frames[i] = native_resolve(samples->native, stack->native[i], stack->raw->generation);
    for (size_t i = 0; i < stack->n_python; i++)
        samples->python_frames[i] = (struct merge_python){python_frame(samples, stack->python[i] & ~REC_ENTRY_FRAME),
                                                          stack->python[i] & REC_ENTRY_FRAME};
    merge->native = samples->native_frames;
    merge->python = samples->python_frames;
    merge->frames = samples->frames;
    merge_stack(merge, samples->stacks);

    id = names_stack(samples->stacks, thread_of(samples, stack->raw->thread), merge->frames, merge->n_frames);
    merged = &samples->stacks->stacks[id];
    merged->unmatched |= merge->unmatched;
    merged->cut |= (merge->native_cut && !called) || merge->python_cut;
    return id;
}

void samples_begin(struct samples *samples, const struct build *build, const struct reader_file *file)
{
    *samples = (struct samples){.build = build, .file = file, .stacks = &build->process->stacks};
    samples->native = native_open(file, build->file, samples->stacks);
    number_threads(samples, build->process);
}

void samples_end(struct samples *samples)
{
    native_close(samples->native);
    intern_free(&samples->place_table);
    free(samples->places);
    free(samples->threads);
    free(samples->native_frames);
    free(samples->python_frames);
    free(samples->frames);
}

void build_samples(struct build *build)
{
    struct model_stacks *stacks = &build->process->stacks;
    struct samples samples;
    struct reader_record record = {.offset = 0};
    struct reader_stack stack;
    struct inside *inside;

    stacks->names = mem_zeroed(1, sizeof *stacks->names);
    samples_begin(&samples, build, build->file);
    inside = build->holds ? inside_new(build) : NULL;
    while (reader_next(build->file, &record)) {
        if (!reader_stack(build->file, &record, &stack) || !has_weight(stack.raw))
            continue;
        uint32_t id = samples_enter(&samples, &stack);
        stacks->stacks[id].no_native |= !stack.n_native;
        add_weights(&stacks->stacks[id], stack.raw);
        if (inside)
            inside_know(inside, &samples, id, &stack);
    }
    samples_end(&samples);
    if (inside)
        inside_apply(inside, build->holds);
    names_close(stacks->names);
}
