/* SPDX-License-Identifier: MIT */
/*
 * closer.h - the end of a process that could not note it itself.
 */
#ifndef GILSCOPE_CLOSER_H
#define GILSCOPE_CLOSER_H

#include <stdint.h>

/* Called by `gilscope run` once its child is dead: where the child's file in the recording DIR was not closed (it was
 * killed, or left by _exit), writes the present time into its header as the time of the end, where nobody has seen that
 * better, and STATUS, as of waitpid(), as how it ended.  `complete` stays 0.
 * PROC_START is recfile_proc_start(PID), taken while PID was not reaped yet.  Does nothing where there is no such
 * file; says nothing, for the report shows what is missing. */
void closer_stamp(const char *dir, int pid, uint64_t proc_start, int status);

#endif
