/* SPDX-License-Identifier: MIT */
/*
 * view-text.h - what the parts of the text report share.  For view-text*.c only.
 */
#ifndef GILSCOPE_VIEW_TEXT_H
#define GILSCOPE_VIEW_TEXT_H

#include "model.h"
#include "text.h"

/* The table of a process's threads, in the widest of some layouts that fits. */
void view_text_threads(const struct text *text, const struct model_process *process);

/* The pairs that waited longest. */
void view_text_pairs(const struct text *text, const struct model_process *process);

/* What stacks tell: the functions that others waited for, calls that should release the GIL, modules. */
void view_text_stacks(const struct text *text, const struct model_process *process);

/* The tree of processes with a line for each. */
void view_text_tree(const struct text *text, const struct model *model);

#endif
