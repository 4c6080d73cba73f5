/* SPDX-License-Identifier: MIT */
/*
 * walk.c - walks the caller's frames with lib/cpython-frames.c and prints them, for tests/test_frames.py.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cpython-frames.h"

static int by_kernel(void *context, uint64_t address, void *bytes, size_t n)
{
    (void)context;
    struct iovec local = {bytes, n}, remote = {(void *)(uintptr_t)address, n};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)n ? 0 : -1;
}

/* Writes one line for each frame, the innermost first: entry, line, first line, function, file, divided by tabs.
 * Returns how many, -1 if a frame could not be read.  direct: without the callback. */
int walk(uint32_t hex, void *tstate, int direct, char *out, size_t room)
{
    struct cpython_reader r;
    struct cpython_walk w;
    struct cpython_frame f;
    const struct cpython_layout *layout = cpython_layout(hex);
    int n = 0;
    size_t used = 0;
    if (!layout)
        return -2;
    cpython_reader_init(&r, layout, direct ? NULL : by_kernel, NULL);
    cpython_walk_begin(&w, &r, (uint64_t)(uintptr_t)tstate, 0);
    for (; cpython_walk_next(&w, &f); n++) {
        struct cpython_code c;
        char name[512], file[1024];
        if (!cpython_code(&r, f.code, &c) || !cpython_text(&r, c.name, name, sizeof name, NULL) ||
            !cpython_text(&r, c.file, file, sizeof file, NULL))
            return -3;
        if (used < room)
            used += (size_t)snprintf(out + used, room - used, "%d\t%u\t%u\t%s\t%s\n", f.entry,
                                     cpython_line(&r, &c, f.at), c.first_line, name, file);
    }
    return w.broken ? -1 : n;
}
