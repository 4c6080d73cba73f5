/* SPDX-License-Identifier: MIT */
/*
 * verdict-words.h - what those that put the verdict into words share.  For verdict-text.c, verdict-processors.c
 * and verdict-locks.c only.
 */
#ifndef GILSCOPE_VERDICT_WORDS_H
#define GILSCOPE_VERDICT_WORDS_H

#include <stdlib.h>

#include "mem.h"
#include "verdict-facts.h"

#define NATIVE_SHARE 0.05 /* native threads that use less of the CPU time are not mentioned */

/* Adds a sentence, which is freed with the verdict. */
static inline void verdict_add(char **lines, size_t *n, char *line)
{
    if (*n < VERDICT_LINES)
        lines[(*n)++] = line;
    else
        free(line);
}

#define EVIDENCE(verdict, ...) verdict_add((verdict)->evidence, &(verdict)->n_evidence, mem_print(__VA_ARGS__))
#define ADVICE(verdict, ...) verdict_add((verdict)->advice, &(verdict)->n_advice, mem_print(__VA_ARGS__))

/* Who had the processors that threads lacked, and what to do about it. */
void verdict_tell_processors(const struct verdict_facts *facts, struct verdict *verdict);
void verdict_advise_processors(const struct verdict_facts *facts, struct verdict *verdict);

/* --- verdict-locks.c: where threads waited for locks, or why nobody knows. */
void verdict_tell_lock_places(const struct verdict_facts *facts, struct verdict *verdict);

#endif
