/* SPDX-License-Identifier: MIT */
/* shim-stack.h - the stacks of the recording: found again, or entered. */
#ifndef GILSCOPE_SHIM_STACK_H
#define GILSCOPE_SHIM_STACK_H

#include "shim.h"

#pragma GCC visibility push(hidden)

#define SHIM_NATIVE_FRAMES 240
#define SHIM_PYTHON_FRAMES 2000

/* The native half of a thread's next sample. */
struct shim_half {
    struct shim_half *next_free;
    uint32_t n, flags, generation;
    uint32_t callee; /* 1: the innermost is a function that the Python code had called (shim_native_add_callee) */
    uint64_t native[SHIM_NATIVE_FRAMES]; /* as in rec_stack */
};

/* All below are used by one thread at a time: shim_stack_enter says whether it is us.  It waits for a few microseconds
 * at most.  Its callers hold the GIL, so that with one GIL there is hardly anybody to wait for. */
bool shim_stack_enter(void);
void shim_stack_leave(void);

/* Forgets everything: a new recording begins, or this is a forked child.  No other thread is at it. */
void shim_stack_reset(void);

/* The cell of a text's rec_string, of the frame's rec_frame; 0 = no room. */
uint32_t shim_stack_string(const char *bytes, size_t n);
uint32_t shim_stack_frame(uint32_t function, uint32_t file, uint32_t line, uint32_t first_line);

/* The calling thread's stack of these frames; NULL if there is no room for it.  half NULL: no native frames were taken;
 * those of a stack with the same Python frames at the same place serve, if there is one, of this thread or of another.
 * place: something that tells two instructions of a line apart. */
struct rec_stack *shim_stack_get(const uint32_t *python, uint32_t n_python, uint32_t flags,
                                 const struct shim_half *half, uint64_t place, uint32_t generation);

#pragma GCC visibility pop
#endif
