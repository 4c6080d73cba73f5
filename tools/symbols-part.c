/* SPDX-License-Identifier: MIT */
/*
 * symbols-part.c - where the compiler has put the seldom used part of a function of a stripped file.
 *
 * gcc's -freorder-blocks-and-partition and BOLT divide a function into two: "f", and "f.cold" far away, which has a
 * local symbol only.  Debian's CPython 3.14 and 3.15 have nine tenths of the evaluation loop there.  What is left
 * without symbols is that the function jumps into the middle of something else, which nothing does but to a part of
 * itself, and that .eh_frame_hdr has an entry for each part: a sorted table of begins (LSB Core, "Exception Frames").
 */
#include "symbols-part.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define JUMPS_LEAST 4 /* into the same part: bytes that only look like a jump lead to a new place each time */
#define FUNCTION_MAX (1u << 20)
#define ENTRIES_MAX (1u << 22)

enum { VERSION = 1, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b }; /* .eh_frame_hdr, as ld makes it */
enum { HEADER_BYTES = 12, ENTRY_BYTES = 8 };

struct begins { /* of all functions and parts, in order */
    uint64_t base;
    const unsigned char *entries;
    size_t n;
};

static int32_t word(const unsigned char *at)
{
    int32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static bool find_section(Elf *elf, const char *name, GElf_Shdr *header, Elf_Scn **section)
{
    size_t names;

    *section = NULL;
    if (elf_getshdrstrndx(elf, &names))
        return false;
    while ((*section = elf_nextscn(elf, *section))) {
        const char *found = gelf_getshdr(*section, header) ? elf_strptr(elf, names, header->sh_name) : NULL;
        if (found && !strcmp(found, name))
            return true;
    }
    return false;
}

static bool find_begins(Elf *elf, struct begins *begins)
{
    GElf_Shdr header;
    Elf_Scn *section;
    Elf_Data *data;

    if (!find_section(elf, ".eh_frame_hdr", &header, &section) || !(data = elf_rawdata(section, NULL)) ||
        !data->d_buf || data->d_size < HEADER_BYTES)
        return false;
    const unsigned char *bytes = data->d_buf;
    if (bytes[0] != VERSION || bytes[2] != UDATA4 || bytes[3] != DATAREL_SDATA4)
        return false;
    uint32_t n = (uint32_t)word(bytes + 8);
    if (n > ENTRIES_MAX || n > (data->d_size - HEADER_BYTES) / ENTRY_BYTES)
        return false;
    *begins = (struct begins){header.sh_addr, bytes + HEADER_BYTES, n};
    return n > 0;
}

static uint64_t begin(const struct begins *begins, size_t i)
{
    return begins->base + (uint64_t)(int64_t)word(begins->entries + i * ENTRY_BYTES);
}

/* The number of the function or part at an address; n if there is none. */
static size_t part_at(const struct begins *begins, uint64_t address)
{
    size_t low = 0, high = begins->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (begin(begins, middle) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : begins->n;
}

/* The bytes of a function; NULL if they are not in the file. */
static const unsigned char *code_of(Elf *elf, uint64_t start, uint64_t size)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;

    while ((section = elf_nextscn(elf, section))) {
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_PROGBITS || !(header.sh_flags & SHF_EXECINSTR) ||
            start < header.sh_addr || start - header.sh_addr >= header.sh_size ||
            size > header.sh_size - (start - header.sh_addr))
            continue;
        Elf_Data *data = elf_rawdata(section, NULL);
        if (!data || !data->d_buf || data->d_size != header.sh_size)
            return NULL;
        return (const unsigned char *)data->d_buf + (start - header.sh_addr);
    }
    return NULL;
}

/* Where a jump at these bytes leads, if they are one; 0 if not. */
static uint64_t target(const unsigned char *code, uint64_t address)
{
    if (code[0] == 0xe9) /* jmp */
        return address + 5 + (uint64_t)(int64_t)word(code + 1);
    if (code[0] == 0x0f && (code[1] & 0xf0) == 0x80) /* jcc */
        return address + 6 + (uint64_t)(int64_t)word(code + 2);
    return 0;
}

bool symbols_part(Elf *elf, uint64_t start, uint64_t size, uint64_t *part_start, uint64_t *part_size)
{
    GElf_Ehdr header;
    struct begins begins;
    const unsigned char *code;

    if (!gelf_getehdr(elf, &header) || header.e_machine != EM_X86_64 || size < 6 || size > FUNCTION_MAX ||
        !find_begins(elf, &begins) || !(code = code_of(elf, start, size)))
        return false;
    size_t own = part_at(&begins, start), best = begins.n;
    uint32_t *jumps = mem_zeroed(begins.n, sizeof *jumps), most = 0;
    for (uint64_t i = 0; i + 6 <= size; i++) {
        uint64_t to = target(code + i, start + i);
        size_t part = to ? part_at(&begins, to) : begins.n;
        if (part == begins.n || part == own || part + 1 == begins.n || begin(&begins, part) == to)
            continue;
        if (++jumps[part] > most) {
            most = jumps[part];
            best = part;
        }
    }
    free(jumps);
    if (most < JUMPS_LEAST)
        return false;
    *part_start = begin(&begins, best);
    *part_size = begin(&begins, best + 1) - *part_start;
    return true;
}
