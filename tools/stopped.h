/* SPDX-License-Identifier: MIT */
/*
 * stopped.h - for how long a process was stopped, by a signal or a debugger, as looks now and then tell.
 */
#ifndef GILSCOPE_STOPPED_H
#define GILSCOPE_STOPPED_H

#include <stdbool.h>
#include <stdint.h>

struct stopped {
    bool now; /* by the last look */
    uint64_t looked_ns, ns;
};

/* A look at now_ns.  What has changed since the last one did so halfway, on average. */
static inline void stopped_look(struct stopped *s, uint64_t now_ns, bool stopped)
{
    uint64_t half_ns = (now_ns - s->looked_ns) / 2;

    s->ns += (s->now ? half_ns : 0) + (stopped ? half_ns : 0);
    s->looked_ns = now_ns;
    s->now = stopped;
}

#endif
