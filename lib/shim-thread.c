/* SPDX-License-Identifier: MIT */
/* shim-thread.c - a thread's record: made, kept up, closed. */
#define _GNU_SOURCE
#include "shim-thread.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim-account.h"
#include "shim-clock.h"
#include "shim-file.h"
#include "shim-fold.h"
#include "shim-life.h"
#include "shim-name.h"
#include "shim-text.h"

__thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));
struct rec_thread shim_sink;

static pthread_key_t key;
static bool key_made;
static uint32_t next_index;

/* A burst of three readings encloses at least one whole hold and one whole released interval; at about 0.4 us each,
 * one burst in this time keeps them below 1 % of the thread's time (a reading costs up to 0.5 us in some guests). */
#define BURST_READINGS 3
#define BURST_EVERY_US 150
#define BEAT_EVERY_US  100000
#define NAME_AGAIN_US  1000000
#define NAME_TRIES     8
#define LONG_ENOUGH_FOR_SCHEDSTAT_US 10000

static void thread_end(void *unused);

void shim_thread_init(void)
{
    if (!key_made)
        key_made = pthread_key_create(&key, thread_end) == 0;
}

uint64_t shim_thread_cpu_ns(uint32_t tid)
{
    /* The clock of a thread by its id: linux/posix-timers.h, MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED). */
    clockid_t clock = tid ? (clockid_t)((~(unsigned)tid << 3) | 6u) : CLOCK_THREAD_CPUTIME_ID;
    struct timespec ts;
    if (clock_gettime(clock, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Time that thread tid was runnable without a processor, ns: the second number of schedstat
 * (Documentation/scheduler/sched-stats.rst).  0 where the kernel does not tell. */
static uint64_t run_delay_ns(uint32_t tid)
{
    char path[64], line[96];
    struct shim_text text;
    shim_text_init(&text, path, sizeof path);
    shim_text_add(&text, "/proc/self/task/");
    shim_text_number(&text, tid);
    shim_text_add(&text, "/schedstat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    if (n <= 0)
        return 0;
    line[n] = 0;
    const char *c = strchr(line, ' ');
    uint64_t value = 0;
    for (c = c ? c + 1 : ""; *c >= '0' && *c <= '9'; c++)
        value = value * 10 + (uint64_t)(*c - '0');
    return value;
}

void shim_thread_attach(uint64_t since, bool main_thread)
{
    int saved_errno = errno;
    struct rec_thread *tr = T.rec;
    uint32_t n_toggles = *SHIM.n_toggles;
    if (tr && T.state == REC_STATE_ENDED && T.generation == 0 && T.ended_generation == SHIM.generation) {
        /* A destructor of another key still uses Python: the record goes on where it ended. */
        T.generation = SHIM.generation;
        if (tr != &shim_sink) {
            tr->end_ticks = 0;
            tr->state = T.state = REC_STATE_RELEASED;
        }
        errno = saved_errno;
        return;
    }
    uint32_t n_inits = T.n_inits;
    memset(&T, 0, sizeof T);
    T.n_inits = n_inits;
    T.busy = 1;
    tr = shim_fold_reuse();
    if (!tr)
        tr = shim_file_record(sizeof *tr);
    if (tr) {
        uint32_t index = __atomic_add_fetch(&next_index, 1, __ATOMIC_RELAXED);
        tr->index = index;
        tr->tid = (uint32_t)syscall(SYS_gettid);
        tr->flags = main_thread ? REC_THREAD_MAIN : 0;
        tr->pthread_id = (uint64_t)pthread_self();
        tr->start_ticks = since;
        tr->n_toggles = n_toggles;
        tr->state = REC_STATE_RELEASED;
        tr->state_ticks = since;
        tr->cpu_last_ns = main_thread ? shim_life_start_cpu_ns() : shim_thread_cpu_ns(0);
        shim_file_publish(tr, REC_THREAD);
        __atomic_fetch_add(&SHIM.header->n_threads, 1, __ATOMIC_RELAXED);
        if (key_made)
            pthread_setspecific(key, tr);
    } else {
        tr = &shim_sink;
        shim_file_loss(REC_LOSS_THREADS);
    }
    T.rec = tr;
    T.state = REC_STATE_RELEASED;
    T.since = since;
    /* With a pause behind us, the first event has to say what the thread was doing (shim_account_sync). */
    T.n_toggles = n_toggles && !(n_toggles & 1) ? n_toggles - 1 : n_toggles;
    T.generation = SHIM.generation;
    T.busy = 0;
    errno = saved_errno;
}

/* --- CPU time ---------------------------------------------------------------------------------------------------- */
static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Waiting uses a little CPU time too, entering and leaving the kernel: no state is given more than it lasted. */
static uint64_t cap_ns(uint64_t ns, uint64_t ticks)
{
    return least(ns, ticks * 1010 / shim_clock_ticks_per_us());
}

static void read_cpu(struct rec_thread *tr)
{
    uint64_t now = shim_thread_cpu_ns(0);
    uint64_t held = tr->cpu_pending_held_ticks, released = tr->cpu_pending_released_ticks;
    uint64_t used = now > tr->cpu_last_ns ? now - tr->cpu_last_ns : 0;
    if (tr->cpu_last_ns == 0) {
        /* just resumed: nothing to compare with */
    } else if (released == 0) {
        tr->cpu_exact_held_ns += cap_ns(used, held);
        tr->cpu_exact_held_ticks += held;
    } else if (held == 0) {
        tr->cpu_exact_released_ns += cap_ns(used, released);
        tr->cpu_exact_released_ticks += released;
    } else {
        tr->cpu_mixed_ns += cap_ns(used, held + released);
        tr->cpu_mixed_held_ticks += held;
        tr->cpu_mixed_released_ticks += released;
    }
    tr->cpu_pending_held_ticks = tr->cpu_pending_released_ticks = 0;
    tr->cpu_last_ns = now ? now : 1;
}

void shim_thread_beat(void)
{
    struct rec_header *h = SHIM.header;
    uint32_t seq = __atomic_load_n(&h->beat_seq, __ATOMIC_RELAXED);
    if ((seq & 1) || !__atomic_compare_exchange_n(&h->beat_seq, &seq, seq + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return; /* another thread is at it */
    uint64_t ticks;
    int64_t mono_ns;
    shim_clock_both(&ticks, &mono_ns);
    h->beat_ticks = ticks;
    h->beat_mono_ns = mono_ns;
    __atomic_store_n(&h->beat_seq, seq + 2, __ATOMIC_RELEASE);
}

void shim_thread_check(bool acquired)
{
    struct rec_thread *tr = T.rec;
    uint64_t now = T.since, us = shim_clock_ticks_per_us();
    int saved_errno = errno;

    if (T.cpu_burst == 0 && now >= T.cpu_due_ticks) {
        T.cpu_burst = BURST_READINGS;
        T.cpu_due_ticks = now + BURST_EVERY_US * us;
    }
    if (T.cpu_burst) {
        T.cpu_burst--;
        if (tr->index)
            read_cpu(tr);
    }
    if (acquired && now >= T.name_due_ticks && T.name_tries < NAME_TRIES && tr->index) {
        T.name_tries++;
        shim_name_read(T.tstate);
        T.name_due_ticks = now + NAME_AGAIN_US * us / (T.name_tries < 4 ? 1000 : 1);
    }
    if (now > SHIM.header->beat_ticks + BEAT_EVERY_US * us)
        shim_thread_beat();
    T.check_ticks = T.cpu_burst ? 0 : T.cpu_due_ticks;
    errno = saved_errno;
}

/* --- ends ---------------------------------------------------------------------------------------------------------- */
static void thread_end(void *value)
{
    /* Other keys' destructors may still take the GIL; ours asks to be called again and acts in the second round. */
    if (T.generation != SHIM.generation || T.generation == 0 || T.rec != value)
        return;
    if (T.ending++ == 0) {
        pthread_setspecific(key, value);
        return;
    }
    int saved_errno = errno;
    struct rec_thread *tr = T.rec;
    uint64_t now = shim_ticks();
    T.busy = 1;
    shim_write_begin(&tr->seq);
    if (!(*SHIM.n_toggles & 1) && T.n_toggles == *SHIM.n_toggles) {
        if (T.state == REC_STATE_WAITING && T.gil)
            shim_file_loss(REC_LOSS_UNEXPLAINED); /* cancelled in its wait: it leaves gil->mutex locked, too */
        T.gil = NULL;
        shim_account_close(now);
        if (tr->cpu_last_ns)
            read_cpu(tr);
    }
    tr->cpu_end_ns = tr->cpu_last_ns;
    if (shim_elapsed(tr->start_ticks, now) > LONG_ENOUGH_FOR_SCHEDSTAT_US * shim_clock_ticks_per_us())
        tr->run_delay_ns = run_delay_ns(tr->tid);
    tr->state = T.state = REC_STATE_ENDED;
    tr->state_ticks = T.since = now;
    tr->end_ticks = now;
    shim_write_end(&tr->seq);
    T.ended_generation = T.generation;
    T.generation = 0;
    T.ending = 0;
    T.post = 0;
    shim_fold_ended(tr);
    T.busy = 0;
    errno = saved_errno;
}

void shim_thread_close_all(void)
{
    struct rec_header *h = SHIM.header;
    uint64_t end = shim_ticks();
    uint64_t used = h->used_bytes;
    for (uint64_t at = h->header_bytes; at + sizeof(struct rec_head) <= used;) {
        struct rec_head *head = (struct rec_head *)((char *)h + at);
        if (head->mark != REC_HEAD_MARK || head->size == 0) {
            at += REC_CELL_BYTES;
            continue;
        }
        struct rec_thread *tr = (struct rec_thread *)head;
        if (head->type == REC_THREAD && tr->end_ticks == 0 && !(tr->flags & REC_THREAD_FOLDED)) {
            tr->cpu_end_ns = shim_thread_cpu_ns(tr->tid);
            if (shim_elapsed(tr->start_ticks, end) > LONG_ENOUGH_FOR_SCHEDSTAT_US * shim_clock_ticks_per_us())
                tr->run_delay_ns = run_delay_ns(tr->tid);
        }
        at += head->size;
    }
    shim_thread_beat();
    h->end_ticks = end;
    __atomic_store_n(&h->complete, 1, __ATOMIC_RELEASE);
}
