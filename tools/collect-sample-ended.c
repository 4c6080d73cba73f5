/* SPDX-License-Identifier: MIT */
/*
 * collect-sample-ended.c - the sampler's threads that have ended: not all of them keep a record.
 *
 * As with BPF (collect-bpf-ended.c), the KEEP that took and cost the most time do.  The others' figures are added up.
 */
#include <stdlib.h>
#include <string.h>

#include "collect-sample.h"
#include "mem.h"

#define KEEP 256u
#define FEW_LOOKS 16.0
#define AT_ONCE 64u /* so many more are waited for: all pairs and all stacks are gone through */

bool sample_is_python(const struct sample_thread *t)
{
    return t->pthread_id || t->wait_ns || t->forced_ns;
}

bool sample_is_short(const struct sample_thread *t)
{
    return t->ended && t->looks_ns * t->looks_ns < FEW_LOOKS * t->looks_ns2;
}

void sample_add_pair(struct sample_thread *waiter, uint32_t holder, uint64_t ns)
{
    for (size_t i = 0; i < waiter->n_pairs; i++) {
        if (waiter->pairs[i].holder == holder) {
            waiter->pairs[i].blocked_ns += ns;
            return;
        }
    }
    waiter->pairs = mem_grow(waiter->pairs, waiter->n_pairs, &waiter->pairs_room, sizeof *waiter->pairs);
    waiter->pairs[waiter->n_pairs++] = (struct recwriter_pair){holder, ns};
}

static uint64_t weight_ns(const struct sample_thread *t)
{
    return t->held_cpu_ns + t->released_cpu_ns + t->wait_ns + t->charged_ns;
}

static int by_weight(const void *a, const void *b)
{
    uint64_t x = weight_ns(a), y = weight_ns(b);

    return x > y ? -1 : x < y;
}

static int by_index(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void add_sums(struct sample_thread *to, const struct sample_thread *t)
{
    uint32_t *buckets = (uint32_t *)(uintptr_t)to->wait.buckets;

    to->held_ns += t->held_ns;
    to->held_run_ns += t->held_run_ns;
    to->held_cpu_ns += t->held_cpu_ns;
    to->released_ns += t->released_ns;
    to->released_run_ns += t->released_run_ns;
    to->released_cpu_ns += t->released_cpu_ns;
    to->slept_cpu_ns += t->slept_cpu_ns;
    to->wait_ns += t->wait_ns;
    to->blocked_ns += t->blocked_ns;
    to->forced_ns += t->forced_ns;
    to->charged_ns += t->charged_ns;
    to->contended += t->contended;
    to->unsure_ns += t->unsure_ns;
    to->run_delay_ns += t->run_delay_ns - t->run_delay_first_ns;
    for (size_t i = 0; i < REC_HIST_OCTAVES * REC_HIST_SUBS; i++)
        buckets[i] += t->wait.buckets[i];
    to->wait.sum_ns += t->wait.sum_ns;
    if (t->wait.max_ns > to->wait.max_ns)
        to->wait.max_ns = t->wait.max_ns;
    if (t->last_ns > to->last_ns)
        to->last_ns = t->last_ns;
    if (!to->start_ns || t->start_ns < to->start_ns)
        to->start_ns = t->start_ns;
    for (size_t i = 0; i < t->n_pairs; i++)
        sample_add_pair(to, t->pairs[i].holder, t->pairs[i].blocked_ns);
}

void sample_add_folded(struct sample_ended *to, const struct sample_ended *from)
{
    add_sums(&to->sum, &from->sum);
    to->n += from->n;
    to->wall_ns += from->wall_ns;
}

static void fold(struct sample_process *p, struct sample_thread *t)
{
    struct sample_ended **e = &p->folded[t->gil];

    if (!sample_is_python(t)) {
        *(sample_is_short(t) ? &p->ended_unknown_ns : &p->ended_native_ns) += t->held_cpu_ns + t->released_cpu_ns;
        return;
    }
    if (!*e) {
        *e = mem_zeroed(1, sizeof **e);
        (*e)->sum.index = RECWRITER_ENDED;
        (*e)->sum.syscall_fd = (*e)->sum.schedstat_fd = -1;
        (*e)->sum.gil = t->gil;
        (*e)->sum.ended = true;
        (*e)->sum.wait.buckets = mem_zeroed(REC_HIST_OCTAVES * REC_HIST_SUBS, sizeof(uint32_t));
    }
    add_sums(&(*e)->sum, t);
    (*e)->wall_ns += t->last_ns - t->start_ns;
    (*e)->n++;
    p->n_folded++;
}

/* Whom it waited for: those with these indices are the ended ones from here on. */
static void rename_holders(struct sample_thread *t, const uint32_t *indices, size_t n)
{
    size_t n_left = 0;
    uint64_t ended_ns = 0;

    for (size_t i = 0; i < t->n_pairs; i++) {
        if (bsearch(&t->pairs[i].holder, indices, n, sizeof *indices, by_index))
            ended_ns += t->pairs[i].blocked_ns;
        else
            t->pairs[n_left++] = t->pairs[i];
    }
    t->n_pairs = n_left;
    if (ended_ns)
        sample_add_pair(t, RECWRITER_ENDED, ended_ns);
}

/* Of the ended threads, all but the KEEP that weigh most. */
static void fold_some(struct sample_process *p)
{
    size_t n = p->n_ended - KEEP;
    uint32_t *indices = mem_zeroed(n, sizeof *indices);

    qsort(p->ended, p->n_ended, sizeof *p->ended, by_weight);
    for (size_t i = 0; i < n; i++) {
        struct sample_thread *t = &p->ended[KEEP + i];
        indices[i] = t->index;
        fold(p, t);
        sample_free_thread(t);
    }
    p->n_ended = KEEP;
    qsort(indices, n, sizeof *indices, by_index);
    for (size_t i = 0; i < p->n_threads; i++)
        rename_holders(&p->threads[i], indices, n);
    for (size_t i = 0; i < p->n_ended; i++)
        rename_holders(&p->ended[i], indices, n);
    for (int i = 0; i < FIND_GIL_MAX; i++)
        if (p->folded[i])
            rename_holders(&p->folded[i]->sum, indices, n);
    if (p->stacks)
        collect_stacks_move(p->stacks, indices, n, RECWRITER_ENDED);
    free(indices);
}

void sample_sort_out_ended(struct sample_process *p)
{
    size_t n_left = 0;

    for (size_t i = 0; i < p->n_threads; i++) {
        struct sample_thread *t = &p->threads[i];
        if (!t->ended) {
            if (n_left != i)
                p->threads[n_left] = *t;
            n_left++;
        } else if (t->is_new && t->last_ns == t->start_ns && !t->charged_ns) { /* it had gone before it was looked at */
            sample_free_thread(t);
        } else {
            sample_close_thread(t);
            p->ended = mem_grow(p->ended, p->n_ended, &p->ended_capacity, sizeof *p->ended);
            p->ended[p->n_ended++] = *t;
        }
    }
    p->n_threads = n_left;
    if (p->n_ended >= KEEP + AT_ONCE)
        fold_some(p);
}

void sample_free_ended(struct sample_process *p)
{
    for (size_t i = 0; i < p->n_ended; i++)
        sample_free_thread(&p->ended[i]);
    free(p->ended);
    for (int i = 0; i < FIND_GIL_MAX; i++) {
        if (p->folded[i])
            sample_free_thread(&p->folded[i]->sum);
        free(p->folded[i]);
    }
}
