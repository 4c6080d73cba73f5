/* SPDX-License-Identifier: MIT */
/*
 * recwriter-stack.c - the records of stacks, and what they are made of.
 */
#include <string.h>

#include "recwriter-add.h"

static uint32_t add_string(struct recwriter *w, const char *text)
{
    size_t length = strlen(text), at = recwriter_add(w, REC_STRING, sizeof(struct rec_string) + length);
    struct rec_string *string = recwriter_at(w, at);

    string->length = (uint32_t)length;
    memcpy(string->bytes, text, length);
    return (uint32_t)(at / REC_CELL_BYTES);
}

uint32_t recwriter_frame(struct recwriter *w, const char *function, const char *file, uint32_t line,
                         uint32_t first_line)
{
    uint32_t function_cell = add_string(w, function), file_cell = add_string(w, file);
    size_t at = recwriter_add(w, REC_FRAME, sizeof(struct rec_frame));
    struct rec_frame *frame = recwriter_at(w, at);

    frame->function = function_cell;
    frame->file = file_cell;
    frame->line = line;
    frame->first_line = first_line;
    return (uint32_t)(at / REC_CELL_BYTES);
}

void recwriter_object(struct recwriter *w, const char *path, uint64_t start, uint64_t end, uint64_t bias)
{
    uint32_t path_cell = add_string(w, path);
    struct rec_object *object = recwriter_at(w, recwriter_add(w, REC_OBJECT, sizeof *object));

    object->path = path_cell;
    object->start = start;
    object->end = end;
    object->bias = bias;
}

void recwriter_stack(struct recwriter *w, const struct recwriter_stack *s)
{
    size_t bytes = sizeof(struct rec_stack) + s->n_native * sizeof(uint64_t) + s->n_python * sizeof(uint32_t);
    struct rec_stack *stack = recwriter_at(w, recwriter_add(w, REC_STACK, bytes));

    stack->thread = s->thread;
    stack->flags = s->flags;
    stack->n_native = s->n_native;
    stack->n_python = s->n_python;
    for (int i = 0; i < REC_WEIGHTS; i++) {
        stack->weight_ticks[i] = s->weight_ns[i];
        stack->samples[i] = s->samples[i];
    }
    if (s->n_native)
        memcpy(stack->native, s->native, s->n_native * sizeof *s->native);
    if (s->n_python)
        memcpy(stack->native + s->n_native, s->python, s->n_python * sizeof *s->python);
}
