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
