/* SPDX-License-Identifier: MIT */
/*
 * watch.h - what is to be known of processes that cannot tell it themselves any more: those that are killed.
 *
 * A thread of `gilscope run` looks at each process that records into a directory ten times a second, and writes what it
 * sees into the process's recording: that it was there, for how long it was stopped, what its threads used of
 * processors and how long they waited for one (the record's fields seen_...), and, to the instant, its end.
 */
#ifndef GILSCOPE_WATCH_H
#define GILSCOPE_WATCH_H

#include <sys/types.h>

struct watch;

/* CHILD: of ours, not waited for yet; by it a stop of its and our whole process group (Ctrl-Z) is told from one of ours
 * alone.  NULL where there is nothing to do it with: then recordings end as they did without. */
struct watch *watch_start(const char *dir, pid_t child);

/* A last look.  While the child has not been waited for, all of its main thread is still there. */
void watch_stop(struct watch *watch);

#endif
