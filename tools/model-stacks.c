/* SPDX-License-Identifier: MIT */
/*
 * model-stacks.c - scales the samples of each view to the exact total of the same state.
 */
#include "model-stacks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-build.h"
#include "model-names.h"

#define MOST_NS 4e18 /* more is damage */

const char *model_view_name(enum model_view view)
{
    static const char *const names[] = {"wait", "charged", "held", "released"};

    return names[view];
}

const char *model_view_title(enum model_view view)
{
    static const char *const titles[] = {"where threads wait for the GIL", "what makes others wait for the GIL",
                                         "what holds the GIL", "what is done without the GIL"};

    return titles[view];
}

static void exact_totals(const struct model_totals *totals, struct model_flow flows[MODEL_VIEWS])
{
    flows[MODEL_WAIT].total_ns = totals->wait_ns;
    flows[MODEL_CHARGED].total_ns = totals->charged_ns;
    flows[MODEL_HELD].total_ns = totals->held_ns;
    flows[MODEL_HELD].total_oncpu_ns = totals->states.held_oncpu_ns;
    flows[MODEL_RELEASED].total_ns = totals->states.released_oncpu_ns + totals->states.released_offcpu_ns;
    flows[MODEL_RELEASED].total_oncpu_ns = totals->states.released_oncpu_ns;
}

static uint64_t scaled(uint64_t ticks, double factor)
{
    double ns = rint((double)ticks * factor);

    return ns < MOST_NS ? ns > 0 ? (uint64_t)ns : 0 : (uint64_t)MOST_NS;
}

static void scale_view(const struct build *build, struct model_stacks *stacks, enum model_view view)
{
    struct model_flow *flow = &stacks->flows[view];
    double ticks = 0, oncpu = 0, factor, oncpu_factor;

    for (size_t i = 0; i < stacks->n_stacks; i++) {
        const struct model_stack *stack = &stacks->stacks[i];
        ticks += (double)stack->ns[view];
        oncpu += (double)stack->oncpu_ns[view];
        flow->samples += stack->samples[view];
        flow->n_stacks += stack->ns[view] != 0;
    }
    flow->inside = flow->inside_samples > flow->samples / 2;
    if (ticks <= 0)
        return;
    if (!flow->sampled_ns) /* else they have been scaled thread by thread */
        flow->sampled_ns = scaled(1, ticks * build->ns_per_tick);
    flow->scale =
        (double)flow->total_ns / (flow->inside_samples ? (double)flow->sampled_ns : ticks * build->ns_per_tick);
    flow->error = flow->samples ? 1 / sqrt((double)flow->samples) : 1;
    factor = (double)flow->total_ns / ticks;
    oncpu_factor = oncpu > 0 ? (double)flow->total_oncpu_ns / oncpu : 0;
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        struct model_stack *stack = &stacks->stacks[i];
        stack->ns[view] = scaled(stack->ns[view], factor);
        stack->oncpu_ns[view] = scaled(stack->oncpu_ns[view], oncpu_factor);
        if (stack->oncpu_ns[view] > stack->ns[view])
            stack->oncpu_ns[view] = stack->ns[view];
    }
}

static void add_up_threads(const struct model_process *process, struct model_stacks *stacks)
{
    stacks->thread_ns = mem_zeroed((process->n_threads + 1) * MODEL_VIEWS, sizeof *stacks->thread_ns);
    for (size_t i = 0; i < stacks->n_stacks; i++)
        for (int view = 0; view < MODEL_VIEWS; view++)
            stacks->thread_ns[stacks->stacks[i].thread * (size_t)MODEL_VIEWS + view] += stacks->stacks[i].ns[view];
}

uint64_t model_stacks_thread_ns(const struct model_process *process, enum model_view view, size_t thread)
{
    return process->stacks.thread_ns[thread * MODEL_VIEWS + view];
}

void build_stacks(struct build *build)
{
    struct model_stacks *stacks = &build->process->stacks;

    build_samples(build);
    exact_totals(&build->process->totals, stacks->flows);
    for (enum model_view view = 0; view < MODEL_VIEWS; view++)
        scale_view(build, stacks, view);
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        struct model_stack *stack = &stacks->stacks[i];
        stack->longest_hold_ns = build_ns(build, stack->longest_hold_ns);
        stacks->n_unmatched += stack->unmatched;
        stacks->n_cut += stack->cut;
    }
    add_up_threads(build->process, stacks);
    build_modules(build);
    build_hot(build);
}

void build_stacks_free(struct model_stacks *stacks)
{
    names_free(stacks->names);
    free(stacks->functions);
    free(stacks->frames);
    free(stacks->frame_ids);
    free(stacks->stacks);
    free(stacks->modules);
    free(stacks->calls);
    free(stacks->hot);
    free(stacks->thread_ns);
}
