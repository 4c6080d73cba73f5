/* SPDX-License-Identifier: MIT */
/*
 * holds-table.c - a hash table with open addressing that grows while it can.
 */
#include "holds-table.h"

#include <stdlib.h>
#include <string.h>

#include "intern.h"

#define SLOTS_MIN 256

uint64_t holds_hash(uint64_t hash, const void *bytes, size_t n)
{
    hash = intern_hash(hash, bytes, n);
    return hash ? hash : 1;
}

static bool grow(struct holds_table *table)
{
    size_t n_slots = table->n_slots ? table->n_slots * 2 : SLOTS_MIN;
    struct holds_slot *slots = calloc(n_slots, sizeof *slots);

    if (!slots)
        return false;
    for (size_t i = 0; i < table->n_slots; i++) {
        size_t at = table->slots[i].hash & (n_slots - 1);
        if (!table->slots[i].hash)
            continue;
        while (slots[at].hash)
            at = (at + 1) & (n_slots - 1);
        slots[at] = table->slots[i];
    }
    free(table->slots);
    table->slots = slots;
    table->n_slots = n_slots;
    return true;
}

uint32_t *holds_table_at(struct holds_table *table, uint64_t hash, bool *found)
{
    if (table->n * 2 >= table->n_slots && !grow(table))
        return NULL;
    size_t at = hash & (table->n_slots - 1);
    while (table->slots[at].hash && table->slots[at].hash != hash)
        at = (at + 1) & (table->n_slots - 1);
    *found = table->slots[at].hash != 0;
    if (!*found) {
        table->slots[at] = (struct holds_slot){hash, 0};
        table->n++;
    }
    return &table->slots[at].value;
}

void holds_table_clear(struct holds_table *table)
{
    free(table->slots);
    memset(table, 0, sizeof *table);
}
