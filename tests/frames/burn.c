/* SPDX-License-Identifier: MIT */
/* burn.c - threads that compute and know nothing of Python, like those that OpenMP or BLAS start; called with ctypes. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define MOST 16

static pthread_t threads[MOST];
static int n_threads, stop;
static int64_t used_ns; /* by threads that have ended */

static void *burn(void *unused)
{
    volatile uint64_t x = 1;
    struct timespec used;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        for (int i = 0; i < 1000; i++)
            x = x * 6364136223846793005u + 1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    __atomic_fetch_add(&used_ns, used.tv_sec * 1000000000 + used.tv_nsec, __ATOMIC_RELAXED);
    return unused;
}

int burn_start(int n)
{
    for (stop = 0; n_threads < n && n_threads < MOST; n_threads++)
        if (pthread_create(&threads[n_threads], NULL, burn, NULL))
            return -1;
    return 0;
}

/* CPU time that they used, all of them since the library was loaded. */
int64_t burn_stop(void)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    while (n_threads)
        pthread_join(threads[--n_threads], NULL);
    return used_ns;
}
