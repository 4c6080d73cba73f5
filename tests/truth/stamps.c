/* SPDX-License-Identifier: MIT */
/*
 * stamps.c - tells _giltruth when, within a call into CPython, the GIL changed hands.
 *
 * PyEval_RestoreThread has the GIL before it returns: it still unlocks its mutexes, which costs a system call or more
 * where others wait for them, and PyEval_SaveThread waits for a mutex before it lets go.  Both signal a condition
 * variable at the very instant.  This library, preloaded behind gilscope's, notes when the calling thread signalled
 * last, and how long it has waited in pthread_cond_wait, which is where a forced switch waits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "stamps.h"

static __thread struct giltruth_stamps stamps __attribute__((tls_model("initial-exec")));

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The default version: on x86-64 a plain dlsym may find the condition variables of before glibc 2.3.2. */
static void *next(const char *name)
{
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

const struct giltruth_stamps *giltruth_stamps(void)
{
    return &stamps;
}

int pthread_cond_signal(pthread_cond_t *c)
{
    static int (*real)(pthread_cond_t *);
    if (!real)
        real = (int (*)(pthread_cond_t *))next("pthread_cond_signal");
    stamps.signal_ns = now_ns();
    return real(c);
}

int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *);
    if (!real)
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *))next("pthread_cond_wait");
    int64_t begin = now_ns();
    int result = real(c, m);
    stamps.cond_wait_ns += now_ns() - begin;
    stamps.n_cond_waits++;
    return result;
}
