/* SPDX-License-Identifier: MIT */
/* procstat.c - a thread's state, its process's parent, program and end. */
#include "procstat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "textfile.h"

/* The field of that number, as proc(5) counts; `text` begins with the third. */
static const char *field(const char *text, int number)
{
    for (int i = 3; text && i < number; i++)
        text = (text = strchr(text, ' ')) ? text + 1 : NULL;
    return text;
}

static unsigned long long number(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

bool procstat_read(int pid, int tid, struct procstat *stat)
{
    char path[64], text[1024];

    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    textfile_read(path, text, sizeof text);
    const char *name_end = strrchr(text, ')'); /* the command's name may contain anything */
    if (!name_end || name_end[1] != ' ')
        return false;
    *stat = (struct procstat){
        .state = name_end[2],
        .parent = (int)number(field(name_end + 2, 4)),
        .start = number(field(name_end + 2, 22)),
        .program = {number(field(name_end + 2, 26)), number(field(name_end + 2, 27)), number(field(name_end + 2, 28))},
        .exit_status = (unsigned)number(field(name_end + 2, 52)),
    };
    return true;
}

char procstat_state(int pid, int tid, int *parent)
{
    struct procstat stat;

    if (!procstat_read(pid, tid, &stat))
        return 0;
    if (parent)
        *parent = stat.parent;
    return stat.state;
}
