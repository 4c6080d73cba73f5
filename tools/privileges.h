/* SPDX-License-Identifier: MIT */
/*
 * privileges.h - the capabilities that attaching takes.
 */
#ifndef GILSCOPE_PRIVILEGES_H
#define GILSCOPE_PRIVILEGES_H

#include <stdbool.h>

/* Gives up all capabilities but those that are needed as long as a process is measured: to read BPF maps, the memory of
 * the process, and to write the recording.  Says nothing if the kernel refuses. */
void privileges_drop(void);

/* Whether this process has a capability (CAP_... of linux/capability.h) in effect. */
bool privileges_have(unsigned capability);

#endif
