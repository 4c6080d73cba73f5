/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzzers and the program that replays their corpora share: one execution, and one mutation.
 */
#ifndef GILSCOPE_FUZZ_H
#define GILSCOPE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Larger inputs are cut: they find nothing that smaller ones do not, and take longer. */
#define FUZZ_BYTES_MAX 16384u

/* What reading and reporting may allot at one time for a file of n bytes.  fuzz_run() ends the program where it is
 * more.  The first part is for what does not depend on the file: locales, buffers of streams, tables. */
#define FUZZ_ALLOTTED_MAX(n) ((8ull << 20) + 256ull * (n))

/* Reads the bytes as a recording, works out the model and renders it in every format.  Whatever is wrong ends the
 * program: a sanitizer's finding, an impossible number, more memory than FUZZ_ALLOTTED_MAX. */
void fuzz_run(const uint8_t *data, size_t size);

/* Ends the program if one of `gilscope report`'s formats is not rendered by fuzz_run(). */
void fuzz_check_formats(void);

/* Changes a recording in place, as a whole (cut, bits) or by its structure (records, fields), by the random number
 * seed; its new size, at most max_size. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* The same of ELF files, which are read for symbols and for what they say of Python. */
void fuzz_elf_run(const uint8_t *data, size_t size);
size_t fuzz_elf_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#endif
