/* SPDX-License-Identifier: MIT */
/*
 * elf.c - one execution with an ELF file, and one mutation of it: what says which executable is CPython, and where the
 * names of native functions come from.  elfutils reads the latter's files; here its answers are relied on as little as
 * in the report.
 */
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elfscan.h"
#include "fuzz.h"
#include "symbols.h"

static uint64_t random_bits;

static uint64_t draw(uint64_t below)
{
    random_bits ^= random_bits << 13;
    random_bits ^= random_bits >> 7;
    random_bits ^= random_bits << 17;
    return below ? (random_bits >> 11) % below : 0;
}

void fuzz_elf_run(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    struct elfscan scan;
    struct symbols *symbols;
    size_t length = 0;

    if (fd < 0)
        fd = memfd_create("elf", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (elfscan_read(path, &scan))
        abort();
    length += strlen(scan.interpreter) + strlen(scan.libpython);
    symbols = symbols_open(path, NULL, 0);
    for (uint64_t address = 0x1000; address; address <<= 1) { /* a name is there, to its end */
        const char *name = symbols_find(symbols, address + 0x40);
        char *readable = name ? symbols_demangle(name) : NULL;
        length += name ? strlen(name) : 0;
        free(readable);
    }
    symbols_has_interpreter(symbols);
    symbols_close(symbols);
    __asm__ volatile("" ::"r"(length));
}

static uint64_t value_for(uint64_t before, size_t size)
{
    static const uint64_t edges[] = {0,      1,      2,          7,          8,          16,         24,
                                     64,     0xff,   0xff00,     0xffff,     0x10000,    0x7fffffff, 0x80000000,
                                     1 << 6, 1 << 9, 0xffffffff, 1ull << 32, 1ull << 63, INT64_MAX,  UINT64_MAX};

    switch (draw(4)) {
    case 0:
        return edges[draw(sizeof edges / sizeof edges[0])];
    case 1:
        return before + draw(65) - 32;
    case 2:
        return draw(1ull << draw(24));
    default:
        return draw(2 * size + 1); /* somewhere in the file, or behind it */
    }
}

static void change(uint8_t *data, size_t size, uint64_t at, size_t bytes)
{
    uint64_t value = 0;

    if (at > size || size - at < bytes)
        return;
    memcpy(&value, data + at, bytes);
    value = value_for(value, size);
    memcpy(data + at, &value, bytes);
}

/* One of n fields of a table's entry: their offsets and sizes. */
struct place {
    uint8_t offset, bytes;
};
#define PLACE(type, field)                                                                                             \
    {                                                                                                                  \
        offsetof(type, field), sizeof(((type *)0)->field)                                                              \
    }
static const struct place head[] = {PLACE(ElfW(Ehdr), e_shoff),
                                    PLACE(ElfW(Ehdr), e_phoff),
                                    PLACE(ElfW(Ehdr), e_shnum),
                                    PLACE(ElfW(Ehdr), e_phnum),
                                    PLACE(ElfW(Ehdr), e_shentsize),
                                    PLACE(ElfW(Ehdr), e_shstrndx),
                                    PLACE(ElfW(Ehdr), e_machine),
                                    {EI_CLASS, 1},
                                    {EI_DATA, 1}};
static const struct place section[] = {PLACE(ElfW(Shdr), sh_type),   PLACE(ElfW(Shdr), sh_flags),
                                       PLACE(ElfW(Shdr), sh_offset), PLACE(ElfW(Shdr), sh_size),
                                       PLACE(ElfW(Shdr), sh_link),   PLACE(ElfW(Shdr), sh_entsize),
                                       PLACE(ElfW(Shdr), sh_name),   PLACE(ElfW(Shdr), sh_addralign)};
static const struct place segment[] = {PLACE(ElfW(Phdr), p_type), PLACE(ElfW(Phdr), p_offset),
                                       PLACE(ElfW(Phdr), p_filesz), PLACE(ElfW(Phdr), p_vaddr),
                                       PLACE(ElfW(Phdr), p_memsz)};
static const struct place symbol[] = {PLACE(ElfW(Sym), st_name), PLACE(ElfW(Sym), st_info), PLACE(ElfW(Sym), st_value),
                                      PLACE(ElfW(Sym), st_size), PLACE(ElfW(Sym), st_shndx)};
#define ANY(places) &places[draw(sizeof places / sizeof places[0])]

static void change_place(uint8_t *data, size_t size, uint64_t at, const struct place *place)
{
    change(data, size, at + place->offset, place->bytes);
}

size_t fuzz_elf_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    ElfW(Ehdr) ehdr;
    ElfW(Shdr) shdr;

    random_bits = seed * 0x9e3779b97f4a7c15u | 1;
    if (size < sizeof ehdr)
        return size;
    for (uint64_t n = 1 + draw(3); n; n--) {
        memcpy(&ehdr, data, sizeof ehdr);
        uint64_t at = ehdr.e_shoff + draw(ehdr.e_shnum) * sizeof shdr;
        switch (draw(8)) {
        case 0:
            change_place(data, size, 0, ANY(head));
            break;
        case 1:
            change_place(data, size, ehdr.e_phoff + draw(ehdr.e_phnum) * sizeof(ElfW(Phdr)), ANY(segment));
            break;
        case 2:
        case 3:
        case 4:
            change_place(data, size, at, ANY(section));
            break;
        case 5: /* an entry of a section, as if it were a symbol */
            if (at > size || size - at < sizeof shdr)
                break;
            memcpy(&shdr, data + at, sizeof shdr);
            change_place(data, size, shdr.sh_offset + draw(shdr.sh_size / sizeof(ElfW(Sym)) + 1) * sizeof(ElfW(Sym)),
                         ANY(symbol));
            break;
        case 6:
            data[draw(size)] ^= (uint8_t)(1u << draw(8));
            break;
        default:
            if (draw(8) == 0)
                size = sizeof ehdr + draw(size - sizeof ehdr + 1);
        }
    }
    return size < max_size ? size : max_size;
}
