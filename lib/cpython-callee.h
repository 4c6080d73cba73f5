/* SPDX-License-Identifier: MIT */
/* cpython-callee.h - the native function that a thread's innermost Python frame is calling. */
#ifndef GILSCOPE_CPYTHON_CALLEE_H
#define GILSCOPE_CPYTHON_CALLEE_H

#include "cpython-frames.h"

/* The address of the C function (PyMethodDef.ml_meth) that the innermost frame of the thread state at tstate is in the
 * middle of calling; 0 if its instruction is no call, or what is called is no built-in function or method, or cannot be
 * told.  The thread may be running: what is read is checked, and may be wrong if the call ends meanwhile.
 * *f is that frame. */
uint64_t cpython_callee(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f);

/* Where the innermost frame is calling an object that is neither of these, nor a function of ctypes': the C function
 * that calls objects of its type; 0 if that is not known, and for all before 3.11.  *type_call: the one that calls
 * classes, which lies in the interpreter. */
uint64_t cpython_callee_object(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f, uint64_t *type_call);

/* As cpython_callee(), but only if it is a function of a library that ctypes has loaded: 0 for all others. */
uint64_t cpython_callee_of_ctypes(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f);

#endif
