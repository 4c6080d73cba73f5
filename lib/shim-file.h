/* SPDX-License-Identifier: MIT */
/* shim-file.h - the recording's file: made, mapped, allotted from. */
#ifndef GILSCOPE_SHIM_FILE_H
#define GILSCOPE_SHIM_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim.h"

/* Creates the file of this process and maps it.  On success SHIM.header is set (SHIM.generation is not) and true is
 * returned; otherwise false, *why says what failed in a few words, *error is an errno or 0.
 * directory: absolute path.  Called where a GIL is created, without any of our state in use. */
bool shim_file_open(const char *directory, const char **why, int *error);

/* Gives the file its name, once its header is complete; until then it has one that readers pass over.  False, with
 * errno, if that cannot be done; the file is gone then.  Called as shim_file_open is. */
bool shim_file_finish(void);

#define SHIM_LINE_BYTES 64 /* of a cache line; the hot fields of threads' and GILs' records begin at one */

/* Allots a record of at least `bytes` bytes (zeroed), or NULL when there is no space; the loss is counted.  One that is
 * longer than a few lines begins at a line.
 * Its head is filled in but for the type, which shim_file_publish stores.  May make system calls when the file has to
 * grow: any thread, never while gil->mutex is held. */
void *shim_file_record(uint32_t bytes);
void shim_file_publish(void *record, enum rec_type type);

/* Whoever may write to the file can put anything into it, such as another file in its place (cp): what is read from the
 * mapping may be wrong, and must do no harm.  No number from there is an index, a length or an address without a bound,
 * no chain is followed for ever.  From any cell on, so many bytes can be read and written: records are shorter. */
#define SHIM_BEHIND_BYTES (64u << 10)

/* A record's cell, and back: an address in the mapping, whatever the cell.  Any thread. */
static inline uint32_t shim_file_cell(const void *record)
{
    return (uint32_t)(((const char *)record - (const char *)SHIM.header) / REC_CELL_BYTES);
}
static inline void *shim_file_at(uint32_t cell)
{
    return (char *)SHIM.header + (uint64_t)(cell & SHIM.cell_mask) * REC_CELL_BYTES;
}

/* Whether a fault at the address is that of our recording, whose storage is no more.  If so, it has been replaced by
 * memory that nobody sees, all zeros, measuring has ended, and the access can be done again.  In the handler of SIGBUS:
 * async-signal-safe. */
bool shim_file_failed(const void *address);

/* Adds to header.losses.  Any thread, async-signal-safe. */
void shim_file_loss(enum rec_loss cause);

/* Forgets the mapping in a forked child, in which it does not exist. */
void shim_file_forget(void);

#endif
