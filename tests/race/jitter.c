/* SPDX-License-Identifier: MIT */
/*
 * jitter.c - a library to be preloaded in front of the shim and behind it: around each call by which a GIL changes
 * hands it lets the thread wait for a moment, now and then, so that threads meet in places where they hardly ever do.
 *
 *   JITTER_SEED      which moments: they follow from it, from the thread and from how many calls it has made
 *   JITTER_ONE_IN    such a call waits (8)
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread uint64_t state __attribute__((tls_model("initial-exec")));
static uint64_t seed, one_in = 8;

static uint64_t draw(void)
{
    if (!state)
        state = (seed + (uint64_t)syscall(SYS_gettid) + 1) * 0x9e3779b97f4a7c15u | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 11;
}

/* Nothing, most of the time; else gives the processor away, spins, or sleeps for up to 100 us. */
static void wait_a_moment(void)
{
    uint64_t r = draw();

    if (r % one_in)
        return;
    r /= one_in;
    switch (r % 4) {
    case 0:
        sched_yield();
        break;
    case 1:
        syscall(SYS_nanosleep, &(struct timespec){0, (long)(r / 4 % 100000)}, NULL);
        break;
    default:
        for (uint64_t n = r / 4 % 2000; n; n--)
            __asm__ volatile("" ::: "memory");
    }
}

/* The next one of that name.  A thread that is the first to ask is alone, or stores what others store, too. */
static void *next(void **slot, const char *name)
{
    void *found = __atomic_load_n(slot, __ATOMIC_RELAXED);

    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        __atomic_store_n(slot, found, __ATOMIC_RELAXED);
    }
    return found;
}

#define AROUND(name, parameters, arguments)                                                                            \
    int name parameters                                                                                                \
    {                                                                                                                  \
        static void *slot;                                                                                             \
        int(*function) parameters;                                                                                     \
        void *found = next(&slot, #name);                                                                              \
        memcpy(&function, &found, sizeof found);                                                                       \
        wait_a_moment();                                                                                               \
        int result = function arguments;                                                                               \
        wait_a_moment();                                                                                               \
        return result;                                                                                                 \
    }
AROUND(pthread_mutex_lock, (pthread_mutex_t * m), (m))
AROUND(pthread_mutex_unlock, (pthread_mutex_t * m), (m))
AROUND(pthread_cond_signal, (pthread_cond_t * c), (c))
AROUND(pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
AROUND(pthread_cond_timedwait, (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *until), (c, m, until))

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("JITTER_SEED");

    seed = text ? strtoull(text, NULL, 10) : 0;
    text = getenv("JITTER_ONE_IN");
    if (text && strtoull(text, NULL, 10))
        one_in = strtoull(text, NULL, 10);
}
