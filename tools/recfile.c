/* SPDX-License-Identifier: MIT */
/*
 * recfile.c - opens a process's file of a recording for the commands that write into it.
 */
#include "recfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static const char *header_problem(const struct rec_header *header, uint64_t file_bytes)
{
    if (memcmp(header->magic, REC_MAGIC, sizeof header->magic))
        return "it is not a gilscope recording";
    if (header->endian != REC_ENDIAN)
        return "it was written on a machine of the other byte order";
    if (header->version < REC_VERSION_MIN || header->version_min > REC_VERSION)
        return "it is of a version that this gilscope cannot handle";
    if (header->header_bytes < sizeof *header || header->header_bytes > file_bytes)
        return "its header is damaged";
    return NULL;
}

int recfile_open(const char *path, struct rec_header *header, const char **problem)
{
    struct stat status;
    /* O_NONBLOCK: a FIFO in the way must not hang the command. */
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        *problem = "it cannot be opened";
        return -1;
    }
    errno = 0;
    if (fstat(fd, &status) || !S_ISREG(status.st_mode)) {
        *problem = "it is not a regular file";
    } else if (pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header) {
        *problem = "it is too short for a recording";
    } else {
        *problem = header_problem(header, (uint64_t)status.st_size);
        if (!*problem)
            return fd;
    }
    close(fd);
    return -1;
}

uint64_t recfile_now(uint32_t clock)
{
    switch (clock) {
    case REC_CLOCK_MONOTONIC:
        return clock_ns(CLOCK_MONOTONIC);
#if defined(__x86_64__)
    case REC_CLOCK_TSC:
        _mm_lfence(); /* not before what comes first in the program */
        return __rdtsc();
#elif defined(__aarch64__)
    case REC_CLOCK_CNTVCT: {
        uint64_t ticks;
        __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
        return ticks;
    }
#endif
    default:
        return 0;
    }
}

uint64_t recfile_proc_start(int pid)
{
    char path[64], text[1024];
    uint64_t start = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    /* Field 2 is the name in parentheses, which may hold spaces and parentheses itself; field 3 follows the last. */
    char *field = strrchr(text, ')');
    for (int number = 2; field && number < 22; number++)
        field = strchr(field + 1, ' ');
    if (field)
        start = strtoull(field + 1, NULL, 10);
    return start;
}
