/* SPDX-License-Identifier: MIT */
/*
 * elfscan.c - reads from an ELF file whether it is CPython and whether LD_PRELOAD reaches it.
 */
#include "elfscan.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TABLE ((uint64_t)64 << 20) /* no table that is worth reading is larger */

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#else
#define OWN_MACHINE EM_NONE
#endif
#define OWN_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

struct elf_file {
    int fd;
    ElfW(Ehdr) head;
    ElfW(Phdr) * segments;
};

/* SIZE bytes at OFFSET of the file and a 0 byte behind them, for the caller to free; NULL where they are not all
 * there. */
static void *read_at(const struct elf_file *elf, uint64_t offset, uint64_t size)
{
    if (!size || size > MAX_TABLE)
        return NULL;
    char *bytes = malloc(size + 1);
    if (!bytes)
        return NULL;
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(elf->fd, bytes + done, size - done, (off_t)(offset + done));
        if (n <= 0) {
            free(bytes);
            return NULL;
        }
        done += (uint64_t)n;
    }
    bytes[size] = '\0';
    return bytes;
}

static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);

    memcpy(to, from, length);
    to[length] = '\0';
}

/* The file offset of SIZE bytes at the address ADDRESS; 0 where the file does not hold them. */
static uint64_t offset_of(const struct elf_file *elf, uint64_t address, uint64_t size)
{
    for (int i = 0; i < elf->head.e_phnum; i++) {
        const ElfW(Phdr) *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr && segment->p_filesz >= size &&
            address - segment->p_vaddr <= segment->p_filesz - size)
            return segment->p_offset + (address - segment->p_vaddr);
    }
    return 0;
}

static void scan_symbols(const struct elf_file *elf, struct elfscan *scan, const ElfW(Sym) * symbols, uint64_t n,
                         const char *names, uint64_t names_size)
{
    for (uint64_t i = 0; i < n; i++) {
        if (symbols[i].st_shndx == SHN_UNDEF || symbols[i].st_name >= names_size)
            continue;
        const char *name = names + symbols[i].st_name;
        if (!strcmp(name, "_PyRuntime")) {
            scan->has_pyruntime = 1;
        } else if (!strcmp(name, "Py_Version")) {
            uint64_t offset = offset_of(elf, symbols[i].st_value, sizeof scan->python_hex);
            uint32_t *value = offset ? read_at(elf, offset, sizeof *value) : NULL;
            scan->python_hex = value ? *value : 0;
            free(value);
        }
    }
}

static void scan_needed(struct elfscan *scan, const ElfW(Dyn) * entries, uint64_t n, const char *names,
                        uint64_t names_size)
{
    for (uint64_t i = 0; i < n && entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag != DT_NEEDED || entries[i].d_un.d_val >= names_size)
            continue;
        const char *name = names + entries[i].d_un.d_val;
        if (!strncmp(name, "libpython", strlen("libpython")))
            copy_text(scan->libpython, sizeof scan->libpython, name);
    }
}

/* The dynamic sections, found by the section headers: `strip` leaves them and these.  A file has one of each. */
static void scan_sections(const struct elf_file *elf, struct elfscan *scan)
{
    uint64_t n = elf->head.e_shnum;
    int had_symbols = 0, had_dynamic = 0;

    if (elf->head.e_shentsize != sizeof(ElfW(Shdr)))
        return;
    ElfW(Shdr) *sections = read_at(elf, elf->head.e_shoff, n * sizeof *sections);
    for (uint64_t i = 0; sections && i < n; i++) {
        const ElfW(Shdr) *section = &sections[i];
        int *had = section->sh_type == SHT_DYNSYM ? &had_symbols : &had_dynamic;
        if ((section->sh_type != SHT_DYNSYM && section->sh_type != SHT_DYNAMIC) || section->sh_link >= n || *had)
            continue;
        *had = 1;
        const ElfW(Shdr) *strings = &sections[section->sh_link];
        void *entries = read_at(elf, section->sh_offset, section->sh_size);
        char *names = read_at(elf, strings->sh_offset, strings->sh_size);
        if (entries && names && section->sh_type == SHT_DYNSYM)
            scan_symbols(elf, scan, entries, section->sh_size / sizeof(ElfW(Sym)), names, strings->sh_size);
        else if (entries && names)
            scan_needed(scan, entries, section->sh_size / sizeof(ElfW(Dyn)), names, strings->sh_size);
        free(entries);
        free(names);
    }
    free(sections);
}

static void scan_elf(struct elf_file *elf, struct elfscan *scan)
{
    if (elf->head.e_phentsize != sizeof(ElfW(Phdr)))
        return;
    elf->segments = read_at(elf, elf->head.e_phoff, (uint64_t)elf->head.e_phnum * sizeof *elf->segments);
    if (!elf->segments)
        return;
    for (int i = 0; i < elf->head.e_phnum; i++) {
        const ElfW(Phdr) *segment = &elf->segments[i];
        if (segment->p_type == PT_INTERP) {
            char *text = read_at(elf, segment->p_offset, segment->p_filesz);
            if (text)
                copy_text(scan->interpreter, sizeof scan->interpreter, text);
            free(text);
            scan->is_dynamic = 1;
        }
    }
    scan_sections(elf, scan);
    free(elf->segments);
}

int elfscan_read(const char *path, struct elfscan *scan)
{
    struct elf_file elf = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};

    memset(scan, 0, sizeof *scan);
    if (elf.fd < 0)
        return -1;
    if (pread(elf.fd, &elf.head, sizeof elf.head, 0) == (ssize_t)sizeof elf.head &&
        !memcmp(elf.head.e_ident, ELFMAG, SELFMAG)) {
        scan->is_elf = 1;
        scan->is_native = elf.head.e_ident[EI_CLASS] == OWN_CLASS && elf.head.e_machine == OWN_MACHINE;
        if (scan->is_native)
            scan_elf(&elf, scan);
    }
    close(elf.fd);
    return 0;
}
