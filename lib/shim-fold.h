/* SPDX-License-Identifier: MIT */
/* shim-fold.h - programs with very many short-lived threads: the figures of ended ones are added up in one record. */
#ifndef GILSCOPE_SHIM_FOLD_H
#define GILSCOPE_SHIM_FOLD_H

#include <stdbool.h>

#include "record.h"

/* The record of a thread that has ended and was folded, emptied, for a new thread with this index; NULL if there is
 * none. */
struct rec_thread *shim_fold_reuse(uint32_t index);

/* The calling thread's record has been closed.  If there are very many, its figures move to the folded record and its
 * space becomes free. */
void shim_fold_ended(struct rec_thread *tr);

/* The record of the ended threads; NULL: there is none yet.  Any thread. */
struct rec_thread *shim_fold_record(void);

/* The thread with this index has ended and was folded; false if not, or if that was so many threads ago that it is not
 * known any more.  Any thread. */
bool shim_fold_has(uint32_t index);

/* Starts afresh in a forked child. */
void shim_fold_forget(void);

#endif
