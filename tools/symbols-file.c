/* SPDX-License-Identifier: MIT */
/*
 * symbols-file.c - finds and opens the ELF files that have the symbols.
 */
#include "symbols-file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"

#define DEBUG_ROOT "/usr/lib/debug"
#define BUILD_ID_BYTES_MIN 2 /* the directory's name takes one */
#define BUILD_ID_BYTES_MAX 64

static bool has_build_id(Elf *elf, const unsigned char *build_id, size_t n)
{
    const void *found = NULL;
    ssize_t n_found = dwelf_elf_gnu_build_id(elf, &found);

    return n_found == (ssize_t)n && !memcmp(found, build_id, n);
}

struct symbols_file *symbols_file_open(const char *path, const unsigned char *build_id, size_t n_build_id)
{
    /* The name is from the recording: it may be that of a device or a FIFO. */
    int fd = path[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    struct symbols_file *file;
    struct stat status;
    Elf *elf = NULL;

    if (fd < 0)
        return NULL;
    elf_version(EV_CURRENT);
    if (!fstat(fd, &status) && S_ISREG(status.st_mode))
        elf = elf_begin(fd, ELF_C_READ, NULL); /* a file that is cut short while it is mapped is a SIGBUS */
    if (!elf || elf_kind(elf) != ELF_K_ELF || (n_build_id && !has_build_id(elf, build_id, n_build_id))) {
        elf_end(elf);
        close(fd);
        return NULL;
    }
    file = mem_zeroed(1, sizeof *file);
    *file = (struct symbols_file){fd, elf};
    return file;
}

static struct symbols_file *open_by_build_id(const unsigned char *build_id, size_t n)
{
    char path[sizeof DEBUG_ROOT + 32 + 2 * BUILD_ID_BYTES_MAX];
    int at = snprintf(path, sizeof path, DEBUG_ROOT "/.build-id/%02x/", build_id[0]);

    for (size_t i = 1; i < n; i++)
        at += snprintf(path + at, sizeof path - (size_t)at, "%02x", build_id[i]);
    snprintf(path + at, sizeof path - (size_t)at, ".debug");
    return symbols_file_open(path, build_id, n);
}

static struct symbols_file *open_by_link(const char *path, const char *link, const unsigned char *build_id, size_t n)
{
    static const struct {
        const char *above, *below;
    } places[] = {{"", ""}, {"", "/.debug"}, {DEBUG_ROOT, ""}};
    int n_directory = (int)(strrchr(path, '/') - path);
    struct symbols_file *debug = NULL;
    char *name;

    if (strchr(link, '/'))
        return NULL;
    for (size_t i = 0; !debug && i < sizeof places / sizeof places[0]; i++) {
        name = mem_print("%s%.*s%s/%s", places[i].above, n_directory, path, places[i].below, link);
        if (strcmp(name, path))
            debug = symbols_file_open(name, build_id, n);
        free(name);
    }
    return debug;
}

struct symbols_file *symbols_file_open_debug(const char *path, const struct symbols_file *file)
{
    const void *build_id = NULL;
    ssize_t n_found = dwelf_elf_gnu_build_id(file->elf, &build_id);
    size_t n = n_found >= BUILD_ID_BYTES_MIN && n_found <= BUILD_ID_BYTES_MAX ? (size_t)n_found : 0;
    struct symbols_file *debug = n ? open_by_build_id(build_id, n) : NULL;
    GElf_Word crc;
    const char *link;

    if (debug)
        return debug;
    link = dwelf_elf_gnu_debuglink(file->elf, &crc);
    return link && path[0] == '/' ? open_by_link(path, link, build_id, n) : NULL;
}

void symbols_file_close(struct symbols_file *file)
{
    if (!file)
        return;
    elf_end(file->elf);
    close(file->fd);
    free(file);
}
