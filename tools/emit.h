/* SPDX-License-Identifier: MIT */
/*
 * emit.h - puts many short pieces of text into a stream.
 *
 * A report on 100,000 stacks consists of ten million pieces of a few bytes each: stdio's calls alone take longer for
 * them than everything else.  So they are gathered here first.  Failures to write show in the stream.
 */
#ifndef GILSCOPE_EMIT_H
#define GILSCOPE_EMIT_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { EMIT_BYTES = 32 << 10, EMIT_DIGITS_MAX = 20 }; /* what stays in a processor's nearest cache */

struct emit {
    FILE *out;
    size_t n;
    char bytes[EMIT_BYTES];
};

/* Hands what has been gathered to the stream.  To be called before anybody else writes to it, and at the end. */
void emit_flush(struct emit *emit);

/* Pieces that are longer than the buffer. */
void emit_long(struct emit *emit, const char *bytes, size_t n);

/* An empty one.  emit_flush() has to be called at the end; nothing is to be freed. */
static inline void emit_begin(struct emit *emit, FILE *out)
{
    emit->out = out;
    emit->n = 0;
}

static inline void emit_bytes(struct emit *emit, const char *bytes, size_t n)
{
    if (n > EMIT_BYTES - emit->n) {
        emit_long(emit, bytes, n);
        return;
    }
    memcpy(emit->bytes + emit->n, bytes, n);
    emit->n += n;
}

static inline void emit_text(struct emit *emit, const char *text)
{
    emit_bytes(emit, text, strlen(text));
}

/* Decimal digits. */
static inline void emit_number(struct emit *emit, uint64_t number)
{
    char digits[EMIT_DIGITS_MAX], *first = digits + sizeof digits;

    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    emit_bytes(emit, first, (size_t)(digits + sizeof digits - first));
}

#endif
