/* SPDX-License-Identifier: MIT */
/*
 * view.h - the forms of a report: one callback table behind all of them.
 *
 * A view prints what the model has; it does no arithmetic on measurements and knows nothing of recordings.
 */
#ifndef GILSCOPE_VIEW_H
#define GILSCOPE_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "model.h"

struct view_options {
    int columns;           /* width to keep to */
    bool color;            /* the output is a terminal that shows colours */
    bool utf8;             /* otherwise plain ASCII */
    enum model_view view;  /* what --view asks for, or the format's own choice */
    bool view_given;       /* --view was given */
    const char *recording; /* what was reported on, for the commands that the report suggests; NULL: leave them out */
};

enum {
    VIEW_NEEDS_TERMINAL = 1, /* the output's properties; a view without gets zeroed ones */
    VIEW_BINARY = 2,         /* not for a terminal */
};

struct view {
    const char *name; /* of --format */
    unsigned needs;   /* VIEW_NEEDS_... */
    void (*render)(const struct model *model, const struct view_options *options, FILE *out);
};

/* Each is in its own view-NAME.c. */
extern const struct view view_text, view_json, view_folded, view_svg, view_speedscope, view_pprof, view_html;

#endif
