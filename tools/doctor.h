/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - what the parts of `gilscope doctor` share.
 */
#ifndef GILSCOPE_DOCTOR_H
#define GILSCOPE_DOCTOR_H

#include <stddef.h>
#include <stdint.h>

enum doctor_word { DOCTOR_OK, DOCTOR_MISSING, DOCTOR_NOTE };

/* Prints one aligned line on stdout: what was looked at, "ok", "missing" or "note", and the details. */
void doctor_line(const char *what, enum doctor_word word, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct doctor_trial {
    int ran;              /* it answered: the rest is known */
    uint32_t clock;       /* enum rec_clock of the recording */
    char real_path[4096]; /* of the interpreter that ran in the end */
};

/* Runs the Python at PATH under the shim and reads its recording back.  DETAILS gets one sentence.  DOCTOR_OK: it was
 * measured; DOCTOR_MISSING: a CPython that should have been measured, but was not; DOCTOR_NOTE: it does not run, or is
 * no CPython with a GIL.  *trial is filled where it ran. */
enum doctor_word doctor_try_python(const char *path, const char *shim, struct doctor_trial *trial, char *details,
                                   size_t size);

/* Prints a line for each cause that the preload library stays inert for in process PID, ours included: rights, limits,
 * the directory for recordings that its environment names. */
void doctor_inert(int pid);

/* Prints on how many processors process PID may run, and the limit of its control group, if any. */
void doctor_cpus(int pid);

/* Prints whether recordings can be written to the directory. */
void doctor_output(const char *dir);

/* Says what can be said of process PID.  Returns whether it is one that can be measured or is being measured. */
int doctor_process(int pid);

/* Says whether processes can be attached to, and what is missing.  Returns whether BPF works. */
int doctor_attach(void);

/* The same for one process.  Returns whether it can be attached to at all. */
int doctor_attach_process(int pid);

#endif
