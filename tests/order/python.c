/* SPDX-License-Identifier: MIT */
/*
 * python.c - threads that take and drop a GIL as the interpreter's do (Python/ceval_gil.c).
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "toggle.h"

static struct gil { /* for what the shim reads of it */
    unsigned long interval;
    uintptr_t last_holder;
    int locked;
    unsigned long switch_number;
    pthread_cond_t cond;
    pthread_mutex_t mutex;
    pthread_cond_t switch_cond;
    pthread_mutex_t switch_mutex;
} gil __attribute__((aligned(4096)));
static bool drop_request;

static void take_gil(struct process_thread *thread)
{
    struct process_span *wait = &thread->waits[thread->n_waits++], *hold = &thread->holds[thread->n_holds];

    *wait = *hold = (struct process_span){{UINT64_MAX, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    wait->from[0] = process_now;
    sim_mutex_lock(&gil.mutex);
    while (gil.locked) {
        unsigned long before = gil.switch_number;
        int result = sim_cond_timedwait(&gil.cond, &gil.mutex, NULL);
        if (result != ETIMEDOUT || !gil.locked || gil.switch_number != before)
            continue;
        if (thread->must_exit) {
            wait->to[0] = process_now;
            thread->exits = true;
            sim_mutex_unlock(&gil.mutex);
            return;
        }
        drop_request = true;
    }
    sim_mutex_lock(&gil.switch_mutex);
    gil.locked = 1;
    if (gil.last_holder != thread->number) {
        gil.last_holder = thread->number;
        gil.switch_number++;
    }
    wait->to[0] = hold->from[0] = process_now;
    sim_cond_signal(&gil.switch_cond);
    wait->to[1] = hold->from[1] = process_now;
    thread->n_holds++;
    sim_mutex_unlock(&gil.switch_mutex);
    drop_request = false;
    sim_mutex_unlock(&gil.mutex);
}

static void drop_gil(struct process_thread *thread)
{
    struct process_span *hold = &thread->holds[thread->n_holds - 1];

    sim_mutex_lock(&gil.mutex);
    gil.locked = 0;
    hold->to[0] = process_now;
    sim_cond_signal(&gil.cond);
    hold->to[1] = process_now;
    sim_mutex_unlock(&gil.mutex);
    if (!drop_request)
        return;
    sim_mutex_lock(&gil.switch_mutex);
    if (gil.last_holder == thread->number) {
        drop_request = false;
        sim_cond_wait(&gil.switch_cond, &gil.switch_mutex);
    }
    sim_mutex_unlock(&gil.switch_mutex);
}

static void act(struct process_thread *thread, char what)
{
    switch (what) {
    case 't':
        take_gil(thread);
        break;
    case 'd':
        drop_gil(thread);
        break;
    case 'c':
        if (T.rec)
            T.cpu_burst = 1;
        break;
    case 'x':
        thread->must_exit = true;
        break;
    case '!':
        toggle_append(&process_file.header);
        break;
    case '.':
        process_now += 1000;
        process_yield();
        break;
    default:
        exit(99);
    }
}

static void run_thread(void)
{
    struct process_thread *thread = &process_threads[process_running];

    for (const char *at = thread->script; *at && !thread->exits; at++)
        act(thread, *at);
    for (int round = 0; round < 2 && thread->key_value; round++) { /* PTHREAD_DESTRUCTOR_ITERATIONS is more */
        void *value = thread->key_value;
        thread->key_value = NULL;
        process_destructor(value);
    }
    if (thread->exits)
        thread->waits[thread->n_waits - 1].to[1] = process_now;
    thread->done = true;
    process_yield();
    abort();
}

static void create_gil(void)
{
    memset(&gil, 0, sizeof gil);
    gil.interval = 5000;
    gil.locked = -1;
    sim_mutex_init(&gil.mutex, NULL);
    sim_mutex_init(&gil.switch_mutex, NULL);
    sim_cond_init(&gil.cond, NULL);
    sim_cond_init(&gil.switch_cond, NULL);
    gil.locked = 0;
    drop_request = false;
}

void order_run(const char *const *scripts, order_choose *choose, void *with)
{
    process_forget();
    create_gil();
    for (process_n_threads = 0; scripts[process_n_threads]; process_n_threads++) {
        process_threads[process_n_threads].script = scripts[process_n_threads];
        process_threads[process_n_threads].number = process_n_threads + 1;
    }
    process_go(run_thread, choose, with);
}
