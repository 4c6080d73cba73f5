/* SPDX-License-Identifier: MIT */
/* procstat.c - a thread's state and its process's parent. */
#include "procstat.h"

#include <stdio.h>
#include <string.h>

#include "textfile.h"

char procstat_state(int pid, int tid, int *parent)
{
    char path[64], text[512], state;
    int read_parent;

    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    textfile_read(path, text, sizeof text);
    const char *name_end = strrchr(text, ')'); /* the command's name may contain anything */
    if (!name_end || sscanf(name_end, ") %c %d", &state, &read_parent) != 2)
        return 0;
    if (parent)
        *parent = read_parent;
    return state;
}
