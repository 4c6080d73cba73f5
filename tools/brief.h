/* SPDX-License-Identifier: MIT */
/*
 * brief.h - for threads that wake up now and then: who must not be late, and who must not be in the way.
 */
#ifndef GILSCOPE_BRIEF_H
#define GILSCOPE_BRIEF_H

/* The calling thread's timers become exact, and where the kernel can, it runs as soon as it wakes up. */
void brief_be(void);

/* The calling thread never takes a processor from one that runs, and has less of it than others where all are busy. */
void brief_give_way(void);

#endif
