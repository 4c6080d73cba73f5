/* SPDX-License-Identifier: MIT */
/*
 * kernel.bpf.h - the few fields of the kernel's structures that are read; libbpf puts in their offsets at load (CO-RE).
 */
#ifndef GILSCOPE_KERNEL_BPF_H
#define GILSCOPE_KERNEL_BPF_H

#define bool _Bool
#define true 1
#define false 0
#define NULL ((void *)0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs { /* x86-64, at the entry to the kernel.  arch/x86/include/asm/ptrace.h */
    unsigned long r10, dx, si, di, orig_ax, sp;
};
struct thread_struct {
    unsigned long fsbase; /* x86-64: what pthread_self() returns.  arch/x86/include/asm/processor.h */
};
typedef struct {
    int counter;
} atomic_t;
struct signal_struct {
    atomic_t live; /* threads that have not ended */
};
struct sched_info {
    unsigned long long run_delay; /* on run queues, ns.  CONFIG_SCHED_INFO */
};
struct upid {
    int nr;
    void *ns;
};
struct pid {
    unsigned int level;      /* of the innermost of the namespaces that it has a number in */
    struct upid numbers[1]; /* by level */
};
struct task_struct {
    int pid, tgid;
    struct pid *thread_pid;
    struct task_struct *group_leader;
    struct sched_info sched_info;
    struct signal_struct *signal;
    unsigned int __state; /* volatile long state before 5.14 */
    struct thread_struct thread;
};
struct task_struct___old {
    volatile long state;
};
struct seq_file;
struct bpf_iter_meta {
    struct seq_file *seq;
};
struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};
#pragma clang attribute pop

/* The thread goes to sleep (it is not merely preempted). */
static __attribute__((always_inline)) bool task_sleeps(struct task_struct *task)
{
    if (bpf_core_field_exists(task->__state))
        return BPF_CORE_READ(task, __state) != 0;
    return BPF_CORE_READ((struct task_struct___old *)task, state) != 0;
}

#endif
