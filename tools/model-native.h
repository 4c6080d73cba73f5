/* SPDX-License-Identifier: MIT */
/*
 * model-native.h - what a native address is to a stack.  For model*.c.
 */
#ifndef GILSCOPE_MODEL_NATIVE_H
#define GILSCOPE_MODEL_NATIVE_H

#include "model-stacks.h"
#include "reader.h"

enum native_kind {
    NATIVE_EVAL,    /* the interpreter's evaluation loop: stands for Python frames */
    NATIVE_INTERP,  /* the interpreter's own way of calling things */
    NATIVE_GIL,     /* of which: taking or giving up the GIL */
    NATIVE_BUILTIN, /* the interpreter's, but perhaps what Python code called: sorted(), time.sleep() */
    NATIVE_CODE,    /* an extension's, or unknown code */
    NATIVE_SYSTEM,  /* the C library's */
    NATIVE_SYNC,    /* of which: what the GIL is made of */
    NATIVE_SHIM,    /* gilscope's own */
};

struct native_frame {
    enum native_kind kind;
    uint32_t frame; /* number of the frame; not for NATIVE_EVAL and NATIVE_SHIM */
};

struct native;

/* What native addresses in a file mean; to be ended with native_close().  loaded_by: the file that has the names by which
 * the process itself knows the objects, perhaps the same. */
struct native *native_open(const struct reader_file *file, const struct reader_file *loaded_by,
                           struct model_stacks *stacks);
void native_close(struct native *native);

/* What a return address, or an interrupted one, in a stack of a generation is. */
struct native_frame native_resolve(struct native *native, uint64_t address, uint32_t generation);

#endif
