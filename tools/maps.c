/* SPDX-License-Identifier: MIT */
/*
 * maps.c - reads the executable mappings of /proc/PID/maps.
 */
#include "maps.h"

#include <elf.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect.h"
#include "mem.h"
#include "peer.h"

/* Between two readings there are so many times what the last one took, at least, so that a program that is just loading
 * its libraries has them known soon; where readings bring nothing new, ever longer, up to the last. */
#define AGAIN_TIMES 100
#define AGAIN_NS 10000000u
#define SELDOM_NS 4000000000u
#define PHDRS_MAX 64

static const struct maps_object *find(const struct maps *maps, uint64_t address)
{
    for (size_t i = 0; i < maps->n; i++)
        if (address >= maps->object[i].start && address < maps->object[i].end)
            return &maps->object[i];
    return NULL;
}

/* The address in memory less that in the file, of the file whose first byte is mapped at base. */
static bool bias_of(int pid, uint64_t base, uint64_t *bias)
{
    ElfW(Ehdr) head;
    ElfW(Phdr) segment;

    if (!base || peer_read(pid, base, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) ||
        head.e_phentsize != sizeof segment || head.e_phnum > PHDRS_MAX)
        return false;
    for (int i = 0; i < head.e_phnum; i++) {
        if (peer_read(pid, base + head.e_phoff + (uint64_t)i * sizeof segment, &segment, sizeof segment))
            return false;
        if (segment.p_type == PT_LOAD && segment.p_offset == 0) {
            *bias = base - segment.p_vaddr;
            return true;
        }
    }
    return false;
}

static void read_maps(struct maps *maps, int pid)
{
    char path[64], *line = NULL, base_path[1024] = "";
    size_t size = 0;
    uint64_t base = 0;

    snprintf(path, sizeof path, "/proc/%d/task/%d/maps", pid, peer_thread(pid));
    FILE *stream = fopen(path, "re");
    while (stream && getline(&line, &size, stream) > 0) {
        uint64_t start, end, offset, bias;
        char permissions[5];
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &start, &end, permissions, &offset,
                   &at) < 4 ||
            !at || line[at] != '/')
            continue;
        if (offset == 0) {
            base = start;
            snprintf(base_path, sizeof base_path, "%s", line + at);
        }
        if (permissions[2] != 'x' || find(maps, start) || strcmp(base_path, line + at) || !bias_of(pid, base, &bias))
            continue;
        maps->object = mem_grow(maps->object, maps->n, &maps->room, sizeof *maps->object);
        maps->object[maps->n++] = (struct maps_object){mem_print("%s", line + at), start, end, bias};
    }
    free(line);
    if (stream)
        fclose(stream);
}

bool maps_is_code(struct maps *maps, int pid, uint64_t address)
{
    uint64_t now_ns;
    size_t n = maps->n;

    if (find(maps, address))
        return true;
    now_ns = collect_now_ns();
    if (maps->read_ns && now_ns - maps->read_ns < maps->again_ns)
        return false;
    read_maps(maps, pid);
    maps->read_ns = collect_now_ns();
    if (maps->n != n || !maps->again_ns) {
        maps->again_ns = (maps->read_ns - now_ns) * AGAIN_TIMES;
        if (maps->again_ns < AGAIN_NS)
            maps->again_ns = AGAIN_NS;
    } else if (maps->again_ns < SELDOM_NS)
        maps->again_ns *= 2;
    return find(maps, address) != NULL;
}

bool maps_is_same(const struct maps *maps, uint64_t a, uint64_t b)
{
    const struct maps_object *x = find(maps, a), *y = find(maps, b);

    return x && y && !strcmp(x->path, y->path);
}

void maps_write(const struct maps *maps, struct recwriter *writer)
{
    for (size_t i = 0; i < maps->n; i++)
        recwriter_object(writer, maps->object[i].path, maps->object[i].start, maps->object[i].end,
                         maps->object[i].bias);
}

void maps_free(struct maps *maps)
{
    for (size_t i = 0; i < maps->n; i++)
        free(maps->object[i].path);
    free(maps->object);
}
