/* SPDX-License-Identifier: MIT */
/* shim-frames.h - the calling thread's Python frames, as cells of the recording's frames. */
#ifndef GILSCOPE_SHIM_FRAMES_H
#define GILSCOPE_SHIM_FRAMES_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* For a new recording of the Python with this PY_VERSION_HEX; runtime: the address of its _PyRuntime, or NULL. */
void shim_frames_start(uint32_t python_hex, const void *runtime);

/* The Python is no more, its libpython has been unloaded: no frames are read from now on.  Where a GIL is created. */
void shim_frames_stop(void);

/* Reads the frames of the thread state at tstate, the calling thread's, which holds the GIL and is inside
 * shim_stack_enter.  Returns a static array of *n cells with REC_ENTRY_FRAME, the innermost first, that has room for
 * one more in front of them; adds to *flags (REC_STACK_...).  *place tells the instruction at which the innermost frame
 * is from others of its line. */
uint32_t *shim_frames_read(uintptr_t tstate, uint32_t *n, uint32_t *flags, uint64_t *place);

/* The C function that the thread of this thread state, any that holds the GIL, is calling at this moment; 0 = none that
 * is known.  *place as shim_frames_read would say.  Reads through the kernel, some ten system calls; preserves nothing.
 */
uint64_t shim_frames_callee(uintptr_t tstate, uint64_t *place);

/* The same, but only a function that ctypes calls.  By the thread itself, which has the GIL. */
uint64_t shim_frames_callee_of_ctypes(uintptr_t tstate, uint64_t *place);

#pragma GCC visibility pop
#endif
