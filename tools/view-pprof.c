/* SPDX-License-Identifier: MIT */
/*
 * view-pprof.c - stacks for `go tool pprof`.
 *
 * Messages of the same kind that follow each other are read as one: the profile is written in pieces, none of which is
 * large.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gzip.h"
#include "intern.h"
#include "label.h"
#include "mem.h"
#include "profile.pb-c.h"
#include "view.h"

struct writer {
    struct gzip *gzip;
    uint8_t *buffer;
    size_t n_buffer;
    char **texts; /* string_table */
    size_t n_texts, texts_capacity;
    struct intern text_table;
    uint64_t n_functions, n_locations, n_mappings; /* ids that earlier processes have used */
};

/* --- messages */
static void write_piece(struct writer *writer, const Pprof__Profile *piece)
{
    size_t n = pprof__profile__get_packed_size(piece);

    if (n > writer->n_buffer) {
        free(writer->buffer);
        writer->buffer = mem_zeroed(n, 1);
        writer->n_buffer = n;
    }
    pprof__profile__pack(piece, writer->buffer);
    gzip_write(writer->gzip, writer->buffer, n);
}

struct text_key {
    const struct writer *writer;
    const char *text;
};

static bool same_text(const void *context, uint32_t id)
{
    const struct text_key *key = context;

    return !strcmp(key->writer->texts[id], key->text);
}

/* The index of a text, which is written when it comes up first. */
static int64_t text_index(struct writer *writer, const char *text)
{
    struct text_key key = {writer, text};
    uint32_t id =
        intern(&writer->text_table, intern_hash(0, text, strlen(text)), same_text, &key, (uint32_t)writer->n_texts);
    Pprof__Profile piece = PPROF__PROFILE__INIT;

    if (id < writer->n_texts)
        return id;
    writer->texts = mem_grow(writer->texts, writer->n_texts, &writer->texts_capacity, sizeof *writer->texts);
    writer->texts[writer->n_texts] = mem_print("%s", text);
    piece.n_string_table = 1;
    piece.string_table = &writer->texts[writer->n_texts++];
    write_piece(writer, &piece);
    return id;
}

static void write_types(struct writer *writer, enum model_view first)
{
    for (enum model_view view = 0; view < MODEL_VIEWS; view++) {
        Pprof__Profile piece = PPROF__PROFILE__INIT;
        Pprof__ValueType type = PPROF__VALUE_TYPE__INIT, *types[] = {&type};
        type.type = text_index(writer, model_view_name(view));
        type.unit = text_index(writer, "nanoseconds");
        piece.n_sample_type = 1;
        piece.sample_type = types;
        if (view == first)
            piece.default_sample_type = type.type;
        write_piece(writer, &piece);
    }
}

/* A mapping for each object; the first, of Python code, is the interpreter's. */
static uint64_t write_mapping(struct writer *writer, const char *path)
{
    char *plain;
    Pprof__Profile piece = PPROF__PROFILE__INIT;
    Pprof__Mapping mapping = PPROF__MAPPING__INIT, *mappings[] = {&mapping};

    mapping.id = ++writer->n_mappings;
    plain = label_plain(path, "");
    mapping.filename = text_index(writer, plain);
    free(plain);
    mapping.has_functions = mapping.has_filenames = mapping.has_line_numbers = 1; /* nothing is to be looked up */
    piece.n_mapping = 1;
    piece.mapping = mappings;
    write_piece(writer, &piece);
    return mapping.id;
}

static void write_function(struct writer *writer, const struct model_function *function, uint64_t id)
{
    Pprof__Profile piece = PPROF__PROFILE__INIT;
    Pprof__Function message = PPROF__FUNCTION__INIT, *messages[] = {&message};
    char *name = label_plain(function->name, ""), *file = label_plain(function->file, "");

    message.id = id;
    message.name = text_index(writer, name); /* a system name would have pprof take "<lambda>" for C++ */
    message.filename = text_index(writer, file);
    message.start_line = function->first_line;
    piece.n_function = 1;
    piece.function = messages;
    write_piece(writer, &piece);
    free(name);
    free(file);
}

static void write_location(struct writer *writer, uint64_t id, uint64_t mapping, uint64_t function, uint32_t line)
{
    Pprof__Profile piece = PPROF__PROFILE__INIT;
    Pprof__Location message = PPROF__LOCATION__INIT, *messages[] = {&message};
    Pprof__Line place = PPROF__LINE__INIT, *places[] = {&place};

    place.function_id = function;
    place.line = line;
    message.id = message.address = id;
    message.mapping_id = mapping;
    message.n_line = 1;
    message.line = places;
    piece.n_location = 1;
    piece.location = messages;
    write_piece(writer, &piece);
}

/* --- a process */
struct names { /* indices of its labels' texts */
    int64_t process_key, thread_key, process, *threads;
};

/* The mappings of a process's functions, in their order. */
static uint64_t *write_mappings(struct writer *writer, const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;
    uint64_t *mappings = mem_zeroed(stacks->n_functions, sizeof *mappings);
    uint64_t python = write_mapping(writer, process->argc ? process->argv[0] : "python");

    for (size_t i = 0; i < stacks->n_functions; i++) {
        const struct model_function *function = &stacks->functions[i];
        mappings[i] = python;
        if (!function->native)
            continue;
        mappings[i] = 0;
        for (size_t j = 0; j < i && !mappings[i]; j++) /* texts are the same if their addresses are */
            if (stacks->functions[j].native && stacks->functions[j].file == function->file)
                mappings[i] = mappings[j];
        if (!mappings[i])
            mappings[i] = write_mapping(writer, function->file);
    }
    return mappings;
}

static void write_stack(struct writer *writer, const struct model_stacks *stacks, const struct model_stack *stack,
                        const struct names *names, uint64_t *locations)
{
    Pprof__Profile piece = PPROF__PROFILE__INIT;
    Pprof__Sample sample = PPROF__SAMPLE__INIT, *samples[] = {&sample};
    Pprof__Label process = PPROF__LABEL__INIT, thread = PPROF__LABEL__INIT, *labels[] = {&process, &thread};
    int64_t values[MODEL_VIEWS];

    for (int view = 0; view < MODEL_VIEWS; view++)
        values[view] = (int64_t)stack->ns[view];
    for (size_t i = 0; i < stack->n_frames; i++)
        locations[i] = writer->n_locations + 1 + stacks->frame_ids[stack->first_frame + stack->n_frames - 1 - i];
    process.key = names->process_key;
    process.str = names->process;
    thread.key = names->thread_key;
    thread.str = names->threads[stack->thread];
    sample.n_location_id = stack->n_frames;
    sample.location_id = locations;
    sample.n_value = MODEL_VIEWS;
    sample.value = values;
    sample.n_label = 2;
    sample.label = labels;
    piece.n_sample = 1;
    piece.sample = samples;
    write_piece(writer, &piece);
}

/* How each view was sampled: `go tool pprof -comments` shows it. */
static void write_comments(struct writer *writer, const struct model_process *process)
{
    char *label = label_process(process);

    for (enum model_view view = 0; view < MODEL_VIEWS; view++) {
        const struct model_flow *flow = &process->stacks.flows[view];
        Pprof__Profile piece = PPROF__PROFILE__INIT;
        char *text = mem_print("%s: %s: %" PRIu64 " samples, scaled by %.3f to the exact total", label,
                               model_view_name(view), flow->samples, flow->scale);
        int64_t comment = text_index(writer, text);
        piece.n_comment = 1;
        piece.comment = &comment;
        write_piece(writer, &piece);
        free(text);
    }
    free(label);
}

static void write_stacks(struct writer *writer, const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;
    struct names names = {.threads = mem_zeroed(process->n_threads + 1, sizeof *names.threads)};
    uint64_t *locations = mem_zeroed(stacks->n_frame_ids, sizeof *locations);
    char *label = label_process(process);

    names.process_key = text_index(writer, "process");
    names.thread_key = text_index(writer, "thread");
    names.process = text_index(writer, label);
    free(label);
    for (size_t i = 0; i <= process->n_threads; i++) {
        label = label_thread(process, (uint32_t)i);
        names.threads[i] = text_index(writer, label);
        free(label);
    }
    for (size_t i = 0; i < stacks->n_stacks; i++)
        if (stacks->stacks[i].n_frames)
            write_stack(writer, stacks, &stacks->stacks[i], &names, locations);
    free(names.threads);
    free(locations);
}

static void write_process(struct writer *writer, const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;
    uint64_t *mappings = write_mappings(writer, process);

    for (size_t i = 0; i < stacks->n_functions; i++)
        write_function(writer, &stacks->functions[i], writer->n_functions + 1 + i);
    for (size_t i = 0; i < stacks->n_frames; i++)
        write_location(writer, writer->n_locations + 1 + i, mappings[stacks->frames[i].function],
                       writer->n_functions + 1 + stacks->frames[i].function, stacks->frames[i].line);
    write_stacks(writer, process);
    write_comments(writer, process);
    writer->n_functions += stacks->n_functions;
    writer->n_locations += stacks->n_frames;
    free(mappings);
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    struct writer writer = {.gzip = gzip_begin(out)};
    Pprof__Profile piece = PPROF__PROFILE__INIT;

    text_index(&writer, "");
    write_types(&writer, options->view);
    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        if (process->stacks.n_stacks)
            write_process(&writer, process);
        if (i == 0) {
            piece.time_nanos = process->start_realtime_ns;
            piece.duration_nanos = (int64_t)process->wall_ns;
        }
    }
    write_piece(&writer, &piece);
    gzip_end(writer.gzip);
    for (size_t i = 0; i < writer.n_texts; i++)
        free(writer.texts[i]);
    free(writer.texts);
    intern_free(&writer.text_table);
    free(writer.buffer);
}

const struct view view_pprof = {"pprof", VIEW_BINARY, render};
