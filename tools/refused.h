/* SPDX-License-Identifier: MIT */
/*
 * refused.h - why the kernel does not let us read a process.
 */
#ifndef GILSCOPE_REFUSED_H
#define GILSCOPE_REFUSED_H

#include <stddef.h>

/* Puts a line into text that says why the memory of process pid may not be read (ptrace(2), "access mode checking"),
 * and what would permit it. */
void refused_why(int pid, char *text, size_t size);

/* Yama's ptrace_scope, 0 where there is none. */
int refused_ptrace_scope(void);

#endif
