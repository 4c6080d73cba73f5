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
    double seconds;                   /* 0 = until the process ends or *options.stop */
    bool follow;                      /* children, too */
};

/* Measures; returns 0, or -1 after an error line. */
int attach_run(const struct attach *attach);

#endif
