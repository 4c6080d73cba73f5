/* SPDX-License-Identifier: MIT */
/*
 * peer.h - reads the memory of another process without stopping it.
 *
 * The kernel allows it to those who could ptrace the process (PTRACE_MODE_ATTACH_REALCREDS), and so nothing here can
 * tell a user what the user could not read anyway.
 */
#ifndef GILSCOPE_PEER_H
#define GILSCOPE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies n bytes of process pid; 0, or -1 with errno (ESRCH: it is gone; EPERM: not allowed; EFAULT: not all mapped).
 */
int peer_read(int pid, uint64_t address, void *to, size_t n);

/* A thread of the process that has its memory: the first one, whose number is the process's, unless that one has ended
 * before the others (pthread_exit() in main): then it has none, and its /proc/PID/maps is empty. */
int peer_thread(int pid);

/* As peer_read(), in the shape of a cpython_read: context points to an int, the pid. */
int peer_read_callback(void *context, uint64_t address, void *bytes, size_t n);

/* The 8 bytes at an address; 0 if they cannot be read. */
uint64_t peer_pointer(int pid, uint64_t address);

/* A dynamic symbol of the ELF file that is mapped at `base` (its first byte), found in the process's own memory: that
 * works for files that have been deleted or replaced, and in any mount namespace.  *size may be NULL.  The address in
 * the process, or 0. */
uint64_t peer_symbol(int pid, uint64_t base, const char *name, uint64_t *size);

struct peer_program { /* which program a process runs: what it was given by its exec */
    uint64_t at;      /* of 16 bytes that are others each time; 0 = not known */
    uint64_t random[2];
};

void peer_program(int pid, struct peer_program *program);

/* Whether it has called exec since, or may not be read any more; false where that cannot be told, as of a process that
 * has ended. */
bool peer_program_has_changed(int pid, const struct peer_program *program);

#endif
