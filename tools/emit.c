/* SPDX-License-Identifier: MIT */
/*
 * emit.c - what the pieces do when the buffer is full.
 */
#include "emit.h"

void emit_flush(struct emit *emit)
{
    fwrite(emit->bytes, 1, emit->n, emit->out);
    emit->n = 0;
}

void emit_long(struct emit *emit, const char *bytes, size_t n)
{
    emit_flush(emit);
    if (n > EMIT_BYTES)
        fwrite(bytes, 1, n, emit->out);
    else
        emit_bytes(emit, bytes, n);
}
