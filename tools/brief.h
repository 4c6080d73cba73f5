/* SPDX-License-Identifier: MIT */
/*
 * brief.h - for threads that wake up for a short look now and then, at moments that others should not choose.
 */
#ifndef GILSCOPE_BRIEF_H
#define GILSCOPE_BRIEF_H

/* The calling thread's timers become exact, and where the kernel can, it runs as soon as it wakes up. */
void brief_be(void);

#endif
