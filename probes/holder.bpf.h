/* SPDX-License-Identifier: MIT */
/*
 * holder.bpf.h - who had the GIL when: a ring of changes.
 *
 * A release is told as long as a waiter sleeps: it wakes it.  A take that finds the GIL free is never told, and a release
 * is not while all who wait have been woken and have no processor yet: so a thread may have the GIL on and off without
 * anything being told.  The GIL's memory is compared with the ring at each event of any thread, which bounds what is not
 * known, and the clock's samples say how much of such times a thread has the GIL.
 */
#ifndef GILSCOPE_HOLDER_BPF_H
#define GILSCOPE_HOLDER_BPF_H

static __always_inline void change(struct gs_gil *gil, gs_u64 now, gs_u32 holder)
{
    gs_u64 i = __sync_fetch_and_add(&gil->n_changes, 1);
    struct gs_change *c = &gil->ring[i & (GS_RING - 1)];

    c->ns = now;
    c->holder = holder;
    if (holder)
        gil->last_id = holder;
}

/* --- waiters that sleep ------------------------------------------------------------------------------------------ */
/* A release is told, for it wakes a sleeper.  Not if there is none; and a waiter that its deadline has woken is one whom a
 * release need not wake, whoever else sleeps (glibc's pthread_cond_signal counts it until it has a processor). */
static __always_inline bool tells_releases(const struct gs_gil *gil)
{
    return gil->n_asleep && !gil->n_late;
}

static __always_inline void falls_asleep(struct gs_thread *t, struct gs_gil *gil)
{
    if (!__sync_val_compare_and_swap(&t->asleep, 0, 1))
        __sync_fetch_and_add(&gil->n_asleep, 1);
}

static __always_inline void is_late(struct gs_thread *t, struct gs_gil *gil)
{
    if (!__sync_val_compare_and_swap(&t->late, 0, 1))
        __sync_fetch_and_add(&gil->n_late, 1);
}

/* It has been woken, by a release or by its deadline; from anywhere. */
static __always_inline void is_woken(struct gs_thread *t, bool by_release)
{
    struct gs_gil *gil;

    if (!t->asleep || !__sync_val_compare_and_swap(&t->asleep, 1, 0) || !(gil = bpf_map_lookup_elem(&gils, &t->gil)))
        return;
    if ((gil->n_asleep == 1 || !by_release) && tells_releases(gil))
        gil->quiet_ns = bpf_ktime_get_ns();
    __sync_fetch_and_sub(&gil->n_asleep, 1);
    if (!by_release)
        is_late(t, gil);
}

/* It has come to the GIL, or it is gone. */
static __always_inline void has_come(struct gs_thread *t, struct gs_gil *gil)
{
    if (t->late && __sync_val_compare_and_swap(&t->late, 1, 0))
        __sync_fetch_and_sub(&gil->n_late, 1);
}

/* --- what is not told -------------------------------------------------------------------------------------------- */
/* The thread may have taken the GIL and given it up without anything being told; after a wait, too. */
static __always_inline bool runs(const struct gs_thread *t)
{
    return t && t->on_cpu && (t->state == GS_RUNS || (t->state == GS_WAITS && t->tentative_ns && t->was_seen));
}

/* Since when it is not told whether a thread, which has a processor, has the GIL. */
static __always_inline gs_u64 unseen_since(const struct gs_gil *gil, const struct gs_thread *t, enum gs_known known)
{
    gs_u64 since = gil->ring[(gil->n_changes - 1) & (GS_RING - 1)].ns;
    gs_u64 other = known == GS_KNOWN_HELD ? gil->quiet_ns : t->free_ns;

    if (since < gil->seen_ns)
        since = gil->seen_ns;
    if (since < (t->state == GS_RUNS ? t->since_ns : t->tentative_ns))
        since = t->state == GS_RUNS ? t->since_ns : t->tentative_ns;
    return since < other ? other : since;
}

/* Others wait, and it is not told who takes the GIL, or gives it up. */
static __always_inline bool is_unseen(const struct gs_gil *gil)
{
    gs_u32 holder = gil->ring[(gil->n_changes - 1) & (GS_RING - 1)].holder;

    return gil->n_waiters && gil->n_changes && holder != GS_NOT_KNOWN && (!holder || !tells_releases(gil));
}

/* What a sample of the clock says of the current thread in such times.  The ring must not learn from it: the next sample
 * comes when it is due, and what follows on a sample would hardly ever be sampled. */
static __always_inline void sample_unseen(const struct gs_gil *gil, struct gs_thread *t, const struct gs_view *view,
                                          gs_u64 now)
{
    gs_u32 holder = gil->ring[(gil->n_changes - 1) & (GS_RING - 1)].holder, age = 0;
    enum gs_known known = holder ? GS_KNOWN_HELD : GS_KNOWN_FREE;

    if (!runs(t) || (holder ? holder != t->id : !view->last_mine))
        return;
    gs_u64 since = unseen_since(gil, t, known);
    while (age < GS_AGES - 1 && now > since && now - since >= GS_AGE_NS(age))
        age++;
    if (view->mine)
        t->unseen[known][age].held++;
    else
        t->unseen[known][age].released++;
}

/* The part of held_part(), below, that is of one age, of which there are `ns`.  A function of its own, as the verifier would
 * follow each way through six of these. */
__noinline gs_u64 held_part_of(gs_u32 id, gs_u32 known, gs_u32 age, gs_u64 ns, bool has_it)
{
    struct gs_thread *t = thread_by_id(id);

    if (!t || known >= GS_KNOWN || age >= GS_AGES)
        return 0;
    struct gs_unseen *u = &t->unseen[known][age];
    gs_u64 all = __sync_fetch_and_add(&u->ns, ns) + ns, given = u->given_ns;
    gs_u64 held = u->held, n = held + u->released;
    if (!n)
        held = n = 1, all = has_it ? all : given;
    gs_u64 due = all / n * held + all % n * held / n;
    gs_u64 part = due > given ? due - given : 0;
    if (part > ns)
        part = ns;
    __sync_fetch_and_add(&u->given_ns, part);
    return part;
}

/* How much of the `ns` that a thread has run, since the GIL was known to be its own or free, it has had it.  So much is
 * given that in sum it is what the samples say.  has_it: as long as there are none, it has had it all the time. */
__noinline gs_u64 held_part(gs_u32 id, gs_u32 known, gs_u64 ns, bool has_it)
{
    gs_u64 begin = 0, sum = 0;

    for (gs_u32 i = 0; i < GS_AGES; i++) {
        gs_u64 end = i < GS_AGES - 1 && ns > GS_AGE_NS(i) ? GS_AGE_NS(i) : ns;
        if (end <= begin)
            break;
        sum += held_part_of(id, known, i, end - begin, has_it);
        begin = end;
    }
    return sum;
}

/* The GIL was free when the ring was last right; until `to` its last holder may have had it again. */
static __always_inline void fill_free(struct gs_gil *gil, gs_u64 to)
{
    gs_u32 id = gil->last_id;
    struct gs_thread *t = thread_by_id(id);

    if (!gil->n_waiters || !runs(t))
        return;
    gs_u64 from = unseen_since(gil, t, GS_KNOWN_FREE);
    gs_u64 part = to > from ? held_part(id, GS_KNOWN_FREE, to - from, false) : 0;
    if (part) {
        change(gil, from, id);
        change(gil, from + part, 0);
    }
}

/* The thread that had the GIL when the ring was last right has not got it at `to`; nothing told that it gave it up. */
static __always_inline void end_unseen(struct gs_gil *gil, gs_u32 id, gs_u64 to)
{
    struct gs_thread *t = thread_by_id(id);

    if (gil->n_waiters && !tells_releases(gil) && runs(t)) {
        gs_u64 from = unseen_since(gil, t, GS_KNOWN_HELD);
        if (to > from)
            to = from + held_part(id, GS_KNOWN_HELD, to - from, true);
    }
    change(gil, to, 0);
}

/* A waiter has had the GIL since `at`. */
__noinline int taken(struct gs_gil *gil, gs_u32 id, gs_u64 at)
{
    if (!gil)
        return 0;
    const struct gs_change *last = &gil->ring[(gil->n_changes - 1) & (GS_RING - 1)];
    gs_u32 holder = last->holder;

    if (holder == id || (holder && last->ns > at))
        return 0;
    if (last->ns > at) /* who gave it up told so later than it was taken */
        at = last->ns;
    else if (!holder)
        fill_free(gil, at);
    else if (holder != GS_NOT_KNOWN)
        end_unseen(gil, holder, at);
    change(gil, at, id);
    return 0;
}

/* A thread has been found to have the GIL, which was free when the ring was last right: it has had it since then, or since
 * it was last seen without, and not before `since`. */
__noinline int found(struct gs_gil *gil, gs_u32 id, gs_u64 at, gs_u64 since)
{
    if (!gil)
        return 0;
    const struct gs_change *last = &gil->ring[(gil->n_changes - 1) & (GS_RING - 1)];
    struct gs_thread *t = thread_by_id(id);

    if (t && t->state == GS_WAITS && t->tentative_ns) {
        t->was_seen = 1;
        return taken(gil, id, t->tentative_ns);
    }
    if (gil->n_changes && last->ns > since)
        since = last->ns;
    if (t && t->free_ns > since)
        since = t->free_ns;
    if (!since)
        since = at;
    if (gil->n_waiters && runs(t)) {
        gs_u64 from = unseen_since(gil, t, GS_KNOWN_FREE);
        if (from < since)
            from = since;
        if (at > from)
            since = at - held_part(id, GS_KNOWN_FREE, at - from, true);
    }
    change(gil, since, id);
    return 0;
}

/* The thread that had the GIL, for which others wait, has it still, or again: nothing would have told. */
__noinline int has_still(struct gs_gil *gil, gs_u32 id, gs_u64 at)
{
    struct gs_thread *t = thread_by_id(id);

    if (!gil || !runs(t))
        return 0;
    gs_u64 from = unseen_since(gil, t, GS_KNOWN_HELD);
    if (at <= from)
        return 0;
    gs_u64 part = held_part(id, GS_KNOWN_HELD, at - from, true);
    if (part < at - from) {
        change(gil, from, 0);
        change(gil, at - part, id);
    }
    return 0;
}

/* Brings the ring up to date with what the GIL's memory says `at` that instant. */
__noinline int compare(struct gs_gil *gil, const struct gs_view *view, gs_u64 at, gs_u64 since)
{
    if (!gil || !view || !view->read)
        return 0;
    gs_u32 before = gil->n_changes ? gil->ring[(gil->n_changes - 1) & (GS_RING - 1)].holder : 0;
    gs_u32 id = !view->locked ? 0 : view->holder ? view->holder : GS_NOT_KNOWN;

    if (before == id) {
        if (!id && view->last)
            gil->last_id = view->last;
        if (!id)
            fill_free(gil, at);
        else if (id != GS_NOT_KNOWN && gil->n_waiters && !tells_releases(gil))
            has_still(gil, id, at);
    } else {
        if (before == GS_NOT_KNOWN) {
            if (!id)
                change(gil, at, 0);
        } else if (before) {
            end_unseen(gil, before, at);
        }
        if (id)
            found(gil, id, at, since);
    }
    if (gil->seen_ns < at)
        gil->seen_ns = at;
    return 0;
}

#endif
