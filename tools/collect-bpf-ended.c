/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-ended.c - programs with very many short-lived threads: the slots of ended ones are used again.
 *
 * Of those that have ended, the KEEP that took and cost the most time keep their slots, and with them a record of their
 * own.  The others give their figures to sums, of which there is one record for each process, as the preload library
 * has it (lib/shim-fold.c).
 *
 * That takes two steps, so that no program that runs meanwhile is in the middle of something with the thread.  Some
 * time after its end its slot is closed: it loses its id, and thread_by_id() finds it no more.  Some time later its
 * figures are moved, its memory is zeroed, and the slot goes back to the programs with another id.  What still names
 * the old id, in a GIL's ring or among what waiting threads owe, is that of an ended thread.
 */
#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "collect-bpf.h"
#include "gilscope.skel.h"
#include "mem.h"

#define KEEP 256u
#define SCARCE 384u               /* free slots; where there are no more, or hardly any room for pairs, ... */
#define KEEP_SCARCE 32u           /* ... only so many are kept */
#define AT_ONCE 64u               /* so many more are waited for: a step goes through whole maps */
#define GRACE_NS 30000000u        /* a program takes some us, and a virtual processor may be taken away from it */
#define PAIRS_MANY 6000u          /* of the 16384 that there may be in the map */
#define EVERY_NS 40000000u        /* the slots are looked at while threads come and go, ... */
#define EVERY_SCARCE_NS 15000000u /* ... and while there are hardly any left */

/* --- who has a slot ---------------------------------------------------------------------------------------------- */
bool bpf_meet(struct bpf_collector *c, uint32_t slot)
{
    struct bpf_slot *s = &c->slots[slot];
    const volatile struct gs_thread *t = &c->threads[slot];

    if (s->id)
        return true;
    if (!t->start_ns || t->target >= (uint32_t)c->n_processes)
        return false;
    s->id = t->id;
    s->index = ++c->processes[t->target].n_indices;
    return s->id != 0;
}

uint32_t bpf_slot_of(struct bpf_collector *c, uint32_t id)
{
    uint32_t slot = GS_SLOT(id);

    return id && id != GS_NOT_KNOWN && slot < c->n_slots_max && bpf_meet(c, slot) && c->slots[slot].id == id ? slot : 0;
}

bool bpf_is_ended(const struct bpf_collector *c, uint32_t slot)
{
    return !slot || c->threads[slot].end_ns;
}

uint32_t bpf_free_id(struct bpf_collector *c)
{
    uint32_t id = 0;

    if (!bpf_map_lookup_and_delete_elem(c->free_fd, NULL, &id))
        return id;
    id = __atomic_fetch_add(&c->skeleton->data->n_slots, 1, __ATOMIC_ACQ_REL);
    return id < c->n_slots_max ? id : 0;
}

/* --- sums -------------------------------------------------------------------------------------------------------- */
static void add_hist(struct gs_hist *to, const struct gs_hist *from)
{
    for (int i = 0; i < GS_HIST_OCTAVES * GS_HIST_SUBS; i++)
        to->bucket[i] += from->bucket[i];
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    if (from->max_ns > to->max_ns)
        to->max_ns = from->max_ns;
}

static void add_sums(struct gs_thread *to, const struct gs_thread *t)
{
    to->oncpu_ns += t->oncpu_ns;
    to->held_off_ns += t->held_off_ns;
    to->released_off_ns += t->released_off_ns;
    to->wait_ns += t->wait_ns;
    to->blocked_ns += t->blocked_ns < t->wait_ns ? t->blocked_ns : t->wait_ns;
    to->known_held_ns += t->known_held_ns < t->oncpu_ns ? t->known_held_ns : t->oncpu_ns;
    to->contended += t->contended;
    to->charged_ns += t->charged_ns;
    to->samples_held += t->samples_held + t->hold_samples;
    to->samples_released += t->samples_released;
    to->forced_ns += t->forced_ns;
    if (t->forced_max_ns > to->forced_max_ns)
        to->forced_max_ns = t->forced_max_ns;
    to->not_told_ns += t->not_told_ns;
    to->lost_wakeups += t->lost_wakeups;
    to->drop_requests += t->drop_requests;
    to->forced_switches += t->forced_switches;
    to->lock_ns += t->lock_ns;
    to->notify_ns += t->notify_ns;
    for (int i = 0; i < GS_HISTS; i++)
        add_hist(&to->hist[i], &t->hist[i]);
    if (t->end_ns > to->end_ns)
        to->end_ns = t->end_ns;
}

static struct bpf_ended *ended_of(struct bpf_process *p, const struct gs_thread *t)
{
    uint32_t gil = 0;

    for (uint32_t i = 0; i < p->target.n_gils; i++)
        if (p->target.gil[i] == t->home_gil)
            gil = i;
    if (!p->ended[gil])
        p->ended[gil] = mem_zeroed(1, sizeof *p->ended[gil]);
    return p->ended[gil];
}

/* Who is charged for what a thread still owes at its end. */
static void settle(struct bpf_collector *c, struct bpf_process *p, const struct gs_thread *t, const bool *ripe)
{
    for (int i = 0; i < GS_OWED; i++) {
        uint32_t holder = bpf_slot_of(c, t->owed[i].holder);
        if (!t->owed[i].holder || !t->owed[i].ns)
            continue;
        if (!holder || ripe[holder]) {
            p->ended_charged_ns += t->owed[i].ns;
            p->ended_among_ns += t->owed[i].ns;
        } else {
            __atomic_fetch_add(&c->threads[holder].charged_ns, t->owed[i].ns, __ATOMIC_RELAXED);
            c->slots[holder].ended_by_ns += t->owed[i].ns;
        }
    }
}

static void add_to_ended(struct bpf_collector *c, struct bpf_process *p, uint32_t slot, const bool *ripe)
{
    const struct gs_thread *t = &c->threads[slot];
    struct bpf_slot *s = &c->slots[slot];

    settle(c, p, t, ripe);
    p->ended_among_ns += t->by_ended_ns + s->by_ended_ns + s->ended_by_ns;
    p->ended_charged_ns += t->by_ended_ns;
    if (!bpf_touches_gil(s, t, t->charged_ns)) {
        p->ended_native_ns += t->oncpu_ns;
        return;
    }
    struct bpf_ended *e = ended_of(p, t);
    bpf_learn_end(c, slot, t);
    add_sums(&e->sum, t);
    e->run_delay_ns += s->run_delay_ns - s->run_delay_first_ns;
    e->wall_ns += t->end_ns > t->start_ns ? t->end_ns - t->start_ns : 0;
    e->n++;
    p->n_ended++;
}

void bpf_ended_all(const struct bpf_process *p, struct bpf_ended *all)
{
    memset(all, 0, sizeof *all);
    for (int i = 0; i < FIND_GIL_MAX; i++) {
        if (!p->ended[i])
            continue;
        add_sums(&all->sum, &p->ended[i]->sum);
        all->n += p->ended[i]->n;
        all->wall_ns += p->ended[i]->wall_ns;
        all->run_delay_ns += p->ended[i]->run_delay_ns;
    }
}

void bpf_ended_free(struct bpf_process *p)
{
    for (int i = 0; i < FIND_GIL_MAX; i++) {
        free(p->ended[i]);
        p->ended[i] = NULL;
    }
}

/* --- the map of pairs -------------------------------------------------------------------------------------------- */
struct moving {
    struct bpf_collector *c;
    const bool *ripe;
    struct gs_pair *keys;
    size_t n, room;
    uint32_t n_left;
};

static void move_pair(void *context, const void *key, const void *value)
{
    struct moving *m = context;
    const struct gs_pair *pair = key;
    uint32_t waiter = bpf_slot_of(m->c, pair->waiter), holder = bpf_slot_of(m->c, pair->holder);
    uint64_t ns = *(const uint64_t *)value;

    if (!(waiter && m->ripe[waiter]) && !(holder && m->ripe[holder])) {
        m->n_left += bpf_is_ended(m->c, waiter) || bpf_is_ended(m->c, holder);
        return;
    }
    struct bpf_process *p = &m->c->processes[m->c->threads[waiter ? waiter : holder].target];
    if ((!waiter || m->ripe[waiter]) && (!holder || m->ripe[holder]))
        p->ended_among_ns += ns;
    else if (waiter && !m->ripe[waiter])
        m->c->slots[waiter].by_ended_ns += ns;
    else
        m->c->slots[holder].ended_by_ns += ns;
    m->keys = mem_grow(m->keys, m->n, &m->room, sizeof *m->keys);
    m->keys[m->n++] = *pair;
}

static void move_pairs(struct bpf_collector *c, const bool *ripe)
{
    struct moving m = {.c = c, .ripe = ripe};

    bpf_each(c->pairs_fd, false, sizeof(struct gs_pair), sizeof(uint64_t), move_pair, &m);
    for (size_t i = 0; i < m.n; i++)
        bpf_map_delete_elem(c->pairs_fd, &m.keys[i]);
    c->n_ended_pairs = m.n_left;
    free(m.keys);
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */
static void move_stacks(struct bpf_collector *c, const bool *ripe, uint32_t n_slots)
{
    uint32_t *indices = mem_zeroed(n_slots, sizeof *indices);

    for (int i = 0; i < c->n_processes; i++) {
        uint32_t n = 0;
        for (uint32_t slot = 1; slot < n_slots; slot++)
            if (ripe[slot] && c->threads[slot].target == (uint32_t)i)
                indices[n++] = c->slots[slot].index;
        if (!n || !c->processes[i].stacks)
            continue;
        bpf_stacks_move(c->processes[i].stacks, indices, n);
    }
    free(indices);
}

/* --- processes --------------------------------------------------------------------------------------------------- */
/* Those that are not measured any more and have no slots (busy: by handle) give back their GILs and their handles. */
static void free_processes(struct bpf_collector *c, const bool *busy)
{
    for (int i = 0; i < c->n_processes; i++) {
        struct bpf_process *p = &c->processes[i];
        if (p->used || p->is_free || busy[i])
            continue;
        for (uint32_t gil = 0; gil < p->target.n_gils; gil++) {
            memset(&c->gils[p->target.gil[gil]], 0, sizeof *c->gils);
            c->free_gils[c->n_free_gils++] = p->target.gil[gil];
        }
        p->is_free = true;
    }
}

/* --- slots ------------------------------------------------------------------------------------------------------- */
/* The slot is nobody's from here on. */
static void give_back(struct bpf_collector *c, uint32_t slot)
{
    uint32_t id = c->slots[slot].id + GS_SLOTS;

    memset(&c->threads[slot], 0, sizeof c->threads[slot]);
    memset(&c->slots[slot], 0, sizeof c->slots[slot]);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bpf_map_update_elem(c->free_fd, NULL, &id, 0);
}

static void reap(struct bpf_collector *c, const bool *ripe, uint32_t n_slots)
{
    bpf_stacks_poll(c); /* enters the last long times off a processor */
    bpf_stacks_drain(c);
    move_stacks(c, ripe, n_slots);
    move_pairs(c, ripe);
    bpf_locks_move(c, ripe);
    for (uint32_t slot = 1; slot < n_slots; slot++)
        if (ripe[slot] && c->processes[c->threads[slot].target].used)
            add_to_ended(c, &c->processes[c->threads[slot].target], slot, ripe);
    for (uint32_t slot = 1; slot < n_slots; slot++)
        if (ripe[slot])
            give_back(c, slot);
}

struct ended { /* thread, in its slot */
    uint64_t weight_ns;
    uint32_t slot;
};

static int by_weight(const void *a, const void *b)
{
    const struct ended *x = a, *y = b;

    return (x->weight_ns > y->weight_ns) - (x->weight_ns < y->weight_ns);
}

static void close_slot(struct bpf_collector *c, uint32_t slot, uint64_t now_ns)
{
    c->slots[slot].closed_ns = now_ns;
    __atomic_store_n(&c->threads[slot].id, 0, __ATOMIC_RELEASE);
}

/* Those that are too many, if they are worth a step. */
static void close_some(struct bpf_collector *c, struct ended *ended, uint32_t n, bool scarce, uint64_t now_ns)
{
    uint32_t keep = scarce ? KEEP_SCARCE : KEEP;

    if (n < keep + (scarce ? 1 : AT_ONCE))
        return;
    qsort(ended, n, sizeof *ended, by_weight);
    for (uint32_t i = 0; i < n - keep; i++)
        close_slot(c, ended[i].slot, now_ns);
}

void bpf_ended_poll(struct bpf_collector *c)
{
    uint64_t now_ns = collect_now_ns();
    uint32_t n_slots = bpf_n_slots(c), n_free = c->n_slots_max - n_slots, n_ended = 0, n_ripe = 0, n_closed = 0;
    struct ended *ended = mem_zeroed(n_slots, sizeof *ended);
    bool *ripe = mem_zeroed(c->n_slots_max, sizeof *ripe), busy[GS_TARGETS] = {false};

    for (uint32_t slot = 1; slot < n_slots; slot++) {
        const volatile struct gs_thread *t = &c->threads[slot];
        struct bpf_slot *s = &c->slots[slot];
        if (!bpf_meet(c, slot)) {
            n_free++;
            continue;
        }
        busy[t->target] = true;
        if (s->closed_ns) {
            n_closed++;
            ripe[slot] = now_ns >= s->closed_ns + GRACE_NS;
            n_ripe += ripe[slot];
        } else if (!c->processes[t->target].used) {
            close_slot(c, slot, now_ns);
        } else if (t->end_ns && now_ns >= t->end_ns + GRACE_NS) {
            ended[n_ended++] = (struct ended){t->oncpu_ns + t->wait_ns + t->charged_ns, slot};
        }
    }
    if (n_ripe)
        reap(c, ripe, n_slots);
    free_processes(c, busy);
    bool scarce = n_free < SCARCE || c->n_ended_pairs > PAIRS_MANY;
    close_some(c, ended, n_ended, scarce, now_ns);
    c->ended_every_ns = scarce && n_ended > KEEP_SCARCE  ? EVERY_SCARCE_NS
                        : n_closed || n_ended > KEEP / 2 ? EVERY_NS
                                                         : 0;
    free(ended);
    free(ripe);
}
