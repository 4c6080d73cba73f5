/* SPDX-License-Identifier: MIT */
/* shim-unwind.h - libunwind, kept from touching what is the program's. */
#ifndef GILSCOPE_SHIM_UNWIND_H
#define GILSCOPE_SHIM_UNWIND_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* Opens libunwind and makes it ready.  Returns its unw_backtrace, or NULL if there is none that can be used.  Uses the
 * dynamic loader: only where a GIL is created. */
typedef int shim_backtrace(void **addresses, int room);
shim_backtrace *shim_unwind_open(void);

#pragma GCC visibility pop
#endif
