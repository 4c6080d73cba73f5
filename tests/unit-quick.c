/* SPDX-License-Identifier: MIT */
/*
 * unit-quick.c - the library's own first steps of a lock, an unlock and a signal, among glibc's: threads that use the
 * one and the other by turns exclude each other, wake each other, and leave nothing behind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "shim-quick.h"
#include "unit-check.h"

enum { THREADS = 4, TURNS = 200000, HANDOVERS = 20000, WAIT_S = 60, NOT_HERE = 77 };

union shim_pages shim_pages;
__thread struct shim_thread shim_thread;
struct shim_real shim_real;
static const char several;
struct shim_next shim_next = {.single_threaded = &several};

/* As in struct _gil_runtime_state. */
static struct {
    pthread_cond_t cond;
    pthread_mutex_t mutex;
    pthread_cond_t switch_cond;
    pthread_mutex_t switch_mutex;
} gil;

static void make_gil(bool monotonic, bool recursive)
{
    pthread_condattr_t by_clock;
    pthread_mutexattr_t by_type;
    pthread_condattr_init(&by_clock);
    if (monotonic)
        pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
    pthread_mutexattr_init(&by_type);
    pthread_mutexattr_settype(&by_type, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&gil.mutex, recursive ? &by_type : NULL);
    pthread_mutex_init(&gil.switch_mutex, NULL);
    pthread_cond_init(&gil.cond, &by_clock);
    pthread_cond_init(&gil.switch_cond, &by_clock);
    shim_quick_learn(&gil.cond, &gil.switch_cond, &gil.mutex, &gil.switch_mutex);
}

static int others_lock(pthread_mutex_t *m)
{
    return pthread_mutex_lock(m);
}

static void find_real(void)
{
    *(void **)&shim_real.mutex_init = dlsym(RTLD_DEFAULT, "pthread_mutex_init");
    *(void **)&shim_real.mutex_lock = dlsym(RTLD_DEFAULT, "pthread_mutex_lock");
    *(void **)&shim_real.mutex_unlock = dlsym(RTLD_DEFAULT, "pthread_mutex_unlock");
    *(void **)&shim_real.cond_signal = dlsym(RTLD_DEFAULT, "pthread_cond_signal");
}

/* --- when it is not done ----------------------------------------------------------------------------------------- */
static void test_not_with_what_is_unknown(void)
{
    make_gil(true, true);
    CHECK(!SHIM.quick_mutex && !SHIM.quick_switch_mutex && !shim_next.waiters_at);
    make_gil(false, false);
    CHECK(!shim_next.waiters_at);

    shim_real.mutex_lock = others_lock;
    shim_quick_choose();
    make_gil(true, false);
    CHECK(!SHIM.quick_mutex);
    find_real();

    setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_helgrind-amd64-linux.so", 1);
    shim_quick_choose();
    make_gil(true, false);
    CHECK(!SHIM.quick_mutex);
    unsetenv("LD_PRELOAD");

    shim_quick_choose();
    make_gil(true, false);
    CHECK(SHIM.quick_mutex == &gil.mutex && SHIM.quick_switch_mutex == &gil.switch_mutex && shim_next.waiters_at);
}

/* --- that it is the same ----------------------------------------------------------------------------------------- */
static void test_same_bytes(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_t real = fresh, ours = fresh;

    CHECK_NUMBER(shim_quick_lock(&gil.mutex), 0); /* learns the thread's id */
    CHECK_NUMBER(shim_quick_unlock(&gil.mutex), 0);
    CHECK(T.tid != 0);
    CHECK_NUMBER(shim_real.mutex_lock(&real), 0);
    CHECK_NUMBER(shim_quick_lock(&ours), 0);
    CHECK(memcmp(&real, &ours, sizeof real) == 0);
    CHECK_NUMBER(pthread_mutex_trylock(&ours), EBUSY);
    CHECK_NUMBER(shim_quick_unlock(&real), 0);
    CHECK_NUMBER(shim_real.mutex_unlock(&ours), 0);
    CHECK(memcmp(&real, &fresh, sizeof real) == 0);
    CHECK(memcmp(&ours, &fresh, sizeof ours) == 0);
}

/* --- that threads exclude each other ----------------------------------------------------------------------------- */
static unsigned long counter; /* under gil.mutex */

static void *take_turns(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed;

    for (int i = 0; i < TURNS; i++) {
        random = random * 1664525 + 1013904223;
        if (random >> 31)
            shim_quick_lock(&gil.mutex);
        else
            pthread_mutex_lock(&gil.mutex);
        unsigned long was = *(volatile unsigned long *)&counter;
        if ((random >> 20 & 63) == 0)
            sched_yield(); /* so that others come, and sleep */
        *(volatile unsigned long *)&counter = was + 1;
        if (random >> 30 & 1)
            shim_quick_unlock(&gil.mutex);
        else
            pthread_mutex_unlock(&gil.mutex);
    }
    return NULL;
}

static void test_exclusion(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_NUMBER(pthread_create(&threads[i], NULL, take_turns, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_NUMBER(counter, (long)THREADS * TURNS);
    CHECK(memcmp(&gil.mutex, &fresh, sizeof fresh) == 0);
}

/* --- that no signal is lost -------------------------------------------------------------------------------------- */
static int turn;    /* whose it is, under gil.mutex */
static int late;    /* waits that no signal ended */
static int settled; /* signals that nobody waited for */

static void *hand_over(void *me)
{
    int mine = (int)(uintptr_t)me;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    for (int i = 0; i < HANDOVERS; i++) {
        shim_quick_lock(&gil.mutex);
        while (turn != mine && !late)
            if (pthread_cond_timedwait(&gil.cond, &gil.mutex, &until) == ETIMEDOUT)
                late++;
        turn = !mine;
        shim_quick_lock(&gil.switch_mutex);
        settled += shim_quick_signal(&gil.switch_cond) == 0;
        shim_quick_unlock(&gil.switch_mutex);
        shim_quick_signal(&gil.cond);
        shim_quick_unlock(&gil.mutex);
    }
    return NULL;
}

static void test_signals(void)
{
    pthread_t threads[2];

    for (uintptr_t i = 0; i < 2; i++)
        CHECK_NUMBER(pthread_create(&threads[i], NULL, hand_over, (void *)i), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_NUMBER(late, 0);
    CHECK_NUMBER(settled, 2 * HANDOVERS);
}

int main(void)
{
    alarm(2 * WAIT_S); /* a thread that nobody wakes sleeps for ever */
    find_real();
    shim_quick_choose();
    make_gil(true, false);
    if (!SHIM.quick_mutex) {
        fprintf(stderr, "this C library's locks are not known, all calls are passed on\n");
        return NOT_HERE;
    }
    test_not_with_what_is_unknown();
    test_same_bytes();
    test_exclusion();
    test_signals();
    return check_result();
}
