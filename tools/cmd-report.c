/* SPDX-License-Identifier: MIT */
/*
 * cmd-report.c - `gilscope report`: reports on recordings.
 */
#include <argp.h>
#include <stdio.h>

#include "cmd.h"
#include "report.h"

struct report_args {
    struct report_options options;
    char **recordings;
    int n_recordings;
};

enum { OPTION_VIEW = 256 };

static const struct argp_option options[] = {
    {"format", 'f', "FORMAT", 0,
     "The report's form: text (the default), html, json; for stacks folded, svg, speedscope, pprof", 0},
    {"view", OPTION_VIEW, "VIEW", 0,
     "Of stacks: wait (where threads want the GIL), charged (what makes others wait, the default), held or released",
     0},
    {"output", 'o', "FILE", 0, "Write the report to FILE [standard output]", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct report_args *args = state->input;
    enum model_view view;

    switch (key) {
    case 'f':
        if (!report_has_format(text))
            argp_error(state, "there is no format '%s'; use one of: %s", text, report_formats());
        args->options.format = text;
        return 0;
    case OPTION_VIEW:
        if (!report_find_view(text, &view))
            argp_error(state, "there is no view '%s'; use one of: wait, charged, held, released", text);
        args->options.view = text;
        return 0;
    case 'o':
        args->options.output = text;
        return 0;
    case ARGP_KEY_ARGS:
        args->recordings = state->argv + state->next;
        args->n_recordings = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no recording given");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "RECORDING...",
    .doc =
        "Report on recordings: directories NAME.gilscope, or the file of one process.\v"
        "Exits with 0, 1 if nothing could be read or the report not be written, 2 on wrong usage, 3 if no process was "
        "recorded, 4 if some of the files could not be read.",
};

int cmd_report(int argc, char **argv)
{
    struct report_args args = {.n_recordings = 0};

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    return report_write(&args.options, args.recordings, (size_t)args.n_recordings, stdout);
}
