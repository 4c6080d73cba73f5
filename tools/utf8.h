/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - text from recordings, which may be anything, made valid UTF-8.
 */
#ifndef GILSCOPE_UTF8_H
#define GILSCOPE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A copy of a text, up to its first 0 byte and at most size bytes, in which what is not UTF-8 is replaced by U+FFFD
 * (one for each byte); to be freed with free(). */
char *utf8_clean(const char *text, size_t size);

/* The number of bytes of the valid UTF-8 sequence that begins at text, of which size bytes may be read; 0 if there is
 * none. */
size_t utf8_sequence(const char *text, size_t size);

/* True if the valid sequence of length bytes, more than one, is a control character, or one that turns the direction of
 * writing around or is invisible: such can make a line read as another one. */
bool utf8_is_deceptive(const char *sequence, size_t length);

/* The character that a valid sequence of length bytes stands for. */
uint32_t utf8_code(const char *sequence, size_t length);

#endif
