/* SPDX-License-Identifier: MIT */
/* cpython-read.h - reads the memory of a CPython, one's own or another process's, through a callback. */
#ifndef GILSCOPE_CPYTHON_READ_H
#define GILSCOPE_CPYTHON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpython_layout;

/* Copies n bytes from `address`; 0 = done, otherwise nothing may be assumed.  Must survive any address. */
typedef int cpython_read(void *context, uint64_t address, void *bytes, size_t n);

/* Every call of a cpython_read may be a system call, and what is wanted lies close together: the last few blocks are
 * kept for the life of a reader. */
#define CPYTHON_BLOCK_BYTES 512 /* divides the page size: a block is there or not */
#define CPYTHON_BLOCKS 8
struct cpython_reader {
    const struct cpython_layout *l;
    cpython_read *read; /* NULL = memory of our own that is known to be there: it is read directly */
    void *context;
    uint64_t address[CPYTHON_BLOCKS]; /* 0 = none */
    unsigned next;
    unsigned char bytes[CPYTHON_BLOCKS][CPYTHON_BLOCK_BYTES]; /* uninitialised where read is NULL */
};

/* The same in all versions (PyObject, PyVarObject, PyTypeObject, PyBytesObject, PyASCIIObject of GIL builds). */
enum {
    CPYTHON_OB_TYPE = 8,
    CPYTHON_OB_SIZE = 16,
    CPYTHON_TP_NAME = 24,
    CPYTHON_BYTES_DATA = 32,
    CPYTHON_UNICODE_LENGTH = 16,
    CPYTHON_UNICODE_STATE = 32,
};

void cpython_reader_init(struct cpython_reader *r, const struct cpython_layout *layout, cpython_read *read,
                         void *context);

/* Copies n bytes; 0 = done.  Refuses addresses that cannot be any object's. */
int cpython_fetch(struct cpython_reader *r, uint64_t address, void *to, size_t n);

/* The pointer at address; 0 if it is NULL or cannot be read. */
uint64_t cpython_pointer(struct cpython_reader *r, uint64_t address);

/* Is the object's type called so (at most 31 bytes)? */
bool cpython_is_a(struct cpython_reader *r, uint64_t object, const char *type_name);

/* Copies a str as UTF-8, cut to room between characters, and ends it with a 0; how many bytes were written before that
 * goes to *length if it is not NULL.  False if the object is no compact str. */
bool cpython_text(struct cpython_reader *r, uint64_t object, char *to, size_t room, size_t *length);

/* Is it a str with this text (less than 32 bytes)? */
bool cpython_text_is(struct cpython_reader *r, uint64_t object, const char *wanted);

#endif
