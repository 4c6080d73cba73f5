/* SPDX-License-Identifier: MIT */
/*
 * cmd-run.c - `gilscope run`: runs a program under the preload shim and reports.
 */
#include <argp.h>
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
#include "recoptions.h"

struct run_options {
    struct recoptions common;
    int paused, no_native, no_stacks, ptracer;
    const char *sample; /* --sample-interval, NULL = the default */
    char **command;
};

enum { OPT_NO_NATIVE = 512, OPT_NO_STACKS, OPT_TIMELINE, OPT_PAUSED, OPT_SAMPLE, OPT_PTRACER };

static const struct argp_option options[] = {
    {"paused", OPT_PAUSED, NULL, 0, "Do not measure until `gilscope resume PID'", 0},
    {"no-native", OPT_NO_NATIVE, NULL, 0, "Record the Python frames of stacks only", 0},
    {"no-stacks", OPT_NO_STACKS, NULL, 0, "Record no stacks", 0},
    {"sample-interval", OPT_SAMPLE, "TIME", 0,
     "Record a stack for each TIME of a thread's life on average, such as 500us [1ms]", 0},
    {"ptracer", OPT_PTRACER, NULL, 0,
     "Let its user's other processes read it, for `gilscope attach' where Yama forbids it", 0},
    {"timeline", OPT_TIMELINE, NULL, 0, "Record a timeline (not available in this version)", 0},
    {0},
};

/* As the shim reads it (lib/shim-life.c): a whole number of us, ms or s.  In us; 0 = it is none. */
static uint64_t interval_us(const char *text)
{
    char *unit;
    unsigned long long n = strtoull(text, &unit, 10);
    unsigned long long us = !strcmp(unit, "us") ? 1 : !strcmp(unit, "ms") ? 1000 : !strcmp(unit, "s") ? 1000000 : 0;

    if (text[0] < '0' || text[0] > '9' || unit - text >= 10 || n * us < 20 || n * us > 10000000)
        return 0;
    return n * us;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct run_options *run = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &run->common;
        return 0;
    case OPT_PAUSED:
        run->paused = 1;
        return 0;
    case OPT_NO_NATIVE:
        run->no_native = 1;
        return 0;
    case OPT_NO_STACKS:
        run->no_stacks = 1;
        return 0;
    case OPT_PTRACER:
        run->ptracer = 1;
        return 0;
    case OPT_SAMPLE:
        if (!interval_us(text))
            argp_error(state, "--sample-interval takes 20us to 10s, a number with us, ms or s behind it, not '%s'",
                       text);
        run->sample = text;
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

static const struct argp_child children[] = {{&recoptions_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .args_doc = "[--] COMMAND [ARGUMENT...]",
    .doc = "Run COMMAND, record what the GIL costs each of its Python processes, and report when it has ended.\v"
           "Exits with COMMAND's status (128+N if signal N ended it), 125 if gilscope itself failed, 126 if COMMAND "
           "cannot be executed, 127 if there is no such command.",
};

static int exit_status(int status)
{
    return WIFSIGNALED(status) ? CMD_RUN_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reports on what was recorded in DIR, or says why nothing was.  Returns 0, or -1 if the report could not be had. */
static int report(const struct run_options *run, char *dir)
{
    if (run->common.quiet)
        return 0;
    if (!recdir_has_recordings(dir)) {
        explain_nothing(run->command[0]);
        return 0;
    }
    return recoptions_report(&run->common, dir);
}

/* Runs the program and reports; returns the exit status. */
static int run_in(const struct run_options *run, const char *shim, char *dir)
{
    struct launch launch = {.shim = shim,
                            .dir = dir,
                            .paused = run->paused,
                            .no_native = run->no_native,
                            .no_stacks = run->no_stacks,
                            .ptracer = run->ptracer,
                            .sample = run->sample,
                            .sample_us = run->sample ? interval_us(run->sample) : 0,
                            .argv = run->command};
    struct launch_end end;
    int failed = launch_run(&launch, &end);

    if (failed)
        return failed;
    closer_stamp(dir, end.pid, end.proc_start, end.status);
    int reported = report(run, dir), status = exit_status(end.status);
    return status == CMD_OK && reported < 0 ? CMD_RUN_FAILED : status;
}

int cmd_run(int argc, char **argv)
{
    struct run_options run = {.paused = 0};
    int status = CMD_RUN_FAILED, made_dir = 0, made_file = 0;

    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &run);
    if (recoptions_prepare(&run.common, &made_file))
        return CMD_RUN_FAILED;

    char *shim = paths_shim();
    char *dir = shim ? recdir_make(run.common.dir, run.command, &made_dir) : NULL;
    if (dir)
        status = run_in(&run, shim, dir);
    recoptions_tidy(&run.common, dir, made_dir, made_file);
    free(dir);
    free(shim);
    return status;
}
