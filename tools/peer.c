/* SPDX-License-Identifier: MIT */
/*
 * peer.c - process_vm_readv(), and the dynamic symbols of what a process has mapped.
 */
#include "peer.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "procstat.h"

#define PHDRS_MAX 64
#define DYNAMIC_MAX 128
#define CHAIN_MAX 100000

static bool has_ended(int pid, int tid)
{
    char state = procstat_state(pid, tid, NULL);

    return !state || state == 'Z' || state == 'X';
}

int peer_thread(int pid)
{
    char path[64];
    int found = 0;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *stream = has_ended(pid, pid) ? opendir(path) : NULL;
    if (!stream)
        return pid;
    for (const struct dirent *entry; !found && (entry = readdir(stream));) {
        int tid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        found = tid && !has_ended(pid, tid) ? tid : 0;
    }
    closedir(stream);
    return found ? found : pid;
}

int peer_read(int pid, uint64_t address, void *to, size_t n)
{
    struct iovec local = {to, n}, remote = {(void *)(uintptr_t)address, n}; /* NOLINT: an address of the other one */
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    int tid;

    if (got < 0 && errno == ESRCH) {
        if ((tid = peer_thread(pid)) != pid)
            got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
        else
            errno = ESRCH;
    }
    if (got == (ssize_t)n)
        return 0;
    if (got >= 0)
        errno = EFAULT;
    return -1;
}

int peer_read_callback(void *context, uint64_t address, void *bytes, size_t n)
{
    return peer_read(*(const int *)context, address, bytes, n);
}

uint64_t peer_pointer(int pid, uint64_t address)
{
    uint64_t value;

    return peer_read(pid, address, &value, sizeof value) ? 0 : value;
}

struct tables { /* of the dynamic section, as addresses in the process */
    uint64_t symbols, strings, gnu_hash, hash;
};

/* The dynamic loader has relocated some entries in place, others not (glibc does, musl does not). */
static uint64_t relocated(uint64_t value, uint64_t bias)
{
    return value < bias ? value + bias : value;
}

static int find_tables(int pid, uint64_t base, struct tables *t, uint64_t *bias)
{
    ElfW(Ehdr) head;
    ElfW(Phdr) segments[PHDRS_MAX];
    ElfW(Dyn) entries[DYNAMIC_MAX];
    uint64_t dynamic = 0, first = UINT64_MAX;

    if (peer_read(pid, base, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof *segments || head.e_phnum > PHDRS_MAX ||
        peer_read(pid, base + head.e_phoff, segments, head.e_phnum * sizeof *segments))
        return -1;
    for (int i = 0; i < head.e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD && segments[i].p_offset == 0)
            first = segments[i].p_vaddr;
        if (segments[i].p_type == PT_DYNAMIC)
            dynamic = segments[i].p_vaddr;
    }
    if (!dynamic || first == UINT64_MAX)
        return -1;
    *bias = base - first;
    memset(entries, 0, sizeof entries);
    for (int i = 0; i < DYNAMIC_MAX; i++) {
        if (peer_read(pid, dynamic + *bias + (uint64_t)i * sizeof *entries, &entries[i], sizeof *entries))
            return -1;
        if (entries[i].d_tag == DT_NULL)
            break;
    }
    for (int i = 0; i < DYNAMIC_MAX && entries[i].d_tag != DT_NULL; i++) {
        uint64_t at = relocated(entries[i].d_un.d_ptr, *bias);
        switch (entries[i].d_tag) {
        case DT_SYMTAB:
            t->symbols = at;
            break;
        case DT_STRTAB:
            t->strings = at;
            break;
        case DT_GNU_HASH:
            t->gnu_hash = at;
            break;
        case DT_HASH:
            t->hash = at;
            break;
        }
    }
    return t->symbols && t->strings && (t->gnu_hash || t->hash) ? 0 : -1;
}

/* Whether symbol number i is the one; its address then goes to *address. */
static bool is_symbol(int pid, const struct tables *t, uint32_t i, const char *name, uint64_t *address, uint64_t *size)
{
    ElfW(Sym) symbol;
    char found[64];
    size_t length = strlen(name) + 1;

    if (peer_read(pid, t->symbols + i * sizeof symbol, &symbol, sizeof symbol) || symbol.st_shndx == SHN_UNDEF ||
        length > sizeof found || peer_read(pid, t->strings + symbol.st_name, found, length) ||
        memcmp(found, name, length))
        return false;
    *address = symbol.st_value;
    if (size)
        *size = symbol.st_size;
    return true;
}

static uint32_t u32(int pid, uint64_t address)
{
    uint32_t value;

    return peer_read(pid, address, &value, sizeof value) ? 0 : value;
}

/* DT_GNU_HASH: {n_buckets, first, n_bloom, shift} bloom[n_bloom] buckets[n_buckets] chain[]. */
static uint64_t by_gnu_hash(int pid, const struct tables *t, const char *name, uint64_t *size)
{
    uint32_t head[4], hash = 5381;
    uint64_t address;

    for (const char *c = name; *c; c++)
        hash = hash * 33 + (unsigned char)*c;
    if (peer_read(pid, t->gnu_hash, head, sizeof head) || !head[0])
        return 0;
    uint64_t buckets = t->gnu_hash + sizeof head + head[2] * (uint64_t)8, chain = buckets + head[0] * (uint64_t)4;
    uint32_t i = u32(pid, buckets + hash % head[0] * (uint64_t)4);
    for (int n = 0; i >= head[1] && n < CHAIN_MAX; i++, n++) {
        uint32_t other = u32(pid, chain + (i - head[1]) * (uint64_t)4);
        if ((other | 1) == (hash | 1) && is_symbol(pid, t, i, name, &address, size))
            return address;
        if (other & 1)
            break;
    }
    return 0;
}

/* DT_HASH: {n_buckets, n_chain} buckets[] chain[]. */
static uint64_t by_hash(int pid, const struct tables *t, const char *name, uint64_t *size)
{
    uint32_t head[2], hash = 0;
    uint64_t address;

    for (const char *c = name; *c; c++) {
        hash = (hash << 4) + (unsigned char)*c;
        hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
    }
    if (peer_read(pid, t->hash, head, sizeof head) || !head[0])
        return 0;
    uint32_t i = u32(pid, t->hash + 8 + hash % head[0] * (uint64_t)4);
    for (int n = 0; i && n < CHAIN_MAX; n++) {
        if (is_symbol(pid, t, i, name, &address, size))
            return address;
        i = u32(pid, t->hash + 8 + (head[0] + (uint64_t)i) * 4);
    }
    return 0;
}

uint64_t peer_symbol(int pid, uint64_t base, const char *name, uint64_t *size)
{
    struct tables t = {0};
    uint64_t bias, value;

    if (find_tables(pid, base, &t, &bias))
        return 0;
    value = t.gnu_hash ? by_gnu_hash(pid, &t, name, size) : by_hash(pid, &t, name, size);
    return value ? value + bias : 0;
}
