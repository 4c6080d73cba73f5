/* SPDX-License-Identifier: MIT */
/*
 * msg.c - writes gilscope's own lines to stderr, each in one write.
 */
#include "msg.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "utf8.h"

void msg_error(const char *format, ...)
{
    static const char prefix[] = "gilscope: ";
    char line[4096];
    int saved_errno = errno;
    va_list args;

    memcpy(line, prefix, sizeof prefix);
    size_t at = sizeof prefix - 1;
    va_start(args, format);
    /* One byte is kept for the newline. */
    if (vsnprintf(line + at, sizeof line - at - 1, format, args) > 0)
        at += strlen(line + at);
    va_end(args);
    /* File names and process names are other people's data: no line breaks, no terminal sequences, nothing that turns
     * the direction of writing around. */
    for (size_t i = sizeof prefix - 1, n; i < at; i += n ? n : 1) {
        n = utf8_sequence(line + i, at - i);
        if (!n || (n == 1 && ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)) ||
            (n > 1 && utf8_is_deceptive(line + i, n)))
            memset(line + i, '?', n ? n : 1);
    }
    line[at++] = '\n';
    fflush(stdout); /* keeps the order where both streams go to the same place */
    for (size_t done = 0; done < at;) {
        ssize_t n = write(STDERR_FILENO, line + done, at - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* nobody is left to tell */
        done += (size_t)n;
    }
    errno = saved_errno;
}
