/* SPDX-License-Identifier: MIT */
/*
 * launch.h - starts a program under the preload shim, and stands between it and the signals meant for it.
 */
#ifndef GILSCOPE_LAUNCH_H
#define GILSCOPE_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

struct launch {
    const char *shim;   /* path of the shim */
    const char *dir;    /* absolute directory of the recording */
    int paused;         /* start without measuring */
    int no_native;      /* record Python frames only */
    int no_stacks;      /* record no stacks */
    int ptracer;        /* its user's other processes may read it */
    const char *sample; /* time for each stack, as GILSCOPE takes it; NULL = the default */
    uint64_t sample_us; /* the same; 0 = the default */
    char *const *argv;  /* the command */
};

struct launch_end {
    pid_t pid;
    int status;          /* as of waitpid */
    uint64_t proc_start; /* recfile_proc_start(pid) */
};

/* Runs the command and waits for its end; looks meanwhile at what it does with the GIL, unless it is to record no stacks.
 * Signals that are sent to gilscope alone are passed on to it; those of the
 * terminal reach it anyway and leave gilscope alone.  Only one program at a time: the handlers' state is global.
 * Returns 0 with *end filled, or an exit status of `run` (enum cmd_status) after an error line. */
int launch_run(const struct launch *launch, struct launch_end *end);

#endif
