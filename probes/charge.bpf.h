/* SPDX-License-Identifier: MIT */
/*
 * charge.bpf.h - who made a thread wait: its last wait is divided among those who held the GIL meanwhile.
 */
#ifndef GILSCOPE_CHARGE_BPF_H
#define GILSCOPE_CHARGE_BPF_H

/* Divides the last wait among those who held the GIL meanwhile.  Called when the thread is about to sleep: it holds
 * nobody up. */
__noinline int charge_walk(gs_u32 gil_index, gs_u32 self)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &gil_index);
    struct gs_thread *t = bpf_map_lookup_elem(&slots, &self);

    if (!gil || !t)
        return 0;
    gs_u64 from = t->pending_from_ns, high = t->pending_to_ns, n = gil->n_changes;
    t->pending_to_ns = 0;
    for (gs_u32 i = 1; i <= GS_WALK; i++) {
        if (high <= from)
            return 0;
        if (i > n)
            break;
        const struct gs_change *c = &gil->ring[(n - i) & (GS_RING - 1)];
        gs_u64 begin = c->ns > from ? c->ns : from;
        struct gs_pair key = {.waiter = self, .holder = c->slot};
        if (begin >= high)
            continue;
        gs_u64 ns = high - begin;
        high = begin;
        if (!key.holder || key.holder == self)
            continue;
        t->blocked_ns += ns;
        if (key.holder >= max_slots) { /* GS_NOT_KNOWN */
            t->not_told_ns += ns;
            __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
            continue;
        }
        gs_u64 *sum = bpf_map_lookup_elem(&pairs, &key);
        if (sum) {
            __sync_fetch_and_add(sum, ns);
        } else if (bpf_map_update_elem(&pairs, &key, &ns, BPF_NOEXIST)) {
            t->not_told_ns += ns;
            __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
        }
        struct gs_thread *holder = bpf_map_lookup_elem(&slots, &key.holder);
        if (holder)
            __sync_fetch_and_add(&holder->charged_ns, ns);
    }
    if (high > from && n) { /* more changes than are looked at: somebody had it */
        t->blocked_ns += high - from;
        t->not_told_ns += high - from;
        __sync_fetch_and_add(&losses[GS_LOSS_PAIRS], 1);
    }
    return 0;
}

static __always_inline void charge_pending(struct gs_thread *t)
{
    if (t->pending_to_ns)
        charge_walk(t->gil, slot_of(t));
}

#endif
