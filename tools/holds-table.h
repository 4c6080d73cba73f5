/* SPDX-License-Identifier: MIT */
/*
 * holds-table.h - from a hash of contents to a number.  Contents are not kept: two with the same 64 bits are one.
 *
 * Unlike intern.h this gives up where there is no memory: it is used while somebody's program runs.
 */
#ifndef GILSCOPE_HOLDS_TABLE_H
#define GILSCOPE_HOLDS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct holds_table {
    struct holds_slot {
        uint64_t hash; /* 0 = free */
        uint32_t value;
    } * slots;
    size_t n_slots, n; /* n_slots: a power of 2 */
};

/* Where the value of this hash is, or may be put: *found says which.  NULL without memory. */
uint32_t *holds_table_at(struct holds_table *table, uint64_t hash, bool *found);
void holds_table_clear(struct holds_table *table);

/* A hash of bytes, continuing from another one; never 0. */
uint64_t holds_hash(uint64_t hash, const void *bytes, size_t n);

#endif
