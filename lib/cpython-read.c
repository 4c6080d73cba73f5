/* SPDX-License-Identifier: MIT */
/* cpython-read.c - reads the memory of a CPython; everything read is checked before it is believed. */
#include "cpython-read.h"

#include <string.h>

#include "cpython.h"

void cpython_reader_init(struct cpython_reader *r, const struct cpython_layout *layout, cpython_read *read,
                         void *context)
{
    r->l = layout;
    r->read = read;
    r->context = context;
    r->next = 0;
    memset(r->address, 0, sizeof r->address);
}

static const unsigned char *block_at(struct cpython_reader *r, uint64_t address)
{
    for (unsigned i = 0; i < CPYTHON_BLOCKS; i++)
        if (r->address[i] == address)
            return r->bytes[i];
    unsigned i = r->next++ % CPYTHON_BLOCKS;
    r->address[i] = 0;
    if (r->read(r->context, address, r->bytes[i], CPYTHON_BLOCK_BYTES) != 0)
        return NULL;
    r->address[i] = address;
    return r->bytes[i];
}

int cpython_fetch(struct cpython_reader *r, uint64_t address, void *to, size_t n)
{
    char *out = to;
    if (address < 4096 || address + n < address || address >> 56)
        return -1;
    if (!r->read) {
        memcpy(to, (const void *)(uintptr_t)address, n);
        return 0;
    }
    while (n) {
        uint64_t offset = address % CPYTHON_BLOCK_BYTES;
        size_t part = n < CPYTHON_BLOCK_BYTES - offset ? n : CPYTHON_BLOCK_BYTES - offset;
        const unsigned char *block = block_at(r, address - offset);
        if (!block)
            return -1;
        memcpy(out, block + offset, part);
        out += part;
        address += part;
        n -= part;
    }
    return 0;
}

uint64_t cpython_pointer(struct cpython_reader *r, uint64_t address)
{
    uint64_t value;
    return cpython_fetch(r, address, &value, sizeof value) == 0 ? value : 0;
}

bool cpython_is_a(struct cpython_reader *r, uint64_t object, const char *type_name)
{
    char found[32];
    size_t n = strlen(type_name) + 1;
    uint64_t at = cpython_pointer(r, cpython_pointer(r, object + CPYTHON_OB_TYPE) + CPYTHON_TP_NAME);
    return n <= sizeof found && cpython_fetch(r, at, found, n) == 0 && memcmp(found, type_name, n) == 0;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd; /* a lone surrogate has no UTF-8 */
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | ((c >> 6) & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | ((c >> 12) & 63));
    to[2] = (char)(0x80 | ((c >> 6) & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

bool cpython_text(struct cpython_reader *r, uint64_t object, char *to, size_t room, size_t *length_out)
{
    uint64_t length;
    uint32_t state;
    if (!cpython_is_a(r, object, "str") ||
        cpython_fetch(r, object + CPYTHON_UNICODE_LENGTH, &length, sizeof length) != 0 ||
        cpython_fetch(r, object + CPYTHON_UNICODE_STATE, &state, sizeof state) != 0)
        return false;
    uint32_t kind = (state >> 2) & 7;
    bool compact = (state >> 5) & 1, ascii = (state >> 6) & 1;
    if (!compact || (kind != 1 && kind != 2 && kind != 4) || length > 1u << 20)
        return false;
    uint64_t data = object + (ascii ? r->l->ascii_data : r->l->compact_data);
    size_t used = 0;
    unsigned char chunk[64];
    uint64_t per_chunk = sizeof chunk / kind;
    bool full = false;
    for (uint64_t i = 0; i < length && !full; i += per_chunk) {
        uint64_t n = length - i < per_chunk ? length - i : per_chunk;
        if (cpython_fetch(r, data + i * kind, chunk, n * kind) != 0)
            return false;
        for (uint64_t j = 0; j < n && !full; j++) {
            uint32_t c = 0;
            memcpy(&c, chunk + j * kind, kind);
            full = used + 5 > room;
            if (!full)
                used += put_utf8(to + used, c);
        }
    }
    to[used] = 0;
    if (length_out)
        *length_out = used;
    return true;
}

bool cpython_text_is(struct cpython_reader *r, uint64_t object, const char *wanted)
{
    char found[36];
    return object && cpython_text(r, object, found, sizeof found, NULL) && strcmp(found, wanted) == 0;
}
