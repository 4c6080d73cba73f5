/* SPDX-License-Identifier: MIT */
/*
 * watch-process.h - one process that watch.c looks at.  One thread only may use this.
 */
#ifndef GILSCOPE_WATCH_PROCESS_H
#define GILSCOPE_WATCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recscan.h"
#include "stopped.h"

struct watch_process {
    int pid, fd, pidfd; /* fd: its recording; pidfd -1 = this kernel has none */
    char *name;         /* of the recording, without directories */
    uint32_t clock, inner_pid;
    uint64_t start, program[3]; /* struct procstat */
    struct recscan scan;
    uint64_t *threads; /* offsets of their records */
    size_t n_threads, room;
    struct stopped stopped;
};

/* Of the recording `path`; NULL if its process has ended, has become another program, or is none that runs here.
 * *later: it may be worth another try. */
struct watch_process *watch_process_new(const char *path, uint64_t now_ns, bool *later);
void watch_process_free(struct watch_process *p);

/* A look.  stopped_with_us: it was stopped since the last one, as we were.  threads: look at them, too.  False: there
 * is nothing more to see, for it has ended, which is noted, or has become another program. */
bool watch_process_look(struct watch_process *p, uint64_t now_ns, bool stopped_with_us, bool threads);

#endif
