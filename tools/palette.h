/* SPDX-License-Identifier: MIT */
/*
 * palette.h - the colours of flame graphs: the kind of code gives the hue, the name the shade.  Dark text is readable
 * on all of them.
 */
#ifndef GILSCOPE_PALETTE_H
#define GILSCOPE_PALETTE_H

#include "model-stacks.h"

/* "#rrggbb" for a function, for a process or thread, and for what was put together. */
const char *palette_function(enum model_role role, const char *label);
const char *palette_thread(void);
const char *palette_rest(void);

#endif
