/* SPDX-License-Identifier: MIT */
/* proc-file.c - small text files of the kernel's. */
#include "proc-file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

size_t proc_file_read(const char *path, char *bytes, size_t room)
{
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bytes[0] = 0;
    if (fd < 0)
        return 0;
    while (n + 1 < room) {
        ssize_t got = read(fd, bytes + n, room - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    bytes[n] = 0;
    return n;
}

uint64_t proc_file_number(const char **s)
{
    uint64_t n = 0;
    while (**s == ' ')
        ++*s;
    while (**s >= '0' && **s <= '9')
        n = n * 10 + (uint64_t)(*(*s)++ - '0');
    return n;
}
