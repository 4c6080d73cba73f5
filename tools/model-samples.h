/* SPDX-License-Identifier: MIT */
/*
 * model-samples.h - what the parts of the model that read samples share.  For model-samples.c and model-inside.c only.
 */
#ifndef GILSCOPE_MODEL_SAMPLES_H
#define GILSCOPE_MODEL_SAMPLES_H

#include "intern.h"
#include "model-build.h"
#include "model-merge.h"

struct place { /* a Python frame that was read before */
    uint32_t cell, frame;
};

struct numbered { /* a thread's number in the file, and its place in the process's threads */
    uint32_t number, i;
};

struct samples { /* of one file */
    const struct build *build;
    const struct reader_file *file;
    struct model_stacks *stacks;
    struct native *native;
    struct place *places;
    size_t n_places, places_capacity;
    struct intern place_table;
    struct numbered *threads; /* by number */
    uint32_t ended;           /* the thread that stands for those without a record */
    /* room for one stack */
    struct native_frame *native_frames;
    struct merge_python *python_frames;
    uint32_t *frames;
    size_t room;
    struct merge merge; /* the last one that was entered */
};

/* --- model-samples.c */
void samples_begin(struct samples *samples, const struct build *build, const struct reader_file *file);
void samples_end(struct samples *samples);
/* The number of the model's stack that a stack in the file is; `merge` has what it was made of. */
uint32_t samples_enter(struct samples *samples, const struct reader_stack *stack);

/* What a record says of how long a call has kept the GIL. */
void samples_know_call(struct model_stack *stack, const struct rec_stack *raw);

/* --- model-inside.c: what was seen from outside, inside of holds. */
struct inside;
struct inside *inside_new(const struct build *build);
/* A sample of the collector's own, whose stack has the number id. */
void inside_know(struct inside *inside, const struct samples *samples, uint32_t id, const struct reader_stack *stack);
/* Reads the file of stacks seen from outside, and puts them in place of the collector's own where there are enough of
 * them: in the views "held" and "charged".  Frees inside. */
void inside_apply(struct inside *inside, const struct reader_file *holds);

#endif
