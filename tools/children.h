/* SPDX-License-Identifier: MIT */
/*
 * children.h - the children of a process that is being measured.
 */
#ifndef GILSCOPE_CHILDREN_H
#define GILSCOPE_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>

struct children {
    struct child {
        int pid, parent, tries; /* tries: how often it may be looked at again; below 0 = it is decided */
        bool there;             /* by the last look */
    } * known;
    size_t n, capacity;
};

/* Children of parent that have not been told of yet, or that children_again() asked for: at most max.  Their number. */
int children_new(struct children *c, int parent, int *pids, int max);

/* It is no CPython yet; it may become one by exec.  It will be told of again, some times. */
void children_again(struct children *c, int pid);

void children_free(struct children *c);

#endif
