/* SPDX-License-Identifier: MIT */
/*
 * toggle.h - pauses and resumes in the header of a live recording (rec_header.n_toggles), which the measured process looks
 * at all the time.  One command at a time: see flock() in cmd-control.c.
 */
#ifndef GILSCOPE_TOGGLE_H
#define GILSCOPE_TOGGLE_H

#include <stdint.h>

#include "record.h"

/* Adds a toggle, which happens now, to the header of a process whose clock this machine has. */
void toggle_append(struct rec_header *header);

/* When toggle i, one of the last two, happened, in ticks: now, if nobody has said so yet. */
uint64_t toggle_set_time(struct rec_header *header, uint32_t i);

#endif
