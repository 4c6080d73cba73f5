/* SPDX-License-Identifier: MIT */
/*
 * view-speedscope.c - stacks for speedscope (www.speedscope.app): a profile for each view of each process, and for each
 * of its threads.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "emit.h"
#include "label.h"
#include "mem.h"
#include "view.h"

#define THREADS_MAX 64 /* that have profiles of their own */

struct text {
    char bytes[23];
    uint8_t length;
};

struct range {
    size_t begin, end;
};

struct writer {
    FILE *out;
    size_t first_function; /* number of the present process's first one */
    size_t first_thread;   /* threads are frames, too, in the profiles of all of them */
    size_t n_profiles;
    struct text *frames; /* of the present process: ",NUMBER", which is printed millions of times */
    uint32_t *order;     /* numbers of its stacks, by thread and, within it, by what is called */
    size_t *ends;        /* of each thread's part of them */
    bool several;        /* processes */
};

/* Frames come first: those of all processes, functions and threads. */
static void print_frame(struct writer *writer, size_t *n, const char *name, const char *file, uint32_t line)
{
    fputs((*n)++ ? ",\n{\"name\":" : "\n{\"name\":", writer->out);
    label_json(writer->out, name);
    if (file[0]) {
        fputs(",\"file\":", writer->out);
        label_json(writer->out, file);
    }
    if (line)
        fprintf(writer->out, ",\"line\":%" PRIu32, line);
    fputs("}", writer->out);
}

static void print_frames(struct writer *writer, const struct model *model)
{
    size_t n = 0;

    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        for (size_t j = 0; j < process->stacks.n_functions; j++) {
            const struct model_function *function = &process->stacks.functions[j];
            print_frame(writer, &n, function->name, function->file, function->first_line);
        }
        for (size_t j = 0; j <= process->n_threads; j++) {
            char *label = label_thread(process, (uint32_t)j);
            print_frame(writer, &n, label, "", 0);
            free(label);
        }
    }
}

static struct text *frame_texts(const struct writer *writer, const struct model_stacks *stacks)
{
    struct text *texts = mem_zeroed(stacks->n_frames + 1, sizeof *texts);

    for (size_t i = 0; i < stacks->n_frames; i++)
        texts[i].length = (uint8_t)snprintf(texts[i].bytes, sizeof texts[i].bytes, ",%zu",
                                            writer->first_function + stacks->frames[i].function);
    return texts;
}

static int by_functions(const void *a, const void *b, void *context)
{
    const struct model_stacks *stacks = context;
    const struct model_stack *x = &stacks->stacks[*(const uint32_t *)a], *y = &stacks->stacks[*(const uint32_t *)b];
    size_t n = x->n_frames < y->n_frames ? x->n_frames : y->n_frames;

    for (size_t i = 0; i < n; i++) {
        uint32_t f = stacks->frames[stacks->frame_ids[x->first_frame + i]].function;
        uint32_t g = stacks->frames[stacks->frame_ids[y->first_frame + i]].function;
        if (f != g)
            return f < g ? -1 : 1;
    }
    return (x->n_frames > y->n_frames) - (x->n_frames < y->n_frames);
}

/* Sorts the present process's stacks by thread, so that a thread's profile need not look at those of all.  speedscope
 * draws them one beside the other first, and calls that "time order"; they have no times: what is called from the same
 * place stands together, so that it is one box there and not many. */
static void sort_stacks(struct writer *writer, const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;
    size_t n_ends = process->n_threads + 1; /* one is that of ended threads */

    writer->order = mem_zeroed(stacks->n_stacks, sizeof *writer->order);
    writer->ends = mem_zeroed(n_ends + 1, sizeof *writer->ends);
    for (size_t i = 0; i < stacks->n_stacks; i++)
        writer->ends[stacks->stacks[i].thread + 1]++;
    for (size_t i = 1; i <= n_ends; i++) /* where each begins: it has moved to its end when all are in their places */
        writer->ends[i] += writer->ends[i - 1];
    for (size_t i = 0; i < stacks->n_stacks; i++)
        writer->order[writer->ends[stacks->stacks[i].thread]++] = (uint32_t)i;
    for (size_t i = 0, begin = 0; i < n_ends; begin = writer->ends[i++])
        if (writer->ends[i] > begin)
            qsort_r(writer->order + begin, writer->ends[i] - begin, sizeof *writer->order, by_functions,
                    (void *)stacks);
}

/* The stacks of a profile in writer->order; thread: n_threads + 1 = all of them. */
static struct range range_of(const struct writer *writer, const struct model_process *process, size_t thread)
{
    if (thread > process->n_threads)
        return (struct range){0, process->stacks.n_stacks};
    return (struct range){thread ? writer->ends[thread - 1] : 0, writer->ends[thread]};
}

static void print_samples(const struct writer *writer, const struct model_process *process, enum model_view view,
                          size_t thread)
{
    const struct model_stacks *stacks = &process->stacks;
    struct range range = range_of(writer, process, thread);
    bool all = thread > process->n_threads;
    const char *begin = "[";
    struct emit emit;

    emit_begin(&emit, writer->out);
    for (size_t i = range.begin; i < range.end; i++) {
        const struct model_stack *stack = &stacks->stacks[writer->order[i]];
        const uint32_t *ids = stack->n_frames ? stacks->frame_ids + stack->first_frame : NULL;
        if (!stack->ns[view])
            continue;
        emit_text(&emit, begin);
        if (all)
            emit_number(&emit, writer->first_thread + stack->thread);
        for (size_t j = 0; j < stack->n_frames; j++) {
            const struct text *text = &writer->frames[ids[j]];
            size_t skip = j == 0 && !all; /* the comma */
            emit_bytes(&emit, text->bytes + skip, text->length - skip);
        }
        emit_text(&emit, "]");
        begin = ",\n[";
    }
    emit_flush(&emit);
}

static void print_weights(const struct writer *writer, const struct model_process *process, enum model_view view,
                          size_t thread)
{
    const struct model_stacks *stacks = &process->stacks;
    struct range range = range_of(writer, process, thread);
    const char *comma = "";
    struct emit emit;

    emit_begin(&emit, writer->out);
    for (size_t i = range.begin; i < range.end; i++) {
        const struct model_stack *stack = &stacks->stacks[writer->order[i]];
        if (!stack->ns[view])
            continue;
        emit_text(&emit, comma);
        emit_number(&emit, stack->ns[view]);
        comma = ",";
    }
    emit_flush(&emit);
}

static void print_profile(struct writer *writer, const struct model_process *process, enum model_view view,
                          size_t thread)
{
    bool all = thread > process->n_threads;
    char *label = all ? mem_print("all threads") : label_thread(process, (uint32_t)thread);
    char *owner = writer->several ? label_process(process) : mem_print("%s", "");
    char *name = mem_print("%s: %s%s%s", model_view_name(view), label, owner[0] ? ", " : "", owner);

    fputs(writer->n_profiles++ ? ",\n{\"type\":\"sampled\",\"name\":" : "\n{\"type\":\"sampled\",\"name\":",
          writer->out);
    label_json(writer->out, name);
    fprintf(writer->out, ",\"unit\":\"nanoseconds\",\"startValue\":0,\"endValue\":%" PRIu64 ",\"samples\":[\n",
            all ? process->stacks.flows[view].total_ns : model_stacks_thread_ns(process, view, thread));
    print_samples(writer, process, view, thread);
    fputs("],\"weights\":[", writer->out);
    print_weights(writer, process, view, thread);
    fputs("]}", writer->out);
    free(label);
    free(owner);
    free(name);
}

static void print_view(struct writer *writer, const struct model_process *process, enum model_view view)
{
    size_t n_shown = 0;

    if (!process->stacks.flows[view].n_stacks)
        return;
    print_profile(writer, process, view, process->n_threads + 1);
    for (size_t i = 0; i < process->n_threads && n_shown < THREADS_MAX; i++) {
        if (!model_stacks_thread_ns(process, view, i))
            continue;
        print_profile(writer, process, view, i);
        n_shown++;
    }
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    /* What says most comes first. */
    static const enum model_view order[] = {MODEL_CHARGED, MODEL_WAIT, MODEL_HELD, MODEL_RELEASED};
    struct writer writer = {.out = out, .several = model->n_processes > 1};
    size_t first = 0;

    fputs("{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"shared\":{\"frames\":[", out);
    print_frames(&writer, model);
    fputs("]},\n\"profiles\":[", out);
    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        writer.first_function = first;
        writer.first_thread = first + process->stacks.n_functions;
        first = writer.first_thread + process->n_threads + 1;
        writer.frames = frame_texts(&writer, &process->stacks);
        sort_stacks(&writer, process);
        for (size_t j = 0; j < sizeof order / sizeof order[0]; j++)
            if (!options->view_given || options->view == order[j])
                print_view(&writer, process, order[j]);
        free(writer.frames);
        free(writer.order);
        free(writer.ends);
    }
    fputs("],\n\"activeProfileIndex\":0,\"exporter\":\"gilscope " PACKAGE_VERSION "\",\"name\":", out);
    label_json(out, model->n_processes ? model->processes[0].command : "gilscope");
    fputs("}\n", out);
}

const struct view view_speedscope = {"speedscope", 0, render};
