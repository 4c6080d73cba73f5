/* SPDX-License-Identifier: MIT */
/*
 * model-pairs.c - who waited for whom.
 */
#include "model-build.h"

#include <stdlib.h>

#include "mem.h"

/* One waiter's row, summed up by holder. */
struct row {
    struct {
        uint32_t holder;
        uint64_t ticks;
    } * entries;
    size_t n, capacity;
};

static void add(struct row *row, uint32_t holder, uint64_t ticks)
{
    if (!ticks)
        return;
    for (size_t i = 0; i < row->n; i++) {
        if (row->entries[i].holder == holder) {
            row->entries[i].ticks += ticks;
            return;
        }
    }
    row->entries = mem_grow(row->entries, row->n, &row->capacity, sizeof *row->entries);
    row->entries[row->n].holder = holder;
    row->entries[row->n++].ticks = ticks;
}

/* Divides what H grew by, from low to high, among the holders in the GIL's ring up to change n. */
static void add_range(const struct rec_gil *gil, uint64_t n, uint64_t low, uint64_t high, struct row *row)
{
    uint64_t i = n < gil->n_changes ? n : gil->n_changes, oldest = gil->n_changes > REC_RING ? gil->n_changes - REC_RING : 0;

    while (high > low && i > oldest) {
        const struct rec_change *change = &gil->ring[--i % REC_RING];
        uint64_t from = change->held_base_ticks > low ? change->held_base_ticks : low;
        if (from >= high)
            continue;
        add(row, change->holder, high - from);
        high = from;
    }
    add(row, 0, high - low);
}

void build_late_charges(const struct build *build, uint64_t *ticks)
{
    for (size_t i = 0; i < build->file->n_threads; i++) {
        const struct rec_thread *waiter = &build->file->threads[i];
        const struct rec_gil *gil = build_gil(build, waiter->gil);
        bool open = waiter->state == REC_STATE_WAITING;
        uint64_t low = waiter->wait_held_base_ticks, high = waiter->late_seen_ticks;
        struct row row = {.n = 0};
        if (!gil || waiter->flags & REC_THREAD_FOLDED || !(open || waiter->late))
            continue;
        if (!open && waiter->late_held_ticks < high)
            high = waiter->late_held_ticks;
        if (high <= low)
            continue;
        add_range(gil, open ? gil->n_changes : waiter->late_changes, low, high, &row);
        for (size_t j = 0; j < row.n; j++)
            for (size_t k = 0; k < build->file->n_threads && row.entries[j].holder; k++)
                if (build->file->threads[k].index == row.entries[j].holder)
                    ticks[k] += row.entries[j].ticks;
        free(row.entries);
    }
}

/* The wait that is open at the end. */
static void add_open(const struct build *build, const struct rec_thread *thread, struct row *row)
{
    const struct rec_gil *gil = build_gil(build, thread->gil);
    struct build_closed closed;
    uint64_t high;

    if (thread->state != REC_STATE_WAITING || (thread->flags & REC_THREAD_FOLDED) || !gil)
        return;
    build_close(build, thread, &closed);
    high = build_gil_held(build, gil);
    uint64_t low = high - (closed.blocked - thread->wait_blocked_ticks);
    const struct rec_thread *unseen = build_gil_unseen_holder(build, gil);
    if (unseen) { /* it is in no ring yet */
        struct build_closed its;
        build_close(build, unseen, &its);
        uint64_t part = its.open_held < high - low ? its.open_held : high - low;
        add(row, unseen->index, part);
        high -= part;
    }
    add_range(gil, gil->n_changes, low, high, row);
}

/* The last wait may not have been entered yet; what else is missing can no longer be told apart. */
static void add_last(const struct build *build, const struct rec_thread *thread, struct row *row)
{
    const struct rec_gil *gil = build_gil(build, thread->gil);
    uint64_t entered = 0;

    if (thread->flags & REC_THREAD_FOLDED)
        return;
    if (thread->late && gil && thread->late_held_ticks > thread->wait_held_base_ticks)
        add_range(gil, thread->late_changes, thread->wait_held_base_ticks, thread->late_held_ticks, row);
    for (size_t i = 0; i < row->n; i++)
        entered += row->entries[i].ticks;
    if (entered < thread->wait_blocked_ticks)
        add(row, 0, thread->wait_blocked_ticks - entered);
}

static void collect(const struct build *build, const struct rec_thread *thread, struct row *row)
{
    const struct rec_row *part = NULL;
    size_t n_steps = 0;

    while ((part = reader_row(build->file, thread, part, &n_steps)))
        for (int i = 0; i < REC_ROW_ENTRIES; i++)
            add(row, part->holder[i], part->blocked_ticks[i]);
    add(row, 0, thread->row_other_ticks);
    add_last(build, thread, row);
    add_open(build, thread, row);
}

/* A holder that has a record no more is one of those that the folded record stands for. */
static uint32_t known_holder(const struct model_process *process, uint32_t holder)
{
    if (!holder || model_find_thread(process, holder))
        return holder;
    for (size_t i = 0; i < process->n_threads; i++)
        if (process->threads[i].folded)
            return process->threads[i].index;
    return 0;
}

/* The row with its holders as the report knows them. */
static struct row known(const struct model_process *process, const struct row *row)
{
    struct row known = {.n = 0};

    for (size_t i = 0; i < row->n; i++)
        add(&known, known_holder(process, row->entries[i].holder), row->entries[i].ticks);
    return known;
}

static int longest_first(const void *a, const void *b)
{
    const struct model_pair *x = a, *y = b;

    if (x->ns != y->ns)
        return x->ns < y->ns ? 1 : -1;
    if (x->waiter != y->waiter)
        return x->waiter < y->waiter ? -1 : 1;
    return x->holder < y->holder ? -1 : x->holder > y->holder;
}

void build_pairs(struct build *build)
{
    struct model_process *process = build->process;
    size_t capacity = 0;
    uint64_t total_ns = 0;

    for (size_t i = 0; i < build->file->n_threads; i++) {
        const struct rec_thread *thread = &build->file->threads[i];
        struct row all = {.n = 0}, row;
        uint64_t sum = 0;
        collect(build, thread, &all);
        row = known(process, &all);
        free(all.entries);
        for (size_t j = 0; j < row.n; j++) {
            const struct model_thread *holder = model_find_thread(process, row.entries[j].holder);
            /* The difference of two rounded sums, so that a row's entries add up to its rounded total. */
            uint64_t ns = build_ns(build, sum + row.entries[j].ticks) - build_ns(build, sum);
            sum += row.entries[j].ticks;
            process->pairs = mem_grow(process->pairs, process->n_pairs, &capacity, sizeof *process->pairs);
            process->pairs[process->n_pairs++] = (struct model_pair){
                .waiter = thread->index,
                .holder = holder ? holder->index : 0,
                .waiter_tid = thread->tid,
                .holder_tid = holder ? holder->tid : 0,
                .ns = ns,
            };
            total_ns += ns;
        }
        free(row.entries);
    }
    for (size_t i = 0; i < process->n_pairs; i++)
        process->pairs[i].share = total_ns ? (double)process->pairs[i].ns / (double)total_ns : 0;
    if (process->n_pairs)
        qsort(process->pairs, process->n_pairs, sizeof *process->pairs, longest_first);
}
