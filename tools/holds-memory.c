/* SPDX-License-Identifier: MIT */
/*
 * holds-memory.c - pages of another process, by process_vm_readv() of many at once.
 */
#include "holds-memory.h"

#include <string.h>
#include <sys/uio.h>

#include "peer.h"

static unsigned char pages[HOLDS_PAGES][HOLDS_PAGE_BYTES]; /* of the present look */

/* Reads those of the ranges that come up to the one with the number `to`; false if not all are there any more. */
static bool read_up_to(struct holds_memory *m, uint32_t to)
{
    struct iovec local[HOLDS_PAGES], remote[HOLDS_PAGES];
    uint32_t n = 0;

    for (uint32_t i = m->n; i < to; i++, n++) {
        const struct holds_range *r = &m->range[i];
        local[n] = (struct iovec){pages[i] + r->from, (size_t)(r->to - r->from)};
        remote[n] = (struct iovec){(void *)(uintptr_t)(r->page + r->from), (size_t)(r->to - r->from)}; /* NOLINT */
    }
    ssize_t got = n ? process_vm_readv(m->pid, local, n, remote, n, 0) : 0;
    /* It ends in front of what is not there any more. */
    for (uint32_t i = 0; i < n && got >= (ssize_t)local[i].iov_len; i++, m->n++)
        got -= (ssize_t)local[i].iov_len;
    return m->n == to;
}

void holds_memory_begin(struct holds_memory *m, uint32_t who)
{
    m->who = who;
    m->n = m->n_first = m->n_known = 0;
    memset(m->used, 0, sizeof m->used);
    memset(m->first, 0, sizeof m->first);
    memset(m->at_once, 0, sizeof m->at_once);
    if (m->recent[who % HOLDS_RECENT].who != who)
        return;
    m->n_first = m->recent[who % HOLDS_RECENT].n_first;
    m->n_known = m->recent[who % HOLDS_RECENT].n;
    memcpy(m->range, m->recent[who % HOLDS_RECENT].range, m->n_known * sizeof m->range[0]);
    read_up_to(m, m->n_first);
    memset(m->at_once, true, m->n);
}

bool holds_memory_innermost(struct holds_memory *m, uint64_t frame)
{
    bool at_once = false;

    for (uint32_t i = 0; i < m->n; i++)
        at_once |= m->at_once[i] && frame - m->range[i].page < HOLDS_PAGE_BYTES;
    memcpy(m->first, m->used, sizeof m->first);
    if (m->n == m->n_first && m->n < m->n_known)
        read_up_to(m, m->n_known);
    return at_once;
}

void holds_memory_end(struct holds_memory *m)
{
    uint32_t n = 0;

    for (int later = 0; later < 2; later++) {
        for (uint32_t i = 0; i < m->n; i++)
            if (m->used[i] && m->first[i] != later)
                m->recent[m->who % HOLDS_RECENT].range[n++] = m->range[i];
        if (!later)
            m->recent[m->who % HOLDS_RECENT].n_first = n;
    }
    m->recent[m->who % HOLDS_RECENT].n = n;
    m->recent[m->who % HOLDS_RECENT].who = m->who;
}

/* The page of an address, whole for n bytes from there on; HOLDS_PAGES = it is not kept, or not there. */
static uint32_t page_of(struct holds_memory *m, uint64_t address, size_t n)
{
    uint64_t page = address & ~(uint64_t)(HOLDS_PAGE_BYTES - 1);
    uint16_t from = (uint16_t)(address - page), to = (uint16_t)(from + n);
    uint32_t i = 0;

    while (i < m->n && m->range[i].page != page)
        i++;
    if (i == HOLDS_PAGES)
        return i;
    if (i == m->n) {
        if (peer_read(m->pid, address, pages[i] + from, n))
            return HOLDS_PAGES;
        m->range[m->n++] = (struct holds_range){page, from, to};
    } else if (from < m->range[i].from || to > m->range[i].to) {
        struct holds_range r = m->range[i];
        from = from < r.from ? from : r.from;
        to = to > r.to ? to : r.to;
        if (peer_read(m->pid, page + from, pages[i] + from, (size_t)(to - from)))
            return HOLDS_PAGES;
        m->range[i] = (struct holds_range){page, from, to};
        m->at_once[i] = false;
    }
    m->used[i] = true;
    return i;
}

int holds_memory_read(void *context, uint64_t address, void *bytes, size_t n)
{
    struct holds_memory *m = context;
    uint64_t offset = address % HOLDS_PAGE_BYTES;

    uint32_t i = n > HOLDS_PAGE_BYTES - offset ? HOLDS_PAGES : page_of(m, address, n);
    if (i == HOLDS_PAGES)
        return peer_read(m->pid, address, bytes, n);
    memcpy(bytes, pages[i] + offset, n);
    return 0;
}
