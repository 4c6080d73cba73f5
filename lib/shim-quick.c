/* SPDX-License-Identifier: MIT */
/* shim-quick.c - whether glibc's first steps may be done on the spot (shim-quick.h). */
#define _GNU_SOURCE
#include "shim-quick.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim-libc.h"

/* glibc 2.25 made the condition variable what it is, 2.32 says whether the process has one thread only; up to the last
 * that has been looked at.  With another one all calls are passed on. */
enum { FIRST_MINOR = 32, LAST_MINOR = 43 };

static bool known_version(void)
{
    const char *version = gnu_get_libc_version ? gnu_get_libc_version() : "";
    char *end;
    if (strncmp(version, "2.", 2) != 0)
        return false;
    long minor = strtol(version + 2, &end, 10);
    return end != version + 2 && minor >= FIRST_MINOR && minor <= LAST_MINOR;
}

/* Is it libc's own?  Another library in between (a sanitizer, another profiler) has to see all calls. */
static bool of_libc(const void *function)
{
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/'), *name = slash ? slash + 1 : info.dli_fname;
    return strcmp(name, "libc.so.6") == 0 || strcmp(name, "libpthread.so.0") == 0;
}

/* helgrind and drd see libc's functions where they are translated, and would miss those that are not called. */
static bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload_");
}

static bool is_fresh(const pthread_mutex_t *m)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    return memcmp(m, &fresh, sizeof fresh) == 0;
}

/* The real functions store what is stored here, and know what has been. */
static bool agrees(void)
{
    pthread_mutex_t m;
    if (shim_real.mutex_init(&m, NULL) != 0 || !is_fresh(&m))
        return false;
    pthread_mutex_t ours = m;
    if (shim_real.mutex_lock(&m) != 0)
        return false;
    ours.__data.__lock = 1;
    ours.__data.__owner = (int)syscall(SYS_gettid);
    ours.__data.__nusers = 1;
    bool same = memcmp(&m, &ours, sizeof m) == 0;
    return shim_real.mutex_unlock(&ours) == 0 && is_fresh(&ours) && same && shim_real.mutex_unlock(&m) == 0;
}

static bool chosen;

void shim_quick_choose(void)
{
#ifndef __SANITIZE_THREAD__ /* it has to see the locks */
    chosen = &__libc_single_threaded && known_version() && !under_valgrind() && of_libc((void *)shim_real.mutex_lock) &&
             of_libc((void *)shim_real.mutex_unlock) && of_libc((void *)shim_real.cond_signal) && agrees();
    if (chosen)
        shim_next.single_threaded = &__libc_single_threaded;
#endif
}

/* CPython's condition variables use CLOCK_MONOTONIC (init_condattr, Python/thread_pthread.h, 3.8 to 3.15), which is bit
 * 1 of the word that counts references (__PTHREAD_COND_CLOCK_MONOTONIC_MASK, nptl/pthread_cond_common.c) and all that a
 * new one has in it.  That word has moved: 36, and 28 from where g_refs is gone.  0 = somewhere else. */
static uint32_t waiters_at(const void *cond)
{
    uint32_t words[sizeof(pthread_cond_t) / 4], at = 0;
    memcpy(words, cond, sizeof words);
    for (uint32_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (words[i] == 0)
            continue;
        if (words[i] != 2 || at)
            return 0;
        at = i * 4;
    }
    return at == 36 || at == 28 ? at : 0;
}

void shim_quick_learn(const void *c, const void *sc, const void *m, const void *sm)
{
    bool known = chosen && is_fresh(m) && is_fresh(sm);
    uint32_t at = waiters_at(c);
    T.tid = 0; /* a forked child has another one */
    shim_next.waiters_at = known && at == waiters_at(sc) ? at : 0;
    SHIM.quick_mutex = known ? m : NULL;
    SHIM.quick_switch_mutex = known ? sm : NULL;
}

int shim_quick_lock_real(pthread_mutex_t *m)
{
    int result = shim_real.mutex_lock(m);
    if (SHIM.quick_mutex && result == 0)
        T.tid = m->__data.__owner;
    return result;
}
