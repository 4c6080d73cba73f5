/* SPDX-License-Identifier: MIT */
/*
 * textfile.h - small files that are read as one string, such as those of /proc.
 */
#ifndef GILSCOPE_TEXTFILE_H
#define GILSCOPE_TEXTFILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads the file's begin, at most size - 1 bytes, into text with a 0 behind it; the number of bytes read, or -1 with
 * text empty if the file cannot be read. */
ssize_t textfile_read(const char *path, char *text, size_t size);

#endif
