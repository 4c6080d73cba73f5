/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-batch.c - goes through a BPF hash map, many entries at a call.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "collect-bpf.h"
#include "mem.h"

#define BATCH 256u

void bpf_each(int map_fd, bool take, size_t key_bytes, size_t value_bytes,
              void (*each)(void *context, const void *key, const void *value), void *context)
{
    char *keys = mem_zeroed(BATCH, key_bytes), *values = mem_zeroed(BATCH, value_bytes);
    uint32_t cursor, n;
    void *at = NULL;
    int result;

    do {
        n = BATCH;
        result = take ? bpf_map_lookup_and_delete_batch(map_fd, at, &cursor, keys, values, &n, NULL)
                      : bpf_map_lookup_batch(map_fd, at, &cursor, keys, values, &n, NULL);
        if (result && errno != ENOENT)
            break;
        for (uint32_t i = 0; i < n; i++)
            each(context, keys + i * key_bytes, values + i * value_bytes);
        at = &cursor;
    } while (!result);
    free(keys);
    free(values);
}
