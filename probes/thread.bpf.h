/* SPDX-License-Identifier: MIT */
/*
 * thread.bpf.h - which threads are measured, and how each is found: by its number, its id, its pthread_self().
 */
#ifndef GILSCOPE_THREAD_BPF_H
#define GILSCOPE_THREAD_BPF_H

/* The id of a thread; 0 = it is not measured, as most threads of a machine are not: that must be known at once. */
static __always_inline gs_u32 id_of_tid(gs_u32 tid)
{
    gs_u64 entry = tid_table[tid % GS_TIDS];
    gs_u32 *id;

    if (entry >> 32 == tid)
        return (gs_u32)entry;
    if (entry != GS_TIDS_SHARED)
        return 0;
    id = bpf_map_lookup_elem(&tids, &tid);
    return id ? *id : 0;
}

/* NULL: that one has ended, and its slot has been closed or is another one's by now. */
static __always_inline struct gs_thread *thread_by_id(gs_u32 id)
{
    gs_u32 slot = GS_SLOT(id);
    struct gs_thread *t = id ? bpf_map_lookup_elem(&slots, &slot) : NULL;

    return t && t->id == id ? t : NULL;
}

static __always_inline struct gs_thread *thread_of(gs_u32 tid)
{
    return thread_by_id(id_of_tid(tid));
}

static __always_inline void enter_tid(gs_u32 tid, gs_u32 id)
{
    gs_u64 *entry = &tid_table[tid % GS_TIDS];

    bpf_map_update_elem(&tids, &tid, &id, BPF_ANY);
    if (__sync_val_compare_and_swap(entry, 0, (gs_u64)tid << 32 | id))
        *(volatile gs_u64 *)entry = GS_TIDS_SHARED;
}

static __always_inline void remove_tid(gs_u32 tid, gs_u32 id)
{
    __sync_val_compare_and_swap(&tid_table[tid % GS_TIDS], (gs_u64)tid << 32 | id, 0);
    bpf_map_delete_elem(&tids, &tid);
}

static __always_inline struct gs_thread *current_thread(void)
{
    return thread_of((gs_u32)bpf_get_current_pid_tgid());
}

static __always_inline struct gs_target *target_of(const struct gs_thread *t)
{
    gs_u32 index = t->target;

    return bpf_map_lookup_elem(&target_info, &index);
}

/* --- who a thread is --------------------------------------------------------------------------------------------- */
static __always_inline void enter_self(struct gs_thread *t, gs_u64 self)
{
    struct gs_self key = {.self = self, .target = t->target};
    gs_u32 id = t->id;

    if (!self || !id)
        return;
    t->self = self;
    bpf_map_update_elem(&selves, &key, &id, BPF_ANY);
}

static __always_inline void learn_self_of(struct gs_thread *t, struct task_struct *task)
{
    enter_self(t, BPF_CORE_READ(task, thread.fsbase));
}

/* The thread ends.  Another one may have got its stack, and with it its pthread_self(), before the kernel is done with
 * this one. */
static __always_inline void forget_self(const struct gs_thread *t)
{
    struct gs_self key = {.self = t->self, .target = t->target};
    const gs_u32 *id = bpf_map_lookup_elem(&selves, &key);

    if (id && *id == t->id)
        bpf_map_delete_elem(&selves, &key);
}

static __always_inline void learn_self(struct gs_thread *t)
{
    if (!t->self)
        learn_self_of(t, (struct task_struct *)bpf_get_current_task());
}

/* An id whose slot is nobody's, 0 = there is none: one that the loader has given back, else one that has not been used
 * yet. */
static __always_inline gs_u32 free_id(void)
{
    gs_u32 id = 0;

    if (!bpf_map_pop_elem(&free_ids, &id))
        return id;
    if (n_slots >= max_slots)
        return 0;
    id = __sync_fetch_and_add(&n_slots, 1);
    return id < max_slots ? id : 0;
}

/* self: 0 = not known yet. */
static __always_inline void new_thread(struct task_struct *task, gs_u32 target, gs_u64 self)
{
    struct gs_target *info = bpf_map_lookup_elem(&target_info, &target);
    gs_u32 id = info ? free_id() : 0, slot = GS_SLOT(id);
    struct gs_thread *t = id ? bpf_map_lookup_elem(&slots, &slot) : NULL;

    if (!t || !info) {
        __sync_fetch_and_add(&losses[GS_LOSS_THREADS], 1);
        return;
    }
    t->tid = seen_tid(task);
    t->id = id;
    t->target = target;
    t->gil = t->home_gil = info->gil[0];
    t->wait_mean_ns = t->off_mean_ns = 1000000; /* the first ones are looked at */
    t->start_ns = t->since_ns = t->free_ns = bpf_ktime_get_ns();
    enter_self(t, self);
    enter_tid(task->pid, id);
}

#endif
