/* SPDX-License-Identifier: MIT */
/*
 * stubs.c - in place of those parts of the shim that the accounts call and that have none themselves: the file,
 * samples, names, the CPU clock.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "cpu-limit.h"
#include "proc-file.h"
#include "process.h"
#include "shim-account.h"
#include "shim-cpu.h"
#include "shim-frames.h"
#include "shim-gil.h"
#include "shim-life.h"
#include "shim-name.h"
#include "shim-quick.h"
#include "shim-sample.h"
#include "shim-thread.h"

union process_file process_file __attribute__((aligned(4096)));
uint64_t process_used;

uint32_t shim_life_leaving;

void shim_quick_learn(const void *c, const void *sc, const void *m, const void *sm)
{
    (void)c, (void)sc, (void)m, (void)sm;
}

int shim_quick_lock_real(pthread_mutex_t *m)
{
    return shim_real.mutex_lock(m);
}

bool shim_life_wait_on(const void *cond)
{
    (void)cond;
    return false;
}

void *shim_file_record(uint32_t bytes)
{
    size_t size = (bytes + SHIM_LINE_BYTES - 1) / SHIM_LINE_BYTES * SHIM_LINE_BYTES;
    struct rec_head *head = (struct rec_head *)(process_file.bytes + process_used);

    if (process_used + size > PROCESS_FILE_BYTES)
        exit(99);
    process_used += size;
    head->size = (uint32_t)size;
    head->mark = REC_HEAD_MARK;
    return head;
}

void shim_file_publish(void *record, enum rec_type type)
{
    ((struct rec_head *)record)->type = (uint16_t)type;
}

void shim_file_loss(enum rec_loss cause)
{
    process_file.header.losses[cause]++;
}

bool shim_life_activate(const void *cond, const void *caller, uint64_t *since)
{
    (void)cond;
    (void)caller;
    struct rec_header *h = &process_file.header;
    SHIM.header = h;
    SHIM.map_bytes = PROCESS_FILE_BYTES;
    SHIM.cell_mask = PROCESS_FILE_BYTES / REC_CELL_BYTES - 1;
    h->start_ticks = h->beat_ticks = process_now;
    SHIM.n_toggles = &h->n_toggles;
    *since = process_now;
    SHIM.generation = 1;
    shim_thread_init();
    return true;
}

bool shim_life_is_forked_gil(const void *cond)
{
    (void)cond;
    return false;
}

void shim_life_layout_unknown(const void *caller)
{
    (void)caller;
    exit(99);
}

uint64_t shim_life_start_cpu_ns(void)
{
    return 1;
}

void shim_name_read(uintptr_t tstate)
{
    (void)tstate;
}

void shim_name_at_end(struct rec_thread *tr)
{
    (void)tr;
}

int shim_name_read_self(const void *address, void *bytes, size_t n)
{
    memcpy(bytes, address, n);
    return 0;
}

void shim_frames_stop(void)
{
}

void shim_sample_attach(uint64_t since)
{
    (void)since;
    T.sample.due_ticks = T.sample.charge_left_ticks = T.sample.native_due_ticks = UINT64_MAX;
}

void shim_sample_detach(void)
{
}

void shim_sample_hit(enum shim_sample_kind kind, uint64_t from, uint64_t to)
{
    (void)kind;
    (void)from;
    (void)to;
}

void shim_sample_charge_hit(uint64_t ticks)
{
    (void)ticks;
}

void shim_sample_released(uint64_t hold_ticks)
{
    (void)hold_ticks;
}

void shim_sample_unanswered(struct shim_gil *g)
{
    (void)g;
}

void shim_sample_native(uint64_t t)
{
    (void)t;
}

void shim_sample_taken(void)
{
}

uint64_t shim_cpu_ns(uint32_t tid)
{
    (void)tid;
    return 1;
}

void shim_cpu_read(struct rec_thread *tr, uint64_t t)
{
    (void)tr;
    (void)t;
    sim_point();
}

void shim_cpu_read_process(struct rec_header *h)
{
    (void)h;
}

void shim_cpu_forget(void)
{
    T.look_switches = 0;
}

void shim_cpu_at_release(uint64_t t)
{
    (void)t;
    T.check_ticks = UINT64_MAX;
}

/* As in lib/shim-cpu.c, of a thread that is always due. */
uint64_t shim_cpu_before_take(void)
{
    uint64_t t = shim_ticks(), sum;

    T.cpu_burst = 0;
    shim_enter();
    T.want_seen = shim_account_peek(T.gil, t, &T.want_held);
    shim_cpu_read(T.rec, t);
    if (shim_ticks() - t > 50 && !(T.want_seen && shim_account_peek(T.gil, shim_ticks(), &sum) && sum == T.want_held)) {
        T.want = T.rec->want_ticks = t;
        T.post = SHIM_POST_WANT;
    }
    shim_leave();
    return t;
}

void shim_cpu_before_wait(uint64_t t)
{
    if (!T.cpu_burst)
        return;
    T.cpu_burst = 0;
    shim_enter();
    T.want_seen = shim_account_peek(T.gil, t, &T.want_held);
    shim_cpu_read(T.rec, t);
    shim_leave();
}

size_t proc_file_read(const char *path, char *bytes, size_t room)
{
    (void)path;
    (void)bytes;
    (void)room;
    return 0;
}

uint64_t proc_file_number(const char **s)
{
    (void)s;
    return 0;
}

void cpu_limit_end(uint32_t pid, struct rec_header *h)
{
    (void)pid;
    (void)h;
}
