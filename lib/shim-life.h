/* SPDX-License-Identifier: MIT */
/* shim-life.h - the process: start, fork, end, and the reasons for staying inert. */
#ifndef GILSCOPE_SHIM_LIFE_H
#define GILSCOPE_SHIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

/* The first GIL of this process is being created, at cond, by code at caller: checks the interpreter, opens the
 * recording and turns measuring on.  *since: when the main thread's first state began, ticks.  False: the process
 * stays inert, and has been told why. */
bool shim_life_activate(const void *cond, const void *caller, uint64_t *since);

/* Did this process inherit a GIL at cond from its parent?  Its fields then are not those of a new one. */
bool shim_life_is_forked_gil(const void *cond);

/* Four calls looked like create_gil, the memory does not: said once if caller lies in a CPython. */
void shim_life_layout_unknown(const void *caller);

/* The recording at path is no more: measuring ends, and the program's user is told.  async-signal-safe. */
void shim_life_storage_failed(const char *path);

/* The process ends: the destructor has begun. */
extern uint32_t shim_life_leaving __attribute__((visibility("hidden")));

/* The calling thread's wait for the GIL with this condition variable has timed out while the process ends.  CPython 3.9 and
 * 3.10 then write to their interpreter's memory, which Py_FinalizeEx() has freed (take_gil in Python/ceval_gil.h,
 * SET_GIL_DROP_REQUEST; the main interpreter is static since 3.11): the longer the process takes to end, the more often a daemon
 * thread crashes it there.  What the destructor takes must not add to that.  True: it is to wait for some more.  Holding
 * gil->mutex. */
bool shim_life_wait_on(const void *cond);

/* The main thread's CPU clock when the process started, ns, at least 1. */
uint64_t shim_life_start_cpu_ns(void);

#endif
