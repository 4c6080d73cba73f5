/* SPDX-License-Identifier: MIT */
/*
 * account.bpf.h - a thread's accounts: waits, holds, time on and off processors, and who held the GIL meanwhile.
 */
#ifndef GILSCOPE_ACCOUNT_BPF_H
#define GILSCOPE_ACCOUNT_BPF_H

struct gs_view { /* of a GIL, as its memory says */
    bool read;  /* the rest is known */
    bool locked, mine;
    bool last_mine; /* the thread was the last to take it, whether it still has it or not */
    gs_u32 holder;  /* id, 0 = not known */
    gs_u32 last;    /* id of the last to take it, likewise */
    gs_u64 switches, interval_ns;
};

/* --- histograms: lib/hist.h's buckets ---------------------------------------------------------------------------- */
/* The number of the highest bit that is set; of 0: 0.  Without branches: the verifier would follow each way through them,
 * and the processor would guess them wrong. */
static __always_inline gs_u32 highest_bit(gs_u64 x)
{
    x |= x >> 1;
    x |= x >> 2;
    x |= x >> 4;
    x |= x >> 8;
    x |= x >> 16;
    x |= x >> 32;
    x >>= 1; /* as many ones as are wanted: they are counted */
    x -= x >> 1 & 0x5555555555555555ull;
    x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return x * 0x0101010101010101ull >> 56;
}

/* Adds to one of the thread's histograms.  As a function of its own, the verifier looks at its branches once. */
__noinline int add_to(gs_u32 id, gs_u32 which, gs_u64 ns)
{
    struct gs_thread *t = thread_by_id(id);
    gs_u32 index = ns, top = highest_bit(ns);

    if (!t || (gs_s64)ns < 0)
        return 0;
    struct gs_hist *h = &t->hist[which & (GS_HISTS - 1)];
    if (top >= 4)
        index = (top - 3) * GS_HIST_SUBS + ((ns >> (top - 4)) & (GS_HIST_SUBS - 1));
    barrier_var(index); /* the verifier is to see that what follows limits this */
    if (index >= GS_HIST_OCTAVES * GS_HIST_SUBS)
        index = GS_HIST_OCTAVES * GS_HIST_SUBS - 1;
    h->bucket[index]++;
    h->count++;
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    return 0;
}

static __always_inline gs_u64 mix(gs_u64 hash, gs_u64 value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 32;
}

/* --- what the GIL's memory says ---------------------------------------------------------------------------------- */
/* The GIL's memory says that the thread has it. */
static __noinline bool has(const struct gs_gil *gil, const struct gs_target *target, const struct gs_thread *t)
{
    struct {
        gs_u64 last_holder;
        gs_s32 locked, pad;
    } g = {0, 0, 0};
    gs_u64 self = 0;

    if (!gil || !target || !t)
        return false;
    if (bpf_probe_read_user(&g, sizeof g, (void *)(gil->address + 8)) || g.locked != 1)
        return false;
    bpf_probe_read_user(&self, sizeof self, (void *)(g.last_holder + target->tstate_thread_id));
    return self && self == t->self;
}

/* The thread whose thread state this is: its id, 0 = not known.  Thread states stay with their threads in most
 * processes, so it is looked up now and then only, until one is seen to have changed hands: native threads that call
 * Python have a new one each time, which may lie where another's was (PyGILState_Ensure, Python/pystate.c). */
static __always_inline gs_u32 owner_of(struct gs_gil *gil, const struct gs_target *target, struct gs_thread *t,
                                       gs_u64 tstate)
{
    gs_u64 *known = &gil->owner[mix(0, tstate) % GS_OWNERS];
    gs_u64 entry = *(volatile gs_u64 *)known, tag = (gs_u64)(gs_u32)(tstate >> 4) << 32;
    struct gs_self key = {.target = t->target};
    gs_u32 id = 0;

    if (entry && (entry ^ tag) >> 32 == 0 && !gil->owners_change && ++t->n_looks % GS_OWNER_TRUST)
        return (gs_u32)entry;
    bpf_probe_read_user(&key.self, sizeof key.self, (void *)(tstate + target->tstate_thread_id));
    if (!key.self)
        return 0;
    if (key.self == t->self) {
        id = t->id;
    } else {
        gs_u32 *found = bpf_map_lookup_elem(&selves, &key);
        if (!found)
            return 0;
        id = *found;
    }
    if (entry != (tag | id)) {
        if (entry && (entry ^ tag) >> 32 == 0)
            gil->owners_change = 1;
        *(volatile gs_u64 *)known = tag | id;
    }
    return id;
}

/* The thread ends. */
static __always_inline void forget_owner(struct gs_gil *gil, gs_u32 id)
{
    for (gs_u32 i = 0; i < GS_OWNERS; i++)
        if ((gs_u32)gil->owner[i] == id)
            gil->owner[i] = 0;
}

__noinline int look(struct gs_gil *gil, const struct gs_target *target, struct gs_thread *t, struct gs_view *view)
{
    struct {
        gs_u64 interval_us, last_holder;
        gs_s32 locked, pad;
        gs_u64 switches;
    } g = {.locked = 0};

    if (!gil || !target || !t || !view)
        return 0;
    view->read = view->locked = view->mine = view->last_mine = false;
    view->holder = view->last = 0;
    view->switches = 0;
    view->interval_ns = 5000000;
    if (bpf_probe_read_user(&g, sizeof g, (void *)gil->address))
        return 0;
    view->read = true;
    view->switches = g.switches;
    view->interval_ns = g.interval_us * 1000;
    if (!g.last_holder)
        return 0;
    gs_u32 owner = owner_of(gil, target, t, g.last_holder);
    view->last = owner;
    view->last_mine = owner && owner == t->id;
    if (view->last_mine) {
        t->tstate = g.last_holder;
        t->had_gil = 1;
    }
    if (g.locked != 1)
        return 0;
    view->locked = true;
    view->mine = view->last_mine;
    view->holder = owner;
    return 0;
}

/* The same of the GIL that the thread used last; or of the one that it has: with several interpreters, each of which has
 * its own, that may be another one by now. */
static __always_inline struct gs_gil *look_own(const struct gs_target *target, struct gs_thread *t, struct gs_view *view)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &t->gil);

    if (!gil)
        return NULL;
    look(gil, target, t, view);
    if (target->n_gils < 2 || view->mine || t->state != GS_RUNS)
        return gil;
    for (gs_u32 i = 0; i < GS_GILS && i < target->n_gils; i++) {
        gs_u32 index = target->gil[i];
        struct gs_gil *other = bpf_map_lookup_elem(&gils, &index);
        if (!other || !has(other, target, t))
            continue;
        t->gil = index;
        look(other, target, t, view);
        return other;
    }
    return gil;
}

#include "holder.bpf.h"

/* --- running, on a processor and off it -------------------------------------------------------------------------- */
static __always_inline void run_until(struct gs_thread *t, gs_u64 now)
{
    gs_u64 ns = now > t->since_ns ? now - t->since_ns : 0;

    if (t->on_cpu)
        t->oncpu_ns += ns;
    else if (t->off_held) {
        t->held_off_ns += ns;
        t->hold_off_ns += ns;
    } else
        t->released_off_ns += ns;
    if (!t->on_cpu && !t->off_held && ns >= GS_LONG_OFF_NS)
        add_to(t->id, GS_HIST_OFF, ns);
    t->since_ns = now;
}

/* --- waits ------------------------------------------------------------------------------------------------------- */
enum gs_taken { GS_NOT_TAKEN, GS_TAKEN, GS_PERHAPS };

/* Whether a thread that has been on a processor since the end of its sleep has taken the GIL since.  Each take after
 * a wait makes it the last holder, and adds 1 to switch_number, as another had it meanwhile: only where two takes or
 * more are to be told apart, of which the last was not its own, is it not known. */
static __always_inline enum gs_taken has_taken(const struct gs_thread *t, const struct gs_view *view)
{
    gs_u64 takes = view->switches - t->switches;

    if (!view->read || t->state != GS_WAITS)
        return GS_PERHAPS;
    if (view->last_mine)
        return takes ? GS_TAKEN : GS_PERHAPS;
    return takes < 2 ? GS_NOT_TAKEN : GS_PERHAPS;
}

static __always_inline void wait_is_over(struct gs_thread *t, gs_u64 end)
{
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &t->gil);
    gs_u64 ns = end > t->state_ns ? end - t->state_ns : 0;

    t->wait_ns += ns;
    t->pending_from_ns = t->divided_ns;
    t->pending_to_ns = t->state_ns + ns;
    t->state = GS_RUNS;
    t->since_ns = t->state_ns + ns;
    t->tentative_ns = t->deadline_ns = 0;
    t->on_cpu = 1;
    if (gil)
        __sync_fetch_and_sub(&gil->n_waiters, 1);
}

static __always_inline void vote(struct gs_thread *t)
{
    if (t->gil == t->home_gil)
        t->home_votes++;
    else if (t->home_votes)
        t->home_votes--;
    else
        t->home_gil = t->gil;
}

static __always_inline void weigh_wait(struct gs_thread *t, gs_u64 ns);

/* It has had the GIL since `at`. */
__noinline int take(struct gs_thread *t, gs_u64 at)
{
    if (!t)
        return 0;
    gs_u64 from = t->state_ns;
    gs_u32 index = t->gil, id = t->id;
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &index);

    if (gil && id) {
        taken(gil, id, at);
        has_come(t, gil);
    }
    if (!t->woken && t->deadline_ns &&
        at >= t->deadline_ns) /* it asked, and was answered before it could sleep again */
        t->drop_requests++;
    vote(t);
    wait_is_over(t, at);
    add_to(t->id, GS_HIST_WAIT, at > from ? at - from : 0);
    t->contended++;
    t->hold_ns = t->state_ns = at;
    weigh_wait(t, at > from ? at - from : 0);
    return 0;
}

/* The present hold is over; if not seen to end, it counts as any other time on a processor does. */
static __always_inline void end_hold(struct gs_thread *t)
{
    t->samples_held += t->hold_samples;
    t->hold_samples = 0;
    t->hold_off_ns = 0;
    t->hold_ns = 0;
}

/* The thread gives the GIL up, now, to somebody who waits.  If nobody saw it take the GIL, it has had it since it was
 * last seen without. */
static __always_inline void released(struct gs_thread *t, struct gs_gil *gil, gs_u32 index)
{
    gs_u64 now = bpf_ktime_get_ns();
    struct gs_view mine = {.read = true, .locked = true, .mine = true, .holder = t->id};

    if (t->state == GS_WAITS && t->tentative_ns)
        take(t, t->tentative_ns);
    if (t->state != GS_RUNS)
        return;
    t->gil = index;
    compare(gil, &mine, now, t->hold_ns);
    change(gil, now, 0);
    if (t->hold_ns) {
        add_to(t->id, GS_HIST_HOLD, now - t->hold_ns);
        if (now - t->hold_ns > t->hold_off_ns)
            t->known_held_ns += now - t->hold_ns - t->hold_off_ns;
        t->hold_samples = 0;
    }
    end_hold(t);
    t->releases++;
    t->free_ns = t->released_ns = now;
}

/* The thread has not got the GIL at `now`. */
static __always_inline void has_not(struct gs_thread *t, struct gs_gil *gil, const struct gs_view *view, gs_u64 now)
{
    compare(gil, view, now, 0);
    t->free_ns = now;
    end_hold(t);
}

/* The thread ends while it waits. */
static __always_inline void abandon(struct gs_thread *t, gs_u64 now)
{
    if (t->state == GS_WAITS)
        wait_is_over(t, now);
    else if (t->state == GS_FORCED && now > t->since_ns)
        t->forced_ns += now - t->since_ns;
    t->state = GS_RUNS;
    t->since_ns = now;
}

/* Its forced switch has just been over, as far as one could see, and nothing else has been seen of it since. */
static __always_inline bool comes_from_forced(const struct gs_thread *t)
{
    return t->since_ns == t->forced_end_ns;
}

/* The forced switch is over; or, if it seemed to be already, it went on up to now. */
static __always_inline void end_forced(struct gs_thread *t, gs_u64 now)
{
    gs_u64 ns = now - t->state_ns;

    if (!comes_from_forced(t))
        t->forced_switches++;
    t->forced_ns += now - t->since_ns;
    if (ns > t->forced_max_ns)
        t->forced_max_ns = ns;
    t->state = GS_RUNS;
    t->since_ns = t->forced_end_ns = now;
    t->on_cpu = 1;
    t->free_ns = now;
}

static __always_inline void lost(struct gs_thread *t, struct gs_gil *gil, const struct gs_view *view)
{
    if (t->woken) {
        t->lost_wakeups++;

    } else if (view->switches - t->call_switches <= 1) { /* the holder may have answered already */
        t->drop_requests++;
    }
}

#endif
