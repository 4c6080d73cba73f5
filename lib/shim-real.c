/* SPDX-License-Identifier: MIT */
/* shim-real.c - finds the functions that the shim stands in front of. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "shim-libc.h"
#include "shim.h"

/* Calls that come before anything has been looked up.  resolving: the look-up itself came back here, through an
 * allocator that takes a mutex; at that time there is one thread, and nothing to lock against. */
static __thread int resolving __attribute__((tls_model("initial-exec")));

#define FIRST(name, parameters, arguments, meanwhile)                                                                  \
    static int first_##name parameters                                                                                 \
    {                                                                                                                  \
        if (shim_real.name == first_##name && !resolving)                                                              \
            shim_real_resolve();                                                                                       \
        return shim_real.name == first_##name ? meanwhile : shim_real.name arguments;                                  \
    }
FIRST(mutex_lock, (pthread_mutex_t * m), (m), 0)
FIRST(mutex_unlock, (pthread_mutex_t * m), (m), 0)
FIRST(mutex_init, (pthread_mutex_t * m, const pthread_mutexattr_t *a), (m, a), ENOSYS)
FIRST(mutex_destroy, (pthread_mutex_t * m), (m), ENOSYS)
FIRST(cond_init, (pthread_cond_t * c, const pthread_condattr_t *a), (c, a), ENOSYS)
FIRST(cond_destroy, (pthread_cond_t * c), (c), ENOSYS)
FIRST(cond_signal, (pthread_cond_t * c), (c), 0)
FIRST(cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m), ENOSYS)
FIRST(cond_timedwait, (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *t), (c, m, t), ENOSYS)
FIRST(sem_init, (sem_t * s, int shared, unsigned v), (s, shared, v), (errno = ENOSYS, -1))
FIRST(sem_destroy, (sem_t * s), (s), (errno = ENOSYS, -1))
FIRST(sem_post, (sem_t * s), (s), (errno = ENOSYS, -1))
FIRST(sem_trywait, (sem_t * s), (s), (errno = ENOSYS, -1))
FIRST(sem_wait, (sem_t * s), (s), (errno = ENOSYS, -1))
FIRST(sem_timedwait, (sem_t * s, const struct timespec *t), (s, t), (errno = ENOSYS, -1))
FIRST(sem_clockwait, (sem_t * s, clockid_t clock, const struct timespec *t), (s, clock, t), (errno = ENOSYS, -1))
FIRST(pipe2, (int *fds, int flags), (fds, flags), (errno = ENOSYS, -1))
FIRST(sigaction, (int n, const struct sigaction *a, struct sigaction *old), (n, a, old), (errno = ENOSYS, -1))

static sighandler_t first_signal(int n, sighandler_t handler)
{
    if (!resolving)
        shim_real_resolve();
    if (!resolving && shim_real.signal != first_signal)
        return shim_real.signal(n, handler);
    errno = ENOSYS;
    return SIG_ERR;
}

struct shim_real shim_real = {
    first_mutex_lock,    first_mutex_unlock, first_mutex_init,  first_mutex_destroy,  first_cond_init,
    first_cond_destroy,  first_cond_signal,  first_cond_wait,   first_cond_timedwait, first_sem_init,
    first_sem_destroy,   first_sem_post,     first_sem_trywait, first_sem_wait,       first_sem_timedwait,
    first_sem_clockwait, first_pipe2,        first_sigaction,   first_signal,
};

static const char several_threads;
struct shim_next shim_next = {
    .mutex_lock = first_mutex_lock,
    .mutex_unlock = first_mutex_unlock,
    .cond_signal = first_cond_signal,
    .single_threaded = &several_threads,
};

/* glibc <= 2.31 answers a plain dlsym for pthread_cond_* with the condition variables of 2.2.5, which have another
 * layout: ask for the versions that CPython itself is bound to.  But not past a library in between that has no
 * versions: it has to see these calls like those that have none. */
static bool of_one_library(const void *a, const void *b)
{
    Dl_info of_a, of_b;
    return !dladdr(a, &of_a) || !dladdr(b, &of_b) || of_a.dli_fbase == of_b.dli_fbase;
}

static void *find(const char *name, const char *version)
{
    void *next = dlsym(RTLD_NEXT, name);
    void *found = version && dlvsym ? dlvsym(RTLD_NEXT, name, version) : NULL;
    return found && (!next || of_one_library(next, found)) ? found : next;
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
#define REAL(field, symbol, version) {offsetof(struct shim_real, field), symbol, version}
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
        REAL(pipe2, "pipe2", NULL),
        REAL(sigaction, "sigaction", NULL),
        REAL(signal, "signal", NULL),
        REAL(sem_clockwait, "sem_clockwait", NULL), /* glibc 2.30; a failed lookup allocates, so it comes last */
#undef REAL
    };
    static int resolved;
    if (__atomic_load_n(&resolved, __ATOMIC_ACQUIRE))
        return;
    resolving++;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = find(wanted[i].name, wanted[i].version);
        if (found)
            __atomic_store_n((void **)((char *)&shim_real + wanted[i].offset), found, __ATOMIC_RELEASE);
    }
    shim_next.mutex_lock = shim_real.mutex_lock;
    shim_next.mutex_unlock = shim_real.mutex_unlock;
    shim_next.cond_signal = shim_real.cond_signal;
    resolving--;
    __atomic_store_n(&resolved, 1, __ATOMIC_RELEASE);
}
