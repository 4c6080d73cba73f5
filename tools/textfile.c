/* SPDX-License-Identifier: MIT */
/*
 * textfile.c - small files that are read as one string, such as those of /proc.
 */
#include "textfile.h"

#include <fcntl.h>
#include <unistd.h>

ssize_t textfile_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n;
}
