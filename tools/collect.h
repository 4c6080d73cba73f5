/* SPDX-License-Identifier: MIT */
/*
 * collect.h - what `gilscope attach` asks of a collector, and the two that there are.
 */
#ifndef GILSCOPE_COLLECT_H
#define GILSCOPE_COLLECT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "find-gil.h"
#include "recwriter.h"

#define COLLECT_ERROR_BYTES 512
#define COLLECT_PROCESSES 64  /* at once */
#define COLLECT_SAMPLE_HZ 241 /* a prime: not in step with what runs every millisecond.  HACKING.md: what it costs */

struct collect_options {
    uint32_t sample_hz;
    bool no_stacks, no_native;
    bool follow;                       /* children are measured, too */
    uint32_t n_threads;                /* that there are to begin with, for sizes */
    volatile const sig_atomic_t *stop; /* not 0: the user wants to end it */
};

struct collector {
    const char *name; /* as in --method */
    enum rec_source source;

    /* Whether it would work here, without starting it.  If not, one line in error[] says why. */
    bool (*usable)(char error[COLLECT_ERROR_BYTES]);

    /* Starts it.  0, or -1 with one line in error[]. */
    int (*start)(const struct collect_options *options, char error[COLLECT_ERROR_BYTES]);

    /* Measures a process from now on; its handle, or -1 with one line in error[]. */
    int (*add)(const struct find_process *process, char error[COLLECT_ERROR_BYTES]);

    /* Does its work until CLOCK_MONOTONIC until_ns, or until *options.stop. */
    void (*work)(uint64_t until_ns);

    /* Puts all that is known of a process, up to now_ns, into a recording.  last: no other picture of it will follow.
     */
    void (*picture)(int handle, struct recwriter *writer, uint64_t now_ns, bool last);

    /* The process has gone on to another program. */
    bool (*has_gone)(int handle);

    /* Processes that are known to descend from measured ones, also where their parents have ended: at most max.  Their
     * number.  NULL: it knows of none. */
    int (*descendants)(int *pids, int max);

    /* Stops measuring a process that has ended.  Its handle may be another one's from then on. */
    void (*forget)(int handle);

    /* Ends measuring; nothing is left behind in the kernel. */
    void (*stop)(void);
};

extern const struct collector collect_bpf, collect_sample;

/* Whether the sampler may read what it reads of a process in /proc; if not, one line in error[] says why. */
bool collect_sample_may(int pid, char error[COLLECT_ERROR_BYTES]);

/* CLOCK_MONOTONIC. */
uint64_t collect_now_ns(void);

#endif
