/* SPDX-License-Identifier: MIT */
/*
 * recfile.h - one process's file of a recording, opened to be changed: by `pause` and `resume`, and by `run`, which
 * notes the end of its program.  Reading a recording is the reader's business.
 */
#ifndef GILSCOPE_RECFILE_H
#define GILSCOPE_RECFILE_H

#include <stdint.h>

#include "record.h"

/* Opens PATH for reading and writing and reads its header into *header.  No symbolic link is followed at the end, and
 * nothing but a regular file with the header of this version's recordings is accepted: a foreign file is never
 * written to.  Returns the descriptor, or -1 with *problem set to a constant sentence (errno is set where the system
 * refused, else 0). */
int recfile_open(const char *path, struct rec_header *header, const char **problem);

/* The present time in ticks of the clock CLOCK (enum rec_clock).  Returns 0 where this machine does not have it. */
uint64_t recfile_now(uint32_t clock);

/* Field 22 of /proc/PID/stat, in jiffies; 0 where the process is gone or cannot be seen. */
uint64_t recfile_proc_start(int pid);

#endif
