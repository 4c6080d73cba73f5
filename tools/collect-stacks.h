/* SPDX-License-Identifier: MIT */
/*
 * collect-stacks.h - the stacks that a collector has seen in a process, with names and lines, and what they weigh.
 */
#ifndef GILSCOPE_COLLECT_STACKS_H
#define GILSCOPE_COLLECT_STACKS_H

#include "find-gil.h"
#include "recwriter.h"

#define COLLECT_FRAMES 64

struct collect_frame { /* as it was read; innermost first */
    uint64_t code;     /* 0 = the border to C */
    uint64_t at;       /* f_lasti (to 3.10), or the address of the instruction */
    bool entry;        /* is_entry (3.11) */
};

struct collect_stacks;

/* The stacks of a process; to be freed with collect_stacks_free(). */
struct collect_stacks *collect_stacks_new(const struct find_process *process);
void collect_stacks_free(struct collect_stacks *s);

/* Looks up what the frames mean, now, for the objects that they point to will be gone some time.  The stack's number,
 * to be used below; 0 = nothing of it could be read. */
uint32_t collect_stacks_resolve(struct collect_stacks *s, const struct collect_frame *frames, uint32_t n, bool cut);

/* The same of a thread that sleeps, or runs (then it may be torn), by its thread state. */
uint32_t collect_stacks_walk(struct collect_stacks *s, uint64_t tstate);

/* A native stack's number; 0 = none. */
uint32_t collect_stacks_native(struct collect_stacks *s, const uint64_t *addresses, uint32_t n);

/* Adds to what thread `index` spent in a stack; either number may be 0. */
void collect_stacks_add(struct collect_stacks *s, uint32_t index, uint32_t python, uint32_t native,
                        const uint64_t ns[REC_WEIGHTS], const uint32_t samples[REC_WEIGHTS]);

/* From here on, what the threads with these indices, which are sorted for it, spent is that of thread `index`. */
void collect_stacks_move(struct collect_stacks *s, uint32_t *indices, size_t n, uint32_t index);

/* Puts them into a picture. */
void collect_stacks_write(const struct collect_stacks *s, struct recwriter *writer);

#endif
