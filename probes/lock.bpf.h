/* SPDX-License-Identifier: MIT */
/*
 * lock.bpf.h - waits for threading locks: a thread of Python that has given up the GIL sleeps in sem_wait().
 *
 * What is told by the registers with which it entered the kernel, and by memory: the futex wait is that of a semaphore
 * (glibc's nptl/sem_waitcommon.c: FUTEX_WAIT_BITSET for the value 0 of a sem_t, which counts its waiters beside it;
 * mutexes, joins and condition variables wait otherwise), and which Python line waits.  Semaphores of native code that
 * are waited for without the GIL look the same: so this is an estimate.
 *
 * From 3.13 on locks are bytes, and who waits for one sleeps on a semaphore on its own stack, behind the byte's address
 * (Python/parking_lot.c, struct wait_entry): 3 is a mutex that is locked and has waiters; anything else is waited for
 * to be notified.  For the semaphores of earlier versions, the loader tells that from the line.
 */
#ifndef GILSCOPE_LOCK_BPF_H
#define GILSCOPE_LOCK_BPF_H

#define PARKED_MUTEX 3
#define STACK_NEAR 65536 /* of the stack pointer: it is on the stack */

/* The thread is in a futex wait on a sem_t; *sem is its address. */
static __always_inline bool semaphore_wait(struct task_struct *task, gs_u64 *sem, bool *on_stack)
{
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
    struct {
        gs_u32 value, n_waiters, private;
    } s = {0, 0, 1};

    if (regs->orig_ax != 202 || (regs->si & 0x7f) != 9 || (gs_u32)regs->dx || regs->di & 7)
        return false;
    *sem = regs->di;
    *on_stack = *sem - regs->sp < STACK_NEAR;
    if (bpf_probe_read_user(&s, sizeof s, (void *)*sem))
        return false;
    return s.n_waiters && s.n_waiters < 65536 && (s.private == 0 || s.private == 128);
}

/* What waits at this semaphore waits to be notified. */
static __always_inline bool parked_for_notification(gs_u64 sem)
{
    gs_u8 state = PARKED_MUTEX;

    bpf_probe_read_user(&state, sizeof state, (void *)read_pointer(sem - 8));
    return state != PARKED_MUTEX;
}

/* The thread, which has not got the GIL, leaves its processor at `now`. */
static __always_inline void begin_lock(struct gs_thread *t, const struct gs_target *target, struct task_struct *task,
                                       gs_u64 now)
{
    gs_u64 sem;
    bool on_stack;

    if (!semaphore_wait(task, &sem, &on_stack))
        return;
    t->lock_since_ns = now;
    t->lock_notifies = on_stack && parked_for_notification(sem);
    innermost(t, target, &t->lock_code, &t->lock_at);
}

/* It is back on a processor. */
static __always_inline void end_lock(struct gs_thread *t, gs_u64 now)
{
    if (!t->lock_since_ns)
        return;
    gs_u64 ns = now > t->lock_since_ns ? now - t->lock_since_ns : 0;
    struct gs_lock_key key = {.code = t->lock_code, .at = t->lock_at, .id = t->id};

    t->lock_since_ns = 0;
    t->lock_ns += ns;
    add_to(t->id, GS_HIST_LOCK, ns);
    if (t->lock_notifies) {
        t->notify_ns += ns;
        return;
    }
    gs_u64 *sum = bpf_map_lookup_elem(&lock_waits, &key);
    if (sum)
        *sum += ns; /* nobody else has this key */
    else
        bpf_map_update_elem(&lock_waits, &key, &ns, BPF_NOEXIST);
}

#endif
