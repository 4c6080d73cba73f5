/* SPDX-License-Identifier: MIT */
/*
 * msg.h - what gilscope says to its user on stderr: one line, one write.
 */
#ifndef GILSCOPE_MSG_H
#define GILSCOPE_MSG_H

/* Writes "gilscope: " and the formatted text as one line to stderr, in one write, so that it stays whole between the
 * lines of the program that is being measured.  Cut at 4 KiB; control characters become '?'.  Preserves errno. */
void msg_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
