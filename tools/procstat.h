/* SPDX-License-Identifier: MIT */
/* procstat.h - the kernel's line on a thread, /proc/PID/task/TID/stat. */
#ifndef GILSCOPE_PROCSTAT_H
#define GILSCOPE_PROCSTAT_H

/* Its state, one letter (proc(5): 'R', 'S', 'T', 'Z', ...); 0 = it is gone, or may not be looked at.  *parent, which
 * may be NULL: the process's parent, unchanged with 0.  The thread's own file is read: that of the process adds up all
 * of its threads (do_task_stat() in fs/proc/array.c, Linux 6.1).  Any thread. */
char procstat_state(int pid, int tid, int *parent);

#endif
