/* SPDX-License-Identifier: MIT */
/*
 * attach.h - measures running processes from outside, until told to end.
 */
#ifndef GILSCOPE_ATTACH_H
#define GILSCOPE_ATTACH_H

#include <stdbool.h>

#include "collect.h"

struct attach {
    const struct collector *collector;
    struct collect_options options;
    const struct find_process *first; /* the process that was asked for */
    const char *dir;                  /* for the recording */
    const char *file;                 /* that a report will be written to; NULL = none */
    double seconds;                   /* 0 = until the process ends or *options.stop */
};

/* Starts the collector.  Where it does not work, a line says why, and the fallback (NULL = none) takes its place.
 * Returns 0, or -1 after an error line. */
int attach_start(struct attach *attach, const struct collector *fallback);

/* Measures by the collector that was started, and stops it; returns 0, or -1 after an error line. */
int attach_run(const struct attach *attach);

#endif
