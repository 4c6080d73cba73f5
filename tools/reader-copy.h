/* SPDX-License-Identifier: MIT */
/*
 * reader-copy.h - the part of the reader that copies a file which may be changing.  For reader*.c only.
 */
#ifndef GILSCOPE_READER_COPY_H
#define GILSCOPE_READER_COPY_H

#include <sys/types.h>

#include "reader.h"

/* Reads up to size bytes at offset, as many as there are; the number, or -1 with errno. */
ssize_t reader_copy_bytes(int fd, void *to, size_t size, size_t offset);

/* Reads the header (size bytes of it are in the file) so that what belongs together in it does. */
bool reader_copy_header(int fd, struct rec_header *header, size_t size);

/* For a file whose process still runs: copies each GIL and thread anew, with what hangs on it, until its sequence
 * counter says that nobody wrote meanwhile. */
void reader_copy_settle(int fd, struct reader_file *file);

#endif
