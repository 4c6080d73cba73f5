/* SPDX-License-Identifier: MIT */
/*
 * symbols-part.h - where the compiler has put the seldom used part of a function of a stripped file.  For symbols.c.
 */
#ifndef GILSCOPE_SYMBOLS_PART_H
#define GILSCOPE_SYMBOLS_PART_H

#include <gelf.h>
#include <stdbool.h>
#include <stdint.h>

/* The other part of the function at start (size bytes; addresses as in the file): where it begins, and its size in
 * bytes with what fills the gap behind it.  False if it is all in one place, or that cannot be told: on x86-64 only. */
bool symbols_part(Elf *elf, uint64_t start, uint64_t size, uint64_t *part_start, uint64_t *part_size);

#endif
