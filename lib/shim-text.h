/* SPDX-License-Identifier: MIT */
/* shim-text.h - puts short texts together without stdio or malloc.  Async-signal-safe, any thread. */
#ifndef GILSCOPE_SHIM_TEXT_H
#define GILSCOPE_SHIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHIM_PATH_BYTES 4096

struct shim_text {
    char *bytes;
    size_t used, room;
    bool cut; /* it did not fit; what did is ended by a 0 */
};

static inline void shim_text_init(struct shim_text *t, char *bytes, size_t room)
{
    *t = (struct shim_text){.bytes = bytes, .room = room};
    bytes[0] = 0;
}

static inline void shim_text_char(struct shim_text *t, char c)
{
    if (t->used + 1 >= t->room) {
        t->cut = true;
        return;
    }
    t->bytes[t->used++] = c;
    t->bytes[t->used] = 0;
}

static inline void shim_text_add(struct shim_text *t, const char *s)
{
    while (*s && !t->cut)
        shim_text_char(t, *s++);
}

static inline void shim_text_number(struct shim_text *t, uint64_t n)
{
    char digits[20];
    int i = 0;
    do
        digits[i++] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    while (i)
        shim_text_char(t, digits[--i]);
}

#endif
