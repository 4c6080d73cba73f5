/* SPDX-License-Identifier: MIT */
/*
 * reader-ring.h - the part of the reader that puts the changes of a GIL's holder in order.  For reader*.c only.
 */
#ifndef GILSCOPE_READER_RING_H
#define GILSCOPE_READER_RING_H

#include "record.h"

/* Brings what changes at each change of holder to where it is in records without a turn, with change i at
 * ring[i % REC_RING].  A change that is not known stands there as one to nobody (holder 0), and so that what its
 * unknown holder held, and the one before it, which is known to have begun but not to have ended, is nobody's. */
void reader_ring_fill_in(struct rec_gil *gil);

#endif
