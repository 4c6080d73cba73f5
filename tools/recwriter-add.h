/* SPDX-License-Identifier: MIT */
/*
 * recwriter-add.h - how the parts of the writer of recordings add records.
 */
#ifndef GILSCOPE_RECWRITER_ADD_H
#define GILSCOPE_RECWRITER_ADD_H

#include "recwriter.h"

/* Room for a zeroed record, head included; its offset, for the memory may move with the next one. */
size_t recwriter_add(struct recwriter *w, enum rec_type type, size_t bytes);

/* The record at an offset, until the next is added. */
void *recwriter_at(struct recwriter *w, size_t offset);

#endif
