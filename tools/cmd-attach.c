/* SPDX-License-Identifier: MIT */
/*
 * cmd-attach.c - `gilscope attach`: measures a running process from outside and reports.
 */
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "children.h"
#include "cmd.h"
#include "msg.h"
#include "procinfo.h"
#include "recdir.h"
#include "recoptions.h"

struct attach_options {
    struct recoptions common;
    int pid;
    double seconds;
    const struct collector *method; /* NULL = auto */
    bool follow, no_stacks, no_native;
    uint32_t sample_hz;
};

enum { OPT_METHOD = 512, OPT_RATE, OPT_NO_NATIVE, OPT_NO_STACKS };

static const struct argp_option options[] = {
    {"pid", 'p', "PID", 0, "The process to attach to", 0},
    {"duration", 'd', "SECONDS", 0, "Measure for so long [until Ctrl-C, or the process ends]", 0},
    {"children", 's', NULL, 0, "Measure its children, too, and those that it starts", 0},
    {"method", OPT_METHOD, "METHOD", 0, "auto, bpf or sample [auto]", 0},
    {"sample-rate", OPT_RATE, "HZ", 0, "Samples of the processors a second, 1 to 10000 [241]", 0},
    {"no-native", OPT_NO_NATIVE, NULL, 0, "Take no native frames", 0},
    {"no-stacks", OPT_NO_STACKS, NULL, 0, "Take no stacks", 0},
    {0},
};

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void set_pid(struct argp_state *state, struct attach_options *attach, const char *text)
{
    if (attach->pid)
        argp_error(state, "one process at a time: '%s' is too much", text);
    attach->pid = procinfo_parse_pid(text);
    if (attach->pid < 0)
        argp_error(state, "'%s' is not a process id", text);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct attach_options *attach = state->input;
    char *end = NULL;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &attach->common;
        return 0;
    case 'p':
    case ARGP_KEY_ARG:
        set_pid(state, attach, text);
        return 0;
    case 'd':
        attach->seconds = strtod(text, &end);
        if (end == text || *end || !isfinite(attach->seconds) || attach->seconds <= 0 || attach->seconds > 1e9)
            argp_error(state, "'%s' is not a number of seconds", text);
        return 0;
    case 's':
        attach->follow = true;
        return 0;
    case OPT_METHOD:
        if (!strcmp(text, "auto"))
            attach->method = NULL;
        else if (!strcmp(text, "bpf"))
            attach->method = &collect_bpf;
        else if (!strcmp(text, "sample"))
            attach->method = &collect_sample;
        else
            argp_error(state, "there is no method '%s'; use one of: auto, bpf, sample", text);
        return 0;
    case OPT_RATE:
        attach->sample_hz = (uint32_t)strtoul(text, &end, 10);
        if (end == text || *end || text[0] == '-' || attach->sample_hz < 1 || attach->sample_hz > 10000)
            argp_error(state, "'%s' is not a rate from 1 to 10000", text);
        return 0;
    case OPT_NO_NATIVE:
        attach->no_native = true;
        return 0;
    case OPT_NO_STACKS:
        attach->no_stacks = true;
        return 0;
    case ARGP_KEY_END:
        if (!attach->pid)
            argp_error(state, "which process? give its PID");
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
    .args_doc = "PID",
    .doc = "Measure what the GIL costs a running Python process, without restarting or stopping it, and report.\v"
           "Exits with 0 when something was measured, with 1 if not.  `gilscope doctor' says which methods work here.",
};

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* argv of the process, for the directory's name; its last element is NULL. */
static char **command_of(int pid, char *bytes, size_t size)
{
    static char *argv[64];
    char path[64];
    size_t n = 0, length = 0;

    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *stream = fopen(path, "re");
    if (stream) {
        length = fread(bytes, 1, size - 1, stream);
        fclose(stream);
    }
    bytes[length] = 0;
    for (size_t i = 0; i < length && n + 1 < sizeof argv / sizeof *argv; i += strlen(bytes + i) + 1)
        argv[n++] = bytes + i;
    if (!n)
        argv[n++] = strcpy(bytes, "python");
    argv[n] = NULL;
    return argv;
}

/* Where children do the work, as under a reloader or a server's master, the parent's verdict is idle. */
static void tell_of_children(int pid)
{
    struct children children = {0};
    struct find_process found;
    char error[FIND_GIL_ERROR_BYTES];
    struct children_of of = {.parents = &pid, .n_parents = 1};
    int pids[256], n_pythons = 0, n = 1;

    for (int turn = 0; turn < 4 && n > 0; turn++) { /* a parent may have new ones all the time */
        n = children_new(&children, &of, pids, sizeof pids / sizeof *pids);
        for (int i = 0; i < n; i++)
            n_pythons += !find_gil_now(pids[i], &found, error);
    }
    children_free(&children);
    if (n_pythons)
        msg_error(
            "process %d has %d child process%s that run%s CPython, and %s not measured: --children measures %s, too",
            pid, n_pythons, n_pythons == 1 ? "" : "es", n_pythons == 1 ? "s" : "", n_pythons == 1 ? "is" : "are",
            n_pythons == 1 ? "it" : "them");
}

/* Of the process and, if its children are to be measured, of these: a server's master has one, its workers have many.
 */
static uint32_t count_threads(int pid, bool follow)
{
    struct children children = {0};
    int pids[COLLECT_PROCESSES] = {pid}, n_threads = 0, n = 1;

    for (int i = 0; i < n; i++) {
        int own = procinfo_threads(pids[i]);
        n_threads += own > 0 ? own : 1;
        struct children_of of = {.parents = &pids[i], .n_parents = 1};
        if (follow)
            n += children_new(&children, &of, pids + n, COLLECT_PROCESSES - n);
    }
    children_free(&children);
    return (uint32_t)n_threads;
}

int cmd_attach(int argc, char **argv)
{
    struct attach_options options_given = {.sample_hz = COLLECT_SAMPLE_HZ};
    struct find_process found;
    char error[FIND_GIL_ERROR_BYTES], command[4096];
    int made_dir = 0, made_file = 0, status = CMD_FAILED;

    argp_parse(&argp, argc, argv, 0, NULL, &options_given);
    if (find_gil(options_given.pid, &found, error)) {
        msg_error("cannot attach to process %d: %s", options_given.pid, error);
        return CMD_FAILED;
    }
    catch_signals();
    struct attach attach = {
        .collector = options_given.method ? options_given.method : &collect_bpf,
        .options = {.sample_hz = options_given.sample_hz,
                    .no_stacks = options_given.no_stacks,
                    .no_native = options_given.no_native || options_given.no_stacks,
                    .follow = options_given.follow,
                    .n_threads = count_threads(options_given.pid, options_given.follow),
                    .stop = &stop},
        .first = &found,
        .file = options_given.common.quiet ? NULL : options_given.common.report.output,
        .seconds = options_given.seconds,
    };
    if (attach_start(&attach, options_given.method ? NULL : &collect_sample))
        return CMD_FAILED;
    if (!options_given.method && attach.collector == &collect_bpf)
        msg_error("attaching by BPF: waits are exact, holds estimated (--method bpf)");
    if (procinfo_is_stopped(options_given.pid))
        msg_error("process %d is stopped, by a signal or a debugger: nothing in it runs until it is continued (kill "
                  "-CONT %d)",
                  options_given.pid, options_given.pid);
    if (!options_given.follow)
        tell_of_children(options_given.pid);
    char *dir =
        recoptions_prepare(&options_given.common, &made_file)
            ? NULL
            : recdir_make(options_given.common.dir, command_of(options_given.pid, command, sizeof command), &made_dir);
    if (!dir) {
        attach.collector->stop();
        recoptions_tidy(&options_given.common, NULL, 0, made_file);
        return CMD_FAILED;
    }
    attach.dir = dir;
    int failed = attach_run(&attach);
    if (recdir_has_recordings(dir))
        status = failed || recoptions_report(&options_given.common, dir) ? CMD_FAILED : CMD_OK;
    recoptions_tidy(&options_given.common, dir, made_dir, made_file);
    free(dir);
    return status;
}
