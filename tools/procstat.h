/* SPDX-License-Identifier: MIT */
/* procstat.h - the kernel's line on a thread, /proc/PID/task/TID/stat. */
#ifndef GILSCOPE_PROCSTAT_H
#define GILSCOPE_PROCSTAT_H

#include <stdbool.h>
#include <stdint.h>

struct procstat {
    char state;           /* one letter: 'R', 'S', 'T', 'Z', ... */
    int parent;           /* of the process */
    uint64_t start;       /* in jiffies since the machine's start; tells one from another with its id */
    uint64_t program[3];  /* addresses of its program and its stack: others after an exec.  0 where they are secret */
    unsigned exit_status; /* of a zombie, as of waitpid(2), where it is not secret */
};

/* Does a state say that a signal or a debugger has stopped it?  Any thread. */
static inline bool procstat_is_stopped(char state)
{
    return state == 'T' || state == 't';
}

/* False: it is gone, or may not be looked at. */
bool procstat_read(int pid, int tid, struct procstat *stat);

/* Its state, one letter (proc(5): 'R', 'S', 'T', 'Z', ...); 0 = it is gone, or may not be looked at.  *parent, which
 * may be NULL: the process's parent, unchanged with 0.  The thread's own file is read: that of the process adds up all
 * of its threads (do_task_stat() in fs/proc/array.c, Linux 6.1).  Any thread. */
char procstat_state(int pid, int tid, int *parent);

#endif
