/* SPDX-License-Identifier: MIT */
/*
 * holds-memory.h - the memory of another process for the length of one look, in as few system calls as may be.
 *
 * A call costs more than what it copies, and threads are where they were lately: what the look before has read of a
 * thread is read again at the begin of the next.  That also makes it of one moment.  What leads to the innermost frame
 * comes first, in a call of its own: when that was is known to a microsecond.  One thread only may use this: what is
 * read is kept in one place for all processes, from holds_memory_begin() on.
 */
#ifndef GILSCOPE_HOLDS_MEMORY_H
#define GILSCOPE_HOLDS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOLDS_PAGE_BYTES 4096u
#define HOLDS_PAGES 48  /* of a look that are kept; others are read each time */
#define HOLDS_RECENT 16 /* threads whose pages are remembered */

struct holds_range { /* the part of a page that is of interest */
    uint64_t page;   /* address, 0 = none */
    uint16_t from, to;
};

struct holds_memory {
    int pid;
    uint32_t n; /* pages that are here */
    uint32_t who;
    uint32_t n_first, n_known; /* of those that were asked for the last time: on the way to the frame, and all */
    struct holds_range range[HOLDS_PAGES]; /* of each that is there */
    bool used[HOLDS_PAGES];                /* somebody has asked for it in this look, */
    bool first[HOLDS_PAGES];               /* on the way to the innermost frame */
    bool at_once[HOLDS_PAGES];             /* it was read in the first call */
    struct {
        uint32_t who, n, n_first;
        struct holds_range range[HOLDS_PAGES];
    } recent[HOLDS_RECENT];
};

/* Begins a look at a thread: `who` is any number that tells it from others.  What led to its innermost frame the last
 * time is read at once, in one call. */
void holds_memory_begin(struct holds_memory *m, uint32_t who);

/* The innermost frame, at this address, has been read: what has been asked for up to here is what leads to it.  False
 * if it was not read in that one call.  What else was asked for the last time is read now. */
bool holds_memory_innermost(struct holds_memory *m, uint64_t frame);

/* Remembers what it has read. */
void holds_memory_end(struct holds_memory *m);

/* A cpython_read; context: the struct holds_memory. */
int holds_memory_read(void *context, uint64_t address, void *bytes, size_t n);

#endif
