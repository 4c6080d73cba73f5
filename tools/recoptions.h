/* SPDX-License-Identifier: MIT */
/*
 * recoptions.h - what `run` and `attach` have in common: where the recording goes, and the report behind it.
 */
#ifndef GILSCOPE_RECOPTIONS_H
#define GILSCOPE_RECOPTIONS_H

#include <argp.h>

#include "report.h"

struct recoptions {
    const char *dir;              /* -o, NULL = to be named after the program */
    struct report_options report; /* output NULL = stderr */
    int quiet;
};

/* A child parser for -o, -q, --format and --report; its input is a struct recoptions. */
extern const struct argp recoptions_argp;

/* Whether the report can be written in the end: better to know before the program has run for hours.  *made_file tells
 * whether its file is new.  Returns 0, or -1 after an error line. */
int recoptions_prepare(const struct recoptions *options, int *made_file);

/* Reports on the recording in dir, unless it is to be quiet.  Returns 0, or -1 if the report could not be had. */
int recoptions_report(const struct recoptions *options, char *dir);

/* Leaves nothing empty behind: dir (NULL = there is none) and the report's file, where they were made and nothing has
 * been recorded. */
void recoptions_tidy(const struct recoptions *options, const char *dir, int made_dir, int made_file);

#endif
