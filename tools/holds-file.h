/* SPDX-License-Identifier: MIT */
/*
 * holds-file.h - the file beside a process's recording that has what its threads did while they held the GIL, as it was
 * seen from outside.
 *
 * A recording without GILs and threads (record.h): its stacks name the threads of the other file by their index.  It is
 * appended to and complete at each moment; nothing is ever written through a mapping, so that a disk that fills up or a
 * file that is cut short costs samples.  One thread only may use it.
 */
#ifndef GILSCOPE_HOLDS_FILE_H
#define GILSCOPE_HOLDS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

#define HOLDS_FILE_BYTES (32u << 20) /* a file does not grow beyond */

struct holds_place { /* a line of Python code */
    const char *function, *file;
    uint32_t line, first_line;
};

struct holds_sample {
    uint32_t thread;        /* index */
    uint32_t flags;         /* REC_STACK_... */
    const uint32_t *python; /* cells of frames with REC_ENTRY_FRAME, the innermost first */
    uint32_t n_python;
    uint64_t callee; /* the address of the C function that is being called; 0 = none is known */
    uint64_t held_ns, charged_ns;
    uint64_t call_ns; /* it is known to be in the same call for so long; 0 = not known */
};

struct holds_file;

/* Makes the file `name` in the directory open as `directory`, for the process whose recording has this header.  NULL
 * without a word if that cannot be: no permission, no space, no memory, something of that name is there. */
struct holds_file *holds_file_new(int directory, const char *name, const struct rec_header *of);

/* The end of the process, or of looking at it, at now_ns (CLOCK_MONOTONIC); NULL is allowed. */
void holds_file_close(struct holds_file *f, uint64_t now_ns);

/* The cell of a place; 0 if there is no room for it. */
uint32_t holds_file_place(struct holds_file *f, const struct holds_place *place);

/* Notes a file that is mapped into the process, in which callees lie. */
void holds_file_object(struct holds_file *f, const char *path, uint64_t start, uint64_t end, uint64_t bias);

/* Adds a sample.  What finds no room is counted in the file as a loss. */
void holds_file_add(struct holds_file *f, const struct holds_sample *sample, uint64_t now_ns);

/* Counts a loss. */
void holds_file_loss(struct holds_file *f, enum rec_loss cause);

#endif
