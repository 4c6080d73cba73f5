/* SPDX-License-Identifier: MIT */
/*
 * model-matrix.h - who waited for whom, as a table of a size that can be looked at.
 */
#ifndef GILSCOPE_MODEL_MATRIX_H
#define GILSCOPE_MODEL_MATRIX_H

#include "model.h"

#define MATRIX_MAX 14 /* threads told apart on each side */

struct model_matrix {
    /* Those who waited, and were waited for, the longest first; NULL = all others, and those that are not known. */
    const struct model_thread *waiters[MATRIX_MAX + 1], *holders[MATRIX_MAX + 1];
    size_t n_waiters, n_holders;
    uint64_t ns[MATRIX_MAX + 1][MATRIX_MAX + 1];  /* waiter, holder */
    double heat[MATRIX_MAX + 1][MATRIX_MAX + 1];  /* of the hottest cell, 0..1 */
    double share[MATRIX_MAX + 1][MATRIX_MAX + 1]; /* of all blocked waiting */
};

void model_matrix(const struct model_process *process, struct model_matrix *matrix);

#endif
