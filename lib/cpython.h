/* SPDX-License-Identifier: MIT */
/*
 * cpython.h - where CPython keeps its frames and names, and how to read them through a callback, so that the same code
 * serves the shim (its own memory), and readers of other processes.
 *
 * x86-64 and aarch64 layouts of release builds with the GIL, CPython 3.8 to 3.15.
 */
#ifndef GILSCOPE_CPYTHON_H
#define GILSCOPE_CPYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies n bytes from `address`; 0 = done, otherwise nothing may be assumed.  Must survive any address. */
typedef int cpython_read(void *context, uint64_t address, void *bytes, size_t n);

struct cpython_layout;

/* The layout for PY_VERSION_HEX, or NULL for a version that is not known.  Pure. */
const struct cpython_layout *cpython_layout(uint32_t hex);

enum cpython_name {
    CPYTHON_NAME_NONE,     /* nothing could be read (no frame yet, or a layout that does not fit) */
    CPYTHON_NAME_THREAD,   /* threading.Thread.name */
    CPYTHON_NAME_FUNCTION, /* the function that the thread was started with */
};

/* The name of the thread whose PyThreadState is at tstate, from its outermost frame: the Thread object's _name where
 * that frame is threading.Thread._bootstrap, else the frame's function.  Writes at most room bytes of UTF-8 with the
 * terminating 0.  The frames must stand still: by the thread itself, holding the GIL.  No allocation. */
enum cpython_name cpython_thread_name(const struct cpython_layout *layout, cpython_read *read, void *context,
                                      uint64_t tstate, char *name, size_t room);

#endif
