/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - validates and repairs UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF).
 */
#include "utf8.h"

#include <stdint.h>
#include <string.h>

#include "mem.h"

#define REPLACEMENT "\xef\xbf\xbd"

size_t utf8_sequence(const char *text, size_t size)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length;
    uint32_t code;

    if (!size)
        return 0;
    if (bytes[0] < 0x80)
        return 1;
    length = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || length > size)
        return 0;
    code = bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (bytes[i] & 0x3fu);
    }
    if (code < lowest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return length;
}

uint32_t utf8_code(const char *sequence, size_t length)
{
    uint32_t code = (unsigned char)sequence[0];

    if (length > 1)
        code &= 0x7fu >> length;
    for (size_t i = 1; i < length; i++)
        code = code << 6 | ((unsigned char)sequence[i] & 0x3fu);
    return code;
}

bool utf8_is_deceptive(const char *sequence, size_t length)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x80, 0x9f},     /* C1 control characters */
        {0x061c, 0x061c}, /* Arabic letter mark */
        {0x200b, 0x200f}, /* without width; marks of direction */
        {0x2028, 0x202e}, /* line and paragraph separator; embeddings and overrides */
        {0x2060, 0x206f}, /* invisible; isolates */
        {0xfeff, 0xfeff}, /* byte order mark */
        {0xfff9, 0xfffb}, /* annotations */
    };
    uint32_t code = utf8_code(sequence, length);

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}

char *utf8_clean(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *clean = mem_zeroed(length * strlen(REPLACEMENT) + 1, 1), *to = clean;

    for (size_t i = 0; i < length;) {
        size_t n = utf8_sequence(text + i, length - i);
        const char *from = n ? text + i : REPLACEMENT;
        size_t n_to = n ? n : strlen(REPLACEMENT);
        memcpy(to, from, n_to);
        to += n_to;
        i += n ? n : 1;
    }
    return clean;
}
