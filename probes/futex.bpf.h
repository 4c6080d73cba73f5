/* SPDX-License-Identifier: MIT */
/*
 * futex.bpf.h - the futex call that a thread is in, by the registers with which it entered the kernel.
 */
#ifndef GILSCOPE_FUTEX_BPF_H
#define GILSCOPE_FUTEX_BPF_H

enum { FUTEX_WAIT_CALL, FUTEX_WAKE_CALL };

struct gs_call {
    gs_u32 gil;         /* index */
    gs_u32 offset;      /* of the word in the GIL */
    bool bitset;        /* FUTEX_WAIT_BITSET or FUTEX_WAKE_BITSET */
    gs_u64 deadline_ns; /* of a wait, CLOCK_MONOTONIC; 0 = none */
};

/* Whether a wait is that of pthread_cond_wait for gil->switch_cond to be signalled, on __g_signals (at 40 of the
 * condition variable until glibc 2.40, at 32 since).  Who signals may have to wait as well, for those who have not left
 * it yet and for its inner lock (at 32 until 2.40: a plain FUTEX_WAIT); that one has just taken the GIL. */
static __always_inline bool forced_wait(const struct gs_call *call)
{
    return call->offset >= AT_SWITCH_COND + (call->bitset ? 32 : 40) && call->offset < AT_SWITCH_MUTEX;
}

/* Whether it is the lock that pthread_cond_wait takes back on its way out of a forced switch: who woke the thread has it
 * still, and has perhaps lost its processor to the thread. */
static __always_inline bool switch_mutex_wait(const struct gs_call *call)
{
    return call->offset >= AT_SWITCH_MUTEX;
}

static __always_inline gs_s64 word_of_gil(gs_u32 index, gs_u64 word)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &index);

    return gil && word - gil->address < GIL_BYTES ? (gs_s64)index << 8 | (gs_s64)(word - gil->address) : -1;
}

__noinline gs_s64 other_gil_of_word(const struct gs_target *target, gs_u64 word)
{
    for (gs_u32 i = 1; target && i < GS_GILS && i < target->n_gils; i++) {
        gs_s64 found = word_of_gil(target->gil[i], word);
        if (found >= 0)
            return found;
    }
    return -1;
}

/* The GIL of a process that a word lies in, and where in it: index << 8 | offset; below 0 = none. */
static __always_inline gs_s64 gil_of_word(const struct gs_target *target, gs_u64 word)
{
    gs_s64 found = target->n_gils ? word_of_gil(target->gil[0], word) : -1;

    return found < 0 && target->n_gils > 1 ? other_gil_of_word(target, word) : found;
}

/* Whether the thread is in a futex call of this kind on a word of one of its process's GILs. */
static __always_inline bool futex_call(struct task_struct *task, const struct gs_target *target, int kind,
                                       struct gs_call *call)
{
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

    if (regs->orig_ax != 202) /* __NR_futex; an interrupt has another value there.  asm/unistd_64.h */
        return false;
    gs_u32 command = regs->si & 0x7f; /* without FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME */
    bool waits = command == 0 || command == 9, wakes = command == 1 || command == 10;
    if (kind == FUTEX_WAIT_CALL ? !waits : !wakes)
        return false;
    gs_s64 found = gil_of_word(target, regs->di);
    if (found < 0)
        return false;
    call->gil = (gs_u32)(found >> 8);
    call->offset = found & 255;
    call->bitset = command >= 9;
    call->deadline_ns = 0;
    if (kind == FUTEX_WAIT_CALL && regs->r10) {
        gs_u64 at[2] = {0, 0}; /* struct timespec */
        if (!bpf_probe_read_user(at, sizeof at, (void *)regs->r10))
            call->deadline_ns = at[0] * 1000000000 + at[1];
    }
    return true;
}

#endif
