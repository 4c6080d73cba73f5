/* SPDX-License-Identifier: MIT */
/*
 * explain.h - why a run recorded nothing.
 */
#ifndef GILSCOPE_EXPLAIN_H
#define GILSCOPE_EXPLAIN_H

/* Prints one line that says why nothing was recorded of COMMAND, as well as its file tells. */
void explain_nothing(const char *command);

/* The file that the shell would run for COMMAND; NULL where there is none.  The caller frees it. */
char *explain_find_command(const char *command);

#endif
