/* SPDX-License-Identifier: MIT */
/*
 * recdir.h - the directory that a recording goes to: its name, and its making.
 */
#ifndef GILSCOPE_RECDIR_H
#define GILSCOPE_RECDIR_H

/* Makes the directory for a recording of the command ARGV and returns its absolute path, which the caller frees; NULL
 * after an error line.
 *   WANTED not NULL: that directory, which must be empty or not exist yet; two recordings are never mixed up.
 *   WANTED NULL: ./NAME.gilscope, NAME being the script's name without .py, or the command's; where that exists
 *   NAME-2.gilscope, and so on.
 * *made tells whether it did not exist before. */
char *recdir_make(const char *wanted, char *const *argv, int *made);

/* Whether a directory entry's NAME is that of a process's file. */
int recdir_is_recording(const char *name);

/* Whether DIR holds the file of at least one process. */
int recdir_has_recordings(const char *dir);

#endif
