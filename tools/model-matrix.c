/* SPDX-License-Identifier: MIT */
/*
 * model-matrix.c - who waited for whom, as a table.
 */
#include "model-matrix.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct sum {
    uint32_t index; /* of the thread */
    uint64_t ns;
};

static int most_first(const void *a, const void *b)
{
    const struct sum *x = a, *y = b;

    if (x->ns != y->ns)
        return x->ns < y->ns ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static struct sum *sum_of(struct sum *sums, size_t n, uint32_t index)
{
    for (size_t i = 0; i < n; i++)
        if (sums[i].index == index)
            return &sums[i];
    return NULL;
}

/* The threads of one side, in order; returns how many. */
static size_t side(const struct model_process *process, bool holders, const struct model_thread *list[MATRIX_MAX + 1])
{
    struct sum *sums = mem_zeroed(process->n_threads, sizeof *sums);
    size_t n = 0, left;

    for (size_t i = 0; i < process->n_threads; i++)
        sums[i].index = process->threads[i].index;
    for (size_t i = 0; i < process->n_pairs; i++) {
        const struct model_pair *pair = &process->pairs[i];
        struct sum *sum = sum_of(sums, process->n_threads, holders ? pair->holder : pair->waiter);
        if (sum)
            sum->ns += pair->ns;
    }
    qsort(sums, process->n_threads, sizeof *sums, most_first);
    for (left = 0; left < process->n_threads && sums[left].ns && n < MATRIX_MAX; left++)
        list[n++] = model_find_thread(process, sums[left].index);
    free(sums);
    return n;
}

static size_t position(const struct model_thread *const *list, size_t n, uint32_t index)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] && list[i]->index == index)
            return i;
    return n;
}

void model_matrix(const struct model_process *process, struct model_matrix *matrix)
{
    size_t n_waiters, n_holders;
    uint64_t most = 0, all = 0;

    memset(matrix, 0, sizeof *matrix);
    n_waiters = matrix->n_waiters = side(process, false, matrix->waiters);
    n_holders = matrix->n_holders = side(process, true, matrix->holders);
    for (size_t i = 0; i < process->n_pairs; i++) {
        const struct model_pair *pair = &process->pairs[i];
        size_t row = position(matrix->waiters, n_waiters, pair->waiter);
        size_t column = position(matrix->holders, n_holders, pair->holder);
        uint64_t *ns = &matrix->ns[row][column];
        *ns += pair->ns;
        all += pair->ns;
        most = *ns > most ? *ns : most;
        matrix->n_waiters = row == n_waiters ? n_waiters + 1 : matrix->n_waiters;
        matrix->n_holders = column == n_holders ? n_holders + 1 : matrix->n_holders;
    }
    for (size_t i = 0; i < matrix->n_waiters; i++)
        for (size_t j = 0; j < matrix->n_holders; j++) {
            matrix->heat[i][j] = most ? (double)matrix->ns[i][j] / (double)most : 0;
            matrix->share[i][j] = all ? (double)matrix->ns[i][j] / (double)all : 0;
        }
}
