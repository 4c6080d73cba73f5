/* SPDX-License-Identifier: MIT */
/* shim-pause.h - pauses: threads and GILs that have come from one period to another. */
#ifndef GILSCOPE_SHIM_PAUSE_H
#define GILSCOPE_SHIM_PAUSE_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* The time between two toggles. */
struct shim_period {
    uint32_t n;      /* toggles before it: odd = paused */
    uint64_t begin;  /* ticks */
    uint64_t paused; /* for how long measuring had been paused before, ticks */
};

/* The present one.  While there is a recording; any thread. */
struct shim_period shim_pause_period(void);

/* Pause n, or the present period where that was too long ago.  As above. */
struct shim_period shim_pause_of(uint32_t n);

/* What the calling thread does with the GIL. */
enum shim_event {
    SHIM_EVENT_TAKE,
    SHIM_EVENT_WAIT, /* it waits, or has just done so in pthread_cond_timedwait */
    SHIM_EVENT_RELEASE,
    SHIM_EVENT_ABANDON, /* it has waited, and does without the GIL */
};

/* The calling thread, or the GIL, or both, were last seen in another period than the present one: closes what was open,
 * and opens what `event` implies.  True: measuring is on, the event is to be accounted at *t, which is now; false: it
 * has been, for it lies in a pause.  T.gil is g.  Holding gil->mutex. */
bool shim_pause_sync(struct shim_gil *g, enum shim_event event, uint64_t *t);

/* In pause n_toggles, nothing more of the calling thread is of interest but whether it waits when that ends, for it has
 * been seen to take this GIL or to give it up; such a wait is noted here.  Holding gil->mutex. */
bool shim_pause_is_noted(const struct shim_gil *g, enum shim_event event, uint32_t n_toggles);

/* Is this a wait for the first GIL in a pause, *n, of a thread of which nothing else is of interest in it?  Then it has
 * been noted, and that is all there is to do.  Holding gil->mutex, around the real wait; so is the next. */
bool shim_pause_waits(const void *c, uint32_t *n);

/* Such a wait is over, and so is what was noted.  False: so is the pause, which the wait has come through. */
bool shim_pause_has_waited(uint32_t n);

/* Brings a GIL's accounts to the present period, of which nobody is known to have it who had not before; returns now,
 * or the pause's begin, in ticks.  Holding gil->mutex. */
uint64_t shim_pause_catch_up(struct shim_gil *g);

/* Closes the calling thread's open interval now, or at the pause, without an event of the GIL; returns when that was,
 * in ticks.  The caller sets the new state.  In the record's sequence counter. */
uint64_t shim_pause_close(void);

/* Measured time from `from`, before which measuring had been paused for paused_ticks, until now, in ticks. */
uint64_t shim_pause_measured(uint64_t from, uint64_t paused_ticks);

#pragma GCC visibility pop
#endif
