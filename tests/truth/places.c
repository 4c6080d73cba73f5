/* SPDX-License-Identifier: MIT */
/*
 * places.c - functions that keep the GIL or let go of it for a known time, for tests/test_stacks.py.
 *
 * Loaded with ctypes.PyDLL, which keeps the GIL.  The few functions of CPython that are needed have been the same for
 * ever; without its headers, one library serves all interpreters.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "places.h"

extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *);

int64_t lets_go_ns, keeps_and_lets_go_ns; /* time spent without the GIL in these functions, by one thread */

/* No inlining and no tail calls: each function is to be found on the stack. */
#define PLACE __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void spin(int64_t us)
{
    for (int64_t end = now_ns() + us * 1000; now_ns() < end;)
        ;
}

static void nap(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, 0);
}

/* Keeps the GIL, busy or asleep. */
PLACE void keeps(int64_t us)
{
    spin(us);
}

PLACE void naps_keeping(int64_t us)
{
    nap(us);
}

/* Lets go of it. */
PLACE void lets_go(int64_t us)
{
    int64_t from = now_ns();
    void *state = PyEval_SaveThread();
    spin(us);
    lets_go_ns += now_ns() - from;
    PyEval_RestoreThread(state);
}

/* The same; returns how long it then waited to have it again, ns. */
PLACE int64_t lets_go_and_waits(int64_t us)
{
    void *state = PyEval_SaveThread();
    spin(us);
    int64_t from = now_ns();
    PyEval_RestoreThread(state);
    return now_ns() - from;
}

PLACE void sleeps(int64_t us)
{
    void *state = PyEval_SaveThread();
    nap(us);
    PyEval_RestoreThread(state);
}

/* The same; returns how long the GIL had been held since the end of the call before, ns. */
PLACE int64_t sleeps_and_tells(int64_t us)
{
    static __thread int64_t taken_ns;
    int64_t held_ns = taken_ns ? now_ns() - taken_ns : 0;
    sleeps(us);
    taken_ns = now_ns();
    return held_ns;
}

/* Keeps it, then lets go of it for an instant. */
PLACE void keeps_and_lets_go(int64_t us, int64_t released_us)
{
    spin(us);
    int64_t from = now_ns();
    void *state = PyEval_SaveThread();
    spin(released_us);
    keeps_and_lets_go_ns += now_ns() - from;
    PyEval_RestoreThread(state);
}

/* Calls back from a thread that Python does not know. */
static void *call(void *function)
{
    ((void (*)(void))function)();
    return NULL;
}

PLACE void in_native_thread(void (*function)(void))
{
    void *state = PyEval_SaveThread();
    pthread_t thread;
    if (pthread_create(&thread, NULL, call, (void *)function) == 0)
        pthread_join(thread, NULL);
    PyEval_RestoreThread(state);
}

PLACE void calls_back(void (*function)(void))
{
    function();
}

/* Loads and unloads a library n times without the GIL; its constructor asks for it (constructor.c). */
PLACE int loads(const char *path, int n)
{
    void *state = PyEval_SaveThread();
    int done = 0;
    for (int i = 0; i < n; i++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        done += library && dlclose(library) == 0;
    }
    PyEval_RestoreThread(state);
    return done;
}
