/* SPDX-License-Identifier: MIT */
/* process.h - the process of which sim.c runs the threads: what its parts share. */
#ifndef GILSCOPE_PROCESS_H
#define GILSCOPE_PROCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "order.h"
#include "shim-file.h"
#include "shim.h"

enum { PROCESS_SPANS = 16, PROCESS_STACK_BYTES = 64 << 10, PROCESS_FILE_BYTES = 256 << 10 };

/* It began and ended at some moment between these two. */
struct process_span {
    uint64_t from[2], to[2];
};

struct process_thread {
    ucontext_t context;
    struct shim_thread t; /* while another one runs */
    const char *script;
    uintptr_t number;
    pthread_mutex_t *wants;    /* goes on when this is free */
    pthread_cond_t *waits_for; /* or when this has been signalled */
    bool timed, woken;         /* or its time is up, if timed */
    bool must_exit, exits, done;
    void *key_value;
    struct process_span waits[PROCESS_SPANS], holds[PROCESS_SPANS]; /* as they were */
    unsigned n_waits, n_holds;
};

union process_file {
    struct rec_header header;
    char bytes[PROCESS_FILE_BYTES + SHIM_BEHIND_BYTES];
};

extern struct process_thread process_threads[ORDER_THREADS];
extern unsigned process_n_threads, process_running;
extern union process_file process_file;
extern uint64_t process_used; /* bytes of it */
extern uint64_t process_now;  /* ticks */
extern void (*process_destructor)(void *);

/* Forgets all of the last run; then the calling one is its first thread, and alone. */
void process_forget(void);

/* Its threads begin, each in `run`, and do what they can, or until the search has enough. */
void process_go(void (*run)(void), order_choose *choose, void *with);

/* The calling thread lets others go on, if they shall: of its own accord.  A thread that is done does not come back. */
void process_yield(void);

#endif
