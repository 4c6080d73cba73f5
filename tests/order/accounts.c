/* SPDX-License-Identifier: MIT */
/*
 * accounts.c - what the recording says after a run, and what has been.
 */
#include <string.h>

#include "process.h"

static const struct rec_thread *next_thread(size_t *at)
{
    while (*at < process_used) {
        const struct rec_head *head = (const struct rec_head *)(process_file.bytes + *at);
        *at += head->size;
        if (head->type == REC_THREAD)
            return (const struct rec_thread *)head;
    }
    return NULL;
}

static void add_row(const struct rec_thread *tr, struct order_account *accounts)
{
    struct order_account *waiter = &accounts[tr->index % ORDER_THREADS];

    waiter->row = tr->row_other_ticks;
    for (uint32_t cell = tr->row; cell;) {
        const struct rec_row *row = (const struct rec_row *)(process_file.bytes + cell * REC_CELL_BYTES);
        for (int i = 0; i < REC_ROW_ENTRIES; i++) {
            waiter->row += row->blocked_ticks[i];
            accounts[row->holder[i] % ORDER_THREADS].column += row->blocked_ticks[i];
        }
        cell = row->next;
    }
}

/* How much of the time between the two was measured. */
static uint64_t measured(uint64_t from, uint64_t to)
{
    const struct rec_header *h = &process_file.header;
    uint64_t sum = 0, since = h->start_ticks;

    for (uint32_t i = 0; i <= h->n_toggles; i++) {
        uint64_t until = i < h->n_toggles ? h->toggle_ticks[i] : process_now;
        uint64_t begin = from > since ? from : since, end = to < until ? to : until;
        if (i % 2 == 0 && end > begin)
            sum += end - begin;
        since = until;
    }
    return sum;
}

static void add_spans(const struct process_span *spans, unsigned n, uint64_t *least, uint64_t *most)
{
    for (unsigned i = 0; i < n; i++) {
        /* A wait for nothing but the mutex may count or not. */
        if (spans[i].from[1] != UINT64_MAX)
            *least += measured(spans[i].from[1], spans[i].to[0]);
        *most += measured(spans[i].from[0], spans[i].to[1]);
    }
}

void order_accounts(struct order_account *accounts)
{
    size_t at = REC_HEADER_BYTES;

    memset(accounts, 0, ORDER_THREADS * sizeof *accounts);
    for (const struct rec_thread *tr; (tr = next_thread(&at)) != NULL;) {
        struct order_account *account = &accounts[tr->index % ORDER_THREADS];
        account->index = tr->index;
        account->charged += tr->charged_ticks + tr->charged_late_ticks;
        account->held = tr->held_ticks;
        account->blocked = tr->wait_blocked_ticks;
        account->wakeup = tr->wait_wakeup_ticks;
        add_row(tr, accounts);
    }
    for (unsigned i = 0; i < process_n_threads; i++) {
        const struct process_thread *thread = &process_threads[i];
        const struct shim_thread *t = i == process_running ? &shim_thread : &thread->t;
        if (t->owed)
            accounts[t->owed_index % ORDER_THREADS].charged += t->owed_ticks;
        if (!t->rec)
            continue;
        struct order_account *account = &accounts[t->rec->index % ORDER_THREADS];
        add_spans(thread->waits, thread->n_waits, &account->least_waited, &account->most_waited);
        add_spans(thread->holds, thread->n_holds, &account->least_held, &account->most_held);
    }
}

uint64_t order_loss(enum rec_loss cause)
{
    return process_file.header.losses[cause];
}

uint64_t order_n_waiters(void)
{
    return SHIM.gils[0].turn->n_waiters;
}
