/* SPDX-License-Identifier: MIT */
/*
 * elfscan.h - what an executable file says about itself, as far as it tells whether the shim can measure it.
 */
#ifndef GILSCOPE_ELFSCAN_H
#define GILSCOPE_ELFSCAN_H

#include <stdint.h>

struct elfscan {
    int is_elf;
    int is_native;         /* of the word size and processor that this gilscope was built for; else nothing below */
    int is_dynamic;        /* names a dynamic loader, which is who reads LD_PRELOAD */
    int has_pyruntime;     /* defines _PyRuntime: it is CPython, or its library */
    uint32_t python_hex;   /* Py_Version (3.11 and later); 0 unknown */
    char interpreter[128]; /* its dynamic loader, "" none */
    char libpython[128];   /* the libpython that it needs, "" none */
};

/* Reads PATH, trusting nothing in it.  Returns 0, or -1 with errno set where it cannot be read. */
int elfscan_read(const char *path, struct elfscan *scan);

#endif
