/* SPDX-License-Identifier: MIT */
/* shim-python.h - which Python is in this process. */
#ifndef GILSCOPE_SHIM_PYTHON_H
#define GILSCOPE_SHIM_PYTHON_H

#include <stdbool.h>
#include <stdint.h>

struct shim_python {
    bool found; /* a CPython, of whatever version */
    bool pypy;
    bool free_threaded;
    uint32_t hex;        /* PY_VERSION_HEX without the release level: 0x030b0200 */
    char version[64];    /* "3.11.2" */
    const void *runtime; /* _PyRuntime, or NULL */
    int (*is_initialized)(void); /* Py_IsInitialized(): reads a variable; or NULL */
};

/* The Python in the module that holds the code at `caller`; NULL: in the program and its libraries.  Uses the dynamic
 * loader: only from the constructor and where a GIL is created. */
void shim_python_identify(struct shim_python *p, const void *caller);

#endif
