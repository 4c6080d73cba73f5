/* SPDX-License-Identifier: MIT */
/* shim-enter-stack.h - what is pending is entered: the samples of a thread, after the take that follows them. */
#ifndef GILSCOPE_SHIM_ENTER_STACK_H
#define GILSCOPE_SHIM_ENTER_STACK_H

#include "shim.h"

#pragma GCC visibility push(hidden)

/* The hold that is pending has just ended: how much of it was on a processor. */
void shim_enter_held_oncpu(void);

/* The thread will not take the GIL any more: enters what is pending without its frames, with a text in their place. */
void shim_enter_last(const char *text);

/* Forgets what is pending. */
void shim_enter_nothing(void);

#pragma GCC visibility pop
#endif
