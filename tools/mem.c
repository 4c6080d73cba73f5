/* SPDX-License-Identifier: MIT */
/*
 * mem.c - allocation that does not return without memory.
 */
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "msg.h"

static void *checked(void *memory)
{
    if (!memory) {
        msg_error("out of memory");
        exit(CMD_FAILED);
    }
    return memory;
}

void *mem_zeroed(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size ? size : 1));
}

void *mem_grow(void *array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 8;
    return checked(reallocarray(array, *capacity, size));
}

char *mem_print(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return checked(text);
}
