/* SPDX-License-Identifier: MIT */
/*
 * find-module.h - which of the files that a process has mapped is CPython.
 */
#ifndef GILSCOPE_FIND_MODULE_H
#define GILSCOPE_FIND_MODULE_H

#include <stdbool.h>
#include <stdint.h>

struct find_module {
    uint64_t base;    /* where its first byte is mapped */
    uint64_t runtime; /* address of _PyRuntime */
    char path[256];   /* as in /proc/PID/maps */
    bool is_certain;  /* on failure: waiting would not help */
};

/* Returns 0, or -1 with a line in error[FIND_GIL_ERROR_BYTES] that says what the process is instead. */
int find_module(int pid, struct find_module *module, char *error);

/* PY_VERSION_HEX of versions before 3.11, which have no symbol for it: from the version text in the module's memory, or
 * else from its name.  0 if neither tells. */
uint32_t find_module_version(int pid, uint64_t base, const char *path);

#endif
