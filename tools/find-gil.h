/* SPDX-License-Identifier: MIT */
/*
 * find-gil.h - finds the GILs of a live CPython in its memory, without stopping it.
 */
#ifndef GILSCOPE_FIND_GIL_H
#define GILSCOPE_FIND_GIL_H

#include <stdbool.h>
#include <stdint.h>

#define FIND_GIL_MAX 8
#define FIND_GIL_ERROR_BYTES 512

/* Where struct _gil_runtime_state (Include/internal/pycore_gil.h) has its fields, from `interval` on: the same in all
 * releases with a GIL from 3.8 to 3.15 on 64-bit glibc. */
enum {
    GIL_INTERVAL = 0,
    GIL_LAST_HOLDER = 8,
    GIL_LOCKED = 16,
    GIL_SWITCH_NUMBER = 24,
    GIL_COND = 32,
};

struct find_gil {
    uint64_t address; /* of the struct in the process */
    int64_t interpreter;
};

/* The fields of PyThreadState and PyInterpreterState that are needed to list threads. */
struct find_layout {
    uint32_t minor;
    uint16_t interp_next, interp_id, interp_threads, interp_gil; /* interp_gil: 0 = the one in _PyRuntime */
    uint16_t runtime_head, runtime_main_thread, runtime_gil;     /* runtime_gil: 0 = in the interpreters */
    uint16_t tstate_thread_id, tstate_native_id;                 /* native: 0 = no such field */
};

struct find_process {
    int pid;
    char version[64];     /* "3.11.2" */
    uint32_t hex;         /* PY_VERSION_HEX, as far as known */
    uint64_t runtime;     /* address of _PyRuntime */
    uint64_t main_thread; /* pthread_self() of the main thread */
    uint64_t interval_us;
    char module[256]; /* the file that has the interpreter in it, as the process calls it */
    struct find_layout layout;
    struct find_gil gil[FIND_GIL_MAX];
    uint32_t n_gils;
    uint32_t n_gils_left_out;
};

/* Looks for CPython and its GILs in process pid, and believes nothing that does not fit together.  Waits up to a second
 * for an interpreter that is just starting.  Returns 0; or -1 with one line in error[] that says what is in the way. */
int find_gil(int pid, struct find_process *found, char error[FIND_GIL_ERROR_BYTES]);

/* The same without waiting: for a process that may not have become a CPython yet. */
int find_gil_now(int pid, struct find_process *found, char error[FIND_GIL_ERROR_BYTES]);

/* Whether the process that has this id now may be read, and has a GIL where the first one was found. */
bool find_gil_is_there(const struct find_process *process);

/* Appends the GILs of interpreters that were made since; those that it has keep their places.  Returns how many. */
uint32_t find_gil_again(struct find_process *process);

struct find_thread {
    uint64_t tstate, pthread_id;
    uint32_t native_id; /* as the process sees it; up to 3.10 by glibc's control block, to be checked by who uses it */
};

/* Lists the thread states of all interpreters as they are now: at most max.  Returns how many. */
uint32_t find_gil_threads(const struct find_process *process, struct find_thread *threads, uint32_t max);

/* Whether a thread of that list still is the one of its thread state, and has not made room for another one. */
bool find_gil_is_still(const struct find_process *process, const struct find_thread *thread);

#endif
