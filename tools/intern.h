/* SPDX-License-Identifier: MIT */
/*
 * intern.h - a hash table from contents to small numbers: each content has one number, whoever asks.
 *
 * The contents stay with the caller, in an array or wherever, under the number.
 */
#ifndef GILSCOPE_INTERN_H
#define GILSCOPE_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTERN_NONE UINT32_MAX

struct intern {
    struct intern_slot {
        uint64_t hash;
        uint32_t id;
        bool used;
    } * slots;
    size_t n_slots, n;
};

/* The number of the content with this hash for which same(context, number) is true.  If there is none, new_id becomes
 * its number, if it is not INTERN_NONE, and is returned. */
uint32_t intern(struct intern *table, uint64_t hash, bool (*same)(const void *context, uint32_t id),
                const void *context, uint32_t new_id);

/* A hash of bytes, continuing from another one (0 to begin with). */
uint64_t intern_hash(uint64_t hash, const void *bytes, size_t n);

void intern_free(struct intern *table);

#endif
