/* SPDX-License-Identifier: MIT */
/*
 * model-names.h - each text, function, frame and list of frames once.  For model*.c.
 */
#ifndef GILSCOPE_MODEL_NAMES_H
#define GILSCOPE_MODEL_NAMES_H

#include "intern.h"
#include "model-stacks.h"

struct model_names {
    char **texts;
    size_t n_texts, texts_capacity, functions_capacity, frames_capacity, frame_ids_capacity, stacks_capacity;
    struct intern text_table, function_table, frame_table, stack_table;
};

/* A text's only copy: valid UTF-8, good as long as the model. */
const char *names_text(struct model_stacks *stacks, const char *bytes, size_t n);

/* The number of a function, of a frame. */
uint32_t names_function(struct model_stacks *stacks, const struct model_function *function);
uint32_t names_frame(struct model_stacks *stacks, uint32_t function, uint32_t line);

/* The number of a thread's stack with these frames, root first. */
uint32_t names_stack(struct model_stacks *stacks, uint32_t thread, const uint32_t *frames, size_t n_frames);

/* The part of a path behind its last slash. */
const char *names_base(const char *path);

/* Frees the tables, which are of use only while the model is built. */
void names_close(struct model_names *names);
void names_free(struct model_names *names);

#endif
