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

/* The calling thread, which ends, has given up its wait for a GIL in a pause, in which nobody noticed.  Not holding
 * gil->mutex. */
void shim_several_abandon(struct shim_gil *g);

/* The registry of GILs and what the wrappers compare with belong to one thread at a time: interpreters with GILs of
 * their own are created and end in several threads at once that have no lock in common, and any thread may be the first
 * to see a pause.  tries: how often, 0.1 ms apart (the file may have to grow meanwhile); false: do without.  Any thread, not
 * holding gil->mutex if tries is more than 1. */
#define SHIM_SEVERAL_TRIES 1000
bool shim_several_enter(int tries);
void shim_several_exit(void);

#pragma GCC visibility pop
#endif
