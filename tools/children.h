/* SPDX-License-Identifier: MIT */
/*
 * children.h - the children of processes that are being measured.
 */
#ifndef GILSCOPE_CHILDREN_H
#define GILSCOPE_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>

struct children {
    struct child {
        int pid, tries; /* tries: how often it may be looked at again; below 0 = it is decided */
        bool there;     /* by the last look */
    } * known;
    size_t n, capacity;
};

struct children_of {
    const int *parents; /* that are being measured */
    const int *born;    /* known to descend from such, whatever has become of their parents */
    int n_parents, n_born;
};

/* Processes of these kinds that have not been told of yet, and those that children_again() asked for, whoever their
 * parents are by now: at most max.  Their number. */
int children_new(struct children *c, const struct children_of *of, int *pids, int max);

/* It is no CPython yet; it may become one by exec.  It will be told of again, some times. */
void children_again(struct children *c, int pid);

void children_free(struct children *c);

#endif
