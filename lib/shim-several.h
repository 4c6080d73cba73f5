/* SPDX-License-Identifier: MIT */
/* shim-several.h - processes with several GILs: interpreters that have their own, or that come and go. */
#ifndef GILSCOPE_SHIM_SEVERAL_H
#define GILSCOPE_SHIM_SEVERAL_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* A further GIL has been created, and SHIM.filter says so: the first one goes the long way from now on,
 * and its H does not count on the record of a thread that does not hold it.  By the creating thread, which holds no
 * gil->mutex. */
void shim_several_begin(struct shim_gil *first);

/* The calling thread turns to another GIL than `last`: what it holds from now on is not held of that.  Holding the
 * gil->mutex of the other one. */
void shim_several_leave(struct shim_gil *last);

#pragma GCC visibility pop
#endif
