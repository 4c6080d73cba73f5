/* SPDX-License-Identifier: MIT */
/*
 * mem.h - allocation for the commands: a report for which there is no memory ends with an error line.
 */
#ifndef GILSCOPE_MEM_H
#define GILSCOPE_MEM_H

#include <stddef.h>

/* count zeroed objects of size bytes each; never NULL, not even for 0 bytes.  To be freed with free().  When there is
 * no memory, says so and exits with CMD_FAILED. */
void *mem_zeroed(size_t count, size_t size);

/* Makes room for one more object in an array of n objects that *capacity counts.  Returns the array, which may have
 * moved; ends like mem_zeroed(). */
void *mem_grow(void *array, size_t n, size_t *capacity, size_t size);

/* A formatted string, to be freed with free(); ends like mem_zeroed(). */
char *mem_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
