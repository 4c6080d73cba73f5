/* SPDX-License-Identifier: MIT */
/*
 * unit-maker.h - makes recordings for the unit tests, field by field.
 */
#ifndef GILSCOPE_UNIT_MAKER_H
#define GILSCOPE_UNIT_MAKER_H

#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "record.h"

#define MAKER_BYTES (1u << 20)
#define MAKER_START 1000000000ull /* ticks at which its recordings start; a tick is 1 ns unless a test says otherwise  \
                                   */
#define MS 1000000ull

/* A recording under construction.  Records are changed in place until it is written. */
struct maker {
    _Alignas(16) unsigned char bytes[MAKER_BYTES];
    struct rec_header *header;
    char directory[256]; /* a temporary one, made by maker_begin */
};

/* Starts a recording of a process that ended in the ordinary way, 1 s after its start.  Ends the test if it cannot. */
void maker_begin(struct maker *maker);

/* Appends records; the numbers that are not given are 0.  Pointers stay good. */
struct rec_gil *maker_gil(struct maker *maker, uint32_t index);
struct rec_thread *maker_thread(struct maker *maker, uint32_t index, const char *name);
void maker_text(struct maker *maker, enum rec_text_kind kind, const char *bytes, uint32_t length);

/* Any record: zeroed, of this size (rounded up to cells) and type. */
void *maker_record(struct maker *maker, size_t size, uint16_t type);
uint32_t maker_cell(const struct maker *maker, const void *record);

/* Counts a value n times in a thread's histogram. */
void maker_hist(struct maker *maker, struct rec_thread *thread, enum rec_hist_kind kind, uint64_t ticks, uint64_t n);

/* Adds an entry to a thread's row of the matrix. */
void maker_row(struct maker *maker, struct rec_thread *thread, uint32_t holder, uint64_t ticks);

/* Writes the recording, or its first n_bytes only, to NAME in the directory; the path is good until the next call. */
char *maker_write(struct maker *maker, const char *name, size_t n_bytes);

/* Writes it and loads the model of the directory. */
void maker_load(struct maker *maker, struct model *model);

/* Removes the directory. */
void maker_end(struct maker *maker);

#endif
