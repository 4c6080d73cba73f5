/* SPDX-License-Identifier: MIT */
/* shim-name.h - the calling thread's name. */
#ifndef GILSCOPE_SHIM_NAME_H
#define GILSCOPE_SHIM_NAME_H

#include <stddef.h>
#include <stdint.h>

#include "record.h"

/* Reads the name of the calling thread, which holds the GIL (but not gil->mutex), into its record: from the Thread
 * object, else from its outermost function, else from the operating system.  Makes system calls; preserves nothing. */
void shim_name_read(uintptr_t tstate);

/* The calling thread ends, and its name has not been read: takes the kernel's if Python gave it that.  One system
 * call. */
void shim_name_at_end(struct rec_thread *tr);

/* Copies n bytes of this process's memory; 0 = done.  Survives any address.  Any thread, async-signal-safe. */
int shim_name_read_self(const void *address, void *bytes, size_t n);

#endif
