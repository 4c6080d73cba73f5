/* SPDX-License-Identifier: MIT */
/*
 * symbols.c - a file's functions in order of their addresses.
 */
#include "symbols.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "rust-name.h"
#include "symbols-file.h"
#include "symbols-part.h"

#define LOOP "_PyEval_EvalFrameDefault" /* CPython's evaluation loop */
#define LOOK_BACK 8 /* a function may lie within the bounds of one that began earlier */
#define SYMBOLS_MAX (1u << 22)

struct symbol {
    uint64_t start, size;
    const char *name; /* in the file */
    int rank;         /* of several at one address the highest is shown */
};

struct symbols {
    struct symbols_file *file, *debug; /* debug: the separate file; NULL where there is none */
    struct symbol *symbols;            /* by start */
    size_t n_symbols, capacity;
    bool interpreter;
};

static int rank_of(const GElf_Sym *sym, const char *name)
{
    int bind = GELF_ST_BIND(sym->st_info);
    int rank = bind == STB_GLOBAL ? 4 : bind == STB_WEAK ? 2 : 0;

    return rank + (name[0] != '_');
}

static void add(struct symbols *symbols, struct symbol symbol)
{
    symbols->symbols = mem_grow(symbols->symbols, symbols->n_symbols, &symbols->capacity, sizeof *symbols->symbols);
    symbols->symbols[symbols->n_symbols++] = symbol;
}

static void add_table(struct symbols *symbols, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t n = data && header->sh_entsize ? data->d_size / header->sh_entsize : 0;

    for (size_t i = 0; i < n && i < SYMBOLS_MAX && symbols->n_symbols < SYMBOLS_MAX; i++) {
        GElf_Sym sym;
        const char *name;
        if (!gelf_getsym(data, (int)i, &sym) || sym.st_shndx == SHN_UNDEF || !sym.st_value)
            continue;
        if (GELF_ST_TYPE(sym.st_info) != STT_FUNC && GELF_ST_TYPE(sym.st_info) != STT_GNU_IFUNC)
            continue;
        name = elf_strptr(elf, header->sh_link, sym.st_name);
        if (!name || !name[0])
            continue;
        symbols->interpreter |= !strcmp(name, LOOP);
        add(symbols, (struct symbol){sym.st_value, sym.st_size, name, rank_of(&sym, name)});
    }
}

/* Adds the table of a type, of which a file has one: where more are claimed, nobody is to wait for a hundred thousand
 * of them.  True if there was one. */
static bool add_first_table(struct symbols *symbols, const struct symbols_file *file, uint32_t type)
{
    Elf_Scn *section = NULL;
    size_t before = symbols->n_symbols;
    GElf_Shdr header;

    while (file && (section = elf_nextscn(file->elf, section)))
        if (gelf_getshdr(section, &header) && header.sh_type == type) {
            add_table(symbols, file->elf, section, &header);
            break;
        }
    return symbols->n_symbols > before;
}

/* The dynamic table has one part of the evaluation loop only.  The first symbol of that name is it, whatever a damaged
 * file has more of. */
static void add_rest_of_loop(struct symbols *symbols)
{
    uint64_t start, size;
    size_t i = 0;

    while (i < symbols->n_symbols && strcmp(symbols->symbols[i].name, LOOP))
        i++;
    if (i == symbols->n_symbols)
        return;
    struct symbol loop = symbols->symbols[i];
    if (symbols_part(symbols->file->elf, loop.start, loop.size, &start, &size))
        add(symbols, (struct symbol){start, size, loop.name, loop.rank});
}

static int by_start(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;

    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->rank - y->rank;
}

struct symbols *symbols_open(const char *path, const unsigned char *build_id, size_t n_build_id)
{
    struct symbols *symbols = mem_zeroed(1, sizeof *symbols);

    symbols->file = symbols_file_open(path, build_id, n_build_id);
    if (!symbols->file)
        return symbols;
    /* A full table has all that the dynamic one has. */
    if (!add_first_table(symbols, symbols->file, SHT_SYMTAB)) {
        symbols->debug = symbols_file_open_debug(path, symbols->file);
        if (!add_first_table(symbols, symbols->debug, SHT_SYMTAB))
            add_first_table(symbols, symbols->file, SHT_DYNSYM);
        if (symbols->interpreter)
            add_rest_of_loop(symbols);
    }
    if (symbols->n_symbols)
        qsort(symbols->symbols, symbols->n_symbols, sizeof *symbols->symbols, by_start);
    return symbols;
}

void symbols_close(struct symbols *symbols)
{
    if (!symbols)
        return;
    symbols_file_close(symbols->file);
    symbols_file_close(symbols->debug);
    free(symbols->symbols);
    free(symbols);
}

const char *symbols_find(const struct symbols *symbols, uint64_t address)
{
    size_t low = 0, high = symbols->n_symbols;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols->symbols[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i > 0 && low - i < LOOK_BACK; i--) {
        const struct symbol *symbol = &symbols->symbols[i - 1];
        /* Without a size, as in hand-written assembly: up to the next one. */
        if (symbol->size ? address - symbol->start < symbol->size : i == low)
            return symbol->name;
    }
    return NULL;
}

bool symbols_has_interpreter(const struct symbols *symbols)
{
    return symbols->interpreter;
}

/* The C++ library's own function, where there is one: programs with C++ extensions have it. */
char *symbols_demangle(const char *name)
{
    typedef char *demangle_fn(const char *, char *, size_t *, int *);
    static demangle_fn *demangle;
    static bool looked;
    int status = 0;

    if (!strncmp(name, "_R", 2))
        return rust_name(name);
    if (strncmp(name, "_Z", 2))
        return NULL;
    if (!looked) {
        void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
        if (library)
            *(void **)&demangle = dlsym(library, "__cxa_demangle");
        looked = true;
    }
    return demangle ? demangle(name, NULL, NULL, &status) : NULL;
}
