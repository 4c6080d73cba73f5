/* SPDX-License-Identifier: MIT */
/*
 * seen.bpf.h - threads' and processes' numbers as gilscope sees them, where it is in a PID namespace: a container.
 *
 * The programs know everything by the kernel's own numbers, which are those of the machine's first namespace.  /proc,
 * and all calls that the loader makes, have those of its own one.
 */
#ifndef GILSCOPE_SEEN_BPF_H
#define GILSCOPE_SEEN_BPF_H

gs_u32 seen_level;  /* of the loader's namespace; 0 = the first one.  By each_thread() */
gs_u32 seen_wanted; /* the process that each_thread() tells of, as it is seen.  Loader */

/* The number of a thread; 0 = it is not seen. */
static __always_inline gs_u32 seen_tid(struct task_struct *task)
{
    struct pid *pid = BPF_CORE_READ(task, thread_pid);
    struct upid number;
    gs_u32 level = seen_level;

    if (!seen_translated)
        return task->pid;
    if (!pid || level > BPF_CORE_READ(pid, level) || bpf_probe_read_kernel(&number, sizeof number, &pid->numbers[level]))
        return 0;
    return number.nr;
}

/* The threads of a process, one after the other: read by the loader, in its own namespace.  kernel/bpf/task_iter.c */
SEC("?iter/task")
int each_thread(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    struct gs_seen seen;

    if (!task)
        return 0;
    seen_level = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), thread_pid, level);
    if (seen_tid(task->group_leader) != seen_wanted)
        return 0;
    seen.tid = seen_tid(task);
    seen.kernel_tid = task->pid;
    seen.kernel_tgid = task->tgid;
    bpf_seq_write(ctx->meta->seq, &seen, sizeof seen);
    return 0;
}

#endif
