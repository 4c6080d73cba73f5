/* SPDX-License-Identifier: MIT */
/*
 * symbols-file.h - finds and opens the ELF files that have the symbols.  For symbols*.c.
 */
#ifndef GILSCOPE_SYMBOLS_FILE_H
#define GILSCOPE_SYMBOLS_FILE_H

#include <gelf.h>
#include <stddef.h>

struct symbols_file {
    int fd;
    Elf *elf;
};

/* Opens an ELF file with this build id (n bytes, 0 = any); NULL if it is not there, or another one. */
struct symbols_file *symbols_file_open(const char *path, const unsigned char *build_id, size_t n_build_id);

/* Opens the separate debug file of a file: by build id below /usr/lib/debug/.build-id, or by its debug link beside the
 * file, in .debug/ there, and below /usr/lib/debug.  NULL if there is none. */
struct symbols_file *symbols_file_open_debug(const char *path, const struct symbols_file *file);

/* Closes one; NULL is one that needs no closing. */
void symbols_file_close(struct symbols_file *file);

#endif
