/* SPDX-License-Identifier: MIT */
/*
 * kill-at.c - a library to be preloaded behind the shim: kills the process in the KILL_AT-th pthread_mutex_unlock() that
 * is the first behind a pthread_cond_signal().  CPython's GIL is taken and given up with one each, when the shim has
 * seen it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __thread int signalled __attribute__((tls_model("initial-exec")));
static long left;

/* The next one of that name. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(function, &found, sizeof found);
}

/* The shim asks for this version, see shim-real.c. */
#if defined(__x86_64__)
__attribute__((symver("pthread_cond_signal@@GLIBC_2.3.2")))
#endif
int signal_and_remember(pthread_cond_t *c)
{
    static int (*function)(pthread_cond_t *);

    if (!function)
        find(&function, "pthread_cond_signal");
    signalled = 1;
    return function(c);
}
#if !defined(__x86_64__)
int pthread_cond_signal(pthread_cond_t *c) __attribute__((alias("signal_and_remember")));
#endif

int pthread_mutex_unlock(pthread_mutex_t *m)
{
    static int (*function)(pthread_mutex_t *);

    if (!function)
        find(&function, "pthread_mutex_unlock");
    if (signalled && left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
    signalled = 0;
    return function(m);
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("KILL_AT");

    left = text ? atol(text) : 0;
}
