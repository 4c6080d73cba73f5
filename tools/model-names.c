/* SPDX-License-Identifier: MIT */
/*
 * model-names.c - each text, function, frame and list of frames once.
 */
#include "model-names.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "utf8.h"

const char *names_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* --- texts */
struct text_key {
    const struct model_names *names;
    const char *text;
};

static bool same_text(const void *context, uint32_t id)
{
    const struct text_key *key = context;

    return !strcmp(key->names->texts[id], key->text);
}

const char *names_text(struct model_stacks *stacks, const char *bytes, size_t n)
{
    struct model_names *names = stacks->names;
    char *text = utf8_clean(bytes, n);
    struct text_key key = {names, text};
    uint32_t id =
        intern(&names->text_table, intern_hash(0, text, strlen(text)), same_text, &key, (uint32_t)names->n_texts);

    if (id < names->n_texts) {
        free(text);
        return names->texts[id];
    }
    names->texts = mem_grow(names->texts, names->n_texts, &names->texts_capacity, sizeof *names->texts);
    return names->texts[names->n_texts++] = text;
}

/* --- functions: texts are the same if their addresses are */
struct function_key {
    const struct model_stacks *stacks;
    const struct model_function *function;
};

static bool same_function(const void *context, uint32_t id)
{
    const struct function_key *key = context;
    const struct model_function *a = &key->stacks->functions[id], *b = key->function;

    return a->name == b->name && a->file == b->file && a->first_line == b->first_line && a->native == b->native;
}

uint32_t names_function(struct model_stacks *stacks, const struct model_function *function)
{
    struct function_key key = {stacks, function};
    uint64_t parts[] = {(uintptr_t)function->name, (uintptr_t)function->file, function->first_line, function->native};
    uint32_t id = intern(&stacks->names->function_table, intern_hash(0, parts, sizeof parts), same_function, &key,
                         (uint32_t)stacks->n_functions);

    if (id < stacks->n_functions)
        return id;
    stacks->functions =
        mem_grow(stacks->functions, stacks->n_functions, &stacks->names->functions_capacity, sizeof *stacks->functions);
    stacks->functions[stacks->n_functions++] = *function;
    return id;
}

/* --- frames */
struct frame_key {
    const struct model_stacks *stacks;
    uint32_t function, line;
};

static bool same_frame(const void *context, uint32_t id)
{
    const struct frame_key *key = context;
    const struct model_frame *frame = &key->stacks->frames[id];

    return frame->function == key->function && frame->line == key->line;
}

uint32_t names_frame(struct model_stacks *stacks, uint32_t function, uint32_t line)
{
    struct frame_key key = {stacks, function, line};
    uint64_t parts = (uint64_t)function << 32 | line;
    uint32_t id = intern(&stacks->names->frame_table, intern_hash(0, &parts, sizeof parts), same_frame, &key,
                         (uint32_t)stacks->n_frames);

    if (id < stacks->n_frames)
        return id;
    stacks->frames =
        mem_grow(stacks->frames, stacks->n_frames, &stacks->names->frames_capacity, sizeof *stacks->frames);
    stacks->frames[stacks->n_frames++] = (struct model_frame){function, line};
    return id;
}

/* --- stacks */
struct stack_key {
    const struct model_stacks *stacks;
    uint32_t thread;
    const uint32_t *frames;
    size_t n_frames;
};

static bool same_stack(const void *context, uint32_t id)
{
    const struct stack_key *key = context;
    const struct model_stack *stack = &key->stacks->stacks[id];

    if (stack->thread != key->thread || stack->n_frames != key->n_frames)
        return false;
    /* Without frames there may be no list of them. */
    return !key->n_frames ||
           !memcmp(key->stacks->frame_ids + stack->first_frame, key->frames, key->n_frames * sizeof *key->frames);
}

uint32_t names_stack(struct model_stacks *stacks, uint32_t thread, const uint32_t *frames, size_t n_frames)
{
    struct stack_key key = {stacks, thread, frames, n_frames};
    uint64_t hash = intern_hash(thread, frames, n_frames * sizeof *frames);
    uint32_t id = intern(&stacks->names->stack_table, hash, same_stack, &key, (uint32_t)stacks->n_stacks);

    if (id < stacks->n_stacks)
        return id;
    stacks->stacks =
        mem_grow(stacks->stacks, stacks->n_stacks, &stacks->names->stacks_capacity, sizeof *stacks->stacks);
    stacks->stacks[stacks->n_stacks++] = (struct model_stack){
        .thread = thread, .first_frame = (uint32_t)stacks->n_frame_ids, .n_frames = (uint32_t)n_frames};
    for (size_t i = 0; i < n_frames; i++) {
        stacks->frame_ids = mem_grow(stacks->frame_ids, stacks->n_frame_ids, &stacks->names->frame_ids_capacity,
                                     sizeof *stacks->frame_ids);
        stacks->frame_ids[stacks->n_frame_ids++] = frames[i];
    }
    return id;
}

void names_close(struct model_names *names)
{
    intern_free(&names->text_table);
    intern_free(&names->function_table);
    intern_free(&names->frame_table);
    intern_free(&names->stack_table);
}

void names_free(struct model_names *names)
{
    if (!names)
        return;
    names_close(names);
    for (size_t i = 0; i < names->n_texts; i++)
        free(names->texts[i]);
    free(names->texts);
    free(names);
}
