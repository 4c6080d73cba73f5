/* SPDX-License-Identifier: MIT */
/*
 * view-html-data.c - the stacks of a process for the HTML report's script.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "intern.h"
#include "label.h"
#include "mem.h"
#include "model-flame.h"
#include "view-html.h"

#define NS_PER_US 1000
#define OWN_MAX 8 /* functions listed beside a whole graph */

struct numbering { /* of the functions that are used, and of their files: the data has no others */
    int64_t *numbers;
    int64_t n;
    const char **files;
    size_t n_files, files_capacity;
    struct intern file_table;
};

static bool same_file(const void *context, uint32_t id)
{
    const struct numbering *numbering = context;

    return numbering->files[id] == numbering->files[numbering->n_files]; /* texts are the same if their addresses are */
}

static uint32_t file_number(struct numbering *numbering, const char *file)
{
    uint64_t address = (uintptr_t)file;
    uint32_t id;

    numbering->files =
        mem_grow(numbering->files, numbering->n_files, &numbering->files_capacity, sizeof *numbering->files);
    numbering->files[numbering->n_files] = file;
    id = intern(&numbering->file_table, intern_hash(0, &address, sizeof address), same_file, numbering,
                (uint32_t)numbering->n_files);
    numbering->n_files += id == numbering->n_files;
    return id;
}

static void print_files(const struct numbering *numbering, FILE *out)
{
    for (size_t i = 0; i < numbering->n_files; i++) {
        fputs(i ? ",\n" : "\n", out);
        label_json(out, numbering->files[i]);
    }
}

static void print_function(const struct model_function *function, int64_t *number, struct numbering *numbering,
                           FILE *out)
{
    if (*number >= 0)
        return;
    fputs(numbering->n ? ",\n[" : "\n[", out);
    label_json(out, function->name);
    fprintf(out, ",%" PRIu32 ",%" PRIu32 ",%d]", file_number(numbering, function->file), function->first_line,
            (int)function->role);
    *number = numbering->n++;
}

struct own_lists {
    struct flame_own list[MODEL_VIEWS][OWN_MAX];
    size_t n[MODEL_VIEWS];
};

static void print_functions(const struct model_stacks *stacks, const struct flame *flame, const struct own_lists *own,
                            struct numbering *numbering, FILE *out)
{
    for (size_t i = 0; i < stacks->n_functions; i++)
        numbering->numbers[i] = -1;
    for (size_t i = 0; i < flame->n_nodes; i++) {
        uint32_t function = flame->nodes[i].function;
        if (function < FLAME_ROOT)
            print_function(&stacks->functions[function], &numbering->numbers[function], numbering, out);
    }
    for (int view = 0; view < MODEL_VIEWS; view++)
        for (size_t i = 0; i < own->n[view]; i++) {
            uint32_t function = own->list[view][i].function;
            print_function(&stacks->functions[function], &numbering->numbers[function], numbering, out);
        }
}

/* For each view a list of functions and us. */
static void print_own(const struct own_lists *own, const int64_t *numbers, FILE *out)
{
    for (enum model_view view = 0; view < MODEL_VIEWS; view++) {
        fprintf(out, "%s\"%s\":[", view ? "," : "", model_view_name(view));
        for (size_t i = 0; i < own->n[view]; i++)
            fprintf(out, "%s%" PRId64 ",%" PRIu64, i ? "," : "", numbers[own->list[view][i].function],
                    own->list[view][i].ns / NS_PER_US);
        putc(']', out);
    }
}

/* parent, function: -1 for all of it, -2 for branches that were put together. */
static void print_nodes(const struct flame *flame, const int64_t *numbers, FILE *out)
{
    for (size_t i = 0; i < flame->n_nodes; i++) {
        const struct flame_node *node = &flame->nodes[i];
        int64_t function = node->function == FLAME_ROOT   ? -1
                           : node->function == FLAME_REST ? -2
                                                          : numbers[node->function];
        fprintf(out, "%s%" PRIu32 ",%" PRId64, i ? "," : "", i ? node->parent : 0, function);
    }
}

/* node, thread, then for each view us and samples, and at last the us of held and released on a processor. */
static void print_selfs(const struct flame *flame, FILE *out)
{
    for (size_t i = 0; i < flame->n_selfs; i++) {
        const struct flame_self *self = &flame->selfs[i];
        fprintf(out, "%s%" PRIu32 ",%" PRIu32, i ? ",\n" : "", self->node, self->thread);
        for (enum model_view view = 0; view < MODEL_VIEWS; view++)
            fprintf(out, ",%" PRIu64 ",%" PRIu64, self->weight.ns[view] / NS_PER_US, self->weight.samples[view]);
        fprintf(out, ",%" PRIu64 ",%" PRIu64, self->weight.oncpu_ns[MODEL_HELD] / NS_PER_US,
                self->weight.oncpu_ns[MODEL_RELEASED] / NS_PER_US);
    }
}

void view_html_data(const struct model_process *process, size_t max_nodes, FILE *out)
{
    struct numbering numbering = {.numbers = mem_zeroed(process->stacks.n_functions, sizeof *numbering.numbers)};
    struct own_lists own;
    struct flame flame;

    flame_build(&flame, process, MODEL_VIEWS, false, max_nodes);
    for (enum model_view view = 0; view < MODEL_VIEWS; view++)
        own.n[view] = flame_own(process, view, own.list[view], OWN_MAX);
    fputs("{\"functions\":[", out);
    print_functions(&process->stacks, &flame, &own, &numbering, out);
    fputs("],\n\"files\":[", out);
    print_files(&numbering, out);
    fputs("],\n\"threads\":[", out);
    for (size_t i = 0; i <= process->n_threads; i++) {
        char *label = label_thread(process, (uint32_t)i);
        fputs(i ? "," : "", out);
        label_json(out, label);
        free(label);
    }
    fputs("],\n\"own\":{", out);
    print_own(&own, numbering.numbers, out);
    fputs("},\n\"nodes\":[", out);
    print_nodes(&flame, numbering.numbers, out);
    fputs("],\n\"selfs\":[", out);
    print_selfs(&flame, out);
    fprintf(out, "],\n\"small\":%" PRIu64 "}", flame.n_small);
    flame_free(&flame);
    intern_free(&numbering.file_table);
    free(numbering.files);
    free(numbering.numbers);
}
