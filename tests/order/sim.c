/* SPDX-License-Identifier: MIT */
/*
 * sim.c - threads that take turns as the search says, and the libc that they have: see sim.h.
 */
#include "sim.h"

#include <errno.h>
#include <string.h>

#include "process.h"
#include "recfile.h"
#include "shim-fold.h"
#include "shim-route.h"
#include "shim-thread.h"

#undef __atomic_load_n

struct process_thread process_threads[ORDER_THREADS];
unsigned process_n_threads, process_running;
uint64_t process_now;
void (*process_destructor)(void *);
struct shim_real shim_real;
struct shim_next shim_next;

static char stacks[ORDER_THREADS][PROCESS_STACK_BYTES] __attribute__((aligned(64)));
static ucontext_t search;
static bool in_search;
static unsigned n_switches;
static order_choose *choose;
static void *choose_with;

/* --- threads that take turns -------------------------------------------------------------------------------------- */
/* Who has a mutex, + 1: in its first int, which is glibc's lock word. */
static int *owner_of(pthread_mutex_t *m)
{
    return (int *)m;
}

static bool is_free(pthread_mutex_t *m)
{
    return *owner_of(m) == 0;
}

static bool can_go_on(const struct process_thread *thread)
{
    if (thread->done || (thread->waits_for && !thread->woken && !thread->timed))
        return false;
    return !thread->wants || is_free(thread->wants);
}

static void pick(bool of_its_own_accord)
{
    struct process_thread *last = &process_threads[process_running];
    struct order_point point = {process_running, process_n_threads, of_its_own_accord, {false}, {false}};

    for (unsigned i = 0; i < process_n_threads; i++) {
        const struct process_thread *thread = &process_threads[i];
        point.can[i] = can_go_on(thread);
        point.asleep[i] = thread->waits_for && !thread->woken;
    }
    unsigned next = choose(choose_with, &point);
    if (next == process_running)
        return;
    last->t = shim_thread;
    if (next == ORDER_NONE) {
        swapcontext(&last->context, &search);
        return;
    }
    process_now += 100 + 37 * (++n_switches % 11);
    shim_thread = process_threads[next].t;
    process_running = next;
    swapcontext(&last->context, &process_threads[next].context);
}

void process_yield(void)
{
    pick(true);
}

void sim_point(void)
{
    if (in_search)
        pick(false);
}

uint64_t sim_ticks(void)
{
    sim_point();
    process_now += 3;
    return process_now;
}

uint64_t recfile_now(uint32_t clock)
{
    (void)clock;
    return sim_ticks();
}

void process_forget(void)
{
    memset(&shim_pages, 0, sizeof shim_pages);
    memset(&shim_thread, 0, sizeof shim_thread);
    memset(&shim_sink, 0, sizeof shim_sink);
    memset(process_file.bytes, 0, process_used);
    memset(process_threads, 0, sizeof process_threads);
    process_used = REC_HEADER_BYTES;
    process_now = 1000000;
    process_running = n_switches = 0;
    shim_fold_forget();
    shim_real_resolve();
    shim_route_set();
}

void process_go(void (*run)(void), order_choose *function, void *with)
{
    choose = function;
    choose_with = with;
    process_threads[0].t = shim_thread;
    for (unsigned i = 0; i < process_n_threads; i++) {
        struct process_thread *thread = &process_threads[i];
        getcontext(&thread->context);
        thread->context.uc_stack.ss_sp = stacks[i];
        thread->context.uc_stack.ss_size = PROCESS_STACK_BYTES;
        makecontext(&thread->context, run, 0);
    }
    in_search = true;
    swapcontext(&search, &process_threads[0].context);
    in_search = false;
}

/* --- libc ----------------------------------------------------------------------------------------------------------
 */
static int real_lock(pthread_mutex_t *m)
{
    struct process_thread *thread = &process_threads[process_running];

    sim_point();
    thread->wants = m;
    while (!is_free(m))
        process_yield();
    thread->wants = NULL;
    *owner_of(m) = (int)process_running + 1;
    return 0;
}

int sim_mutex_trylock(pthread_mutex_t *m)
{
    struct process_thread *thread = &process_threads[process_running];

    sim_point();
    if (is_free(m)) {
        *owner_of(m) = (int)process_running + 1;
        return 0;
    }
    thread->wants = m; /* it will give its processor away, and come back */
    process_yield();
    thread->wants = NULL;
    return EBUSY;
}

static int real_unlock(pthread_mutex_t *m)
{
    *owner_of(m) = 0;
    sim_point();
    return 0;
}

static int real_signal(pthread_cond_t *c)
{
    sim_point();
    for (unsigned i = 0; i < process_n_threads; i++)
        if (process_threads[i].waits_for == c && !process_threads[i].woken) {
            process_threads[i].woken = true;
            break;
        }
    return 0;
}

static int wait_on(pthread_cond_t *c, pthread_mutex_t *m, bool timed)
{
    struct process_thread *thread = &process_threads[process_running];

    thread->waits_for = c;
    thread->timed = timed;
    thread->woken = false;
    *owner_of(m) = 0;
    thread->wants = m;
    do
        process_yield();
    while (!can_go_on(thread));
    bool woken = thread->woken;
    thread->waits_for = NULL;
    thread->wants = NULL;
    *owner_of(m) = (int)process_running + 1;
    sim_point();
    return woken ? 0 : ETIMEDOUT;
}

static int real_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    return wait_on(c, m, false);
}

static int real_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    struct process_thread *thread = &process_threads[process_running];
    struct process_span *wait = &thread->waits[thread->n_waits - 1];

    (void)until;
    if (wait->from[1] == UINT64_MAX)
        wait->from[1] = process_now;
    return wait_on(c, m, true);
}

static int real_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    (void)attr;
    memset(m, 0, sizeof *m);
    return 0;
}

static int real_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    (void)attr;
    memset(c, 0, sizeof *c);
    return 0;
}

int sim_key_create(pthread_key_t *key, void (*function)(void *))
{
    *key = 0;
    process_destructor = function;
    return 0;
}

int sim_setspecific(pthread_key_t key, const void *value)
{
    (void)key;
    process_threads[process_running].key_value = (void *)(uintptr_t)value;
    return 0;
}

void shim_real_resolve(void)
{
    shim_real.mutex_lock = real_lock;
    shim_real.mutex_unlock = real_unlock;
    shim_real.mutex_init = real_init;
    shim_real.cond_init = real_cond_init;
    shim_real.cond_signal = real_signal;
    shim_real.cond_wait = real_wait;
    shim_real.cond_timedwait = real_timedwait;
}
