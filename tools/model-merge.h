/* SPDX-License-Identifier: MIT */
/*
 * model-merge.h - one stack out of two: the native frames and the Python frames that they ran.  For model*.c.
 */
#ifndef GILSCOPE_MODEL_MERGE_H
#define GILSCOPE_MODEL_MERGE_H

#include "model-native.h"

struct merge_python {
    uint32_t frame;
    bool entry; /* native code called the evaluation loop that ran this frame */
};

struct merge {
    /* in, innermost first */
    const struct native_frame *native;
    const struct merge_python *python;
    size_t n_native, n_python;
    bool native_cut, python_cut; /* there were more, nearer to the root */
    /* out, root first: room for n_native + n_python, which is the caller's */
    uint32_t *frames;
    size_t n_frames;
    bool unmatched; /* they do not fit: all Python frames are there, and of the native ones the innermost */
};

/* Replaces each frame of the evaluation loop by the Python frames that it ran, and leaves out what belongs to the
 * interpreter, to gilscope and to the taking of the GIL. */
void merge_stack(struct merge *merge, const struct model_stacks *stacks);

#endif
