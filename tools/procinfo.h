/* SPDX-License-Identifier: MIT */
/*
 * procinfo.h - what /proc says about a process that gilscope is asked about.
 */
#ifndef GILSCOPE_PROCINFO_H
#define GILSCOPE_PROCINFO_H

#include <limits.h>
#include <stdbool.h>

#include "record.h"

/* A process id from the command line, or -1 where TEXT is none. */
int procinfo_parse_pid(const char *text);

/* What a process has mapped that matters here.  Paths are as in /proc/PID/maps. */
struct procinfo_maps {
    int has_shim;          /* the preload shim */
    char python[PATH_MAX]; /* the libpython, or else the executable; "" where none could be read */
    int python_is_library;
};

/* Fills *maps from /proc/PID/maps.  Returns 0, or -1 with errno set (ENOENT, ESRCH: no such process). */
int procinfo_read_maps(int pid, struct procinfo_maps *maps);

/* Where the file that /proc/PID/maps calls PATH can be opened from here: through the process's root directory, for it
 * may live in another mount namespace, or as it is, for of a process in a chroot the kernel tells the path outside of
 * it. The caller frees it; NULL without memory. */
char *procinfo_outer_path(int pid, const char *path);

/* Opens the recording that process PID is writing, for reading and writing, with its header in *header: the *.gil file
 * that it has mapped, whose header names that very process.  Returns the
 * descriptor, or -1 after an error line. */
int procinfo_open_recording(int pid, struct rec_header *header);

/* The same without a word, for `doctor`. */
int procinfo_find_recording(int pid, struct rec_header *header);

/* Whether PID's main thread is stopped, by a signal (as all others are then) or a debugger; false if unknown. */
bool procinfo_is_stopped(int pid);

/* The number of threads of process PID, or -1. */
int procinfo_threads(int pid);

/* Whether this process is in another namespace of a kind ("pid", "user", "time") than the machine's first; false where
 * that cannot be told, as of a kind that the kernel does not have. */
bool procinfo_in_own_namespace(const char *kind);

#endif
