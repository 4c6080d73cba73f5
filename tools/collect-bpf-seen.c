/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-seen.c - what the kernel calls the threads that gilscope sees, where it is in a PID namespace.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect-bpf.h"
#include "gilscope.skel.h"
#include "mem.h"

void bpf_seen_free(struct bpf_seen *seen)
{
    free(seen->thread);
    memset(seen, 0, sizeof *seen);
}

int bpf_seen_read(const struct bpf_collector *c, int pid, struct bpf_seen *seen)
{
    struct gs_seen some[64];
    ssize_t got;

    seen->n = 0;
    c->skeleton->bss->seen_wanted = (uint32_t)pid;
    int fd = bpf_iter_create(bpf_link__fd(c->each_thread));
    if (fd < 0)
        return -1;
    /* As much as fits, so whole entries; EAGAIN after a million threads that were none.  kernel/bpf/bpf_iter.c */
    while ((got = read(fd, some, sizeof some)) > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) {
        for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *some; i++) {
            seen->thread = mem_grow(seen->thread, seen->n, &seen->room, sizeof *seen->thread);
            seen->thread[seen->n++] = some[i];
        }
    }
    int reason = got ? errno : ESRCH;
    close(fd);
    errno = reason;
    return got || !seen->n ? -1 : 0;
}

uint32_t bpf_seen_kernel_tid(const struct bpf_seen *seen, uint32_t tid)
{
    for (size_t i = 0; i < seen->n; i++)
        if (seen->thread[i].tid == tid)
            return seen->thread[i].kernel_tid;
    return 0;
}
