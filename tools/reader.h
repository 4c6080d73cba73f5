/* SPDX-License-Identifier: MIT */
/*
 * reader.h - reads recordings, which may be live, cut short or damaged, into memory that is safe to walk.
 *
 * Nothing in a file is trusted: each offset, size, count and chain is checked here, so that the model can do without.
 */
#ifndef GILSCOPE_READER_H
#define GILSCOPE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "live.h"
#include "record.h"

#define READER_ERROR_BYTES 512
#define READER_FILE_MAX (1ull << 30) /* what lies beyond is not read: no recording is that large */

struct reader_text {
    uint32_t kind;     /* enum rec_text_kind, or one that this version does not know */
    uint32_t length;   /* bytes, not counting the 0 byte that the reader puts behind them */
    const char *bytes; /* in the file's copy */
};

/* One file.  The records are copies of this version's size; fields that the file does not have are 0. */
struct reader_file {
    char *path;
    struct rec_header header;
    int pid_here;           /* the process's PID as seen from here if it still runs, otherwise 0 */
    struct live_now now;    /* a moment before header and records were read; ticks 0 = not known on this machine */
    bool truncated;         /* the file ends before the records do */
    uint64_t damaged_bytes; /* that belong to no record, though one was begun there */
    struct rec_gil *gils;
    size_t n_gils;
    struct rec_thread *threads;
    size_t n_threads;
    struct reader_text *texts;
    size_t n_texts;
    unsigned char *bytes; /* the file as it was read, from its first byte on */
    size_t n_bytes;
};

/* What a record in the file is, for those who want to see all of them. */
struct reader_record {
    size_t offset; /* in the file */
    uint32_t size; /* bytes */
    uint16_t type; /* enum rec_type, or one that this version does not know */
};

/* Reads a file.  NULL if it cannot be read: error[] then says in one line what is wrong and what to do.  The caller
 * ends it with reader_close(). */
struct reader_file *reader_open(const char *path, char error[READER_ERROR_BYTES]);
void reader_close(struct reader_file *file);

/* Reads the file beside a process's recording that has what was seen of its holds from outside (REC_SOURCE_HOLDS).  NULL
 * if there is none, with error[] empty, or if it cannot be read, or belongs to another recording. */
struct reader_file *reader_open_holds(const struct reader_file *of, char error[READER_ERROR_BYTES]);

/* The next record at or after *record, which starts out zeroed and is the last one afterwards.  False at the end. */
bool reader_next(const struct reader_file *file, struct reader_record *record);

/* The counts of one octave of a thread's histogram; NULL if there are none. */
const struct rec_hist_block *reader_hist_block(const struct reader_file *file, const struct rec_thread *thread,
                                               enum rec_hist_kind kind, uint32_t octave);

/* How many values fell into a bucket of that block. */
uint64_t reader_hist_count(const struct reader_file *file, const struct rec_hist_block *block, uint32_t sub);

/* The first part of a thread's row of the waiter x holder matrix, and the one after row; NULL = no more.  A chain that
 * is damaged ends early, also one that bites its tail: *n_steps starts at 0 and counts. */
const struct rec_row *reader_row(const struct reader_file *file, const struct rec_thread *thread,
                                 const struct rec_row *row, size_t *n_steps);

/* The text of a kind; NULL if there is none. */
const struct reader_text *reader_text(const struct reader_file *file, enum rec_text_kind kind);

/* The record at a cell, if it is there, of that type and at least that large; NULL otherwise. */
const void *reader_at(const struct reader_file *file, uint32_t cell, enum rec_type type, size_t size);

/* --- reader-stacks.c */
#define READER_FRAMES_MAX 65536 /* native or Python frames of one stack; more is damage */

struct reader_stack { /* in the file's copy; n_native and n_python are what is there */
    const struct rec_stack *raw;
    const uint64_t *native;
    const uint32_t *python;
    size_t n_native, n_python;
};

/* The bytes of a rec_string; false if there is none at that cell. */
bool reader_string(const struct reader_file *file, uint32_t cell, const char **bytes, size_t *length);

/* The frame at a cell (without REC_ENTRY_FRAME); NULL if there is none. */
const struct rec_frame *reader_frame(const struct reader_file *file, uint32_t cell);

/* What a record of that type says; NULL, and false, if it is damaged or none. */
const struct rec_object *reader_object(const struct reader_file *file, const struct reader_record *record);
bool reader_stack(const struct reader_file *file, const struct reader_record *record, struct reader_stack *stack);

/* A list of paths of files. */
struct reader_paths {
    char **path;
    size_t n, capacity;
};

/* Adds the files that a name stands for: itself, or what a directory has that ends in .gil, in order of their names.
 * False if there is nothing by that name that can be opened: error[] says what. */
bool reader_find(const char *name, struct reader_paths *paths, char error[READER_ERROR_BYTES]);
void reader_paths_free(struct reader_paths *paths);

#endif
