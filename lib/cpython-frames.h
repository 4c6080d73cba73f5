/* SPDX-License-Identifier: MIT */
/*
 * cpython-frames.h - walks the Python frames of a thread, and tells what code they run and where.
 *
 * The frames must stand still meanwhile: the thread's own, or those of one that cannot go on; of others, what is read
 * may be torn, but nothing is read without a check or written anywhere but to the caller's memory.  No allocation.
 */
#ifndef GILSCOPE_CPYTHON_FRAMES_H
#define GILSCOPE_CPYTHON_FRAMES_H

#include "cpython.h"

struct cpython_frame {
    uint64_t frame, code; /* addresses of the frame and of its code object */
    int32_t at;           /* the instruction that it is at: bytes from the code's first; below 0 = not begun */
    bool entry;           /* native code called the evaluation loop that runs it; else the frame outside of it did */
};

struct cpython_walk {
    struct cpython_reader *r;
    uint64_t code_type;         /* of the code objects seen so far, 0 = none yet.  May be carried on to the next walk */
    uint64_t next;              /* the frame to be read next */
    struct cpython_frame ahead; /* read, but not handed out yet */
    bool have_ahead;
    bool broken; /* the last call of cpython_walk_next found something that is no frame: there are more, perhaps */
    uint32_t steps;
};

/* Starts at the innermost frame of the thread whose PyThreadState is at tstate.  code_type: see above. */
void cpython_walk_begin(struct cpython_walk *w, struct cpython_reader *r, uint64_t tstate, uint64_t code_type);

/* The next frame further out.  False: that was the outermost, or `broken`. */
bool cpython_walk_next(struct cpython_walk *w, struct cpython_frame *f);

struct cpython_code {
    uint64_t name, file; /* str objects: the qualified name where the version has it (3.11+), else the name */
    uint64_t lines;      /* bytes object: co_lnotab or co_linetable */
    uint32_t first_line;
};

/* What a code object says of itself.  False if it is none. */
bool cpython_code(struct cpython_reader *r, uint64_t code, struct cpython_code *c);

/* The line of the instruction `at`; 0 = not known, or compiled from no line.  At most 64 KiB of table are read. */
uint32_t cpython_line(struct cpython_reader *r, const struct cpython_code *c, int32_t at);

#endif
