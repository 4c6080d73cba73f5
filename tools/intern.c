/* SPDX-License-Identifier: MIT */
/*
 * intern.c - a hash table with open addressing.
 */
#include "intern.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define SLOTS_MIN 64

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    return x;
}

uint64_t intern_hash(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    uint64_t word;

    hash ^= n + 0x9e3779b97f4a7c15ull;
    for (; n >= sizeof word; n -= sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        hash = mix(hash ^ word);
    }
    word = 0;
    if (n) /* bytes may be NULL otherwise */
        memcpy(&word, from, n);
    return mix(hash ^ word);
}

static void grow(struct intern *table)
{
    size_t n_old = table->n_slots;
    struct intern_slot *old = table->slots;

    table->n_slots = n_old ? n_old * 2 : SLOTS_MIN;
    table->slots = mem_zeroed(table->n_slots, sizeof *table->slots);
    for (size_t i = 0; i < n_old; i++) {
        size_t at = old[i].hash & (table->n_slots - 1);
        if (!old[i].used)
            continue;
        while (table->slots[at].used)
            at = (at + 1) & (table->n_slots - 1);
        table->slots[at] = old[i];
    }
    free(old);
}

uint32_t intern(struct intern *table, uint64_t hash, bool (*same)(const void *context, uint32_t id),
                const void *context, uint32_t new_id)
{
    size_t at;

    if (table->n * 2 >= table->n_slots)
        grow(table);
    for (at = hash & (table->n_slots - 1); table->slots[at].used; at = (at + 1) & (table->n_slots - 1))
        if (table->slots[at].hash == hash && same(context, table->slots[at].id))
            return table->slots[at].id;
    if (new_id != INTERN_NONE) {
        table->slots[at] = (struct intern_slot){hash, new_id, true};
        table->n++;
    }
    return new_id;
}

void intern_free(struct intern *table)
{
    free(table->slots);
    memset(table, 0, sizeof *table);
}
