/* SPDX-License-Identifier: MIT */
/*
 * privileges.h - the capabilities that attaching takes: which there are, which lack, and giving them up.
 */
#ifndef GILSCOPE_PRIVILEGES_H
#define GILSCOPE_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether this process has a capability (CAP_... of linux/capability.h) in effect. */
bool privileges_have(unsigned capability);

/* Whether it has CAP_BPF or CAP_PERFMON, or CAP_SYS_ADMIN, which stands for both (kernel/bpf/syscall.c bpf_capable()).
 */
bool privileges_have_for_bpf(unsigned capability);

/* Whether its capabilities are those of a user namespace only, of a container without root, say. */
bool privileges_are_of_namespace(void);

/* Whether a filter of system calls (seccomp) is at work on it. */
bool privileges_are_filtered(void);

/* Puts a line into text that says which capabilities BPF lacks here and how to grant them.  Returns whether any does.
 */
bool privileges_lack_for_bpf(char *text, size_t size);

/* Gives up, for good, all capabilities but those that are needed as long as a process is measured: to read its memory
 * and /proc; to look into BPF maps, where the kernel wants that; to write into dir and to file (NULL = none) where
 * nothing else allows it.  Says nothing if the kernel refuses. */
void privileges_drop(const char *dir, const char *file);

/* At the begin of main(): rights that the executable's file gives and its caller has not (setcap) are given up, unless
 * keep.  -1 after an error line where it is setuid or setgid: everybody could read every process through it. */
int privileges_begin(bool keep);

#endif
