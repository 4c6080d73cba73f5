/* SPDX-License-Identifier: MIT */
/* shim-thread.c - a thread's record: made, kept up, closed. */
#define _GNU_SOURCE
#include "shim-thread.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu-limit.h"
#include "proc-file.h"
#include "shim-account.h"
#include "shim-clock.h"
#include "shim-cpu.h"
#include "shim-file.h"
#include "shim-fold.h"
#include "shim-gil.h"
#include "shim-life.h"
#include "shim-name.h"
#include "shim-pause.h"
#include "shim-route.h"
#include "shim-sample.h"
#include "shim-several.h"
#include "shim-text.h"

__thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));
struct rec_thread shim_sink;

static pthread_key_t key;
static bool key_made;
static uint32_t next_index;

#define BEAT_EVERY_US 100000
#define RATE_AFTER_NS 90000000 /* the two clocks are read within some 50 ns of each other */
#define NAME_SOON_US 1000
#define NAME_AGAIN_US 1000000 /* a program may rename its threads */
#define LONG_ENOUGH_FOR_SCHEDSTAT_US 10000
#define BORN_WITHIN_NS 1000000 /* a thread of Python's comes to its first take after so much CPU time at most */

static void thread_end(void *unused);

void shim_thread_init(void)
{
    if (!key_made)
        key_made = pthread_key_create(&key, thread_end) == 0;
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
    if (!proc_file_read(path, line, sizeof line))
        return 0;
    const char *second = strchr(line, ' ');
    return second ? proc_file_number(&second) : 0;
}

void shim_thread_attach(uint64_t since, bool main_thread)
{
    int saved_errno = errno;
    struct rec_thread *tr = T.rec;
    if (tr && T.generation == 0 && T.ended_generation == SHIM.generation) {
        /* A destructor of another key still uses Python: the record goes on where it ended. */
        T.generation = SHIM.generation;
        if (tr != &shim_sink) {
            tr->end_ticks = 0;
            tr->state = REC_STATE_RELEASED;
        }
        errno = saved_errno;
        return;
    }
    /* A thread that has been seen in a pause has been there since.  Of another one, which may be younger, nothing is
     * claimed that came before its first call. */
    uint32_t n_inits = T.n_inits, seen = T.n_toggles;
    struct shim_period p = seen & 1 ? shim_pause_of(seen) : shim_pause_period();
    if (p.n & 1)
        since = p.begin;
    struct shim_gil *gil = T.gil;
    memset(&T, 0, sizeof T);
    T.n_inits = n_inits;
    T.gil = gil;
    T.gil_rec = gil ? gil->rec : NULL;
    T.busy = 1;
    uint32_t index = __atomic_add_fetch(&next_index, 1, __ATOMIC_RELAXED);
    tr = shim_fold_reuse(index);
    if (!tr)
        tr = shim_file_record(sizeof *tr);
    if (tr) {
        __atomic_store_n(&tr->index, index, __ATOMIC_RELAXED); /* shim_charge_owed() */
        tr->tid = (uint32_t)syscall(SYS_gettid);
        tr->flags =
            REC_THREAD_REMAINDER | REC_THREAD_OWN_WAITS | REC_THREAD_PAUSES | (main_thread ? REC_THREAD_MAIN : 0);
        tr->gil = gil ? gil->rec->index : 0;
        tr->pthread_id = (uint64_t)pthread_self();
        tr->start_ticks = since;
        tr->n_toggles = p.n;
        tr->paused_ticks = p.paused;
        tr->state = p.n & 1 ? REC_STATE_NONE : REC_STATE_RELEASED;
        tr->state_ticks = since;
        tr->cpu_last_ns = main_thread ? shim_life_start_cpu_ns() : shim_cpu_ns(0);
        if (!main_thread && tr->cpu_last_ns <= BORN_WITHIN_NS && !(p.n & 1))
            tr->cpu_used_ns = tr->cpu_last_ns;
        shim_file_publish(tr, REC_THREAD);
        __atomic_fetch_add(&SHIM.header->n_threads, 1, __ATOMIC_RELAXED);
        if (key_made)
            pthread_setspecific(key, tr);
    } else {
        tr = &shim_sink;
        tr->paused_ticks = p.paused;
        tr->state = p.n & 1 ? REC_STATE_NONE : REC_STATE_RELEASED;
        tr->state_ticks = since;
        shim_file_loss(REC_LOSS_THREADS);
    }
    T.rec = tr;
    T.rec_cell = tr == &shim_sink ? SHIM_SINK_CELL : shim_file_cell(tr);
    T.name_due_ticks = since + NAME_SOON_US * shim_clock_ticks_per_us();
    T.n_toggles = p.n;
    T.generation = SHIM.generation;
    shim_sample_attach(since);
    T.busy = 0;
    errno = saved_errno;
}

bool shim_thread_present(void)
{
    uint32_t n_toggles = __atomic_load_n(SHIM.n_toggles, __ATOMIC_RELAXED);
    if (T.busy || !SHIM.generation)
        return false;
    if (n_toggles & 1) {
        shim_route_sleep();
        return false;
    }
    if (T.generation != SHIM.generation)
        shim_thread_attach(shim_ticks(), false);
    return true;
}

/* --- readings that are due ------------------------------------------------------------------------------------------
 */
void shim_thread_beat(bool ended)
{
    struct rec_header *h = SHIM.header;
    uint32_t seq = __atomic_load_n(&h->beat_seq, __ATOMIC_RELAXED);
    if ((seq & 1) ||
        !__atomic_compare_exchange_n(&h->beat_seq, &seq, seq + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return; /* another thread is at it */
    uint64_t ticks;
    int64_t mono_ns;
    shim_clock_both(&ticks, &mono_ns);
    h->beat_ticks = ticks;
    h->beat_mono_ns = mono_ns;
    shim_cpu_read_process(h);
    if (!h->rate_ticks && (ended || mono_ns - h->start_mono_ns >= RATE_AFTER_NS)) {
        h->rate_mono_ns = mono_ns;
        __atomic_store_n(&h->rate_ticks, ticks, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&h->beat_seq, seq + 2, __ATOMIC_RELEASE);
}

void shim_thread_check_release(void)
{
    struct rec_thread *tr = T.rec;
    uint64_t now = tr->state_ticks, us = shim_clock_ticks_per_us();
    int saved_errno = errno;

    shim_enter();
    shim_cpu_at_release(now);
    shim_charge_owed();
    if (now > SHIM.header->beat_ticks + BEAT_EVERY_US * us)
        shim_thread_beat(false);
    shim_leave();
    errno = saved_errno;
}

void shim_thread_check_name(void)
{
    struct rec_thread *tr = T.rec;
    int saved_errno = errno;
    uint64_t us = shim_clock_ticks_per_us();
    shim_enter();
    if (tr->index)
        shim_name_read(shim_gil_last_tstate(T.gil));
    T.name_tries++;
    T.name_due_ticks = tr->state_ticks + (T.name_tries < 4 ? NAME_SOON_US : NAME_AGAIN_US) * us;
    shim_leave();
    errno = saved_errno;
}

static void count(uint64_t *sum, uint64_t *counted, uint64_t now)
{
    __atomic_fetch_add(sum, now - *counted, __ATOMIC_RELAXED);
    *counted = now;
}

void shim_thread_leave_gil(struct rec_gil *gr)
{
    struct rec_thread *tr = T.rec;
    const struct rec_hist *h = &tr->hist[REC_HIST_HOLD];
    shim_account_late_hold(tr);
    uint64_t n = h->count - tr->gil_counted;
    for (int octave = 0; octave < REC_HIST_OCTAVES; octave++) {
        const struct rec_hist_block *block = h->block[octave] ? shim_file_at(h->block[octave]) : NULL;
        const struct rec_hist_block *wraps = block && block->wraps ? shim_file_at(block->wraps) : NULL;
        for (int i = 0; block && i < REC_HIST_SUBS; i++)
            n += block->count[i] + (wraps ? (uint64_t)wraps->count[i] << 32 : 0);
    }
    shim_charge_owed();
    count(&gr->acquisitions, &tr->gil_counted, tr->gil_counted + n);
    if (tr->index) {
        count(&gr->contended, &tr->gil_contended, tr->contended);
        count(&gr->wait_blocked_ticks, &tr->gil_blocked_ticks, tr->wait_blocked_ticks);
        count(&gr->wait_wakeup_ticks, &tr->gil_wakeup_ticks, tr->wait_wakeup_ticks);
    }
}

/* --- ends -------------------------------------------------------------------------------------------------------- */
static void thread_end(void *value)
{
    /* Other keys' destructors may still take the GIL; ours asks to be called again and acts in the second round. */
    if (T.generation != SHIM.generation || T.generation == 0 || T.rec != value)
        return;
    /* Behind the destructor the recording is closed: of a daemon thread that the interpreter gets rid of only then it
     * says that it was there to the end. */
    if (__atomic_load_n(&SHIM.ended, __ATOMIC_RELAXED))
        return;
    if (T.ending++ == 0) {
        pthread_setspecific(key, value);
        return;
    }
    int saved_errno = errno, cancel = shim_cancel_later();
    struct rec_thread *tr = T.rec;
    if (SHIM_STATE(tr) == REC_STATE_WAITING &&
        shim_route_has_slept()) /* the unlock with which it gave up was not noticed */
        shim_several_abandon(T.gil);
    T.busy = 1;
    if (SHIM_STATE(tr) == REC_STATE_WAITING)
        shim_file_loss(REC_LOSS_UNEXPLAINED); /* cancelled in its wait: it leaves gil->mutex locked, too */
    bool released = SHIM_STATE(tr) == REC_STATE_RELEASED;
    uint64_t now = shim_pause_close();
    if (tr->cpu_last_ns && released && !(T.n_toggles & 1))
        shim_cpu_read(tr, now);
    if (T.gil_rec) {
        if (T.later && T.gil && T.gil->rec == T.gil_rec) /* its last unlock came in a pause, and was not noticed */
            shim_account_missed(T.gil);
        shim_thread_leave_gil(T.gil_rec);
    }
    tr->cpu_end_ns = tr->cpu_last_ns;
    shim_name_at_end(tr);
    if (shim_elapsed(tr->start_ticks, now) > LONG_ENOUGH_FOR_SCHEDSTAT_US * shim_clock_ticks_per_us())
        tr->run_delay_ns = run_delay_ns(tr->tid);
    tr->state = REC_STATE_ENDED;
    tr->state_ticks = now;
    tr->end_ticks = now;
    T.ended_generation = T.generation;
    T.generation = 0;
    T.step = 0;
    T.ending = 0;
    T.post = 0;
    shim_sample_detach();
    shim_fold_ended(tr);
    T.busy = 0;
    shim_cancel_again(cancel);
    errno = saved_errno;
}

void shim_thread_close_all(void)
{
    struct rec_header *h = SHIM.header;
    uint64_t end = shim_ticks(); /* nothing has been counted since */
    uint64_t used = h->used_bytes, reserved = __atomic_load_n(&SHIM.reserved_bytes, __ATOMIC_ACQUIRE);
    used = used < reserved ? used : reserved;
    for (uint64_t at = REC_HEADER_BYTES; at + sizeof(struct rec_head) <= used;) {
        struct rec_head *head = (struct rec_head *)((char *)h + at);
        uint32_t size = head->size;
        if (head->mark != REC_HEAD_MARK || size == 0 || size % REC_CELL_BYTES) {
            at += REC_CELL_BYTES;
            continue;
        }
        struct rec_thread *tr = (struct rec_thread *)head;
        if (head->type == REC_THREAD && tr->end_ticks == 0 && !(tr->flags & REC_THREAD_FOLDED)) {
            tr->cpu_end_ns = shim_cpu_ns(tr->tid);
            if (shim_elapsed(tr->start_ticks, end) > LONG_ENOUGH_FOR_SCHEDSTAT_US * shim_clock_ticks_per_us())
                tr->run_delay_ns = run_delay_ns(tr->tid);
        }
        at += size;
    }
    shim_thread_beat(true);
    cpu_limit_end(0, h);
    h->end_ticks = shim_ticks(); /* a report may have been made meanwhile */
    __atomic_store_n(&h->complete, 1, __ATOMIC_RELEASE);
}
