/* SPDX-License-Identifier: MIT */
/*
 * report.h - reports on recordings: what `gilscope report` does, and `gilscope run` when its program has ended.
 */
#ifndef GILSCOPE_REPORT_H
#define GILSCOPE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "model-stacks.h"

/* Exit statuses of `gilscope report` besides those in cmd.h. */
enum report_status {
    REPORT_NOTHING = 3, /* there is no recorded process in what was given */
    REPORT_PARTIAL = 4, /* some of the files could not be read; the others are in the report */
};

struct report_options {
    const char *format; /* one of report_formats(); NULL = text */
    const char *view;   /* which stacks: one that report_find_view() knows; NULL = the format's own choice */
    const char *output; /* file to write to; NULL = the stream */
};

/* True if there is a format of this name. */
bool report_has_format(const char *name);

/* The view of stacks with a name, "wait" and so on; false if there is none. */
bool report_find_view(const char *name, enum model_view *view);

/* The names of all formats, for messages: "text, json". */
const char *report_formats(void);

/* Writes one report on recordings (files and directories).  Colour and width are those of the stream, if it is a
 * terminal.  Says on stderr what could not be read or written, in format json as a JSON document in one line.  Returns
 * CMD_OK, CMD_FAILED (nothing could be read, or the report not be written) or one of enum report_status. */
int report_write(const struct report_options *options, char *const *recordings, size_t n_recordings, FILE *stream);

#endif
