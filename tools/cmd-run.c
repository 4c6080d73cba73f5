/* SPDX-License-Identifier: MIT */
/*
 * cmd-run.c - `gilscope run`: runs a program under the preload shim and reports.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "closer.h"
#include "cmd.h"
#include "explain.h"
#include "launch.h"
#include "msg.h"
#include "paths.h"
#include "recdir.h"

struct run_options {
    const char *dir;    /* -o, NULL = to be named after the program */
    const char *format;
    const char *report; /* file, NULL = stderr */
    int quiet;
    int paused;
    char **command;
};

enum { OPT_FORMAT = 256, OPT_REPORT, OPT_NO_NATIVE, OPT_NO_STACKS, OPT_TIMELINE, OPT_PAUSED };

static const struct argp_option options[] = {
    { "output", 'o', "DIR", 0, "Record into DIR, which must be empty or not exist [./NAME.gilscope]", 0 },
    { "quiet", 'q', NULL, 0, "Record only; print no report", 0 },
    { "format", OPT_FORMAT, "FORMAT", 0, "Report as text or json [text]", 0 },
    { "report", OPT_REPORT, "FILE", 0, "Write the report to FILE [standard error]", 0 },
    { "paused", OPT_PAUSED, NULL, 0, "Do not measure until `gilscope resume PID'", 0 },
    { "no-native", OPT_NO_NATIVE, NULL, 0, "Record no native frames (this version records none)", 0 },
    { "no-stacks", OPT_NO_STACKS, NULL, 0, "Record no stacks (this version records none)", 0 },
    { "timeline", OPT_TIMELINE, NULL, 0, "Record a timeline (not available in this version)", 0 },
    { 0 },
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct run_options *run = state->input;

    switch (key) {
    case 'o':
        run->dir = text;
        return 0;
    case 'q':
        run->quiet = 1;
        return 0;
    case OPT_FORMAT:
        run->format = text;
        return 0;
    case OPT_REPORT:
        run->report = text;
        return 0;
    case OPT_PAUSED:
        run->paused = 1;
        return 0;
    case OPT_NO_NATIVE:
    case OPT_NO_STACKS:
        return 0;
    case OPT_TIMELINE:
        argp_failure(state, CMD_RUN_FAILED, 0, "--timeline is not available in this version");
        return 0;
    case ARGP_KEY_ARGS: /* the first argument that is no option, and all that follow it: the command's own */
        run->command = state->argv + state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which program? give a command");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[--] COMMAND [ARGUMENT...]",
    .doc = "Run COMMAND, record what the GIL costs each of its Python processes, and report when it has ended.\v"
           "Exits with COMMAND's status (128+N if signal N ended it), 125 if gilscope itself failed, 126 if COMMAND "
           "cannot be executed, 127 if there is no such command.",
};

static int exit_status(int status)
{
    return WIFSIGNALED(status) ? CMD_RUN_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

int cmd_run(int argc, char **argv)
{
    struct run_options run = { .format = "text" };
    struct launch_end end;
    int made;

    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &run);

    char *shim = paths_shim();
    char *dir = shim ? recdir_make(run.dir, run.command, &made) : NULL;
    if (!dir) {
        free(shim);
        return CMD_RUN_FAILED;
    }
    struct launch launch = { .shim = shim, .dir = dir, .paused = run.paused, .argv = run.command };
    int failed = launch_run(&launch, &end);
    int status = failed ? failed : exit_status(end.status);
    if (!failed)
        closer_stamp(dir, end.pid, end.proc_start);
    if (!recdir_has_recordings(dir)) {
        if (!failed && !run.quiet)
            explain_nothing(run.command[0]);
        if (made)
            rmdir(dir);
    }
    free(dir);
    free(shim);
    return status;
}
