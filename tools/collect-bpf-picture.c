/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-picture.c - from the accounts that the BPF programs keep to a picture for the recording.
 */
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "collect-bpf.h"
#include "mem.h"

#define COPY_TRIES 5
#define PAID_TRIES 4
#define PAID_THREADS 256 /* of more, one has always paid: to try again would cost time for nothing */
#define PAID_NS 1000000  /* so much that is told twice, or not at all, is worth another try */
/* Of a wait, before the sleep and behind it: as much as was missing on average on an idle machine, where processors
 * wake up with cold caches (bench/attach_accuracy.py --alone). */
#define WAIT_SHORT_NS 12000
#define WAIT_SHORT_RETURN_NS 7000 /* where its end is the return to the program */

#define FEW_SAMPLES 8 /* of a thread: too few for a share of its own */

struct open_pair { /* slots; 0 = threads that have none any more */
    uint32_t waiter, holder;
    uint64_t ns;
};

struct picture {
    struct bpf_collector *c;
    uint32_t target;
    uint64_t now_ns;
    bool last;
    struct threads_list tstates;
    struct open_pair *pairs;
    size_t n_pairs, pairs_room;
    uint64_t *open_charges; /* by slot */
    uint64_t *notified_ns;  /* by slot, as bpf_locks_notified() has it */
    uint64_t by_ended_ns;   /* sum of gs_thread.by_ended_ns */
    double share_of_few;    /* of short-lived threads' time on processors: held */
};

/* --- copies ------------------------------------------------------------------------------------------------------ */
/* A thread's account, which may change meanwhile. */
static void copy_thread(const struct gs_thread *from, struct gs_thread *to)
{
    for (int i = 0; i < COPY_TRIES; i++) {
        memcpy(to, from, sizeof *to);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        const volatile struct gs_thread *again = from;
        if (again->since_ns == to->since_ns && again->state_ns == to->state_ns && again->state == to->state)
            return;
    }
}

static void add_pair(struct picture *p, uint32_t waiter, uint32_t holder, uint64_t ns)
{
    p->pairs = mem_grow(p->pairs, p->n_pairs, &p->pairs_room, sizeof *p->pairs);
    p->pairs[p->n_pairs++] = (struct open_pair){waiter, holder, ns};
}

static void read_pair(void *context, const void *key, const void *value)
{
    struct picture *p = context;
    const struct gs_pair *pair = key;
    uint32_t waiter = bpf_slot_of(p->c, pair->waiter), holder = bpf_slot_of(p->c, pair->holder);

    p->c->n_ended_pairs += bpf_is_ended(p->c, waiter) || bpf_is_ended(p->c, holder);
    if (waiter && p->c->threads[waiter].target == p->target)
        add_pair(p, waiter, holder, *(const uint64_t *)value);
}

/* Whether a thread has paid since what it owed was copied: that may be both in its own account and in the others', as
 * these were read, or in none. */
static bool have_paid(const struct picture *p, const uint32_t *own, uint32_t n, const struct gs_owed (*before)[GS_OWED])
{
    for (uint32_t i = 0; i < n; i++) {
        const volatile struct gs_owed *now = p->c->threads[own[i]].owed;
        for (int k = 0; k < GS_OWED; k++)
            if (before[i][k].ns >= PAID_NS && (now[k].holder != before[i][k].holder || now[k].ns < before[i][k].ns))
                return true;
    }
    return false;
}

/* Copies the threads' accounts and the sums of pairs, which belong together: in a moment, and again where they do not.
 */
static void copy_all(struct picture *p, const uint32_t *own, struct gs_thread *copies, uint32_t n)
{
    struct gs_owed(*before)[GS_OWED] = mem_zeroed(n, sizeof *before);

    for (int tries = 0; tries < PAID_TRIES; tries++) {
        for (uint32_t i = 0; i < n; i++)
            memcpy(before[i], p->c->threads[own[i]].owed, sizeof before[i]);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        p->n_pairs = 0;
        p->c->n_ended_pairs = 0;
        bpf_each(p->c->pairs_fd, false, sizeof(struct gs_pair), sizeof(uint64_t), read_pair, p);
        for (uint32_t i = 0; i < n; i++)
            copy_thread(&p->c->threads[own[i]], &copies[i]);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (n > PAID_THREADS || !have_paid(p, own, n, before))
            break;
    }
    free(before);
}

/* --- waits that the programs have not divided yet ---------------------------------------------------------------- */
/* As charge_walk() in probes/charge.bpf.h, for a wait from..to.  Returns how much of it was blocked. */
static uint64_t walk(struct picture *p, uint32_t slot, struct gs_thread *t, uint64_t from, uint64_t to)
{
    const struct gs_gil *gil = &p->c->gils[t->gil];
    uint64_t n = __atomic_load_n(&gil->n_changes, __ATOMIC_ACQUIRE), high = to, blocked = 0;

    for (uint64_t i = 1; i <= n && i < GS_RING && high > from; i++) {
        struct gs_change change = gil->ring[(n - i) % GS_RING];
        uint64_t begin = change.ns > from ? change.ns : from;
        if (begin >= high)
            continue;
        uint64_t ns = high - begin;
        high = begin;
        uint32_t holder = bpf_slot_of(p->c, change.holder);
        if (!change.holder || holder == slot)
            continue;
        blocked += ns;
        if (change.holder != GS_NOT_KNOWN) {
            add_pair(p, slot, holder, ns);
            p->open_charges[holder] += ns;
        } else {
            t->not_told_ns += ns;
        }
    }
    return blocked;
}

/* Closes at now_ns what is open, and adds what the programs have not entered yet. */
static void close_open(struct picture *p, uint32_t slot, struct gs_thread *t)
{
    uint64_t end = t->end_ns ? t->end_ns : p->now_ns, ns;

    for (int i = 0; i < GS_OWED; i++) {
        if (!t->owed[i].holder)
            continue;
        uint32_t holder = bpf_slot_of(p->c, t->owed[i].holder);
        add_pair(p, slot, holder, t->owed[i].ns);
        p->open_charges[holder] += t->owed[i].ns;
    }
    const struct bpf_slot *s = &p->c->slots[slot];
    if (t->by_ended_ns + s->by_ended_ns)
        add_pair(p, slot, 0, t->by_ended_ns + s->by_ended_ns);
    if (s->ended_by_ns)
        add_pair(p, 0, slot, s->ended_by_ns);
    p->by_ended_ns += t->by_ended_ns;
    if (t->pending_to_ns)
        t->blocked_ns += walk(p, slot, t, t->pending_from_ns, t->pending_to_ns);
    if (t->end_ns)
        return;
    switch (t->state) {
    case GS_WAITS:
        ns = end > t->state_ns ? end - t->state_ns : 0;
        t->wait_ns += ns;
        if (ns > t->hist[GS_HIST_WAIT].max_ns)
            t->hist[GS_HIST_WAIT].max_ns = ns;
        t->blocked_ns += walk(p, slot, t, t->divided_ns, t->state_ns + ns);
        break;
    case GS_FORCED:
        t->forced_ns += end > t->since_ns ? end - t->since_ns : 0;
        break;
    default:
        ns = end > t->since_ns ? end - t->since_ns : 0;
        if (t->on_cpu)
            t->oncpu_ns += ns;
        else if (t->off_held)
            t->held_off_ns += ns;
        else
            t->released_off_ns += ns;
        if (t->lock_since_ns && !t->on_cpu) {
            ns = end > t->lock_since_ns ? end - t->lock_since_ns : 0;
            t->lock_ns += ns;
            t->notify_ns += bpf_locks_notifies(p->c, t) ? ns : 0;
            if (ns > t->hist[GS_HIST_LOCK].max_ns)
                t->hist[GS_HIST_LOCK].max_ns = ns;
        }
    }
    if (t->blocked_ns > t->wait_ns)
        t->blocked_ns = t->wait_ns;
}

/* --- figures ----------------------------------------------------------------------------------------------------- */
static uint64_t part(uint64_t ns, double share)
{
    return (uint64_t)((double)ns * share + 0.5);
}

/* Holds that were seen to begin and to end, and of the rest of its time on processors what the samples say; or, where a
 * thread ended before there was one, what they say of others that lived shortly. */
static uint64_t held_oncpu(const struct picture *p, const struct gs_thread *t)
{
    uint64_t known = t->known_held_ns < t->oncpu_ns ? t->known_held_ns : t->oncpu_ns;
    uint64_t held = t->samples_held + t->hold_samples, n = held + t->samples_released;
    double share = n ? (double)held / (double)n : t->end_ns ? p->share_of_few : 0;

    return known + part(t->oncpu_ns - known, share);
}

/* n threads with slots, as copied: how much of the time of those that lived shortly was held. */
static void set_share_of_few(struct picture *p, const uint32_t *slots, const struct gs_thread *copies, uint32_t n,
                             const struct gs_thread *ended)
{
    uint64_t held = ended->samples_held, released = ended->samples_released;

    for (uint32_t i = 0; i < n; i++) {
        const struct gs_thread *t = &copies[i];
        uint64_t own = t->samples_held + t->hold_samples;
        if (!t->end_ns || own + t->samples_released > FEW_SAMPLES ||
            !bpf_touches_gil(&p->c->slots[slots[i]], t, t->charged_ns + p->open_charges[slots[i]]))
            continue;
        held += own;
        released += t->samples_released;
    }
    p->share_of_few = held ? (double)held / (double)(held + released) : 0;
}

/* How far off its times may be: what the samples left to chance, and what is lost of its waits. */
static uint32_t error_ppm(const struct gs_thread *t, uint64_t wall_ns, bool sees_returns)
{
    uint64_t known = t->known_held_ns < t->oncpu_ns ? t->known_held_ns : t->oncpu_ns;
    double held = (double)(t->samples_held + t->hold_samples), n = held + (double)t->samples_released;
    double error = (double)(t->oncpu_ns - known) * chance_error(held, n) +
                   (double)t->contended * (sees_returns ? WAIT_SHORT_RETURN_NS : WAIT_SHORT_NS);

    if (!wall_ns)
        return 0;
    return error < (double)wall_ns ? (uint32_t)(error / (double)wall_ns * 1e6 + 1) : 1000000;
}

/* What a thread's account and that of many have in common; wall_ns: how long they were measured. */
static void fill_sums(struct picture *p, const struct gs_thread *t, uint64_t wall_ns, struct recwriter_thread *out)
{
    out->held_oncpu_ns = held_oncpu(p, t);
    out->released_oncpu_ns = t->oncpu_ns - out->held_oncpu_ns;
    out->held_ns = out->held_oncpu_ns + t->held_off_ns;
    out->released_ns = out->released_oncpu_ns + t->released_off_ns;
    out->wait_blocked_ns = t->blocked_ns;
    out->wait_wakeup_ns = t->wait_ns - t->blocked_ns;
    out->wait_forced_ns = t->forced_ns;
    out->forced_max_ns = t->forced_max_ns;
    out->blocked_by_unknown_ns = t->not_told_ns;
    out->lock_wait_ns = t->lock_ns;
    out->contended = t->contended;
    out->error_ppm = error_ppm(t, wall_ns, p->c->sees_returns);
    out->lost_wakeups = t->lost_wakeups;
    out->drop_requests = t->drop_requests;
    out->forced_switches = t->forced_switches;
}

static void fill(struct picture *p, uint32_t slot, const struct gs_thread *t, struct recwriter_thread *out)
{
    const struct bpf_slot *s = &p->c->slots[slot];
    const struct bpf_process *process = &p->c->processes[p->target];
    uint64_t end = t->end_ns ? t->end_ns : p->now_ns;

    memset(out, 0, sizeof *out);
    out->index = s->index;
    out->tid = s->inner_tid;
    out->main = t->self ? t->self == process->found.main_thread : t->tid == (uint32_t)process->found.pid;
    out->ended = t->end_ns != 0;
    out->pthread_id = t->self;
    out->name = s->name[0] ? s->name : NULL;
    out->name_source = s->name_source;
    out->start_ns = t->start_ns;
    out->end_ns = end > t->start_ns ? end : t->start_ns;
    fill_sums(p, t, out->end_ns - out->start_ns, out);
    out->charged_ns = t->charged_ns + p->open_charges[slot];
    out->run_delay_ns = s->run_delay_ns - s->run_delay_first_ns;
    out->notify_wait_ns = t->notify_ns + p->notified_ns[slot];
}

static void fill_ended(struct picture *p, const struct bpf_ended *ended, uint32_t gil, struct recwriter_thread *out)
{
    out->index = RECWRITER_ENDED;
    out->ended = true;
    out->name = "(ended threads)";
    out->name_source = REC_NAME_OS;
    out->gil = gil;
    out->start_ns = p->c->processes[p->target].start_ns;
    out->end_ns = ended->sum.end_ns;
    out->n_folded = ended->n;
    out->folded_wall_ns = ended->wall_ns;
    fill_sums(p, &ended->sum, ended->wall_ns, out);
    out->run_delay_ns = ended->run_delay_ns;
}

static void set_hist(struct recwriter_hist *to, const struct gs_hist *from)
{
    *to = (struct recwriter_hist){from->bucket, GS_HIST_OCTAVES * GS_HIST_SUBS, from->sum_ns, from->max_ns, 0};
}

static int by_waiter(const void *a, const void *b)
{
    const struct open_pair *x = a, *y = b;

    return x->waiter < y->waiter ? -1 : x->waiter > y->waiter;
}

/* Of the pairs, which are sorted, the first of a waiter. */
static size_t first_pair(const struct picture *p, uint32_t waiter)
{
    size_t low = 0, high = p->n_pairs;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->pairs[middle].waiter < waiter)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void write_thread(struct picture *p, struct recwriter *writer, uint32_t slot, const struct gs_thread *t,
                         struct recwriter_thread *out)
{
    size_t first = first_pair(p, slot), n = first;

    while (n < p->n_pairs && p->pairs[n].waiter == slot)
        n++;
    struct recwriter_pair *pairs = mem_zeroed(n - first, sizeof *pairs);
    for (size_t i = first; i < n; i++)
        pairs[out->n_pairs++] = (struct recwriter_pair){
            p->pairs[i].holder ? p->c->slots[p->pairs[i].holder].index : RECWRITER_ENDED, p->pairs[i].ns};
    out->pairs = pairs;
    set_hist(&out->hist[REC_HIST_WAIT], &t->hist[GS_HIST_WAIT]);
    out->hist[REC_HIST_WAIT].sum_ns = t->wait_ns; /* with the open one */
    set_hist(&out->hist[REC_HIST_HOLD], &t->hist[GS_HIST_HOLD]);
    out->hist[REC_HIST_HOLD].uncounted =
        t->contended > t->hist[GS_HIST_HOLD].count ? t->contended - t->hist[GS_HIST_HOLD].count : 0;
    set_hist(&out->hist[REC_HIST_RELEASED], &t->hist[GS_HIST_OFF]);
    set_hist(&out->hist[REC_HIST_LOCK], &t->hist[GS_HIST_LOCK]);
    out->hist[REC_HIST_LOCK].sum_ns = t->lock_ns; /* with the open one */
    recwriter_thread(writer, out);
    free(pairs);
}

/* by_gil: the ended threads of each GIL, after recwriter_fit(). */
static void write_ended(struct picture *p, struct recwriter *writer, const struct bpf_ended *all,
                        const struct recwriter_thread *by_gil, struct recwriter_gil *gils)
{
    const struct bpf_process *process = &p->c->processes[p->target];
    struct recwriter_thread out = {0};

    fill_ended(p, all, 0, &out);
    out.charged_ns = all->sum.charged_ns + process->ended_charged_ns + p->by_ended_ns + p->open_charges[0];
    out.notify_wait_ns = all->sum.notify_ns + p->notified_ns[0];
    recwriter_join_ended(&out, by_gil, gils, FIND_GIL_MAX);
    if (out.n_folded || out.charged_ns)
        write_thread(p, writer, 0, &all->sum, &out);
}

static struct gs_thread *room_for_copies(struct bpf_collector *c, uint32_t n)
{
    if (n > c->n_copies_max) {
        free(c->copies);
        c->copies = mem_zeroed(n, sizeof *c->copies);
        c->n_copies_max = n;
    }
    return c->copies;
}

void bpf_picture(struct bpf_collector *c, int handle, struct recwriter *writer, uint64_t now_ns, bool last)
{
    const struct bpf_process *process = &c->processes[handle];
    uint32_t n = bpf_n_slots(c), n_own = 0;
    struct picture p = {.c = c, .target = (uint32_t)handle, .now_ns = now_ns, .last = last};
    struct gs_thread *copies = NULL;
    struct recwriter_gil gils[FIND_GIL_MAX] = {{0}};
    uint32_t *own = mem_zeroed(n, sizeof *own);

    bpf_find_gils(c, handle);
    p.open_charges = mem_zeroed(c->n_slots_max, sizeof *p.open_charges);
    p.notified_ns = mem_zeroed(c->n_slots_max, sizeof *p.notified_ns);
    bpf_locks_notified(c, p.target, p.notified_ns);
    threads_read(&p.tstates, &process->found);
    for (uint32_t slot = 1; slot < n; slot++)
        if (bpf_meet(c, slot) && c->threads[slot].target == p.target)
            own[n_own++] = slot;
    copies = room_for_copies(c, n_own);
    copy_all(&p, own, copies, n_own);
    for (uint32_t i = 0; i < n_own; i++) {
        bpf_learn(c, &p.tstates, now_ns, last, own[i], &copies[i]);
        close_open(&p, own[i], &copies[i]);
    }
    if (process->stacks) {
        bpf_stacks_drain(c);
        if (last)
            bpf_stacks_poll(c);
        for (uint32_t i = 0; i < n_own && last; i++)
            bpf_stacks_add_open(c, own[i], &c->threads[own[i]], now_ns);
        bpf_stacks_write(process->stacks, writer);
    }
    if (process->ended_among_ns)
        add_pair(&p, 0, 0, process->ended_among_ns);
    if (p.n_pairs)
        qsort(p.pairs, p.n_pairs, sizeof *p.pairs, by_waiter);
    struct recwriter_thread *outs = mem_zeroed(n_own + FIND_GIL_MAX, sizeof *outs);
    struct bpf_ended *all = mem_zeroed(1, sizeof *all);
    bpf_ended_all(process, all);
    set_share_of_few(&p, own, copies, n_own, &all->sum);
    for (uint32_t i = 0; i < FIND_GIL_MAX; i++)
        if (process->ended[i])
            fill_ended(&p, process->ended[i], i, &outs[n_own + i]);
    for (uint32_t i = 0; i < n_own; i++) {
        struct recwriter_thread *out = &outs[i];
        if (!bpf_touches_gil(&c->slots[own[i]], &copies[i], copies[i].charged_ns + p.open_charges[own[i]])) {
            recwriter_native_cpu(writer, copies[i].oncpu_ns);
            continue;
        }
        fill(&p, own[i], &copies[i], out);
        for (uint32_t g = 0; g < process->target.n_gils; g++)
            if (process->target.gil[g] == copies[i].home_gil)
                out->gil = g;
    }
    recwriter_native_cpu(writer, process->ended_native_ns);
    recwriter_fit(outs, n_own + FIND_GIL_MAX, process->found.n_gils, now_ns - process->start_ns);
    for (uint32_t i = 0; i < n_own; i++) {
        if (!outs[i].index)
            continue;
        recwriter_add_to_gil(&gils[outs[i].gil], &outs[i]);
        write_thread(&p, writer, own[i], &copies[i], &outs[i]);
    }
    write_ended(&p, writer, all, &outs[n_own], gils);
    free(all);
    free(outs);
    for (uint32_t i = 0; i < process->found.n_gils; i++) {
        gils[i].index = i;
        gils[i].address = process->found.gil[i].address + GIL_COND;
        gils[i].interval_us = process->found.interval_us;
        gils[i].start_ns = process->gil_start_ns[i];
        recwriter_gil(writer, &gils[i]);
    }
    recwriter_loss(writer, REC_LOSS_THREADS, bpf_loss(c, GS_LOSS_THREADS));
    recwriter_loss(writer, REC_LOSS_THREADS_FOLDED, process->n_ended);
    recwriter_loss(writer, REC_LOSS_PAIRS, bpf_loss(c, GS_LOSS_PAIRS));
    recwriter_loss(writer, REC_LOSS_STACKS, bpf_loss(c, GS_LOSS_STACKS));
    recwriter_loss(writer, REC_LOSS_GILS, process->found.n_gils_left_out);
    threads_free(&p.tstates);
    free(p.pairs);
    free(p.open_charges);
    free(p.notified_ns);
    free(own);
}
