/* SPDX-License-Identifier: MIT */
/*
 * charge.bpf.h - who made a thread wait: its last wait is divided among those who held the GIL meanwhile.
 */
#ifndef GILSCOPE_CHARGE_BPF_H
#define GILSCOPE_CHARGE_BPF_H

/* These are functions of their own so that the kernel's verifier looks at each once, and not once for each round of
 * the loop that calls it: attaching takes half as long. */

/* What a thread has kept to itself of a holder's charges is entered where others see it; of one whose slot is closed by
 * now, where the loader finds it. */
static __always_inline void pay(struct gs_thread *t, const struct gs_owed *owed)
{
    struct gs_pair key = {.waiter = t->id, .holder = owed->holder};
    gs_u64 ns = owed->ns;

    if (!key.holder || !ns)
        return;
    struct gs_thread *h = thread_by_id(key.holder);
    if (!h) {
        t->by_ended_ns += ns;
        return;
    }
    gs_u64 *sum = bpf_map_lookup_elem(&pairs, &key);
    if (sum) {
        __sync_fetch_and_add(sum, ns);
    } else if (bpf_map_update_elem(&pairs, &key, &ns, BPF_NOEXIST)) {
        t->not_told_ns += ns;
        __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
    }
    __sync_fetch_and_add(&h->charged_ns, ns);
}

/* Charges a holder for a part of a thread's wait. */
__noinline int charge_one(gs_u32 waiter, gs_u32 holder, gs_u64 ns)
{
    struct gs_thread *t = thread_by_id(waiter);

    if (!t)
        return 0;
    t->blocked_ns += ns;
    if (holder == GS_NOT_KNOWN) {
        t->not_told_ns += ns;
        __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
        return 0;
    }
    struct gs_owed *owed = &t->owed[holder % GS_OWED];
    if (owed->holder != holder) {
        struct gs_owed old = *owed;
        owed->holder = holder;
        owed->ns = 0; /* before it stands elsewhere: nobody finds it twice */
        pay(t, &old);
    }
    owed->ns += ns;
    return 0;
}

/* Charges for what lies between the changes n - GS_WALK_STEP and n, of which pending_to_ns says how far it goes back
 * already.  0 = nothing is left. */
__noinline int charge_some(gs_u32 gil_index, gs_u32 self, gs_u64 n)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &gil_index);
    struct gs_thread *t = thread_by_id(self);

    if (!gil || !t)
        return 0;
    gs_u64 from = t->pending_from_ns, high = t->pending_to_ns;
    for (gs_u32 i = 1; i <= GS_WALK_STEP && i <= n && high > from; i++) {
        const struct gs_change *c = &gil->ring[(n - i) & (GS_RING - 1)];
        gs_u64 begin = c->ns > from ? c->ns : from;
        gs_u32 holder = c->holder;
        if (begin >= high)
            continue;
        gs_u64 ns = high - begin;
        high = begin;
        if (holder && holder != self)
            charge_one(self, holder, ns);
    }
    t->pending_to_ns = high;
    return high > from && n > GS_WALK_STEP;
}

/* Divides the last wait among those who held the GIL meanwhile.  Called when the thread is about to sleep: it holds
 * nobody up. */
__noinline int charge_walk(gs_u32 gil_index, gs_u32 self)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &gil_index);
    struct gs_thread *t = thread_by_id(self);

    if (!gil || !t)
        return 0;
    gs_u64 n = gil->n_changes, left;
    for (gs_u32 i = 0; i < GS_WALK && charge_some(gil_index, self, n - i); i += GS_WALK_STEP)
        ;
    left = t->pending_to_ns - t->pending_from_ns;
    if ((gs_s64)left > 0 && n) { /* more changes than are looked at: somebody had it */
        t->blocked_ns += left;
        t->not_told_ns += left;
        __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
    }
    t->pending_to_ns = 0;
    return 0;
}

static __always_inline void charge_pending(struct gs_thread *t)
{
    if (t->pending_to_ns)
        charge_walk(t->gil, t->id);
}

/* The thread goes on waiting: it has not got the GIL, and who has had it up to now is known. */
static __always_inline void charge_open(struct gs_thread *t, const struct gs_gil *gil, gs_u64 now)
{
    if (gil->n_changes - t->divided_changes < GS_WALK_OPEN)
        return;
    charge_pending(t);
    t->pending_from_ns = t->divided_ns;
    t->pending_to_ns = now;
    t->divided_ns = now;
    t->divided_changes = gil->n_changes;
    charge_pending(t);
}

#endif
