/* SPDX-License-Identifier: MIT */
/*
 * view-folded.c - stacks as lines "process;thread;frame;frame N", N in ns: what flamegraph.pl and inferno read.
 */
#include <stdlib.h>

#include "emit.h"
#include "label.h"
#include "mem.h"
#include "view.h"

static char *folded(char *label)
{
    char *plain = label_plain(label, ";");

    free(label);
    return plain;
}

static void free_all(char **labels, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(labels[i]);
    free(labels);
}

static void print_process(const struct model_process *process, enum model_view view, FILE *out)
{
    const struct model_stacks *stacks = &process->stacks;
    char **functions = mem_zeroed(stacks->n_functions, sizeof *functions);
    char **threads = mem_zeroed(process->n_threads + 1, sizeof *threads);
    char *name = folded(label_process(process));
    struct emit emit;

    emit_begin(&emit, out);
    for (size_t i = 0; i < stacks->n_functions; i++)
        functions[i] = folded(label_function(&stacks->functions[i]));
    for (size_t i = 0; i <= process->n_threads; i++)
        threads[i] = folded(label_thread(process, (uint32_t)i));
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        const struct model_stack *stack = &stacks->stacks[i];
        if (!stack->ns[view])
            continue;
        emit_text(&emit, name);
        emit_text(&emit, ";");
        emit_text(&emit, threads[stack->thread]);
        for (size_t j = 0; j < stack->n_frames; j++) {
            const struct model_frame *frame = &stacks->frames[stacks->frame_ids[stack->first_frame + j]];
            emit_text(&emit, ";");
            emit_text(&emit, functions[frame->function]);
        }
        emit_text(&emit, " ");
        emit_number(&emit, stack->ns[view]);
        emit_text(&emit, "\n");
    }
    emit_flush(&emit);
    free_all(functions, stacks->n_functions);
    free_all(threads, process->n_threads + 1);
    free(name);
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    for (size_t i = 0; i < model->n_processes; i++)
        print_process(&model->processes[i], options->view, out);
}

const struct view view_folded = {"folded", 0, render};
