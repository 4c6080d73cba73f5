/* SPDX-License-Identifier: MIT */
/* shim-real.c - finds the functions that the shim stands in front of. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

#include "shim.h"

struct shim_real shim_real;

/* musl has no dlvsym; a weak reference keeps the shim loadable there. */
extern void *dlvsym(void *restrict, const char *restrict, const char *restrict) __attribute__((weak));

/* glibc <= 2.31 answers a plain dlsym for pthread_cond_* with the condition variables of 2.2.5, which have another
 * layout: ask for the versions that CPython itself is bound to first. */
static void *find(const char *name, const char *version)
{
    void *found = NULL;
    if (version && dlvsym)
        found = dlvsym(RTLD_NEXT, name, version);
    return found ? found : dlsym(RTLD_NEXT, name);
}

#if defined(__x86_64__)
#define COND_VERSION "GLIBC_2.3.2"
#else
#define COND_VERSION NULL
#endif

/* Each pointer is published as soon as it is known, those first that an allocator needs: a lookup may come back here
 * through malloc, on this thread, and must then find what it wants.  Threads that do this at the same time store the
 * same values. */
void shim_real_resolve(void)
{
    static const struct {
        size_t offset;
        const char *name, *version;
    } wanted[] = {
#define REAL(field, symbol, version) { offsetof(struct shim_real, field), symbol, version }
        REAL(mutex_lock, "pthread_mutex_lock", NULL),
        REAL(mutex_unlock, "pthread_mutex_unlock", NULL),
        REAL(mutex_init, "pthread_mutex_init", NULL),
        REAL(mutex_destroy, "pthread_mutex_destroy", NULL),
        REAL(cond_signal, "pthread_cond_signal", COND_VERSION),
        REAL(cond_wait, "pthread_cond_wait", COND_VERSION),
        REAL(cond_timedwait, "pthread_cond_timedwait", COND_VERSION),
        REAL(cond_init, "pthread_cond_init", COND_VERSION),
        REAL(cond_destroy, "pthread_cond_destroy", COND_VERSION),
        REAL(sem_post, "sem_post", NULL),
        REAL(sem_wait, "sem_wait", NULL),
        REAL(sem_trywait, "sem_trywait", NULL),
        REAL(sem_timedwait, "sem_timedwait", NULL),
        REAL(sem_init, "sem_init", NULL),
        REAL(sem_destroy, "sem_destroy", NULL),
        REAL(sem_clockwait, "sem_clockwait", NULL), /* glibc 2.30; a failed lookup allocates, so it comes last */
#undef REAL
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void **slot = (void **)((char *)&shim_real + wanted[i].offset);
        if (!__atomic_load_n(slot, __ATOMIC_ACQUIRE))
            __atomic_store_n(slot, find(wanted[i].name, wanted[i].version), __ATOMIC_RELEASE);
    }
}
