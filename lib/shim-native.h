/* SPDX-License-Identifier: MIT */
/* shim-native.h - native frames of the calling thread, and the objects in which their code lies. */
#ifndef GILSCOPE_SHIM_NATIVE_H
#define GILSCOPE_SHIM_NATIVE_H

#include "shim.h"

struct shim_half;

#pragma GCC visibility push(hidden)

/* Opens libunwind, for itself only.  Uses the dynamic loader: only where a GIL is created.  False: there is none. */
bool shim_native_open(void);

/* Are native frames taken?  Any thread. */
bool shim_native_is_open(void);

/* Forgets the objects of the last recording. */
void shim_native_reset(void);

/* Takes the calling thread's native frames, the innermost first, without the shim's own.  By a thread that holds
 * neither the GIL nor gil->mutex: unwinding may take the dynamic loader's locks, and a thread that has them may be
 * waiting for the GIL. */
void shim_native_take(struct shim_half *half);

/* The thread was in this function of an extension, until it came back to the interpreter, which then let go of the GIL:
 * puts it in front of the frames, in place of those that let go.  Does nothing if the function let go by itself. */
void shim_native_add_callee(struct shim_half *half, uint64_t function);

/* The thread was in this function while it was without the GIL, which its caller had let go of for it and takes again now, as
 * ctypes does: puts it in place of the frames that let go or take, which are the interpreter's.  Does nothing where these cannot
 * be told.  Inside shim_stack_enter. */
void shim_native_add_released(struct shim_half *half, uint64_t function);

/* Where, in the module of this handle or in the program, PyEval_SaveThread and the evaluation loop are.  Uses the
 * dynamic loader: only where a GIL is created. */
void shim_native_find_interpreter(void *scope);

/* Around a fork.  A child inherits the locks of the dynamic loader and of libunwind as they are, for ever if a thread
 * that is not there any more had them (glibc 2.36 and 2.43: dl_iterate_phdr and dlopen then never return).  So no
 * thread of ours may be at it when the process forks: before() turns away those that come and waits, for a moment,
 * until those that are there have left.  From the atfork handlers; in the child the third. */
void shim_native_before_fork(void);
void shim_native_after_fork(void);
void shim_native_in_child(void);

/* How often objects had been unmapped when they were looked at last. */
uint32_t shim_native_generation(void);

/* Do these addresses, taken in an older generation, lie in objects that are still there, or in none?  Inside
 * shim_stack_enter. */
bool shim_native_still(const uint64_t *addresses, uint32_t n, uint32_t generation);

#pragma GCC visibility pop
#endif
