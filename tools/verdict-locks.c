/* SPDX-License-Identifier: MIT */
/*
 * verdict-locks.c - where threads waited for locks, as far as stacks tell.
 *
 * The sums know how long a thread waited for locks that others had, and stacks where it slept without the GIL, for
 * whatever reason.  It cannot have slept for other reasons for longer than what the one leaves of the other: what it
 * slept in a place beyond that was waiting for a lock, there.  Where that proves nothing, the places are named that can
 * have been it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "verdict-words.h"

#define PLACES_MAX 3           /* to be named */
#define WORTH_NAMING_SHARE 0.1 /* of all waiting for locks */
#define SURE_ERRORS 2          /* standard errors of the samples: what is told as the least is less in 1 of 40 cases */

/* Where threads slept: the innermost Python frame that is not of the standard library, and the innermost one. */
struct place {
    uint32_t frame, leaf;
    double slept_ns, least_ns; /* of the threads that waited for locks; the least of it that was for locks */
    double thread_ns;          /* the present thread's */
};

struct places {
    const struct model_stacks *stacks;
    struct place *all;
    size_t n, capacity;
};

/* "/usr/lib/python3.11/threading.py", which "/usr/lib/python3.11/site-packages/app.py" is not: sysconfig's paths
 * "stdlib", "purelib" and "platlib", and Debian's dist-packages.  Modules that are frozen have no path. */
static bool is_of_library(const struct model_function *function)
{
    static const char *const folders[] = {"/lib/python3.", "/lib64/python3."};

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *at = strstr(function->file, folders[i]);
        if (at)
            return !strstr(at, "-packages/");
    }
    return !strncmp(function->file, "<frozen ", strlen("<frozen "));
}

static const struct model_function *function_of(const struct model_stacks *stacks, uint32_t frame)
{
    return &stacks->functions[stacks->frames[frame].function];
}

/* Modules/_threadmodule.c and Python/thread_pthread.h, 3.8 to 3.15, as far as the interpreter has symbols. */
static bool is_in_lock(const struct model_stacks *stacks, const struct model_stack *stack)
{
    static const char *const prefixes[] = {"lock_PyThread_acquire", "_thread_lock_", "rlock_acquire",
                                           "_thread_RLock_",        "acquire_timed", "PyThread_acquire_lock"};

    for (size_t i = stack->n_frames; i > 0; i--) {
        const struct model_function *function = function_of(stacks, stacks->frame_ids[stack->first_frame + i - 1]);
        if (!function->native)
            return false;
        for (size_t j = 0; j < sizeof prefixes / sizeof *prefixes; j++)
            if (!strncmp(function->name, prefixes[j], strlen(prefixes[j])))
                return true;
    }
    return false;
}

static struct place *place_of(struct places *places, const struct model_stack *stack)
{
    const struct model_stacks *stacks = places->stacks;
    uint32_t none = (uint32_t)stacks->n_frames, frame = none, leaf = none;

    for (size_t i = stack->n_frames; i > 0 && frame == none; i--) {
        uint32_t id = stacks->frame_ids[stack->first_frame + i - 1];
        if (function_of(stacks, id)->role != MODEL_ROLE_PYTHON)
            continue;
        leaf = leaf == none ? id : leaf;
        frame = is_of_library(function_of(stacks, id)) ? none : id;
    }
    frame = frame == none ? leaf : frame;
    if (leaf == none)
        return NULL;
    for (size_t i = 0; i < places->n; i++) /* there are few */
        if (places->all[i].frame == frame && places->all[i].leaf == leaf)
            return &places->all[i];
    places->all = mem_grow(places->all, places->n, &places->capacity, sizeof *places->all);
    places->all[places->n] = (struct place){.frame = frame, .leaf = leaf};
    return &places->all[places->n++];
}

/* Adds what a thread slept, and what of it must have been for locks.  slept_ns: as the sums have it, or 0 where only
 * the samples tell: those that are known to be of locks. */
static void add_thread(struct places *places, size_t thread, double lock_ns, double slept_ns, bool known)
{
    const struct model_stacks *stacks = places->stacks;
    double sampled_ns = 0, samples = 0;

    for (size_t i = 0; i < places->n; i++)
        places->all[i].thread_ns = 0;
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        const struct model_stack *stack = &stacks->stacks[i];
        double ns = (double)(stack->ns[MODEL_RELEASED] - stack->oncpu_ns[MODEL_RELEASED]);
        struct place *place;
        if (stack->thread != thread || ns <= 0 || (known && !is_in_lock(stacks, stack)))
            continue;
        sampled_ns += ns;
        samples += stack->samples[MODEL_RELEASED];
        if ((place = place_of(places, stack)))
            place->thread_ns += ns;
    }
    if (sampled_ns <= 0 || samples < 1)
        return;
    slept_ns = known ? sampled_ns : slept_ns;
    for (size_t i = 0; i < places->n; i++) {
        struct place *place = &places->all[i];
        double share = place->thread_ns / sampled_ns, ns = share * slept_ns,
               error = slept_ns * sqrt(share * (1 - share) / samples),
               least = ns - SURE_ERRORS * error - (slept_ns > lock_ns ? slept_ns - lock_ns : 0);
        place->slept_ns += ns;
        place->least_ns += least > 0 ? least : 0;
    }
}

static int by_least(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->least_ns != y->least_ns)
        return x->least_ns < y->least_ns ? 1 : -1;
    return (x->slept_ns < y->slept_ns) - (x->slept_ns > y->slept_ns);
}

static char *name_place(const struct model_stacks *stacks, const struct place *place)
{
    const struct model_function *function = function_of(stacks, place->frame), *leaf = function_of(stacks, place->leaf);
    char *name = mem_print("%s (%s:%u)", function->name, function->basename, stacks->frames[place->frame].line),
         *longer;

    if (place->leaf == place->frame)
        return name;
    longer = mem_print("%s through %s (%s:%u)", name, leaf->name, leaf->basename, stacks->frames[place->leaf].line);
    free(name);
    return longer;
}

/* "of which in A (a.py:1) 3.1 s, and in B (b.py:2) 1.2 s" */
static char *list(const struct places *places, size_t n, bool least)
{
    char *text = mem_print("%s", "");

    for (size_t i = 0; i < n; i++) {
        const struct place *place = &places->all[i];
        char time[FORMAT_BYTES],
            *name = name_place(places->stacks, place),
            *longer = mem_print("%s%s%s, %s", text,
                                !i          ? ""
                                : i + 1 < n ? "; "
                                            : "; and ",
                                name, format_time(time, (uint64_t)(least ? place->least_ns : place->slept_ns)));
        free(text);
        free(name);
        text = longer;
    }
    return text;
}

static void tell(const struct places *places, double lock_ns, struct verdict *verdict)
{
    size_t n = 0;
    bool least = places->n && places->all[0].least_ns >= WORTH_NAMING_SHARE * lock_ns;
    char *text;

    while (n < places->n && n < PLACES_MAX &&
           (least ? places->all[n].least_ns : places->all[n].slept_ns) >= WORTH_NAMING_SHARE * lock_ns)
        n++;
    if (!n) {
        EVIDENCE(verdict, "No place had a tenth of the waiting for locks, by the stacks (view released).");
        return;
    }
    text = list(places, n, least);
    if (least)
        EVIDENCE(verdict, "They waited for locks in %s at least%s.", text, n > 1 ? " each" : "");
    else
        EVIDENCE(verdict, "Stacks do not tell these waits from other sleep; where these threads slept most: %s.", text);
    free(text);
}

void verdict_tell_lock_places(const struct verdict_facts *facts, struct verdict *verdict)
{
    const struct model_process *process = facts->process;
    struct places places = {.stacks = &process->stacks};
    bool known = false;

    if (!process->stacks.flows[MODEL_RELEASED].samples) {
        EVIDENCE(verdict, "Where they waited is not known: no stacks were taken of it.");
        return;
    }
    for (size_t i = 0; i < process->stacks.n_stacks; i++)
        known |=
            process->stacks.stacks[i].ns[MODEL_RELEASED] && is_in_lock(&process->stacks, &process->stacks.stacks[i]);
    for (size_t i = 0; i < process->n_threads; i++) {
        const struct model_thread *thread = &process->threads[i];
        double lock_ns = verdict_lock_wait_alone(facts, thread);
        if (lock_ns > 0)
            add_thread(&places, i, lock_ns, (double)thread->states.released_offcpu_ns, known);
    }
    if (places.n)
        qsort(places.all, places.n, sizeof *places.all, by_least);
    tell(&places, facts->lock_wait, verdict);
    free(places.all);
}
