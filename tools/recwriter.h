/* SPDX-License-Identifier: MIT */
/*
 * recwriter.h - writes the recording of a process that is measured from outside.
 *
 * The preload shim's file is its live memory; a collector outside has its accounts elsewhere and writes them out as a
 * whole, again and again: into a file beside the recording's, which then takes its place.  So the recording is readable
 * whenever the collector is killed.  Ticks are CLOCK_MONOTONIC nanoseconds.
 */
#ifndef GILSCOPE_RECWRITER_H
#define GILSCOPE_RECWRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

/* Buckets of a histogram: octave * REC_HIST_SUBS + sub, as in hist.h. */
struct recwriter_hist {
    const uint32_t *buckets; /* NULL = none */
    uint32_t n_buckets;
    uint64_t sum_ns, max_ns;
    uint64_t uncounted; /* values that are in no bucket; of holds only */
};

#define RECWRITER_ENDED UINT32_MAX /* index of the record that stands for many ended threads */

struct recwriter_pair {
    uint32_t holder; /* index of the thread */
    uint64_t blocked_ns;
};

struct recwriter_thread {
    uint32_t index; /* 1, 2, ...; RECWRITER_ENDED */
    uint32_t tid;
    bool main, ended;
    uint64_t pthread_id;
    const char *name; /* NULL = not known */
    enum rec_name_source name_source;
    uint32_t gil;
    uint64_t start_ns, end_ns; /* what is measured lies between them */
    uint64_t held_ns, held_oncpu_ns, released_ns, released_oncpu_ns, wait_blocked_ns, wait_wakeup_ns, wait_forced_ns;
    uint64_t forced_max_ns, charged_ns, blocked_by_unknown_ns, run_delay_ns, lock_wait_ns, notify_wait_ns;
    uint64_t contended, lost_wakeups, drop_requests, forced_switches;
    uint32_t error_ppm; /* as in struct rec_thread */
    struct recwriter_hist hist[REC_HIST_KINDS];
    const struct recwriter_pair *pairs;
    size_t n_pairs;
    /* Of the one with the index RECWRITER_ENDED only: how many ended threads it stands for, and for how long they were
     * measured together; its other times are sums, too.  elsewhere: its holds on GILs other than `gil`, which are in
     * those' acquisitions. */
    uint64_t n_folded, folded_wall_ns, elsewhere;
};

struct recwriter_gil {
    uint32_t index;
    uint64_t address, interval_us, start_ns, held_ns;
    uint64_t wait_blocked_ns, wait_wakeup_ns, wait_forced_ns;
    uint64_t contended, drop_requests, forced_switches, lost_wakeups, switches;
    uint64_t acquisitions; /* of threads whose own GIL it is not */
};

struct recwriter_stack {
    uint32_t thread; /* index */
    uint32_t flags;  /* REC_STACK_... */
    const uint32_t *python;
    uint32_t n_python;
    const uint64_t *native;
    uint32_t n_native;
    const uint64_t *weight_ns; /* REC_WEIGHTS of them, as of the next */
    const uint32_t *samples;
};

/* No GIL is held for longer than wall_ns: if estimates say so, those of its threads (by their `gil`) are cut down, and
 * the time is released.  Elements with index 0 are none. */
void recwriter_fit(struct recwriter_thread *threads, size_t n, uint32_t n_gils, uint64_t wall_ns);

/* Adds a thread's figures, after recwriter_fit(), to those of its GIL. */
void recwriter_add_to_gil(struct recwriter_gil *gil, const struct recwriter_thread *thread);

/* The record of all ended threads, which is under the first GIL: its held and released times become those of each GIL's
 * ended threads (by_gil, after recwriter_fit()), and these are added to their GILs.  n: of both. */
void recwriter_join_ended(struct recwriter_thread *out, const struct recwriter_thread *by_gil,
                          struct recwriter_gil *gils, uint32_t n);

struct recwriter;

/* Starts the recording of process pid in the directory dir.  source: enum rec_source.  NULL after an error line. */
struct recwriter *recwriter_new(const char *dir, int pid, enum rec_source source, uint32_t python_hex,
                                const char *python_version);
/* When the recording began, CLOCK_MONOTONIC ns. */
uint64_t recwriter_start_ns(const struct recwriter *w);
void recwriter_free(struct recwriter *w);

/* The same, and the file goes, too: nothing could be measured. */
void recwriter_discard(struct recwriter *writer);

/* One picture of the process: begin, then what is to be in it in any order, then commit. */
void recwriter_begin(struct recwriter *w);
void recwriter_gil(struct recwriter *w, const struct recwriter_gil *gil);
void recwriter_thread(struct recwriter *w, const struct recwriter_thread *thread);
/* CPU time of a thread that is not in the picture, for it has nothing to do with a GIL; adds up. */
void recwriter_native_cpu(struct recwriter *w, uint64_t cpu_ns);
/* For how long it has been stopped so far, by signals or a debugger. */
void recwriter_stopped(struct recwriter *w, uint64_t ns);
void recwriter_loss(struct recwriter *w, enum rec_loss cause, uint64_t count);
/* A sentence on how exact the figures are, for the report. */
void recwriter_note(struct recwriter *w, const char *text);
void recwriter_inert(struct recwriter *w, const char *why);

/* A place in Python code; its cell, for struct recwriter_stack.python, in this picture. */
uint32_t recwriter_frame(struct recwriter *w, const char *function, const char *file, uint32_t line,
                         uint32_t first_line);
void recwriter_object(struct recwriter *w, const char *path, uint64_t start, uint64_t end, uint64_t bias);
void recwriter_stack(struct recwriter *w, const struct recwriter_stack *stack);

/* Writes the picture, as of now_ns.  ended: the process, or attaching to it, is over.  Returns 0, or -1 after an error
 * line (once for each recording). */
int recwriter_commit(struct recwriter *w, uint64_t now_ns, bool ended);

#endif
