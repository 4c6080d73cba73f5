/* SPDX-License-Identifier: MIT */
/*
 * verdict.h - the conclusion: which of eight situations a process is in, how sure that is, and what to do.
 */
#ifndef GILSCOPE_VERDICT_H
#define GILSCOPE_VERDICT_H

#include <stddef.h>

struct model_process;

enum verdict_class {
    VERDICT_GIL_BOUND,
    VERDICT_GIL_RELEASING,
    VERDICT_IO_BOUND,
    VERDICT_LOCK_BOUND,
    VERDICT_CPU_STARVED,
    VERDICT_SINGLE_THREADED,
    VERDICT_IDLE,
    VERDICT_MIXED,
};

#define VERDICT_LINES 10

struct verdict {
    enum verdict_class class;
    double confidence;             /* 0..1 */
    char *summary;                 /* one sentence */
    char *evidence[VERDICT_LINES]; /* sentences with numbers */
    size_t n_evidence;
    char *advice[VERDICT_LINES]; /* sentences */
    size_t n_advice;
    double speedup_low, speedup_high; /* without the GIL, times as fast; 1 = nothing to gain */
};

/* "gil-bound" and so on. */
const char *verdict_name(enum verdict_class class);

/* Judges a process of which the model has everything else; fills process->verdict. */
void verdict_judge(struct model_process *process);
void verdict_free(struct verdict *verdict);

#endif
