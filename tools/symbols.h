/* SPDX-License-Identifier: MIT */
/*
 * symbols.h - native addresses to names of functions: .symtab, .dynsym and separate debug files, by elfutils.
 *
 * A file is opened when the first of its addresses is looked up, and only if it is the one that was recorded.  Nothing
 * is fetched from a network.
 */
#ifndef GILSCOPE_SYMBOLS_H
#define GILSCOPE_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbols; /* of one file */

/* The symbols of a file, to be ended with symbols_close().  It must have this build id, if one is given (n_build_id
 * bytes, 0 = any).  Never NULL: a file that cannot be read, or has changed, has no symbols. */
struct symbols *symbols_open(const char *path, const unsigned char *build_id, size_t n_build_id);
void symbols_close(struct symbols *symbols);

/* The function at an address of the file (in memory less the bias), as the file spells it; NULL if it is not known.
 * Good until symbols_close(). */
const char *symbols_find(const struct symbols *symbols, uint64_t address);

/* True if the file has CPython's evaluation loop in it. */
bool symbols_has_interpreter(const struct symbols *symbols);

/* A C++ name in its readable form, to be freed; NULL if it is none, or nothing here can read it. */
char *symbols_demangle(const char *name);

#endif
