/* SPDX-License-Identifier: MIT */
/*
 * order.h - the shim's accounts in a process whose threads go on in an order that the caller chooses: lib/shim.c and
 * what keeps the accounts, as they are, on a libc, an interpreter and a clock that exist for them only (sim.h).
 */
#ifndef GILSCOPE_ORDER_H
#define GILSCOPE_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

enum { ORDER_THREADS = 8, ORDER_NONE = 255 };

/* A thread has come to where others may go on: it waits, it gives its processor away, or it is about to look at what
 * others write, or at the clock. */
struct order_point {
    unsigned running, n_threads;
    bool of_its_own_accord; /* else, if another one goes on, it has lost its processor */
    bool can[ORDER_THREADS];
    bool asleep[ORDER_THREADS]; /* can only because its time is up */
};

/* Who goes on, of those who can.  ORDER_NONE, if nobody can: the run ends. */
typedef unsigned order_choose(void *with, const struct order_point *point);

/* Runs threads from their first step to their last, each by its script, the first one as that which has made the GIL:
 * t(ake), d(rop), . (time passes), ! (measuring is paused or resumed), c (the CPU clock is read in front of the next
 * take), x (gives up when the time of a wait is up).  scripts: NULL behind the last one. */
void order_run(const char *const *scripts, order_choose *choose, void *with);

/* Of a thread, after a run: what is recorded, and between what it lies that has been.  Ticks. */
struct order_account {
    uint32_t index; /* in the recording; 0 = no record */
    uint64_t charged, column, row, blocked, wakeup, held;
    uint64_t least_waited, most_waited, least_held, most_held;
};

/* Fills in ORDER_THREADS of them, by index modulo ORDER_THREADS. */
void order_accounts(struct order_account *accounts);

uint64_t order_loss(enum rec_loss cause);
uint64_t order_n_waiters(void);

#endif
