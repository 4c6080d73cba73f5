/* SPDX-License-Identifier: MIT */
/*
 * peer-program.c - tells a program from the one that its process runs after an exec, which may have all at the same
 * addresses: by the random bytes that the kernel gives each (AT_RANDOM).  fs/binfmt_elf.c: create_elf_tables()
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "peer.h"

#define ENTRIES 64

void peer_program(int pid, struct peer_program *program)
{
    ElfW(auxv_t) entries[ENTRIES];
    char path[64];

    memset(program, 0, sizeof *program);
    snprintf(path, sizeof path, "/proc/%d/task/%d/auxv", pid, peer_thread(pid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, entries, sizeof entries) : -1;
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < n / (ssize_t)sizeof *entries; i++)
        if (entries[i].a_type == AT_RANDOM)
            program->at = entries[i].a_un.a_val;
    if (program->at && peer_read(pid, program->at, program->random, sizeof program->random))
        program->at = 0;
}

bool peer_program_has_changed(int pid, const struct peer_program *program)
{
    uint64_t random[2];

    if (!program->at)
        return false;
    if (peer_read(pid, program->at, random, sizeof random))
        return errno == EFAULT || errno == EPERM; /* one that runs with other rights */
    return memcmp(random, program->random, sizeof random) != 0;
}
