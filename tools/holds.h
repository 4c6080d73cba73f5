/* SPDX-License-Identifier: MIT */
/*
 * holds.h - looks from outside at what threads do while they hold the GIL, as long as a program runs under the shim.
 *
 * The shim sees where holds end.  What goes on inside of one, which may be something else altogether, is seen from
 * here: at random moments, in all processes of a recording directory, by a thread of the process that started them.
 */
#ifndef GILSCOPE_HOLDS_H
#define GILSCOPE_HOLDS_H

#include <stdbool.h>
#include <stdint.h>

struct holds;

/* Starts to look at the processes that record into the directory `dir`.  sample_us: the distance of the shim's own
 * samples, by which the looks' goes; 0 = the default.  no_native: Python frames only.  NULL without a word where that
 * cannot be: then the shim's samples have to do.  The processes must be descendants of the calling one, or the kernel
 * may not let it read them. */
struct holds *holds_start(const char *dir, uint64_t sample_us, bool no_native);

/* Ends it, and what has been written is complete.  NULL is allowed. */
void holds_stop(struct holds *h);

#endif
