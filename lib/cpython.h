/* SPDX-License-Identifier: MIT */
/*
 * cpython.h - where CPython keeps its frames and names: the layout table, and what is read of a thread with it.
 *
 * x86-64 and aarch64 layouts of release builds with the GIL, CPython 3.8 to 3.15.  Everything is read through a
 * callback (cpython-read.h), so that the same code serves the shim and readers of other processes.
 */
#ifndef GILSCOPE_CPYTHON_H
#define GILSCOPE_CPYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython-read.h"

/* Offsets in bytes within the named struct; where 0 cannot be one, it means that the version has no such field. */
struct cpython_layout {
    uint8_t minor;
    uint16_t tstate_frame;  /* PyThreadState: frame (to 3.10), cframe (3.11, 3.12) or current_frame */
    uint8_t cframe_current; /* 255 = tstate points to the frame itself */
    /* PyFrameObject (to 3.10), _PyInterpreterFrame */
    uint8_t frame_code, frame_back;
    uint8_t frame_instruction; /* f_lasti (to 3.10), prev_instr (3.11, 3.12), instr_ptr */
    uint8_t frame_entry;       /* is_entry: native code called the evaluation loop.  3.11 only */
    uint8_t frame_owner;       /* 3 and more: no Python code, but the border between C and Python (3.12+) */
    uint8_t frame_stack;       /* stacktop (int, 3.11 to 3.13), stackpointer (3.14+) */
    uint16_t frame_locals;     /* f_localsplus, localsplus */
    /* PyCodeObject */
    uint8_t code_filename, code_name, code_qualname;
    uint8_t code_first_line, code_lines; /* co_lnotab (3.8, 3.9), co_linetable */
    uint8_t code_bytes;                  /* co_code_adaptive (3.11+) */
    uint8_t ascii_data, compact_data;    /* where the characters of a str are: sizeof(PyASCIIObject), ...Compact... */
    uint16_t cached_keys;                /* PyHeapTypeObject.ht_cached_keys */
    uint16_t runtime_finalizing;         /* _PyRuntime: the thread state that finalizes, or NULL */
};

/* As much of a frame as has the fields above. */
#define CPYTHON_FRAME_BYTES_MAX 112u
#define CPYTHON_FRAME_BYTES(minor) ((minor) <= 10 ? 112u : 80u)

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
