/* SPDX-License-Identifier: MIT */
/* proc-file.h - small text files of the kernel's, read without stdio and without memory that has to be allotted. */
#ifndef GILSCOPE_PROC_FILE_H
#define GILSCOPE_PROC_FILE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* The first bytes of a file, ended by a 0; how many were read, 0 if none could.  Any thread, async-signal-safe; may change
 * errno. */
size_t proc_file_read(const char *path, char *bytes, size_t room);

/* The decimal number at *s, behind spaces, which *s is moved beyond; 0 where there is none.  Any thread. */
uint64_t proc_file_number(const char **s);

#pragma GCC visibility pop
#endif
