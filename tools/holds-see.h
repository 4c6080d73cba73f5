/* SPDX-License-Identifier: MIT */
/*
 * holds-see.h - who holds the GIL, by the live recording.  For holds-process.c; one thread only may use this.
 */
#ifndef GILSCOPE_HOLDS_SEE_H
#define GILSCOPE_HOLDS_SEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holds-process.h"

/* Reads n bytes of the recording; false if it has none there. */
bool holds_get(const struct holds_process *p, void *to, size_t n, uint64_t at);

/* Looks for GILs' records among those that have come since. */
void holds_scan(struct holds_process *p);

/* What the recording says of a GIL now, into *g: its last holder, that thread's state and the time of its begin, the
 * waiters.  False if it is not held by a thread that is known. */
bool holds_see(const struct holds_process *p, struct holds_gil *g);

/* The rate of the recording's clock, for which the process writes a second pair of readings now and then. */
void holds_read_rate(struct holds_process *p);

/* A reading of the recording's clock as CLOCK_MONOTONIC ns; p->ns_per_tick must be known. */
double holds_time_ns(const struct holds_process *p, uint64_t ticks);

/* How long the GIL has been held altogether at now_ns; p->ns_per_tick must be known. */
double holds_held_ns(const struct holds_process *p, const struct holds_gil *g, uint64_t now_ns);

#endif
