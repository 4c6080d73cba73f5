/* SPDX-License-Identifier: MIT */
/*
 * shim-fold.c - programs with very many short-lived threads: the figures of ended ones are added up in one record.
 *
 * Up to KEEP threads each keep a record of their own for ever.  Beyond, a thread that ends gives its figures to the
 * folded record and its space to the next thread, so that memory follows the number of threads alive.
 */
#include "shim-fold.h"

#include <stddef.h>
#include <string.h>

#include "shim-account.h"
#include "shim-file.h"
#include "shim-thread.h"

#define KEEP 1024
#define SPARES 256
#define ASIDE 16
#define RECENT 65536 /* threads of which is known whether they were folded: the last ones */

static struct rec_thread *folded;
static struct rec_thread *spares[SPARES];
static uint32_t n_spares;
static uint8_t was_folded[RECENT / 8]; /* a bit for each, by its index */
static uint32_t newest;                /* index of the last that was made */
static uint32_t busy;                  /* 1 = a thread is at it; another one that comes meanwhile does without */

static bool enter(void)
{
    return __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE) == 0;
}

static void leave(void)
{
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

static uint8_t *recent(uint32_t index, uint8_t *bit)
{
    *bit = (uint8_t)(1 << index % 8);
    return &was_folded[index % RECENT / 8];
}

bool shim_fold_has(uint32_t index)
{
    uint8_t bit, *byte = recent(index, &bit);
    return index == UINT32_MAX || (__atomic_load_n(&newest, __ATOMIC_RELAXED) - index < RECENT / 2 &&
                                   (__atomic_load_n(byte, __ATOMIC_RELAXED) & bit));
}

struct rec_thread *shim_fold_reuse(uint32_t index)
{
    struct rec_thread *tr = NULL;
    uint8_t bit, *byte = recent(index, &bit);
    __atomic_fetch_and(byte, (uint8_t)~bit, __ATOMIC_RELAXED);
    __atomic_store_n(&newest, index, __ATOMIC_RELAXED);
    if (__atomic_load_n(&n_spares, __ATOMIC_RELAXED) && enter()) {
        if (n_spares)
            tr = spares[--n_spares];
        if (tr)
            shim_charge(folded, __atomic_exchange_n(&tr->charged_late_ticks, 0, __ATOMIC_RELAXED));
        leave();
    }
    if (!tr)
        return NULL;
    for (int kind = 0; kind < REC_HIST_KINDS; kind++)
        for (int octave = 0; octave < REC_HIST_OCTAVES; octave++)
            if (tr->hist[kind].block[octave])
                ((struct rec_hist_block *)shim_file_at(tr->hist[kind].block[octave]))->owner = index;
    uint32_t cell = tr->row;
    for (int parts = 0; cell && parts < SHIM_ROW_PARTS; parts++) {
        struct rec_row *part = shim_file_at(cell);
        part->owner = index;
        cell = part->next;
    }
    return tr;
}

struct rec_thread *shim_fold_record(void)
{
    return folded;
}

static bool make_folded(void)
{
    folded = shim_file_record(sizeof *folded);
    if (!folded)
        return false;
    folded->index = UINT32_MAX;
    folded->flags = REC_THREAD_FOLDED;
    folded->start_ticks = SHIM.header->start_ticks;
    folded->state = REC_STATE_ENDED;
    memcpy(folded->name, "(ended threads)", sizeof "(ended threads)");
    folded->name_source = REC_NAME_OS;
    shim_file_publish(folded, REC_THREAD);
    return true;
}

static void move_hist(struct rec_hist *to, struct rec_hist *from)
{
    for (int octave = 0; octave < REC_HIST_OCTAVES; octave++) {
        if (!from->block[octave])
            continue;
        struct rec_hist_block *source = shim_file_at(from->block[octave]);
        if (!to->block[octave]) {
            struct rec_hist_block *fresh = shim_file_record(sizeof *fresh);
            if (!fresh)
                return;
            fresh->owner = folded->index;
            shim_file_publish(fresh, REC_HIST);
            to->block[octave] = shim_file_cell(fresh);
        }
        struct rec_hist_block *sum = shim_file_at(to->block[octave]);
        const struct rec_hist_block *wraps = source->wraps ? shim_file_at(source->wraps) : NULL;
        for (uint32_t i = 0; i < REC_HIST_SUBS; i++) {
            uint32_t before = sum->count[i];
            sum->count[i] += source->count[i];
            uint32_t wrapped = (sum->count[i] < before) + (wraps ? wraps->count[i] : 0);
            if (wrapped)
                shim_account_wrapped(folded, sum, i, wrapped);
        }
        memset(source->count, 0, sizeof source->count);
        source->wraps = 0;
    }
    to->count += from->count;
    to->sum_ticks += from->sum_ticks;
    if (from->max_ticks > to->max_ticks)
        to->max_ticks = from->max_ticks;
    from->count = from->sum_ticks = from->max_ticks = 0;
}

static void move_row(struct rec_thread *to, struct rec_thread *from)
{
    uint32_t cell = from->row;
    for (int parts = 0; cell && parts < SHIM_ROW_PARTS; parts++) {
        struct rec_row *part = shim_file_at(cell);
        for (int i = 0; i < REC_ROW_ENTRIES && part->holder[i]; i++)
            shim_account_row_add(to, part->holder[i], part->blocked_ticks[i]);
        memset(part->holder, 0, sizeof part->holder);
        memset(part->blocked_ticks, 0, sizeof part->blocked_ticks);
        cell = part->next;
    }
    to->row_other_ticks += from->row_other_ticks;
}

/* Every 64-bit sum of a thread's record that simply adds up, from the first to the last of a run of fields. */
static void add_run(struct rec_thread *to, const struct rec_thread *from, size_t first, size_t last)
{
    for (size_t at = first; at <= last; at += sizeof(uint64_t))
        *(uint64_t *)((char *)to + at) += *(const uint64_t *)((const char *)from + at);
}

/* H of a GIL counts on the record of its last holder. */
static bool is_holder(const struct rec_thread *tr)
{
    for (uint32_t i = 0; i < SHIM.n_gils; i++)
        if (shim_gil_holder(&SHIM.gils[i]) == tr)
            return true;
    return false;
}

static void fold(struct rec_thread *tr)
{
    shim_write_begin(&folded->seq);
    folded->held_ticks += tr->held_ticks;
    add_run(folded, tr, offsetof(struct rec_thread, wait_blocked_ticks), offsetof(struct rec_thread, contended));
    add_run(folded, tr, offsetof(struct rec_thread, charged_ticks), offsetof(struct rec_thread, lost_wakeups));
    shim_charge(folded, __atomic_exchange_n(&tr->charged_late_ticks, 0, __ATOMIC_RELAXED));
    folded->released_ticks += shim_account_released(tr, tr->end_ticks);
    add_run(folded, tr, offsetof(struct rec_thread, lock_wait_ticks), offsetof(struct rec_thread, gil_lock_wait_ticks));
    add_run(folded, tr, offsetof(struct rec_thread, cpu_exact_held_ns),
            offsetof(struct rec_thread, cpu_mixed_released_ticks));
    folded->cpu_inferred_ns += tr->cpu_inferred_ns;
    folded->cpu_used_ns += tr->cpu_used_ns;
    folded->run_delay_ns += tr->run_delay_ns;
    add_run(folded, tr, offsetof(struct rec_thread, gil_counted), offsetof(struct rec_thread, forced_switches));
    if (tr->forced_max_ticks > folded->forced_max_ticks)
        folded->forced_max_ticks = tr->forced_max_ticks;
    uint8_t bit, *byte = recent(tr->index, &bit);
    __atomic_fetch_or(byte, bit, __ATOMIC_RELAXED);
    folded->folded++;
    folded->folded_wall_ticks += shim_elapsed(tr->start_ticks, tr->end_ticks);
    for (int kind = 0; kind < REC_HIST_KINDS; kind++)
        move_hist(&folded->hist[kind], &tr->hist[kind]);
    move_row(folded, tr);
    folded->end_ticks = tr->end_ticks;
    shim_file_loss(REC_LOSS_THREADS_FOLDED);

    /* What is left is an empty record that keeps its histograms' blocks and its row.  Who waited for this thread last
     * may still be about to charge it: that field is left alone, for shim_fold_reuse to look at. */
    shim_file_publish(tr, 0);
    struct rec_thread empty = {.head = tr->head, .seq = 0, .row = tr->row};
    memcpy(empty.hist, tr->hist, sizeof empty.hist);
    const size_t late = offsetof(struct rec_thread, charged_late_ticks), behind = late + sizeof tr->charged_late_ticks;
    memcpy(tr, &empty, late);
    memcpy((char *)tr + behind, (const char *)&empty + behind, sizeof empty - behind);
    shim_write_end(&folded->seq); /* not before: until here a reader would find the thread's figures in both */
    spares[n_spares++] = tr;
}

/* A dead thread cannot become a holder again: one that is it still is put aside and tried anew at the next end. */
static struct rec_thread *aside[ASIDE];

void shim_fold_ended(struct rec_thread *tr)
{
    if (!tr->index || SHIM.header->n_threads <= KEEP || !enter())
        return;
    struct rec_thread *candidate = tr;
    for (int i = -1; i < ASIDE; i++) {
        if (i >= 0)
            candidate = aside[i];
        if (!candidate || n_spares == SPARES || (!folded && !make_folded()))
            continue;
        if (!is_holder(candidate)) {
            fold(candidate);
            if (i >= 0)
                aside[i] = NULL;
        } else if (i < 0) {
            for (int j = 0; j < ASIDE; j++)
                if (!aside[j]) {
                    aside[j] = tr;
                    break;
                }
        }
    }
    /* Whatever became of it, the calling thread is through with this record. */
    T.rec = NULL;
    T.rec_cell = 0;
    T.ended_generation = 0;
    leave();
}

void shim_fold_forget(void)
{
    folded = NULL;
    n_spares = 0;
    memset(was_folded, 0, sizeof was_folded);
    newest = 0;
    memset(aside, 0, sizeof aside);
    busy = 0;
}
