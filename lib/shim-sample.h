/* SPDX-License-Identifier: MIT */
/*
 * shim-sample.h - which intervals have their stack recorded, and what each sample stands for.
 *
 * On each thread's time line lie random points, on average `mean` apart.  The interval in which one falls is sampled:
 * its stack is recorded with the weight mean + (its end - the point), and the next point is drawn from its end on.  The
 * expectation of the weight that an interval of length d gets is d, whatever d is: the integral from 0 to d of
 * exp(-x / mean) / mean * (mean + d - x).  The same is done along the sum of what a thread is charged with.
 */
#ifndef GILSCOPE_SHIM_SAMPLE_H
#define GILSCOPE_SHIM_SAMPLE_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* Switches sampling on for a new recording; mean_us 0 = off.  Where the first GIL is created; before any thread is
 * attached.  runtime: the address of _PyRuntime, or NULL. */
void shim_sample_start(uint64_t mean_us, bool native, const void *runtime);

/* In a forked child: whatever was being done is forgotten. */
void shim_sample_forget(void);

/* The calling thread is new in this recording, at `since`. */
void shim_sample_attach(uint64_t since);

/* The calling thread ends: what was to be recorded of it cannot be any more. */
void shim_sample_detach(void);

/* The program ends at t, in the calling thread: its open hold is entered. */
void shim_sample_close(uint64_t t);

void shim_sample_hit(enum shim_sample_kind kind, uint64_t from, uint64_t to);
void shim_sample_charge_hit(uint64_t ticks);

/* An interval of the calling thread has ended.  Sets T.sample.pending if it is to be sampled.  Any place, also under
 * gil->mutex. */
static inline void shim_sample_end(enum shim_sample_kind kind, uint64_t from, uint64_t to)
{
    if (UNLIKELY(to >= T.sample.due_ticks))
        shim_sample_hit(kind, from, to);
}

/* The calling thread's hold, which ends now, has made others wait for so long. */
static inline void shim_sample_charge(uint64_t ticks)
{
    if (UNLIKELY(ticks >= T.sample.charge_left_ticks))
        shim_sample_charge_hit(ticks);
    else
        T.sample.charge_left_ticks -= ticks;
}

/* The calling thread's CPU clock was read: in the period that ends now, it used so much of it. */
void shim_sample_cpu_read(uint64_t used_ns, uint64_t held_ticks, uint64_t released_ticks);

/* A hold of `ticks` has ended, and it or what it was charged with is pending.  After the real unlock of gil->mutex that
 * follows the release: the native frames are taken.  Preserves errno, as do the next two. */
void shim_sample_released(uint64_t hold_ticks);

/* A waiter of this GIL, which is still held, has waited for a switch interval and asks the holder to let go, or asks
 * again.  The interpreter looks for such a request after each call and each jump backwards: one that stays unanswered
 * says that the holder has been inside one instruction all the while, and so it is known, at no risk of its going on
 * to something else, which function it is in.  Holding gil->mutex: a few microseconds, once in a hold of two intervals.
 */
void shim_sample_unanswered(struct shim_gil *g);

/* In front of a take, at t, by a thread that holds neither the GIL nor gil->mutex: takes the native frames if the
 * interval that ends now is to be sampled, or, where the thread will have to wait, if that may be. */
void shim_sample_native(uint64_t t);
static inline void shim_sample_before_take(uint64_t t, bool in_the_way)
{
    if (UNLIKELY(t >= T.sample.due_ticks || (in_the_way && t >= T.sample.native_due_ticks)))
        shim_sample_native(t);
}

/* After the real unlock of gil->mutex that follows a take, if something is pending: reads the Python frames and enters
 * the sample.  The thread holds the GIL. */
void shim_sample_taken(void);

#pragma GCC visibility pop
#endif
