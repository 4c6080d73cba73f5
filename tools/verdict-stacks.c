/* SPDX-License-Identifier: MIT */
/*
 * verdict-stacks.c - where to look first: the function that others waited for most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "mem.h"
#include "verdict-facts.h"

#define WORTH_NAMING_SHARE 0.1 /* of all waiting behind holders */
#define NAME_MOST 240          /* bytes of a native function's name, in a sentence */
#define SAMPLES_MIN 20         /* below, shares mean little */

/* Names of templates and generics may be as long as a page: JSON and HTML have all of it.  Where UTF-8 can be cut. */
static int sentence_length(const char *name)
{
    size_t n = strlen(name);

    if (n <= NAME_MOST)
        return (int)n;
    for (n = NAME_MOST; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80;)
        n--;
    return (int)n;
}

char *verdict_look_first(const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;
    const struct model_flow *flow = &stacks->flows[MODEL_CHARGED];
    const struct model_hot *hot = stacks->hot;
    char part[FORMAT_BYTES], whole[FORMAT_BYTES], line[32] = "", *native = NULL, *advice;
    const struct model_function *function;

    if (!stacks->n_hot || hot->share < WORTH_NAMING_SHARE || flow->samples < SAMPLES_MIN)
        return NULL;
    function = &stacks->functions[hot->function];
    if (hot->line)
        snprintf(line, sizeof line, ":%u", hot->line);
    if (hot->native < stacks->n_functions) {
        const struct model_function *called = &stacks->functions[hot->native];
        native = called->named ? mem_print(", which calls %.*s%s in %s", sentence_length(called->name), called->name,
                                           strlen(called->name) > NAME_MOST ? "..." : "", called->basename)
                               : mem_print(", which calls into %s", called->basename);
    }
    advice =
        mem_print(hot->lets_go ? "Look first at what runs before %s (%s%s)%s lets the GIL go: holds that end there had "
                                 "%.0f %% of the waiting behind a holder (%s of %s)."
                               : "Look first at %s (%s%s)%s: %.0f %% of the waiting behind a holder was for it (%s of "
                                 "%s).",
                  function->name, function->basename, line, native && !hot->lets_go ? native : "", 100 * hot->share,
                  format_time(part, hot->ns), format_time(whole, flow->total_ns));
    free(native);
    return advice;
}
