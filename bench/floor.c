/* SPDX-License-Identifier: MIT */
/*
 * floor.c - what any library costs that stands between an interpreter and the calls by which it takes and gives up the
 * GIL: it passes them on and measures nothing.  With CLOCK it reads the processor's counter in each signal, too: once
 * for a take and once for a release, which no exact account of holds can do without.  For bench/overhead.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* The last reading of this thread, so that it is not left out. */
__attribute__((tls_model("initial-exec"))) __thread volatile uint64_t floor_ticks;

static int (*real_lock)(pthread_mutex_t *);
static int (*real_unlock)(pthread_mutex_t *);
static int (*real_signal)(pthread_cond_t *);

static void find(const char *name, const char *version, void *pointer)
{
    void *found = version ? dlvsym(RTLD_NEXT, name, version) : NULL;
    if (!found)
        found = dlsym(RTLD_NEXT, name);
    memcpy(pointer, &found, sizeof found);
}

__attribute__((constructor)) static void find_all(void)
{
    find("pthread_mutex_lock", NULL, &real_lock);
    find("pthread_mutex_unlock", NULL, &real_unlock);
    find("pthread_cond_signal", "GLIBC_2.3.2", &real_signal);
}

int pthread_mutex_lock(pthread_mutex_t *m)
{
    return real_lock(m);
}

int pthread_mutex_unlock(pthread_mutex_t *m)
{
    return real_unlock(m);
}

int pthread_cond_signal(pthread_cond_t *c)
{
#ifdef CLOCK
#if defined __x86_64__
    floor_ticks = __builtin_ia32_rdtsc();
#elif defined __aarch64__
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    floor_ticks = t;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    floor_ticks = (uint64_t)t.tv_nsec;
#endif
#endif
    return real_signal(c);
}
