/* SPDX-License-Identifier: MIT */
/* stamps.h - what stamps.c notes of a thread, for _giltruth.c. */
#ifndef GILTRUTH_STAMPS_H
#define GILTRUTH_STAMPS_H

#include <stdint.h>

struct giltruth_stamps {
    int64_t signal_ns;    /* CLOCK_MONOTONIC of the last pthread_cond_signal */
    int64_t cond_wait_ns; /* sum of all waits in pthread_cond_wait */
    int64_t n_cond_waits;
};

/* The calling thread's.  Valid for as long as it lives. */
const struct giltruth_stamps *giltruth_stamps(void);

#endif
