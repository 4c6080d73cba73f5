// SPDX-License-Identifier: MIT
/*
 * gilscope.bpf.c - follows the threads of CPython processes through waits for the GIL, in the kernel.
 *
 * Nothing sits on the uncontended path: only switches between threads, wake-ups and a clock are looked at, by
 * tracepoints, so that nothing is patched into the kernel (lockdown forbids that in places).  What the scheduler sees
 * of take_gil and drop_gil (Python/ceval_gil.h; glibc's nptl/pthread_cond_common.c):
 *   - a waiter sleeps in futex(FUTEX_WAIT...) on a word of gil->cond, with a deadline that says when it began to wait
 *     (now + interval); now and then on the word of gil->mutex;
 *   - a release wakes that word: the wake-up comes from the holder, inside of futex(FUTEX_WAKE), an exact instant;
 *   - a take makes no call, but follows the end of the sleep at once: it is known for certain at the thread's next
 *     event, and stamped with the instant at which the thread was back in its program, or at least on a processor;
 *   - a forced switch sleeps on a word of gil->switch_cond.
 * gil->locked and gil->last_holder are read at each of these, so that takes without any wait come to light, too.
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "gilscope.h"
#include "kernel.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile gs_u64 sample_ns = 1003009; /* between two samples of the CPU clock */
const volatile bool follows = false;       /* children are measured, too */
const volatile bool seen_translated = false; /* gilscope is in a PID namespace of its own */

gs_u32 n_slots = 1;   /* that have been used; slot 0 is nobody.  atomic; the loader takes from it, too */
gs_u32 max_slots = 0; /* by the loader */
gs_u64 losses[GS_LOSSES];
gs_u64 tid_table[GS_TIDS]; /* [tid % GS_TIDS]: tid << 32 | id, 0 or GS_TIDS_SHARED.  atomic; by the loader, too */

#define GS_ON_THE_WAY_NS 50000 /* who has run for so long since the end of its sleep has got the GIL, if not told */

#include "maps.bpf.h"

#include "seen.bpf.h"
#include "thread.bpf.h"

#include "account.bpf.h"
#include "charge.bpf.h"
#include "futex.bpf.h"
#include "stack.bpf.h"

#include "lock.bpf.h"

/* --- switches between threads ------------------------------------------------------------------------------------ */
/* Its forced switch has been over for so short a time that the futex call that it is in is a part of it. */
static __always_inline bool is_leaving_forced(const struct gs_thread *t, gs_u64 now)
{
    return t->state == GS_RUNS && comes_from_forced(t) && now - t->since_ns < GS_ON_THE_WAY_NS;
}

/* The thread sleeps, or is about to sleep, in a futex wait on a word of the GIL. */
static __always_inline void enter_wait(struct gs_thread *t, const struct gs_target *target, struct gs_gil *gil,
                                       const struct gs_call *call, const struct gs_view *view, bool sleeps, gs_u64 now)
{
    gs_u64 begin = now;

    if (call->offset >= AT_SWITCH_COND) { /* a forced switch */
        if (t->state == GS_WAITS)
            take(t, t->tentative_ns);
        if (t->state == GS_RUNS) {
            /* Else the last one goes on: it takes its lock back, or has not slept yet, having lost its processor in
             * front of that.  It gave the GIL up before it began. */
            if (forced_wait(call) && !is_leaving_forced(t, now)) {
                if (now - t->released_ns > 100000) /* nobody was woken */
                    released(t, gil, call->gil);
                run_until(t, now);
                t->state_ns = now;
            }
            t->state = GS_FORCED;
        }
        t->in_futex = 1;
        charge_pending(t);
        return;
    }
    if (call->offset < AT_MUTEX && call->deadline_ns) {
        /* take_gil reads the clock for the deadline when it begins to wait. */
        begin = call->deadline_ns - view->interval_ns;
        if (begin > now || now - begin > 1000000000)
            begin = now;
    }
    if (t->state == GS_WAITS && t->tentative_ns) {
        /* It has not got the GIL; or it has, and given it up again since: then this is another wait. */
        gs_u64 gap = begin > t->tentative_ns ? begin - t->tentative_ns : 0;
        enum gs_taken taken = has_taken(t, view);
        if (taken == GS_TAKEN || (taken == GS_PERHAPS && gap > (t->woken ? 3000 : 30000))) {
            take(t, t->tentative_ns);
        } else {
            /* The same deadline: still the same pthread_cond_timedwait, which another waiter was faster than. */
            if (call->offset < AT_MUTEX && call->deadline_ns && call->deadline_ns != t->deadline_ns)
                lost(t, gil, view);
            compare(gil, view, now, 0);
            charge_open(t, gil, now);
        }
    }
    if (t->state == GS_RUNS) {
        if (begin < t->since_ns)
            begin = t->since_ns;
        has_not(t, gil, view, begin);
        run_until(t, begin);
        t->state = GS_WAITS;
        t->state_ns = t->divided_ns = begin;
        t->divided_changes = gil->n_changes;
        __sync_fetch_and_add(&gil->n_waiters, 1);
        wait_stack(t, target, now);
    }
    if (call->deadline_ns && call->deadline_ns != t->deadline_ns) {
        t->deadline_ns = call->deadline_ns;
        t->call_switches = view->switches;
    }
    t->switches = view->switches;
    t->tentative_ns = 0;
    t->woken = t->was_seen = 0;
    t->in_futex = 1;
    has_come(t, gil);
    if (call->offset < AT_MUTEX && sleeps)
        falls_asleep(t, gil);
    else if (call->offset < AT_MUTEX) /* it has lost its processor in front of its sleep */
        is_late(t, gil);
    charge_pending(t);
}

static __always_inline void switch_in(struct gs_thread *t, gs_u64 now)
{
    is_woken(t, false);
    if (t->state == GS_FORCED) {
        end_forced(t, now);
        t->in_kernel = 1;
    } else if (t->state == GS_WAITS) {
        t->tentative_ns = now;
        t->in_kernel = 1;
    } else {
        end_lock(t, now);
        weigh_off(t, now);
        run_until(t, now);
        if (!t->off_held)
            t->free_ns = now;
    }
    t->in_futex = 0;
    t->on_cpu = 1;
}

/* The thread is on a processor.  Of a few switches in a thousand, from an idle processor, the tracepoint tells nothing
 * (seen on Linux 6.18): whoever waited there seemed to go on waiting, and its next wait was lost or taken for a forced
 * switch. */
__noinline int is_here_after_all(struct gs_thread *t)
{
    if (t)
        switch_in(t, bpf_ktime_get_ns());
    return 0;
}

static __always_inline void is_here(struct gs_thread *t)
{
    if (!t->on_cpu)
        is_here_after_all(t);
}

static __always_inline void switch_out(struct gs_thread *t, struct task_struct *task, bool sleeps, gs_u64 now)
{
    struct gs_target *target = target_of(t);
    struct gs_call call;
    struct gs_view view = {.read = false};

    if (!target)
        return;
    is_here(t);
    if (!t->self)
        learn_self_of(t, task);
    t->in_futex = 0;
    if (futex_call(task, target, FUTEX_WAIT_CALL, &call)) {
        struct gs_gil *gil = bpf_map_lookup_elem(&gils, &call.gil);
        if (gil) {
            /* Without a deadline it is glibc's own lock in the condition variable: of a waiter, a part of the wait. */
            bool counts = call.offset < AT_MUTEX ? call.deadline_ns || t->state == GS_WAITS
                                                 : call.offset < AT_SWITCH_COND || forced_wait(&call);
            look(gil, target, t, &view);
            if (switch_mutex_wait(&call) && is_leaving_forced(t, now) && !view.last_mine)
                counts = true;
            bool another = call.deadline_ns && call.deadline_ns != t->deadline_ns;
            if (counts && t->state == GS_WAITS && !sleeps &&
                !another) { /* it has been woken, and is still on the way out of the call */
                t->on_cpu = 0;
                return;
            }
            if (counts && (call.offset != AT_MUTEX || !view.mine)) {
                if (t->state != GS_WAITS)
                    t->gil = call.gil;
                enter_wait(t, target, gil, &call, &view, sleeps, now);
                t->on_cpu = 0;
                return;
            }
        }
    }
    struct gs_gil *gil = look_own(target, t, &view);
    if (!gil)
        return;
    if (t->state == GS_WAITS && t->tentative_ns) {
        enum gs_taken taken = sleeps ? GS_TAKEN : has_taken(t, &view);
        if (taken == GS_TAKEN || (taken == GS_PERHAPS && now - t->tentative_ns > GS_ON_THE_WAY_NS))
            take(t, t->tentative_ns); /* else it is preempted on its way to the GIL */
    }
    if (t->state == GS_RUNS) {
        if (view.mine)
            compare(gil, &view, now, t->hold_ns);
        else
            has_not(t, gil, &view, now);
        run_until(t, now);
        t->off_held = view.mine;
        if (sleeps)
            charge_pending(t);
        if (!view.mine)
            begin_lock(t, target, task, now);
        off_stack(t, target, now);
    }
    t->on_cpu = 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    gs_u32 before = id_of_tid(prev->pid), after = id_of_tid(next->pid);
    struct gs_thread *t;

    if (!(before | after))
        return 0;
    gs_u64 now = bpf_ktime_get_ns();
    if (before && (t = thread_by_id(before)))
        switch_out(t, prev, !preempt && task_sleeps(prev), now);
    if (after && (t = thread_by_id(after)))
        switch_in(t, before ? bpf_ktime_get_ns() : now); /* what the one that leaves took is not the other's yet */
    return 0;
}

/* The thread goes back to its program for the first time since it has got a processor: the kernel, which lets it have
 * the number of that processor on the way (restartable sequences; glibc asks for it since 2.35), was not done with its
 * sleep before, and it has not taken the GIL before.  kernel/rseq.c: __rseq_handle_notify_resume(). */
SEC("?tp_btf/rseq_update")
int BPF_PROG(on_return, struct task_struct *task)
{
    struct gs_thread *t = thread_of(task->pid);

    if (!t)
        return 0;
    is_here(t);
    if (!t->in_kernel)
        return 0;
    t->in_kernel = 0;
    if (t->state == GS_WAITS && t->tentative_ns)
        t->tentative_ns = bpf_ktime_get_ns();
    else if (t->state == GS_RUNS && comes_from_forced(t))
        end_forced(t, bpf_ktime_get_ns());
    return 0;
}

/* A thread wakes another one: if by a futex call on the GIL's condition variable, it has just given the GIL up; if on
 * that of the forced switch, it has just taken it.  True: a release. */
static __always_inline bool wakes(struct gs_thread *t, struct task_struct *task, struct gs_thread *other)
{
    struct gs_call call;
    struct gs_target *target = target_of(t);

    if (!target || !futex_call(task, target, FUTEX_WAKE_CALL, &call))
        return false;
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &call.gil);
    if (!gil)
        return false;
    if (call.offset >= AT_COND && call.offset < AT_MUTEX && other->state == GS_WAITS) {
        struct gs_view view = {.read = false};
        look(gil, target, t, &view);
        if (view.mine) /* a timer that ends another's wait, in the middle of our call */
            return false;
        if (other->in_futex) { /* else it is only about to sleep, and this state is of an earlier wait */
            other->woken = 1;
            other->switches = view.switches;
        }
        released(t, gil, call.gil);
        return true;
    }
    if (call.offset >= AT_SWITCH_COND && other->state == GS_FORCED) {
        if (t->state == GS_WAITS && t->tentative_ns)
            take(t, t->tentative_ns);
    }
    return false;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_sched_waking, struct task_struct *sleeper)
{
    struct gs_thread *other = thread_of(sleeper->pid), *t;

    if (!other || other->state == GS_RUNS)
        return 0;
    struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
    t = thread_of(task->pid);
    is_woken(other, t && wakes(t, task, other));
    return 0;
}

/* --- the clock --------------------------------------------------------------------------------------------------- */
SEC("perf_event")
int on_clock(struct bpf_perf_event_data *ctx)
{
    struct gs_thread *t = current_thread();

    if (!t || t->state == GS_FORCED || t->in_futex)
        return 0;
    struct gs_target *target = target_of(t);
    struct gs_view view = {.read = false};
    if (!target)
        return 0;
    struct gs_gil *gil = look_own(target, t, &view);
    if (!gil)
        return 0;
    if (t->state == GS_WAITS && !view.mine) {
        enum gs_taken taken = has_taken(t, &view);
        if (!t->tentative_ns || taken == GS_NOT_TAKEN ||
            (taken == GS_PERHAPS && bpf_ktime_get_ns() - t->tentative_ns < GS_ON_THE_WAY_NS))
            return 0;
        take(t, t->tentative_ns); /* and it has given it up since, waking nobody */
    }
    if (t->state == GS_WAITS && t->tentative_ns)
        take(t, t->tentative_ns);
    learn_self(t);
    gs_u64 now = bpf_ktime_get_ns();
    bool unseen = is_unseen(gil);
    if (unseen)
        sample_unseen(gil, t, &view, now);
    else if (view.mine)
        compare(gil, &view, now, t->hold_ns);
    if (view.mine)
        vote(t);
    if (view.mine && t->hold_ns) {
        __sync_fetch_and_add(&t->hold_samples, 1);
    } else if (view.mine) {
        __sync_fetch_and_add(&t->samples_held, 1);
    } else {
        __sync_fetch_and_add(&t->samples_released, 1);
        if (unseen) /* a hold that it began after a wait has ended without waking anybody */
            end_hold(t);
        else
            has_not(t, gil, &view, now);
    }
    clock_stack(t, target, gil, view.mine, ctx);
    return 0;
}

/* --- threads come and go ----------------------------------------------------------------------------------------- */
/* A process is made.  Its parent may end before the loader looks, and nothing would tell then whose it is. */
static __always_inline void born(gs_u32 parent, struct task_struct *task)
{
    gs_u32 child = task->tgid;

    if (follows && (bpf_map_lookup_elem(&targets, &parent) || bpf_map_lookup_elem(&family, &parent))) {
        gs_u32 seen = seen_tid(task);
        bpf_map_update_elem(&family, &child, &seen, BPF_ANY);
    }
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    gs_u32 tgid = child->tgid;

    if (parent->tgid != child->tgid) {
        born(parent->tgid, child);
        return 0;
    }
    gs_u32 *target = bpf_map_lookup_elem(&targets, &tgid);
    if (!target)
        return 0;
    /* pthread_create() gives the thread its pthread_self() on the way (CLONE_SETTLS).  It is to be known before the
     * thread runs: it may hold the GIL for long without a call, and be waited for. */
    gs_u64 self = BPF_CORE_READ(child, thread.fsbase);
    new_thread(child, *target, self != BPF_CORE_READ(parent, thread.fsbase) ? self : 0);
    return 0;
}

static __always_inline void end_thread(struct task_struct *task, gs_u32 tid)
{
    struct gs_thread *t = thread_of(tid);

    if (!t)
        return;
    /* First of all: this program may lose the processor, and from here on a switch must not count what is counted here.
     */
    gs_u32 id = t->id;
    struct gs_gil *gil;
    remove_tid(tid, id);
    gs_u64 now = bpf_ktime_get_ns();
    is_woken(t, false);
    if (t->late && (gil = bpf_map_lookup_elem(&gils, &t->gil)))
        has_come(t, gil);
    if (t->state == GS_WAITS && t->tentative_ns)
        take(t, t->tentative_ns);
    if (t->state == GS_RUNS)
        run_until(t, now);
    else
        abandon(t, now);
    charge_pending(t);
    if (bpf_core_field_exists(task->sched_info.run_delay))
        t->run_delay_ns = BPF_CORE_READ(task, sched_info.run_delay);
    forget_self(t);
    struct gs_target *target = target_of(t);
    for (gs_u32 i = 0; target && i < GS_GILS && i < target->n_gils; i++) {
        gs_u32 index = target->gil[i];
        gil = bpf_map_lookup_elem(&gils, &index);
        if (!gil)
            continue;
        if (!t->had_gil) { /* it lived so shortly that it never left its processor: it may be the last holder still */
            struct gs_view view = {.read = false};
            look(gil, target, t, &view);
        }
        forget_owner(gil, id);
        if (gil->ring[(gil->n_changes - 1) & (GS_RING - 1)].holder == id) /* it has not got it any more */
            change(gil, now, 0);
    }
    t->end_ns = now; /* last of all: from some time after it on, the slot may be another thread's */
}

/* The process is over.  The loader looks whether it is there; and no other one that gets its id is taken for it. */
static __always_inline void end_target(gs_u32 tgid)
{
    bpf_map_delete_elem(&targets, &tgid);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
    end_thread(task, task->pid);
    if (!BPF_CORE_READ(task, signal, live.counter)) {
        gs_u32 tgid = task->tgid;
        end_target(tgid);
        if (follows)
            bpf_map_delete_elem(&family, &tgid);
    }
    return 0;
}

/* The new program may have rights that its user has not: from here on nothing of it is read. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid)
{
    end_thread(task, old_tid);
    end_target(task->tgid);
    return 0;
}
